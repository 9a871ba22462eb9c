# What fish offers behind memcli, for fish 3 and later. Printed by: memcli completions fish

function __memcli_complete
    set -l before (commandline --current-process --tokenize --cut-at-cursor)
    set -l current (commandline --current-token --cut-at-cursor)
    set -l lines (command memcli __complete fish -- $before "$current" 2>/dev/null)
    switch "$lines[1]"
        case files folders
            # Behind --output= it is the rest that names the file.
            set -l option (string match --regex '^--[a-z-]*=' -- "$current")
            set -l path (string unescape -- (string replace -- "$option" '' "$current"))
            if test "$lines[1]" = files
                printf "$option%s\n" (__fish_complete_path "$path")
            else
                printf "$option%s\n" (__fish_complete_directories "$path" '')
            end
    end
    printf '%s\n' $lines[2..-1]
end

complete --command memcli --no-files --keep-order --arguments '(__memcli_complete)'
