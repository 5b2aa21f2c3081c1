#!/usr/bin/env bats
# Key options: a line of authorized_keys means here what it means to the distribution's sshd, and less.
# Each line is given to both: to sshd in the file of a user of the bastion, and to keys-lookup in the file of a target.

load ../lib/bastion

PLAIN=/home/plain/.ssh/authorized_keys
TENANT=/srv/lab/.ssh/authorized_keys
# An sshd of its own, without the drop-in, that says which options it took.
PLAIN_LOG=/run/box/logs/sshd-plain.log

setup_file() {
    bastion_install
    bastion_init
    # With UsePAM no, sshd takes the ! of a new user for a lock.
    useradd --create-home --shell /bin/sh --password '*' plain
    mkdir -p "${PLAIN%/*}" "${TENANT%/*}"
    limit vestibulectl target add lab --driver namespace --pid-file /run/none.pid --user root --home /srv/lab >/dev/null
    mkdir -p "$KEYS" /run/sshd
    make_key alice
    ssh-keygen -q -t rsa -b 2048 -N '' -C rsa -f "$KEYS/rsa"
    ssh-keygen -q -t ed25519 -N '' -C host -f /run/box/plain_host_key
    printf '[127.0.0.1]:2222 %s\n' "$(</run/box/plain_host_key.pub)" >/run/box/plain_known_hosts
    printf '%s\n' 'Port 2222' 'ListenAddress 127.0.0.1' 'HostKey /run/box/plain_host_key' 'LogLevel DEBUG1' 'UsePAM no' \
        'PidFile /run/sshd-plain.pid' 'AuthorizedKeysFile .ssh/authorized_keys' >/run/box/sshd_plain
    /usr/sbin/sshd -D -f /run/box/sshd_plain -E "$PLAIN_LOG" </dev/null >/dev/null 2>&1 3>&- &
    wait_for 5 test -s /run/sshd-plain.pid
}

teardown() { show_logs_on_failure; }

# The key without its comment, as the tables' KEY stands for it.
key() { cut -d ' ' -f 1,2 "$KEYS/${1:-alice}.pub"; }

