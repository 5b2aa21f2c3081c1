#!/usr/bin/env bats
# What connect says and does when a site answers wrongly. The site is tests/lib/lying-websocket.py; each path of it is
# wrong in its own way.

load ../lib/bastion

PORT=7300
TLS_PORT=7301

setup_file() {
    bastion_install
    bastion_init
    export ASKED=/run/box/logs/site.log CERTS=/run/box/certs
    mkdir -p "$CERTS" /etc/vestibule/tokens
    local name
    for name in hub else; do
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=authority of $name" \
            -keyout "$CERTS/$name-ca.key" -out "$CERTS/$name.pem" 2>/dev/null
    done
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=hub.example -keyout "$CERTS/hub.key" \
        -out "$CERTS/hub.csr" 2>/dev/null
    openssl x509 -req -in "$CERTS/hub.csr" -days 2 -CA "$CERTS/hub.pem" -CAkey "$CERTS/hub-ca.key" -CAcreateserial \
        -extfile <(echo 'subjectAltName=DNS:hub.example,IP:127.0.0.1') -out "$CERTS/hub.crt" 2>/dev/null
    echo '127.0.0.1 hub.example' >>/etc/hosts
    printf 'token-of-the-hub\n' >/etc/vestibule/tokens/hub
    printf 'token-of-the-hub\n' >/etc/vestibule/tokens/loose
    chown vestibule-hop /etc/vestibule/tokens/hub /etc/vestibule/tokens/loose
    chmod 0400 /etc/vestibule/tokens/hub
    chmod 0444 /etc/vestibule/tokens/loose
    ip addr add 198.51.100.7/32 dev lo
    cat >/etc/vestibule/vestibule.toml.d/sites.toml <<CONF
[site.plain]
url = "http://127.0.0.1:$PORT"
token_file = "/etc/vestibule/tokens/hub"
[site.six]
url = "http://[::1]:$PORT"
[site.tls]
url = "https://hub.example:$TLS_PORT"
token_file = "/etc/vestibule/tokens/hub"
ca_file = "$CERTS/hub.pem"
[site.another-name]
url = "https://localhost:$TLS_PORT"
ca_file = "$CERTS/hub.pem"
[site.another-authority]
url = "https://hub.example:$TLS_PORT"
ca_file = "$CERTS/else.pem"
[site.systems-authorities]
url = "https://hub.example:$TLS_PORT"
[site.no-tls]
url = "https://127.0.0.1:$PORT"
ca_file = "$CERTS/hub.pem"
[site.shut]
url = "http://127.0.0.1:9"
[site.lost]
url = "https://no-such-host.invalid"
[site.elsewhere]
url = "http://198.51.100.7:$PORT"
token_file = "/etc/vestibule/tokens/hub"
[site.allowed]
url = "http://198.51.100.7:$PORT"
allow_http = true
[site.loose]
url = "http://127.0.0.1:$PORT"
token_file = "/etc/vestibule/tokens/loose"
[site.proxied]
url = "https://hub.example:$TLS_PORT"
token_file = "/etc/vestibule/tokens/hub"
ca_file = "$CERTS/hub.pem"
proxy = "http://127.0.0.1:7302"
[site.proxy-shut]
url = "https://hub.example:$TLS_PORT"
proxy = "http://127.0.0.1:9"
[site.proxy-says-no]
url = "https://forbidden.example"
proxy = "http://127.0.0.1:7302"
CONF
    detached "$ASKED" "$BOX_REPO/tests/lib/lying-websocket.py" $PORT
    detached /run/box/logs/tls.log "$BOX_REPO/tests/lib/lying-websocket.py" $TLS_PORT "$CERTS/hub.crt" "$CERTS/hub.key"
    detached /run/box/logs/proxy.log "$BOX_REPO/tests/lib/connect-proxy.py" 7302 hub.example
    wait_for 5 grep -q listening "$ASKED"
    wait_for 5 grep -q listening /run/box/logs/tls.log
    wait_for 5 grep -q listening /run/box/logs/proxy.log
}

teardown() { show_logs_on_failure; }

# connect SITE PATH [OPTION]...: as enter starts it, without what a test's environment holds.
connect() {
    local site=$1 path=$2
    shift 2
    as_user vestibule-hop env -i PATH=/usr/bin:/bin HOME=/ "$@" /usr/libexec/vestibule/connect --within 3 --site "$site" --path "$path"
}

