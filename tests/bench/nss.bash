# What other programs pay for the NSS module: a lookup of a user that nobody knows, with it and without it.
# shellcheck shell=bash

bench_nss() {
    local round first each with='files vestibule' name=nobody-we-know
    section 'NSS: a name that is not ours'
    measure 200 "$work/nss-time" files "$name" 1 -- "$work/nss-time" "$with" "$name" 1
    row_of 0 'a program that asks once, without'
    row_of 1 'a program that asks once, with'
    for round in {1..20}; do
        read -r first each < <("$work/nss-time" files "$name" 2000) && echo "$first $each" >>"$work/without"
        read -r first each < <("$work/nss-time" "$with" "$name" 2000) && echo "$first $each" >>"$work/with"
    done
    ((round == 20)) && paste -d ' ' "$work/without" "$work/with" >"$work/nss"
    row_lookup 'the first lookup, which loads the module' 1 3
    row_lookup 'each further lookup' 2 4
}

# row_lookup LABEL A B: column B, and its ratios to column A.
row_lookup() {
    local took ratios
    mapfile -t took < <(cut -d ' ' -f "$3" "$work/nss" | sort -n)
    mapfile -t ratios < <(awk -v a="$2" -v b="$3" '{ printf "%.2f\n", $b / $a }' "$work/nss" | sort -n)
    printf '%-42s %-26s %s\n' "$1" "${took[9]} us (${took[0]} .. ${took[19]})" "${ratios[9]} (${ratios[0]} .. ${ratios[19]})"
}