# write FILE LINE: the bytes that printf(1) makes of LINE, with KEY, TYPE, BLOB, RSA and RSABLOB filled in.
write() {
    local line=$2
    line=${line//RSABLOB/$(key rsa | cut -d ' ' -f 2)}
    line=${line//RSA/$(key rsa)}
    line=${line//KEY/$(key)}
    line=${line//TYPE/ssh-ed25519}
    line=${line//BLOB/$(key | cut -d ' ' -f 2)}
    printf '%b' "$line" >"$1"
    chmod 644 "$1"
}

# sshd_says KEYNAME: yes or no, and the flags that the key got.
sshd_says() {
    local before rc=0
    before=$(stat -c %s "$PLAIN_LOG")
    ssh -F none -p 2222 -i "$KEYS/$1" -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes -o LogLevel=ERROR \
        -o StrictHostKeyChecking=yes -o UserKnownHostsFile=/run/box/plain_known_hosts plain@127.0.0.1 true \
        </dev/null >/dev/null 2>&1 || rc=$?
    if ((rc == 255)); then
        echo no
    else
        echo "yes $(tail -c +$((before + 1)) "$PLAIN_LOG" | tr -d '\r' | sed -n 's/.*authorized_keys:[0-9]*: key options://p' | tail -n 1) "
    fi
}

# ours KEYNAME: `grant OPTIONS` (those of the first line), `drop` for options that are not allowed, `ended`, or `bad`.
ours() {
    local out err
    err=$(limit /usr/libexec/vestibule/keys-lookup --debug lab "$(fingerprint "$1")" 2>&1 >/run/box/printed) || { echo "exit status $?"; return; }
    out=$(head -n 1 /run/box/printed)
    if [[ -n $out ]]; then
        echo "grant ${out%" $(key "$1")"}"
    else
        case $err in
        *'is not used:'*) echo drop ;;
        *'expiry-time has passed'*) echo ended ;;
        *) echo bad ;;
        esac
    fi
}

# compare KEYNAME: reads rows `SSHD ~ OURS ~ LINE` and checks that sshd and keys-lookup say what stands there; that sshd
# takes the line that keys-lookup prints exactly if it takes the tenant's; and that it gives no more for it than for the
# tenant's, and nothing but a terminal.
compare() {
    local wanted_sshd wanted_ours line said took=0 faults=0 flag rows=0
    while IFS= read -r row; do
        [[ -n $row && $row != '#'* ]] || continue
        wanted_sshd=${row%% ~ *} line=${row#* ~ } wanted_ours=${line%% ~ *} line=${line#* ~ }
        rows=$((rows + 1))
        write "$PLAIN" "$line" && write "$TENANT" "$line"
        said=$(sshd_says "$1")
        is "$wanted_sshd" "${said%% *}" || { echo "sshd: $line" && faults=$((faults + 1)); }
        is "$wanted_ours" "$(ours "$1")" || { echo "keys-lookup: $line" && faults=$((faults + 1)); }
        [[ -s /run/box/printed ]] || continue
        cp /run/box/printed "$PLAIN"
        took=$(sshd_says "$1")
        is "${said%% *}" "${took%% *}" || { echo "sshd, of what keys-lookup printed: $line" && faults=$((faults + 1)); }
        for flag in agent-forwarding port-forwarding user-rc x11-forwarding; do
            [[ " $took " != *" $flag "* ]] || { echo "gives $flag: $line" && faults=$((faults + 1)); }
        done
        [[ " $took " != *" pty "* || " $said " == *" pty "* ]] || { echo "gives a pty: $line" && faults=$((faults + 1)); }
    done
    ((rows > 0)) || return 1
    is 0 "$faults"
}

@test "flags: what restrict takes, what comes after it gives back, and no more than a terminal is given" {
    compare alice <<'TABLE'
yes ~ grant restrict,pty ~ KEY
yes ~ grant restrict,pty ~ KEY comment with "quotes
yes ~ grant restrict,pty ~ pty KEY
yes ~ grant restrict ~ no-pty KEY
yes ~ grant restrict ~ NO-PTY KEY
yes ~ grant restrict ~ restrict KEY
yes ~ grant restrict,pty ~ restrict,pty KEY
yes ~ grant restrict ~ pty,restrict KEY
yes ~ grant restrict ~ ReStRiCt,pty,no-pty KEY
yes ~ grant restrict,pty ~ no-pty,pty KEY
yes ~ grant restrict,pty ~ port-forwarding,agent-forwarding,x11-forwarding,user-rc KEY
yes ~ grant restrict,pty ~ no-port-forwarding,no-agent-forwarding,no-X11-forwarding,no-user-rc KEY
yes ~ grant restrict,pty ~ no-touch-required KEY
yes ~ grant restrict,pty,verify-required ~ verify-required KEY
yes ~ grant restrict,pty ~ verify-required,no-verify-required KEY
no ~ bad ~ no-restrict KEY
no ~ bad ~ no-no-pty KEY
no ~ bad ~ nopty KEY
no ~ bad ~ ptyx KEY
no ~ bad ~ pty="yes" KEY
no ~ bad ~ restrict;pty KEY
no ~ bad ~ unheard-of KEY
no ~ bad ~ zos-key-ring-label="x" KEY
no ~ drop ~ cert-authority KEY
no ~ bad ~ no-cert-authority KEY
TABLE
}

@test "commas and blanks" {
    compare alice <<'TABLE'
yes ~ grant restrict ~ no-pty,,no-user-rc KEY
yes ~ grant restrict ~ ,no-pty KEY
yes ~ grant restrict ~ no-pty, KEY
yes ~ grant restrict,pty ~ , KEY
yes ~ grant restrict ~ \t no-pty\t \tKEY
yes ~ grant restrict,pty ~ TYPE\t BLOB\tcomment
no ~ bad ~ no-pty no-user-rc KEY
no ~ bad ~ no-pty , KEY
no ~ bad ~ no-pty,no user-rc KEY
no ~ bad ~ no-pty\x0bKEY
no ~ bad ~ restrict\rKEY
TABLE
}

@test "values and their quotes" {
    compare alice <<'TABLE'
yes ~ grant restrict,pty ~ command="true" KEY
yes ~ grant restrict,pty ~ COMMAND="true; true" KEY
yes ~ grant restrict,pty ~ command="echo \\"a b\\"" KEY
yes ~ grant restrict,pty ~ command="true \\\\\\"" KEY
yes ~ grant restrict,pty ~ command="true 'a,b' \\\\n" KEY
yes ~ grant restrict ~ command="true",no-pty KEY
yes ~ grant restrict,pty ~ command="" KEY
no ~ bad ~ command="true KEY
no ~ bad ~ command="true\\" KEY
no ~ bad ~ command="true\\\\" KEY
no ~ bad ~ command=true KEY
no ~ bad ~ command= KEY
no ~ bad ~ command KEY
no ~ bad ~ command='true' KEY
no ~ bad ~ command ="true" KEY
no ~ bad ~ command="true"x KEY
no ~ bad ~ command="true""" KEY
no ~ bad ~ command="true"\\" KEY
no ~ bad ~ command="true",command="true" KEY
no ~ bad ~ no-command="true" KEY
no ~ bad ~ "command=true" KEY
no ~ bad ~ " KEY
no ~ drop ~ principals="plain" KEY
no ~ bad ~ principals="a",principals="b" KEY
yes ~ drop ~ environment="A_1=b c" KEY
yes ~ drop ~ environment="A=b",environment="A=c" KEY
no ~ bad ~ environment="A-B=c" KEY
no ~ bad ~ environment="A" KEY
no ~ bad ~ environment="=b" KEY
yes ~ drop ~ tunnel="0" KEY
yes ~ drop ~ tunnel="any" KEY
yes ~ drop ~ tunnel="2147483645" KEY
no ~ bad ~ tunnel="2147483646" KEY
no ~ bad ~ tunnel="0:1" KEY
no ~ bad ~ tunnel="" KEY
TABLE
}

@test "from and expiry-time are sshd's to judge, and stay on the line" {
    compare alice <<'TABLE'
yes ~ grant restrict,pty,from="127.0.0.1" ~ from="127.0.0.1" KEY
yes ~ grant restrict,pty,from="10.*,127.0.0.0/8" ~ FROM="10.*,127.0.0.0/8" KEY
no ~ grant restrict,pty,from="10.0.0.0/8" ~ from="10.0.0.0/8" KEY
no ~ grant restrict,pty,from="!127.0.0.1,*" ~ from="!127.0.0.1,*" KEY
no ~ grant restrict,pty,from="127.0.0.1/8" ~ from="127.0.0.1/8" KEY
no ~ grant restrict,pty,from="" ~ from="" KEY
yes ~ grant restrict,pty,from="a\"b,127.0.0.1" ~ from="a\\"b,127.0.0.1" KEY
yes ~ grant restrict,pty,from="a\\b,127.0.0.1" ~ from="a\\\\b,127.0.0.1" KEY
no ~ bad ~ from="127.0.0.1",from="127.0.0.1" KEY
yes ~ drop ~ from="127.0.0.1,\x01" KEY
no ~ drop ~ from="127.0.0.1\r" KEY
yes ~ grant restrict,pty,expiry-time="20991231" ~ expiry-time="20991231" KEY
yes ~ grant restrict,pty,expiry-time="209912312359" ~ expiry-time="209912312359" KEY
yes ~ grant restrict,pty,expiry-time="20991231235961Z" ~ expiry-time="20991231235961Z" KEY
yes ~ grant restrict,pty,expiry-time="20990231utc" ~ expiry-time="20990231utc" KEY
no ~ ended ~ expiry-time="20200101" KEY
no ~ ended ~ expiry-time="20991231",expiry-time="20200101Z" KEY
no ~ ended ~ expiry-time="20200101Z",expiry-time="20991231" KEY
no ~ bad ~ expiry-time="2099" KEY
no ~ bad ~ expiry-time="20991301" KEY
no ~ bad ~ expiry-time="20991232" KEY
no ~ bad ~ expiry-time="209912312400" KEY
no ~ bad ~ expiry-time="2099-12-31" KEY
no ~ bad ~ expiry-time="19700101Z" KEY
no ~ bad ~ expiry-time="19690101" KEY
no ~ bad ~ expiry-time="20991231ZZ" KEY
no ~ bad ~ expiry-time="" KEY
no ~ bad ~ expiry-time=20991231 KEY
# Stricter than sshd: strptime skips blanks.
yes ~ bad ~ expiry-time="2099 131" KEY
TABLE
}

@test "permitopen and permitlisten are read, and give nothing that the target does not grant" {
    compare alice <<'TABLE'
yes ~ grant restrict,pty ~ permitopen="host:22" KEY
yes ~ grant restrict,pty ~ permitopen="*:*",permitopen="host:22" KEY
yes ~ grant restrict,pty ~ permitopen="[::1]:22" KEY
yes ~ grant restrict,pty ~ permitopen="host/22" KEY
yes ~ grant restrict,pty ~ permitopen=":22" KEY
yes ~ grant restrict,pty ~ permitopen="host:+22" KEY
yes ~ grant restrict,pty ~ permitopen="host: 22" KEY
no ~ bad ~ permitopen="22" KEY
no ~ bad ~ permitopen="host" KEY
no ~ bad ~ permitopen="host:0" KEY
no ~ bad ~ permitopen="host:65536" KEY
no ~ bad ~ permitopen="host:22 " KEY
no ~ bad ~ permitopen="host:-1" KEY
no ~ bad ~ permitopen="::1:22" KEY
no ~ bad ~ permitopen="[::1:22" KEY
no ~ bad ~ permitopen="[::1]22" KEY
no ~ bad ~ permitopen="" KEY
no ~ bad ~ permitopen=host:22 KEY
no ~ bad ~ permitopen="host:22"x KEY
yes ~ grant restrict,pty ~ permitlisten="22" KEY
yes ~ grant restrict,pty ~ permitlisten="*" KEY
yes ~ grant restrict,pty ~ permitlisten="localhost:8080",permitlisten="*:*" KEY
no ~ bad ~ permitlisten="" KEY
no ~ bad ~ permitlisten="nowhere-known" KEY
no ~ bad ~ permitlisten="host:nowhere-known" KEY
# Stricter than sshd: it looks for other words in /etc/services.
yes ~ bad ~ permitopen="host:ssh" KEY
TABLE
}

@test "lines and keys" {
    compare alice <<'TABLE'
yes ~ grant restrict,pty ~ KEY\r\n
yes ~ grant restrict,pty ~ KEY comment\r\n
yes ~ grant restrict,pty ~ \r\n\n# comment\n \t\nKEY
yes ~ grant restrict,pty ~ KEY\0garbage
yes ~ grant restrict ~ no-pty KEY\nKEY\n
yes ~ grant restrict,pty ~ unheard-of KEY\nKEY\n
yes ~ grant restrict,pty ~ \0\nKEY
no ~ bad ~ \0KEY
no ~ bad ~ no-pty\0 KEY
no ~ bad ~ \rKEY
no ~ bad ~ #KEY
no ~ bad ~ \xef\xbb\xbfKEY
no ~ bad ~ TYPE
no ~ bad ~ BLOB
no ~ bad ~ ssh-rsa BLOB
no ~ bad ~ TYPE BLOB==
no ~ bad ~ TYPE =BLOB
no ~ bad ~ SSH-ED25519 BLOB
no ~ bad ~ RSA
TABLE
}

@test "a name of a signature algorithm stands for the type of key that makes it" {
    compare rsa <<'TABLE'
yes ~ grant restrict,pty ~ RSA
yes ~ grant restrict,pty ~ rsa-sha2-512 RSABLOB
yes ~ grant restrict,pty ~ no-user-rc rsa-sha2-256 RSABLOB
no ~ bad ~ rsa-sha2-999 RSABLOB
no ~ bad ~ KEY
TABLE
}

@test "a key of one megabyte of blanks and comments before it is found by sshd, and is too much for a tenant's file" {
    { head -c 1048576 /dev/zero | tr '\0' ' ' && key; } >"$PLAIN"
    cp "$PLAIN" "$TENANT"
    matches '^yes' "$(sshd_says alice)"
    is bad "$(ours alice)"
    { printf '# ' && head -c 60000 /dev/zero | tr '\0' 'x' && printf '\n' && key; } >"$PLAIN"
    cp "$PLAIN" "$TENANT"
    matches '^yes' "$(sshd_says alice)"
    is 'grant restrict,pty' "$(ours alice)"
}