# A client that keeps its end open until the other side ends it.
open_ended() { connect "$@" < <(exec sleep 20 2>/dev/null 3>&-); }

# says STATUS SITE PATH WORDS: what is said to the user, and no token.
says() {
    run_rc "$1" open_ended "$2" "$3"
    matches "^$4\$" "${stderr%%$'\n'*}"
    matches_not token-of-the-hub "$stderr"
    matches_not $'\e' "$stderr"
}

@test "bytes come back as they were, by HTTP, by TLS, through a proxy, over IPv6, in pieces and in one" {
    local site way
    head -c 3000000 /dev/urandom >"$BATS_TEST_TMPDIR/in"
    for site in plain tls proxied six allowed; do
        for way in echo pieces; do
            # The end is behind the last byte: what comes after the client's own end is still taken.
            connect "$site" "/$way" <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out"
            cmp "$BATS_TEST_TMPDIR/in" "$BATS_TEST_TMPDIR/out"
        done
    done
    matches 'closed with 1000' "$(<"$ASKED")"
    matches 'CONNECT hub.example:7301' "$(</run/box/logs/proxy.log)"
    matches_not token "$(</run/box/logs/proxy.log)"
}

@test "the token goes to the site in one header, with no origin and no protocol; without one there is none" {
    connect plain '/echo?a=%20b' </dev/null
    matches $'GET /echo\\?a=%20b token token-of-the-hub 127.0.0.1:7300 - -' "$(<"$ASKED")"
    connect six /echo/nobody </dev/null
    matches $'GET /echo/nobody - \\[::1\\]:7300 - -' "$(<"$ASKED")"
}

@test "what the site answers in the place of a WebSocket is told in words" {
    says 209 plain /status/400 "the site 'plain' answers 400 and says 'plain words'"
    says 209 plain /status/401 "the site 'plain' answers 401 and says 'plain words': it wants another token of the bastion"
    says 209 plain /status/403/json "the site 'plain' answers 403 and says 'so it is .u.1b..2J': the bastion's token is not allowed to go there"
    says 209 plain /status/404/html "the site 'plain' answers 404: there is no such server, or it does not run"
    says 209 plain /status/429 "the site 'plain' answers 429 and says 'plain words': it is asked too often"
    says 209 plain /status/500/html "the site 'plain' answers 500: the fault is on the other side"
    says 209 plain /status/503 "the site 'plain' answers 503 and says 'plain words': the server behind it does not run or does not answer"
    says 209 plain /status/200/html "the site 'plain' answers 200: a page in the place of a WebSocket"
    says 209 plain /status/403/token "the site 'plain' answers 403 and says 'something with the token in it': .*"
    says 209 plain /redirect "the site 'plain' answers 302: a redirect, which is not followed"
    fails grep -q elsewhere "$ASKED"
}

@test "a site that is silent, slow or no site at all is left within the time" {
    says 209 plain /silent "the site 'plain' does not answer"
    says 209 plain /slowly "the site 'plain' does not answer"
    says 209 plain /hangs-up "the site 'plain' hangs up without an answer"
    says 209 plain /ssh "the site 'plain' does not answer by HTTP"
    says 209 plain /long-head "the site 'plain' does not answer by HTTP"
    says 209 plain /many-headers "the site 'plain' does not answer by HTTP"
    says 209 shut /echo "the site 'shut' is not running"
    says 209 lost /echo "the site 'lost' has an address that is not known"
}

@test "an answer that is none to this request opens nothing" {
    local way
    for way in other-key extension protocol no-upgrade; do
        says 209 plain "/$way" "the site 'plain' does not open a WebSocket as it should"
    done
}

@test "a certificate that is not the site's, or nobody's who is trusted, is not spoken to" {
    local before
    before=$(wc -l </run/box/logs/tls.log)
    says 209 another-name /echo "the site 'another-name' has a certificate that is not trusted"
    says 209 another-authority /echo "the site 'another-authority' has a certificate that is not trusted"
    says 209 systems-authorities /echo "the site 'systems-authorities' has a certificate that is not trusted"
    says 209 no-tls /echo "the site 'no-tls' (does not speak TLS as it should|hangs up before TLS is agreed upon)"
    is "$before" "$(wc -l </run/box/logs/tls.log)"
    # No variable of the environment has a say in it.
    run_rc 209 connect systems-authorities /echo SSL_CERT_FILE="$CERTS/else.pem" HTTPS_PROXY=http://127.0.0.1:7302
    run_rc 0 connect plain /echo http_proxy=http://127.0.0.1:9 HTTP_PROXY=http://127.0.0.1:9 ALL_PROXY=http://127.0.0.1:9 </dev/null
}

