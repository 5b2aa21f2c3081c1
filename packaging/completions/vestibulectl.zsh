#compdef vestibulectl
# Completion of vestibulectl(8) for zsh. vestibulectl itself knows what may stand at the cursor, with the names that the
# store has for who may read it; where it knows nothing, zsh completes files.

local answer
local -a answers
# A description that is empty is none.
for answer in ${(f)"$(VESTIBULECTL_COMPLETE=$((CURRENT - 1)) PATH=$PATH:/usr/sbin command vestibulectl -- "${(@Q)words}" 2>/dev/null)"}; do
    answers+=("${${answer%%$'\t'*}//:/\\:}${${answer#*$'\t'}:+:${answer#*$'\t'}}")
done
if (( $#answers )); then
    _describe -V 'vestibulectl' answers
else
    _files
fi
