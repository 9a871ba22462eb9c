#!/bin/sh
# Removes what install.sh put on this machine: it stops the node and removes its service, the programs, manual pages and completions.
#
# Run again it finds nothing more to do. Nothing is done before the last line.
set -eu

UNIT=memnode.service
LAUNCHD_LABEL=org.memcloud.memnode
# What stands behind each line that install.sh added to a shell's start-up file.
PATH_MARK='# added by the installer of MemCloud'

EXIT_OTHER=1
EXIT_USAGE=2
EXIT_RIGHTS=7
EXIT_OWNED=9

usage() {
    cat <<'END'
Removes MemCloud from this machine. What the node holds in RAM is gone.

Usage: uninstall.sh [OPTIONS]

  --prefix FOLDER  what was installed there [default: where this script lies, else /usr/local and ~/.local]
  --purge          remove ~/.memcloud as well: the identity of the node, whom it trusts, its settings and logs
  --keep           keep it
  --dry-run        say what would be done, and do nothing
  -h, --help       print this

Without --purge or --keep it asks; where there is nobody to ask, it keeps the folder.

Exit codes:
    0  done, or nothing was there
    1  it failed for a reason that has no code of its own
    2  wrong usage
    7  no rights to remove it
    9  a package manager has installed MemCloud, and removes it
END
}

say() {
    printf '%s\n' "$*"
}

# fail CODE MESSAGE
fail() {
    code=$1
    shift
    printf 'error: %s\n' "$*" >&2
    exit "$code"
}

has() {
    command -v "$1" >/dev/null 2>&1
}

parse_options() {
    prefix=
    home_folder=ask
    dry_run=
    while [ $# -gt 0 ]; do
        case $1 in
            --prefix)
                [ $# -gt 1 ] || fail $EXIT_USAGE "--prefix needs a value; see --help"
                prefix=$2
                shift
                ;;
            --prefix=*) prefix=${1#*=} ;;
            --purge) home_folder=remove ;;
            --keep) home_folder=keep ;;
            --dry-run) dry_run=1 ;;
            -h | --help)
                usage
                exit 0
                ;;
            *) fail $EXIT_USAGE "there is no option '$1'; see --help" ;;
        esac
        shift
    done
}

# Whether somebody can be asked: stdin may be this script, so answers come from the terminal itself.
can_ask() {
    [ -t 2 ] && (: </dev/tty) 2>/dev/null
}

# run WHAT COMMAND...: says what is done and does it, or says what would be done.
run() {
    if [ -n "$dry_run" ]; then
        say "would $1"
        return
    fi
    say "$1"
    shift
    "$@"
}

# receipt_value NAME: the value of the first line of that name.
receipt_value() {
    [ -f "$receipt" ] || return 0
    sed -n "s/^$1 //p" "$receipt" | head -n 1
}

# --- one installation ---

# What install.sh puts below a prefix, for an installation whose receipt is gone.
known_files() {
    for file in bin/memnode bin/memcli share/bash-completion/completions/memnode share/bash-completion/completions/memcli \
        share/zsh/site-functions/_memnode share/zsh/site-functions/_memcli \
        share/fish/vendor_completions.d/memnode.fish share/fish/vendor_completions.d/memcli.fish; do
        say "$prefix/$file"
    done
    for file in "$prefix"/share/man/man1/memnode*.1 "$prefix"/share/man/man1/memcli*.1; do
        say "$file"
    done
}

# Prints all files of the installation that are there, the receipt last.
installed_files() {
    if [ -f "$receipt" ]; then
        sed -n 's/^file [^ ]* //p' "$receipt"
        say "$receipt"
    else
        known_files
    fi | while IFS= read -r file; do
        if [ -e "$file" ] || [ -h "$file" ]; then
            say "$file"
        fi
    done
}

