#!/usr/bin/env bats
# Completion of vestibulectl in bash, zsh and fish, as somebody sees it who presses TAB on a terminal.

load ../lib/bastion

setup_file() {
    bastion_install
    bastion_init
    limit vestibulectl account add zebedee
    limit vestibulectl account add zoe
    limit vestibulectl target add quiet-lab --driver docker --container lab --user alice
    # Files of these names are not what is meant.
    mkdir -p /root/here && touch /root/here/{zebra,quiet}
    mkdir -p /root/keys
    ssh-keygen -q -t ed25519 -N '' -C zoe -f /root/keys/somebody
    mv /root/keys/somebody /root/keys/private
    # What a package does not bring: a prompt that can be waited for, and nothing of this machine's.
    echo "PS1='ready> '; source /usr/share/bash-completion/bash_completion" >/root/bashrc
    mkdir -p /root/zsh /root/fish/fish
    echo "PS1='ready> '; autoload -Uz compinit && compinit -u -D" >/root/zsh/.zshrc
    echo "function fish_prompt; echo -n 'ready> '; end; function fish_greeting; end" >/root/fish/fish/config.fish
}

# shell NAME TEXT WANTED: a NAME on a terminal in which TEXT is typed shows WANTED, and is then left.
shell() {
    local command
    case $1 in
    bash) command='exec bash --noprofile --rcfile /root/bashrc -i' ;;
    zsh) command='ZDOTDIR=/root/zsh exec zsh -d -i' ;;
    fish) command='XDG_CONFIG_HOME=/root/fish exec fish -i' ;;
    esac
    run_ok "$BOX_REPO/tests/lib/on-terminal.py" 24x200 --type "$2\\r" 'ready> ' --type 'exit\r' "$3" -- \
        bash -c "cd /root/here; $command"
}

@test "TAB completes commands, accounts, targets and the values of options in bash, zsh and fish" {
    local name
    for name in bash zsh fish; do
        shell "$name" 'vestibulectl acc\tdis\tzeb\t' "account 'zebedee' is disabled"
        shell "$name" 'vestibulectl account enable zeb\t' "account 'zebedee' is enabled"
        shell "$name" 'vestibulectl grant add zo\tqui\t' "account 'zoe' may enter target 'quiet-lab'"
        run_ok vestibulectl grant rm zoe quiet-lab
        shell "$name" 'vestibulectl target add new --driver=dock\t--cont\tnew --user alice' "added target 'new'"
        run_ok vestibulectl target rm new
    done
}

@test "TAB completes files where a file is wanted, also below ~" {
    local name
    for name in bash zsh fish; do
        shell "$name" 'vestibulectl key add --account zoe ~/keys/some\t' ', SHA256:'
        run_ok vestibulectl key rm --account zoe /root/keys/somebody.pub
    done
}

@test "all that a command can be followed by is offered" {
    # As the scripts ask: number of the word, then the words.
    offered() { VESTIBULECTL_COMPLETE=$(($# - 1)) limit vestibulectl -- "$@" | cut -f 1; }
    local command words listed
    run_ok offered vestibulectl ''
    is "$(vestibulectl --help | awk '/^Commands:/ { on = 1; next } on && !NF { exit } on { print $1 }')" "$output"
    for command in 'account set' 'key list' 'target add' 'target set' 'grant add' explain; do
        read -r -a words <<<"$command"
        run_ok offered vestibulectl "${words[@]}" --
        listed=$(sort <<<"$output")
        run_ok vestibulectl "${words[@]}" --help
        is "$(grep -o -E '^ +(-[a-zA-Z], )?--[a-z0-9-]+' <<<"$output" | grep -o -e '--.*' | sort)" "$listed"
    done
    run_ok offered vestibulectl account show ''
    is $'zebedee\nzoe' "$output"
    run_ok offered vestibulectl target add x --engine ''
    is $'docker\npodman' "$output"
}

@test "who may not read the store is offered no names, and sees no error" {
    run_ok as_user nobody env VESTIBULECTL_COMPLETE=3 vestibulectl -- vestibulectl account show ''
    is '' "$output$stderr"
    run_ok as_user nobody env VESTIBULECTL_COMPLETE=1 vestibulectl -- vestibulectl ''
    matches '^init' "$output"
}

@test "a name that can't be one is not put on a command line" {
    local name
    run_ok vestibulectl --store /root/store.db init
    for name in zebedee zoe; do run_ok vestibulectl --store /root/store.db account add "$name"; done
    run_ok sqlite3 /root/store.db "UPDATE accounts SET name = 'ze; rm' WHERE name = 'zebedee'"
    VESTIBULECTL_COMPLETE=5 run_ok vestibulectl -- vestibulectl --store /root/store.db account show ''
    is $'zoe\t' "$output"
}

@test "a variable that is no number is said, not taken for a command line" {
    VESTIBULECTL_COMPLETE=yes run_rc 1 vestibulectl account list
    matches 'VESTIBULECTL_COMPLETE' "$stderr"
}

@test "the scripts have no fault of syntax" {
    run_ok bash -n /usr/share/bash-completion/completions/vestibulectl
    run_ok zsh -n /usr/share/zsh/vendor-completions/_vestibulectl
    run_ok fish -n /usr/share/fish/vendor_completions.d/vestibulectl.fish
}
