#compdef memcli
# What zsh offers behind memcli, for zsh 5 and later. Printed by: memcli completions zsh

_memcli() {
    local kind line name help
    local -a lines names steps
    # The words mean what they mean without their quotes.
    lines=("${(@f)$(command memcli __complete zsh -- "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    kind=$lines[1]
    for line in $lines[2,-1]; do
        name=${line%%$'\t'*}
        help=
        [[ $line == *$'\t'* ]] && help=${line#*$'\t'}
        name=${${name//\\/\\\\}//:/\\:}
        # The first steps of a longer name: it goes on behind them, without a space.
        if [[ $name == *[:/=] ]]; then
            steps+=("$name${help:+:$help}")
        else
            names+=("$name${help:+:$help}")
        fi
    done
    local found=1
    (( $#names )) && _describe -V memcli names && found=0
    (( $#steps )) && _describe -V memcli steps -S '' && found=0
    if [[ $kind == files || $kind == folders ]]; then
        # Behind --output= it is the rest that names the file.
        [[ $PREFIX == --*=* ]] && compset -P '*='
        if [[ $kind == files ]]; then
            _files && found=0
        else
            _files -/ && found=0
        fi
    fi
    return found
}

# As a file in a folder of $fpath this is called to complete; sourced, it only says that it is there.
if [[ $funcstack[1] == _memcli ]]; then
    _memcli "$@"
else
    compdef _memcli memcli
fi
