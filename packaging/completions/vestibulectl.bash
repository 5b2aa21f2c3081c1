# Completion of vestibulectl(8) for bash, by bash-completion. vestibulectl itself knows what may stand at the cursor, with
# the names that the store has for who may read it; where it knows nothing, bash completes files.

_vestibulectl() {
    local words cword cur word
    # bash takes `--driver=docker` for three words.
    _get_comp_words_by_ref -n = words cword cur
    while IFS=$'\t' read -r word _; do
        # Of the last of them only what stands behind the `=`.
        COMPREPLY+=("${word#"${cur%"${cur##*=}"}"}")
    done < <(VESTIBULECTL_COMPLETE=$cword PATH=$PATH:/usr/sbin command vestibulectl -- "${words[@]}" 2>/dev/null)
}

complete -o default -F _vestibulectl vestibulectl