# Sets owner to how a package manager removes a file, and returns whether one looks after it.
find_owner() {
    [ -e "$1" ] || return 1
    case $(readlink "$1" 2>/dev/null || true) in
        */Cellar/*)
            owner="brew uninstall memcloud"
            return
            ;;
    esac
    if has dpkg; then
        # The tool rpm of such a system has no packages, but makes a database when it is asked.
        package=$(dpkg -S "$1" 2>/dev/null) || return 1
        owner="apt-get remove ${package%%:*}"
    else
        has rpm && package=$(rpm -qf --queryformat '%{NAME}' "$1" 2>/dev/null) || return 1
        owner="dnf remove $package"
    fi
}

remove_installation() {
    receipt=$prefix/share/memcloud/receipt
    forget_unit=
    files=$(installed_files)
    if [ -z "$files" ]; then
        return 0
    fi
    if [ ! -f "$receipt" ] && find_owner "$prefix/bin/memnode"; then
        is_owned=1
        return 0
    fi
    found=1
    first_unremovable=$(say "$files" | while IFS= read -r file; do
        if [ ! -w "${file%/*}" ]; then
            say "$file"
            break
        fi
    done)
    if [ -n "$first_unremovable" ]; then
        fail $EXIT_RIGHTS "no rights to remove $first_unremovable: run this as root"
    fi
    remove_service
    stop_node
    remove_from_path
    folders=
    if [ -f "$receipt" ]; then
        # The innermost were made last.
        folders=$(sed -n 's/^folder //p' "$receipt" | sed '1!G;h;$!d')
    fi
    say "$files" | while IFS= read -r file; do
        run "remove $file" rm -f "$file" || fail $EXIT_OTHER "cannot remove $file"
    done
    # systemd knows the unit until it looks again.
    if [ -n "$forget_unit" ] && [ -z "$dry_run" ]; then
        quietly systemctl_ daemon-reload
    fi
    [ -n "$dry_run" ] || say "$folders" | while IFS= read -r folder; do
        # What others have put there stays.
        [ -z "$folder" ] || rmdir "$folder" 2>/dev/null || true
    done
}

# Ends where a package manager has what is to be removed. Sets owner as find_owner does.
refuse_package() {
    if [ -n "$is_owned" ] || find_owner "$(command -v memnode || true)"; then
        fail $EXIT_OWNED "a package manager has installed MemCloud: remove it with: $owner"
    fi
}

# --- the service and the node ---

remove_service() {
    service=$(receipt_value service)
    case $service in
        '') ;;
        user | system)
            case $(uname -s) in
                Darwin) remove_launchd ;;
                *) remove_systemd ;;
            esac
            ;;
        *) fail $EXIT_OTHER "$receipt names a service that is not known: '$service'" ;;
    esac
}

systemctl_() {
    if [ "$service" = user ]; then
        systemctl --user "$@"
    else
        systemctl "$@"
    fi
}

# What is not running or not enabled needs no end, so that a second run comes through.
remove_systemd() {
    [ "$service" = user ] || had_system_service=1
    has systemctl || return 0
    run "stop the $service service $UNIT" quietly systemctl_ disable --now "$UNIT"
    forget_unit=1
}

remove_launchd() {
    if [ "$service" = user ]; then
        domain=gui/$(id -u)
    else
        domain=system
    fi
    run "stop the $service service $LAUNCHD_LABEL" quietly launchctl bootout "$domain/$LAUNCHD_LABEL"
}

quietly() {
    "$@" >/dev/null 2>&1 || true
}

# Stops the node of this user, if it runs from this installation.
stop_node() {
    [ -x "$prefix/bin/memcli" ] || return 0
    status=$("$prefix/bin/memcli" --json node status 2>/dev/null) || return 0
    pid=$(printf '%s' "$status" | tr ',' '\n' | sed -n 's/.*"pid": *\([0-9][0-9]*\).*/\1/p' | head -n 1)
    [ -n "$pid" ] || return 0
    program=$(readlink "/proc/$pid/exe" 2>/dev/null || ps -o comm= -p "$pid" 2>/dev/null || true)
    program=${program% (deleted)}
    # Where it cannot be told, it is taken for this one's.
    if [ -n "$program" ] && [ "$program" != "$(cd "$prefix/bin" && pwd -P)/memnode" ]; then
        return 0
    fi
    run "stop the node (PID: $pid); what it holds in RAM goes" "$prefix/bin/memcli" --quiet node stop ||
        fail $EXIT_OTHER "the node (PID: $pid) did not stop: nothing was removed"
}

