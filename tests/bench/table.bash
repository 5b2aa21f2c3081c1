# Measuring, and the table of what was measured.
# shellcheck shell=bash

die() { echo "bench: $*" >&2 && exit 1; }

# Lines for the end: what has a goal.
goals=()

# section TITLE: begins a table. Ratios are to its first line, taken round by round.
section() { printf '\n== %s\n%-42s %-26s %-22s %s\n' "$1" '' 'median (least .. most)' 'ratio (least .. most)' 'of the least'; }

# measure N CMD... [-- CMD...]: N rounds of `pairs` within $TIMEOUT seconds, as user $AS if that is set. For command n
# (from 0), in microseconds: ${time[n]}, ${least[n]}, ${most[n]}; ${more[n]} is the median difference to command 0; and the
# ratios to command 0: ${ratio[n]}, ${ratio_least[n]}, ${ratio_most[n]}, ${of_least[n]}.
measure() {
    local run=(limit) line
    [[ -z ${AS-} ]] || run=(as_user "$AS")
    time=() least=() most=() ratio=() ratio_least=() ratio_most=() more=() of_least=()
    "${run[@]}" "$work/pairs" "$@" >"$work/measured" 2>"$work/complaints" ||
        die "could not be measured (status $?): ${*:2}"$'\n'"$(tail -n 5 "$work/complaints")"
    while read -r -a line; do
        time+=("${line[0]}") least+=("${line[1]}") most+=("${line[2]}")
        ratio+=("${line[3]}") ratio_least+=("${line[4]}") ratio_most+=("${line[5]}")
        more+=("${line[6]}") of_least+=("${line[7]}")
    done <"$work/measured"
}

# row_of N LABEL [TEXT]: what was measured of command N.
row_of() {
    printf '%-42s %-26s %-22s %5.2f  %s\n' "$2" "$(times_of "$1")" \
        "$(printf '%.2f (%.2f .. %.2f)' "${ratio[$1]}" "${ratio_least[$1]}" "${ratio_most[$1]}")" "${of_least[$1]}" "${3-}"
}

# Microseconds below ten milliseconds, milliseconds above.
times_of() {
    awk -v m="${time[$1]}" -v l="${least[$1]}" -v g="${most[$1]}" 'BEGIN {
        if (m < 10000) printf "%d us (%d .. %d)", m, l, g; else printf "%.1f ms (%.1f .. %.1f)", m / 1e3, l / 1e3, g / 1e3 }'
}

# quotient A B, with three digits.
quotient() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", a / b }'; }

# goal LABEL VALUE UNIT COMPARISON LIMIT: a line for the end; COMPARISON is <= or >=.
goal() {
    local met
    met=$(awk -v v="$2" -v l="$5" -v c="$4" 'BEGIN { print ((c == "<=") ? v <= l : v >= l) ? "met" : "MISSED" }')
    goals+=("$(printf '%-58s %9.2f %-3s %2s %5s  %s' "$1" "$2" "$3" "$4" "$5" "$met")")
}

show_goals() {
    printf '\n== Goals\n'
    printf '%s\n' "${goals[@]}"
}