@test "a proxy that is not there or does not want to is told as such, and there is no way around it" {
    says 209 proxy-shut /echo "the proxy on the way to the site 'proxy-shut' is not running"
    says 209 proxy-says-no /echo "the proxy on the way to the site 'proxy-says-no' answers 403"
}

@test "the bastion's own faults are its operator's: plain http elsewhere, a token that others can read, a path that is none" {
    local before path
    before=$(wc -l <"$ASKED")
    says 200 elsewhere /echo 'the bastion is not set up right'
    matches "plain http to another machine" "$stderr"
    says 200 loose /echo 'the bastion is not set up right'
    matches "can't use the secret in '/etc/vestibule/tokens/loose': others can read" "$stderr"
    says 200 unknown /echo 'the bastion is not set up right'
    for path in '' echo //evil.example/ '/a b' $'/a\r\nX: y' /user/../hub/api /user/%2e%2E/hub '/user/..%2fhub' '/a\b'; do
        says 200 plain "$path" 'the bastion is not set up right'
    done
    is "$before" "$(wc -l <"$ASKED")"
}

@test "what is no WebSocket as it should be ends the connection with a line" {
    local way
    says 209 plain /text "the site 'plain' sends text in the place of bytes, before a byte came"
    wait_for 5 grep -q 'told 1003' "$ASKED"
    says 211 plain /fed-text "the site 'plain' sends text in the place of bytes"
    for way in not-utf8 masked reserved unknown continued long-ping; do
        says 209 plain "/$way" "the site 'plain' does not speak WebSocket as it should, before a byte came"
    done
    for way in middle-of-message gone; do
        says 209 plain "/$way" "the site 'plain' hung up in the middle, before a byte came"
    done
    says 211 plain /middle "the site 'plain' hung up in the middle"
    is hello "$output"
    says 209 plain /huge "the site 'plain' sends messages that are too big, before a byte came"
}

@test "a message without an end is not kept" {
    # 16 MiB and what it takes to hold them twice.
    # shellcheck disable=SC2016  # for that shell
    run_rc 209 as_user vestibule-hop bash -c 'ulimit -v 120000; /usr/libexec/vestibule/connect --site plain --path /endless < <(exec sleep 20 2>/dev/null)'
    matches "^the site 'plain' sends messages that are too big" "$stderr"
}

@test "the codes by which a site closes are told, and the normal ones are no fault" {
    run_ok open_ended plain /close/1000/bye
    run_ok open_ended plain /close//
    says 209 plain /close/1001 "the site 'plain' ended the connection with code 1001: it goes away, before a byte came"
    says 209 plain /close/1011 "the site 'plain' ended the connection with code 1011: something went wrong there, before a byte came"
    says 209 plain /close/4999 "the site 'plain' ended the connection with code 4999: for a reason of its own, before a byte came"
    says 211 plain /fed-close/1012 "the site 'plain' ended the connection with code 1012: it restarts"
    # One that says that it closes, and does not hang up, is not waited for.
    local began=$SECONDS
    run_ok open_ended plain /never-hangs-up
    ((SECONDS - began < 5))
}

@test "the last words behind the client's end arrive, pings are answered, and a flood of them harms nobody" {
    run_ok connect plain /late </dev/null
    is 'last words' "$output"
    run_ok open_ended plain /ping
    is 'pong are you there' "$output"
    run_ok open_ended plain /many-pings
    is 'done' "$output"
}

