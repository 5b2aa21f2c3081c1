#!/usr/bin/env bats
# The manual pages and the installed programs say the same. (Exit codes and the keys of vestibule.toml are held to their
# pages by src/core/tests/man_pages.rs.)

load ../lib/bastion

MAN=/usr/share/man
LIBEXEC=/usr/libexec/vestibule

setup_file() {
    bastion_install
    bastion_init
}

# The long options that a text of help names, one a line.
options_in() { grep -o -E -e '(^|[^A-Za-z0-9-])--[a-z][a-z-]*' <<<"$1" | grep -o -E -e '--[a-z-]*' | sort -u; }

# The long options that a page, or a part of one on stdin, names: `Fl Fl store`.
options_marked() { grep -o -E 'Fl Fl [a-z][a-z-]*' "$@" | sed 's/^Fl Fl /--/' | sort -u; }

# The long options that a page describes before it comes to commands: `.It Fl v , Fl Fl verbose`, `.It Fl Fl store Ar file`.
options_listed() { sed -n -E -e '/^\.It Cm /q' -e 's/^\.It (Fl [a-zA-Z] , )?Fl Fl ([a-z][a-z-]*).*/--\2/p' "$1" | sort -u; }

# same_options PAGE HELP: what PAGE marks and what it describes is what HELP says.
same_options() {
    is_not '' "$(options_in "$2")"
    is "$(options_in "$2")" "$(options_marked "$1")"
    is "$(options_in "$2")" "$(options_listed "$1")"
}

# commands_in HELP: the subcommands that a help of vestibulectl lists.
commands_in() { awk '/^Commands:/ { on = 1; next } on && !NF { exit } on && /^  [a-z]/ { print $1 }' <<<"$1"; }

# Every command of vestibulectl that does something, one a line: `account add`.
all_commands() {
    local group command groups
    groups=$(commands_in "$(limit vestibulectl --help)")
    for group in $groups; do
        local help inner
        help=$(limit vestibulectl "$group" --help)
        inner=$(commands_in "$help")
        # One that has commands may be one itself, too.
        [[ -n $inner ]] && ! grep -q -x -E "(Usage:| +) vestibulectl $group( \[OPTIONS\])?" <<<"$help" || echo "$group"
        for command in $inner; do echo "$group $command"; done
    done
}

# The part of vestibulectl(8) on one command: from its item to the next command's, or to the next section. An item may
# take over another's options with `.\" options of: COMMAND`.
item_of() {
    local item other
    item=$(awk -v item=".It Cm $1" '
        /^\.It Cm / { on = $0 == item || (index($0, item " ") == 1 && substr($0, length(item) + 2) ~ /^(Ar|Fl|O[op]) /) }
        /^\.S[hs] / { on = 0 }
        on' "$MAN/man8/vestibulectl.8")
    echo "$item"
    other=$(sed -n 's/^\.\\" options of: //p' <<<"$item")
    [[ -z $other ]] || item_of "$other"
}

@test "make install puts every page where man looks for it" {
    local page name
    for page in "$BOX_REPO"/man/*.[1-9]; do
        name=${page##*/}
        run_ok cmp "$page" "$MAN/man${name##*.}/$name"
    done
}

