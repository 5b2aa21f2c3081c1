#!/usr/bin/env bats
# needs: debian-image
# What a session finds around it: language, PATH, TERM, the profile, and the target's words of welcome. `desk` is Debian,
# `den` has busybox and no terminfo.

load ../lib/bastion

setup_file() {
    bastion_start
    add_person alice
    docker_run desk vt-debian --env PATH=/opt/tools:/usr/bin:/bin --env FROM_IMAGE=yes
    docker_run den vt-busybox
    vestibulectl target add desk --driver docker --container desk --user alice --env FROM_TARGET=also
    vestibulectl target add bobs --driver docker --container desk --user bob
    vestibulectl target add den --driver docker --container den --user alice
    local target
    for target in desk bobs den; do vestibulectl grant add alice $target; done
}

setup() { audit_mark; }

teardown() { show_logs_on_failure; }

plain() { tr -d '\r' <<<"$output"; }

# term_of LOGIN NAME: what TERM is inside for a client whose terminal is called so.
term_of() {
    TERM=$2 run_ok ssh_on_terminal 24x80 -- "$1" 'echo "TERM=$TERM"'
    plain | sed -n 's/^TERM=//p'
}

# shell_on LOGIN: what a login shell on a terminal shows that is left at once.
shell_on() { run_ok ssh_on_terminal 24x80 --type 'exit\n' '$ ' -- "$1"; }

@test "LANG and LC_* come along, and nothing else of the client's" {
    SSH_OPTIONS='-o SendEnv=LANG -o SendEnv=LC_* -o SendEnv=EDITOR' LANG=de_DE.UTF-8 LC_TIME=C EDITOR=ed \
        run_ok ssh_as alice+desk 'echo "$LANG $LC_TIME ${EDITOR-none}"'
    is 'de_DE.UTF-8 C none' "$output"
}

@test "PATH is the container's own configuration, and so is the rest of its environment" {
    run_ok ssh_as alice+desk 'echo "$PATH $FROM_IMAGE $FROM_TARGET"'
    is '/opt/tools:/usr/bin:/bin yes also' "$output"
    run_ok ssh_as alice+den 'echo "$PATH"'
    is '/usr/sbin:/usr/bin:/sbin:/bin' "$output"
}

@test "a TERM that the image knows is left alone" {
    is xterm-256color "$(term_of alice+desk xterm-256color)"
    is screen-256color "$(term_of alice+desk screen-256color)"
}

@test "a TERM that the image does not know becomes the nearest that it does" {
    is xterm-256color "$(term_of alice+desk xterm-nobody-has-heard-of)"
    is screen-256color "$(term_of alice+desk tmux-nobody-has-heard-of)"
    is vt100 "$(term_of alice+desk wyse9000)"
    is vt100 "$(term_of alice+desk ../x/xterm)"
    # A name of the user's own is known, too.
    docker exec --user alice desk sh -c 'mkdir -p ~/.terminfo/w && cp /lib/terminfo/v/vt100 ~/.terminfo/w/wyse9000'
    is wyse9000 "$(term_of alice+desk wyse9000)"
    is vt100 "$(term_of alice+bobs wyse9000)"
}

@test "with fewer entries in the image it is xterm, linux, vt100 and in the end dumb" {
    docker_run poor vt-debian
    vestibulectl target add poor --driver docker --container poor --user alice
    vestibulectl grant add alice poor
    local pair
    for pair in xterm-256color:xterm xterm:linux linux:vt100 vt100:dumb; do
        docker exec poor sh -c "rm -f /lib/terminfo/?/${pair%:*} /usr/share/terminfo/?/${pair%:*}"
        is "${pair#*:}" "$(term_of alice+poor xterm-256color)"
    done
    # Programs believe it.
    run_ok ssh_on_terminal 24x80 -- alice+poor 'tput lines; echo "rc=$?"'
    matches 'rc=0' "$(plain)"
    docker exec poor sh -c 'rm -rf /lib/terminfo /usr/share/terminfo /etc/terminfo'
    is xterm-256color "$(term_of alice+poor xterm-256color)"
    docker_remove poor
}