# --- what lies elsewhere ---

# Takes out the lines that put the programs on PATH.
remove_from_path() {
    [ -f "$receipt" ] || return 0
    sed -n 's/^path //p' "$receipt" | while IFS= read -r file; do
        if grep -qF "$PATH_MARK" "$file" 2>/dev/null; then
            run "remove the line for PATH from $file" remove_marked_lines "$file" || fail $EXIT_RIGHTS "cannot write $file"
        fi
    done
}

# The file is written in place: it may be a link into somebody's collection of such files.
remove_marked_lines() {
    rest=$(mktemp) || return 1
    grep -vF "$PATH_MARK" "$1" >"$rest" || true
    if [ -s "$rest" ] || [ "${1##*/}" != memcloud.fish ]; then
        cat "$rest" >"$1"
    else
        rm -f "$1"
    fi
    rm -f "$rest"
}

# Whether a folder is one that memnode made.
is_home() {
    [ -d "$1" ] && { [ -e "$1/identity.key" ] || [ -e "$1/memnode.log" ] || [ -e "$1/config.toml" ]; }
}

# The folder of the node's files, which holds what no installation brings back.
settle_home() {
    home=${MEMCLOUD_HOME:-${HOME:-}/.memcloud}
    is_home "$home" || return 0
    case ${HOME:-}/ in
        "${home%/}"/*)
            say "kept $home, which is more than the folder of a node"
            return
            ;;
    esac
    if [ "$home_folder" = ask ] && [ -z "$dry_run" ] && can_ask; then
        printf '%s' "Remove $home too, with the identity of this node and whom it trusts? [y/N] " >&2
        answer=
        read -r answer </dev/tty || true
        case $answer in
            [Yy] | [Yy][Ee][Ss]) home_folder=remove ;;
        esac
    fi
    if [ "$home_folder" = remove ]; then
        run "remove $home" rm -rf "$home"
    else
        say "kept $home: the identity of this node and whom it trusts; remove it with: rm -r '$home'"
    fi
}

# What the system service leaves, which its own user made.
settle_system_service() {
    [ -n "$had_system_service" ] || return 0
    if [ "$home_folder" != remove ]; then
        say "kept /var/lib/memcloud, /etc/memcloud and the user memcloud; --purge removes them"
        return
    fi
    for folder in /var/lib/memcloud /etc/memcloud; do
        [ ! -d "$folder" ] || run "remove $folder" rm -rf "$folder"
    done
    if id memcloud >/dev/null 2>&1 && has userdel; then
        run "remove the user memcloud" userdel memcloud
    fi
    # It stays where it has other members.
    if [ -z "$dry_run" ] && has groupdel && getent group memcloud >/dev/null 2>&1; then
        groupdel memcloud
    fi
}

main() {
    LC_ALL=C
    export LC_ALL
    parse_options "$@"
    found=
    is_owned=
    had_system_service=
    beside=$(cd "$(dirname "$0")" && pwd)
    if [ -z "$prefix" ] && [ -f "$beside/receipt" ]; then
        prefix=${beside%/share/memcloud}
    fi
    if [ -n "$prefix" ]; then
        case $prefix in
            /*) ;;
            *) prefix=$PWD/$prefix ;;
        esac
        remove_installation
    else
        for prefix in /usr/local ${HOME:+"$HOME/.local"}; do
            remove_installation
        done
    fi
    if [ -z "$found" ]; then
        refuse_package
        say "MemCloud is not installed here."
    fi
    if [ -n "$found" ] || [ "$home_folder" = remove ]; then
        settle_home
        settle_system_service
    fi
    if [ -n "$dry_run" ]; then
        say "Nothing was changed."
    fi
}

main "$@"