@test "everything that is installed has a page" {
    local program
    for program in "$LIBEXEC"/* /usr/sbin/vestibulectl; do
        # OpenSSH has a page called sftp-server(8) already.
        [[ ${program##*/} != sftp-server ]] || program=vestibule-sftp-server
        # And the library has connect(2).
        [[ ${program##*/} != connect ]] || program=vestibule-connect
        run_ok test -s "$MAN/man8/${program##*/}.8"
    done
    run_ok test -s "$MAN/man8/libnss_vestibule.8"
    run_ok test -s "$MAN/man5/vestibule.toml.5"
}

@test "a page's name and section are those of its file" {
    local page name
    for page in "$BOX_REPO"/man/*.[1-9]; do
        name=${page##*/}
        run_ok grep -q -x -F ".Dt $(tr '[:lower:]' '[:upper:]' <<<"${name%.*}") ${name##*.}" "$page"
        run_ok grep -q -E "^\.Nm ${name%.*}( ,)?\$" "$page"
    done
}

@test "pages of ours that a page refers to are there" {
    local name section found=0
    while read -r name section; do
        case $name in
        *vestibule* | keys-lookup | route-session | enter | refresh-keys)
            found=$((found + 1))
            run_ok test -e "$BOX_REPO/man/$name.$section"
            ;;
        esac
    done < <(sed -n -E 's/^\.(It )?Xr ([^ ]+) ([0-9]).*/\2 \3/p' "$BOX_REPO"/man/*.[1-9] | sort -u)
    # One for each page, at least.
    ((found >= 6))
}

@test "keys-lookup(8) has every option of keys-lookup, and no other" {
    run_ok "$LIBEXEC/keys-lookup" --help
    same_options "$MAN/man8/keys-lookup.8" "$output"
}

@test "write-keys(8) has every option of write-keys, and no other" {
    run_ok "$LIBEXEC/write-keys" --help
    same_options "$MAN/man8/write-keys.8" "$output"
}

@test "enter(8) has every option of enter, and no other" {
    # It runs for the users of its group only, and never for root.
    run_ok as_user vestibule "$LIBEXEC/enter" --help
    # shellcheck disable=SC2154  # set by run
    same_options "$MAN/man8/enter.8" "$stderr --help"
}

@test "vestibule-sftp-server(8) has every option of sftp-server, and no other" {
    run_ok "$LIBEXEC/sftp-server" -h
    # `[-ehR]` stands for three.
    local wanted
    wanted=$(grep -o -E -e '-[a-zA-Z]+' <<<"$(sed 's/--version//; s/sftp-server//g' <<<"$output")" | grep -o '[a-zA-Z]' | sort -u)
    is_not '' "$wanted"
    is "$wanted" "$(sed -n -E 's/^\.It Fl ([a-zA-Z])( .*)?$/\1/p' "$MAN/man8/vestibule-sftp-server.8" | sort -u)"
}

@test "route-session has no option, and its page none" {
    run_rc 2 "$LIBEXEC/route-session" --help
    is '' "$(options_marked "$MAN/man8/route-session.8")"
}

@test "vestibulectl(8) has every command of vestibulectl, and no other" {
    local commands command items
    commands=$(all_commands)
    matches 'account add' "$commands"
    while read -r command; do
        is_not '' "$(item_of "$command")" || { echo "no item for: $command"; return 1; }
    done <<<"$commands"
    items=$(sed -n -E 's/^\.It Cm ([a-z][a-z-]*( [a-z]+)?)( .*)?$/\1/p' "$MAN/man8/vestibulectl.8")
    is "$(sort <<<"$commands")" "$(sort <<<"$items")"
}

@test "vestibulectl(8) has every option of every command, and no other" {
    local command general words own
    run_ok vestibulectl --help
    general=$(options_in "$output")
    is "$general" "$(options_listed "$MAN/man8/vestibulectl.8")"
    while read -r command; do
        read -r -a words <<<"$command"
        run_ok vestibulectl "${words[@]}" --help
        own=$(options_in "$output" | grep -v -x -F -e "$general" || true)
        is "$own" "$(item_of "$command" | options_marked)" || { echo "command: $command"; return 1; }
    done < <(all_commands)
}

@test "what the pages say for sshd_config is what the drop-in has" {
    local page line lines
    for page in keys-lookup route-session; do
        lines=$(awk '/^\.Bd -literal/ { on = 1; next } /^\.Ed/ { exit } on' "$MAN/man8/$page.8")
        is_not '' "$lines"
        while read -r line; do
            run_ok grep -q -E "^[[:space:]]*$line\$" /usr/share/vestibule/sshd_config.d/10-vestibule.conf
        done <<<"$lines"
    done
}

@test "the files that the pages name are there once vestibulectl init has run" {
    local path found=0
    while read -r path; do
        # The operator's, who trusts an authority.
        [[ $path != /etc/vestibule/user-ca.pub ]] || continue
        found=$((found + 1))
        run_ok test -e "${path%/\**}"
    done < <(sed -n -E 's/^\.(It )?Pa (\/[^ ]*vestibule[^ ]*).*/\2/p' "$BOX_REPO"/man/*.[1-9] | sort -u)
    ((found >= 6))
}
