# Completion of vestibulectl(8) for fish. vestibulectl itself knows what may stand at the cursor, with the names that the
# store has for who may read it; where it knows nothing, fish completes files.

function __vestibulectl_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l current (commandline --current-token --cut-at-cursor)
    set -lx VESTIBULECTL_COMPLETE (count $words)
    set -lx PATH $PATH /usr/sbin
    type --query --no-functions vestibulectl; or return
    set -l answers (command vestibulectl -- $words "$current" 2>/dev/null)
    if set -q answers[1]
        string join \n -- $answers
    else
        # As for a command that fish knows nothing of.
        complete --do-complete "'' $current"
    end
end

complete --command vestibulectl --no-files --keep-order --arguments '(__vestibulectl_complete)'