@test "where there is no terminfo at all the client's word stands" {
    is xterm-kitty "$(term_of alice+den xterm-kitty)"
}

@test "terminfo that leads out of the container is not followed" {
    docker_run sly vt-busybox
    vestibulectl target add sly --driver docker --container sly --user alice
    vestibulectl grant add alice sly
    docker exec sly sh -c 'mkdir -p /usr/share && ln -s /proc/1/root/proc/self/root/lib/terminfo /usr/share/terminfo'
    is xterm-kitty "$(term_of alice+sly xterm-kitty)"
    # One that never answers holds up nobody for long, and only its own.
    docker exec sly sh -c 'rm /usr/share/terminfo && mkdir -p /usr/share/terminfo/x && mkfifo /usr/share/terminfo/x/xterm'
    is xterm "$(term_of alice+sly xterm-kitty)"
    docker_remove sly
}

@test "login shells read ~/.profile, bash and busybox alike; commands do not" {
    local target
    docker exec --user alice desk sh -c 'echo "export PROFILE=read" >>~/.profile'
    docker exec --user alice den sh -c 'echo "export PROFILE=read" >>/home/alice/.profile'
    docker exec desk /usr/sbin/usermod -s /bin/dash bob
    docker exec --user bob desk sh -c 'echo "export PROFILE=read" >>~/.profile'
    printf 'echo "$PROFILE $0"\n' >"$BATS_TEST_TMPDIR/in"
    for target in desk:-bash bobs:-dash den:-sh; do
        ssh_as "alice+${target%:*}" <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out"
        is "read ${target#*:}" "$(<"$BATS_TEST_TMPDIR/out")"
        run_ok ssh_as "alice+${target%:*}" 'echo "[$PROFILE]"'
        is '[]' "$output"
    done
}

@test "a login shell on a terminal begins with the target's welcome" {
    local target
    for target in desk den; do
        vestibulectl target set "$target" --welcome $'Welcome to {target}.\nBe kind.'
        shell_on "alice+$target"
        matches "^Welcome to $target\\.|[^a-z]Welcome to $target\\." "$(plain)"
        is 1 "$(plain | grep -c 'Be kind\.')"
        # Before the prompt, and with the terminal's line ends.
        matches $'Be kind\\.\r' "$output"
    done
}

@test "a command has no welcome, with and without a terminal, and neither has a shell without one" {
    run_ok ssh_as alice+desk true
    is '' "$output$stderr"
    run_ok ssh_on_terminal 24x80 -- alice+desk 'echo only'
    is only "$(plain)"
    run_ok ssh_as alice+desk </dev/null
    matches_not 'Be kind' "$output$stderr"
}

@test "who has a ~/.hushlogin is not welcomed; its owner is asked, not the bastion" {
    docker exec --user alice den touch /home/alice/.hushlogin
    shell_on alice+den
    matches_not 'Be kind' "$output"
    docker exec --user alice den rm /home/alice/.hushlogin
    shell_on alice+den
    matches 'Be kind' "$output"
    # A link into the bastion leads nowhere.
    docker exec --user alice den ln -s /proc/1/root/usr/libexec/vestibule/enter /home/alice/.hushlogin
    shell_on alice+den
    matches 'Be kind' "$output"
    docker exec --user alice den rm /home/alice/.hushlogin
}

@test "a welcome may not drive the terminal, and an empty one is none" {
    run_rc 1 vestibulectl target set den --welcome $'\e]0;mine\a'
    matches 'without control characters' "$stderr"
    run_rc 1 vestibulectl target set den --welcome "$(head -c 5000 /dev/zero | tr '\0' x)"
    run_ok vestibulectl target show den
    matches 'welcome +Welcome to \{target\}' "$output"
    vestibulectl target set den --welcome ''
    shell_on alice+den
    matches_not 'Be kind' "$output"
}

@test "the longest welcome does not hold up the shell" {
    vestibulectl target set den --welcome "$(head -c 4000 /dev/zero | tr '\0' Z)"
    shell_on alice+den
    is 4000 "$(tr -d -c Z <<<"$output" | wc -c)"
    vestibulectl target set den --welcome ''
}
