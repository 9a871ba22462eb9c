# shellcheck shell=bash
# What bash offers behind memcli, for bash 3.2 and later. Printed by: memcli completions bash

_memcli() {
    local line kind=
    COMPREPLY=()
    # The line, and not COMP_WORDS: those are parted at : and = too.
    while IFS= read -r line; do
        if [[ -z $kind ]]; then
            kind=$line
        else
            COMPREPLY+=("$line")
        fi
    done < <(command memcli __complete bash -- "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null)
    # Bash 3.2 has no compopt: there is a space behind each name then, and files are named by compgen.
    case $kind in
        files)
            compopt -o default 2>/dev/null || while IFS= read -r line; do
                COMPREPLY+=("$line")
            done < <(compgen -f -- "$2")
            ;;
        folders)
            compopt -o dirnames 2>/dev/null || while IFS= read -r line; do
                COMPREPLY+=("$line")
            done < <(compgen -d -- "$2")
            ;;
        names)
            # The first steps of a longer name: it goes on behind them.
            if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[:/=] ]]; then
                compopt -o nospace 2>/dev/null
            fi
            ;;
    esac
    return 0
}

complete -F _memcli memcli
