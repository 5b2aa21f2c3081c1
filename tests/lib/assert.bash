# Running things with a limit, and saying what went wrong.
# shellcheck shell=bash

# The demo uses these helpers without bats.
[[ -z ${BATS_VERSION-} ]] || bats_require_minimum_version 1.5.0

# No command of a test takes longer than this many seconds, unless the test says so: TIMEOUT=60 run_ok ...
# A test that hangs in spite of it is ended by bats after 120 seconds, and a file by the runner after 900.
: "${TIMEOUT:=20}"

# A command with a limit: SIGTERM after $TIMEOUT seconds, SIGKILL two seconds later; 124 or 137 then.
# Every helper that starts a program does it through this.
limit() {
    timeout --kill-after=2 "$TIMEOUT" "$@"
}

# run_rc N CMD...: runs CMD, a program or a helper, and fails unless its exit status is N.
# Afterwards $output is its stdout, $stderr its stderr, $status its exit status, as bats' `run` sets them.
run_rc() {
    local expected=$1 how=(--separate-stderr)
    shift
    # bats takes 127 for a mistyped test, unless it is told.
    ((expected != 127)) || how+=(-127)
    if [[ $(type -t "$1") == function ]]; then
        run "${how[@]}" "$@"
    else
        run "${how[@]}" limit "$@"
    fi
    [[ $status == "$expected" ]] || fail_with "exit status $status, expected $expected" "$@"
}

# run_ok CMD...: runs CMD and fails unless it succeeds.
run_ok() {
    run_rc 0 "$@"
}

# Whatever the status. For tests that assert on it themselves.
run_any() {
    if [[ $(type -t "$1") == function ]]; then
        run --separate-stderr "$@"
    else
        run --separate-stderr limit "$@"
    fi
}

# fail_with REASON CMD...: the reason, the last command and what it printed.
fail_with() {
    local reason=$1
    shift
    printf '%s\n' "$reason" "command: $*" "stdout: ${output-}" "stderr: ${stderr-}"
    return 1
}

# is EXPECTED ACTUAL: string equality, both shown with their odd bytes when it fails.
is() {
    [[ $1 == "$2" ]] || { printf 'expected %q\n  actual %q\nstderr: %s\n' "$1" "$2" "${stderr-}"; return 1; }
}

# literally TEXT: a regular expression that matches TEXT and nothing else. (Fingerprints hold +.)
# shellcheck disable=SC2001
literally() { sed 's/[][\.*^$+?(){}|]/\\&/g' <<<"$1"; }

# is_not UNEXPECTED ACTUAL.
is_not() {
    [[ $1 != "$2" ]] || { printf 'expected anything but %q\n' "$1"; return 1; }
}

# matches REGEX TEXT: POSIX extended, anywhere in TEXT.
matches() {
    [[ $2 =~ $1 ]] || { printf 'expected a match for %s\n  in %q\nstderr: %s\n' "$1" "$2" "${stderr-}"; return 1; }
}

# matches_not REGEX TEXT.
matches_not() {
    [[ ! $2 =~ $1 ]] || { printf 'expected no match for %s\n  in %q\n' "$1" "$2"; return 1; }
}

# fails CMD...: the command must fail. (In bash `! cmd` in the middle of a test never fails it.)
fails() {
    if "$@"; then
        printf 'expected to fail: %s\n' "$*"
        return 1
    fi
}

# detached LOG CMD...: runs CMD in the background with its output in LOG and none of bats' descriptors, on whose closing
# bats waits at the end of a file. $! is its pid.
detached() {
    local log=$1
    shift
    (
        local fd
        for fd in /proc/"$BASHPID"/fd/*; do
            fd=${fd##*/}
            ((fd <= 2 || fd == 255)) || eval "exec $fd>&-"
        done
        exec "$@"
    ) </dev/null >>"$log" 2>&1 &
}

# wait_for SECONDS CMD...: polls until CMD succeeds; fails when it has not in time.
wait_for() {
    local end=$((SECONDS + $1 + 1))
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= end)); then
            echo "waited in vain for: $*"
            return 1
        fi
        sleep 0.05
    done
}