# resident PID: kB.
resident() { awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"; }

# stands FILE: it does not grow for a second.
stands() {
    local size
    size=$(stat -c %s "$1")
    sleep 1
    [[ $size == "$(stat -c %s "$1")" ]]
}

@test "who stops reading stops the other side, both ways, and nothing is kept meanwhile" {
    local pid fifo=$BATS_TEST_TMPDIR/fifo count=$BATS_TEST_TMPDIR/count
    # A site that does not read: what the client has is not taken.
    detached /run/box/logs/flood.log bash -c "head -c 500000000 /dev/zero | tee >(wc -c >'$count.wc') \
        | setpriv --reuid vestibule-hop --clear-groups /usr/libexec/vestibule/connect --site plain --path /stops-reading"
    wait_for 5 pgrep -f 'connect.*stops-reading'
    sleep 2
    pid=$(pgrep -nf '^/usr/libexec/vestibule/connect.*stops-reading')
    (($(resident "$pid") < 30000))
    local began ended
    began=$(awk '{ print $14 + $15 }' "/proc/$pid/stat")
    sleep 1
    ended=$(awk '{ print $14 + $15 }' "/proc/$pid/stat")
    ((ended - began < 20)) # and waits, instead of trying again and again
    kill "$pid"
    # A client that does not read: the site is not read.
    mkfifo "$fifo"
    exec 7<>"$fifo"
    detached /run/box/logs/source.log bash -c "sleep 60 | setpriv --reuid vestibule-hop --clear-groups /usr/libexec/vestibule/connect --site plain --path /source/500000000 >'$fifo'"
    wait_for 5 pgrep -f 'connect.*source'
    sleep 2
    pid=$(pgrep -nf '^/usr/libexec/vestibule/connect.*source')
    (($(resident "$pid") < 30000))
    kill "$pid"
    exec 7<&-
}

@test "it ends with its client, and with a signal says goodbye" {
    local pid
    detached /run/box/logs/left.log bash -c 'sleep 60 | setpriv --reuid vestibule-hop --clear-groups /usr/libexec/vestibule/connect --site plain --path /echo/signal'
    wait_for 5 grep -q /echo/signal "$ASKED"
    pid=$(pgrep -nf '^/usr/libexec/vestibule/connect.*echo/signal')
    kill -TERM "$pid"
    wait_for 3 grep -q 'closed with 1001' "$ASKED"
    wait_for 3 fails kill -0 "$pid"
    # Nobody reads what it writes.
    connect plain /source/100000000 </dev/null | head -c 10 >/dev/null
    wait_for 3 fails pgrep -f 'connect.*source/100000000'
}

@test "its token is in no argument, no environment and no line, and others of its user can't look into it" {
    local pid
    detached /run/box/logs/held.log bash -c 'sleep 60 | env -i setpriv --reuid vestibule-hop --clear-groups /usr/libexec/vestibule/connect --site plain --path /echo/held'
    wait_for 5 grep -q /echo/held "$ASKED"
    pid=$(pgrep -nf '^/usr/libexec/vestibule/connect.*echo/held')
    fails grep -q token-of "/proc/$pid/cmdline" "/proc/$pid/environ"
    local file
    for file in environ maps mem; do run_rc 1 as_user vestibule-hop cat "/proc/$pid/$file"; done
    run_any as_user vestibule-hop ls "/proc/$pid/fd"
    is '' "$output"
    run_rc 1 as_user vestibule cat /etc/vestibule/tokens/hub
    kill "$pid"
    fails grep -rq token-of /run/box/logs/held.log /run/box/logs/devlog
}

@test "a unix socket is connected to where it is, and a link to it is none" {
    detached /run/box/logs/unix.log socat UNIX-LISTEN:/run/labs.sock,fork,mode=0666 SYSTEM:'sha256sum; echo over'
    wait_for 5 test -S /run/labs.sock
    ln -s /run/labs.sock /run/link.sock
    : >/run/file.sock
    local over=(as_user vestibule-hop /usr/libexec/vestibule/connect --unix)
    head -c 1000000 /dev/urandom >"$BATS_TEST_TMPDIR/in"
    # The end of one direction is passed on.
    run_ok "${over[@]}" /run/labs.sock <"$BATS_TEST_TMPDIR/in"
    is "$(sha256sum <"$BATS_TEST_TMPDIR/in")" "${lines[0]}"
    is over "${lines[1]}"
    local path
    for path in /run/link.sock /run/file.sock /run/none.sock /run/../run/labs.sock labs.sock; do
        run_rc 209 "${over[@]}" "$path"
        matches "^its socket (does not exist|can't be connected to)" "$stderr"
    done
    chmod 0600 /run/labs.sock
    run_rc 209 "${over[@]}" /run/labs.sock
    matches '^its socket is not for the bastion' "$stderr"
}
