#!/bin/sh
# Installs MemCloud: the programs memnode and memcli, their manual pages and their shell completions.
#
#   curl -fsSL https://github.com/memcloud/memcloud/releases/latest/download/install.sh | sh
#
# Nothing is done before the last line, so a script that was cut off on its way here does nothing. Nothing is changed before the release
# is there, has the checksum that was published with it, and runs; then every file is put in its place by a rename.
set -eu

RELEASES=https://github.com/memcloud/memcloud/releases
UNIT=memnode.service
LAUNCHD_LABEL=org.memcloud.memnode
# What stands behind each line that is added to a shell's start-up file, so that uninstall.sh knows it again.
PATH_MARK='# added by the installer of MemCloud'

EXIT_OTHER=1
EXIT_USAGE=2
EXIT_PLATFORM=3
EXIT_TOOLS=4
EXIT_DOWNLOAD=5
EXIT_CHECKSUM=6
EXIT_RIGHTS=7
EXIT_ROOM=8
EXIT_OWNED=9
EXIT_PROGRAMS=10
EXIT_SERVICE=11

usage() {
    cat <<'END'
Installs MemCloud, or brings an installed one up to date.

Usage: install.sh [OPTIONS]

  --version VERSION      that version, such as 0.1.0 [default: the latest]
  --prefix FOLDER        into FOLDER/bin and FOLDER/share [default: /usr/local, or without rights there ~/.local]
  --from-source          build the checkout in which this script lies, with cargo
  --service[=user|system]  run the node as a service of systemd or launchd, from now on and after each start of the machine
                         [default: system for root, else user]
  --add-path             put FOLDER/bin on the PATH of the shells to come
  -y, --yes              do not ask before a running node is restarted
  --dry-run              say what would be done, and do nothing
  -h, --help             print this

Environment: MEMCLOUD_INSTALL_VERSION, MEMCLOUD_INSTALL_PREFIX and MEMCLOUD_INSTALL_SERVICE as the options of these names;
MEMCLOUD_INSTALL_FROM_SOURCE, MEMCLOUD_INSTALL_ADD_PATH, MEMCLOUD_INSTALL_YES and MEMCLOUD_INSTALL_DRY_RUN with 1 as theirs;
MEMCLOUD_INSTALL_BASE_URL: where the archives and SHA256SUMS lie instead, as https:, file:, or http: to this machine.

Exit codes:
    0  done, or nothing to do
    1  it failed for a reason that has no code of its own, or you answered no
    2  wrong usage
    3  there are no programs for this platform, or no service manager that is known
    4  a tool is missing: curl or wget, tar, gzip, or one that tells SHA-256 sums
    5  the download failed
    6  the download does not have the checksum that was published
    7  no rights to write there
    8  no room on the disk
    9  a package manager has installed MemCloud, which upgrades it
   10  the programs do not run here
   11  the programs are installed, but the service or the node did not start
  130  interrupted; except with code 11 nothing was changed
END
}

say() {
    printf '%s\n' "$*"
}

note() {
    printf 'note: %s\n' "$*" >&2
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

# The last line that is not empty of what a command said: where tools say what went wrong.
last_line() {
    printf '%s\n' "$1" | sed '/^[[:space:]]*$/d' | tail -n 1
}

# Whether a folder's disk has no room for another file worth the name.
is_full() {
    free_kib=$(df -Pk "$1" 2>/dev/null | awk 'END { print $4 }')
    case $free_kib in
        '' | *[!0-9]*) return 1 ;;
        *) [ "$free_kib" -lt 512 ] ;;
    esac
}

# fail_writing CODE WHAT SAID: ends with the code for no room where that is why, else with CODE.
fail_writing() {
    case $3 in
        *[Nn]'o space left'* | *'uota exceeded'*) fail $EXIT_ROOM "there is no room in $prefix" ;;
    esac
    if is_full "$work"; then
        fail $EXIT_ROOM "there is no room in $prefix"
    fi
    fail "$1" "$2: $(last_line "$3")"
}

# try CODE WHAT COMMAND...: runs a command in silence, or ends with what it said.
try() {
    try_code=$1
    try_what=$2
    shift 2
    try_said=$("$@" 2>&1) || fail_writing "$try_code" "$try_what" "$try_said"
}

# Whether somebody can be asked: stdin may be this script, so answers come from the terminal itself.
can_ask() {
    [ -t 2 ] && (: </dev/tty) 2>/dev/null
}

# ask QUESTION: whether the answer is yes.
ask() {
    printf '%s [y/N] ' "$1" >&2
    answer=
    read -r answer </dev/tty || true
    case $answer in
        [Yy] | [Yy][Ee][Ss]) ;;
        *) return 1 ;;
    esac
}

# Prints 1 for the value of a variable that switches something on, else nothing.
flag() {
    case $1 in
        '' | 0 | no | false) ;;
        *) say 1 ;;
    esac
}

parse_options() {
    version=${MEMCLOUD_INSTALL_VERSION:-}
    prefix=${MEMCLOUD_INSTALL_PREFIX:-}
    service=${MEMCLOUD_INSTALL_SERVICE:-}
    from_source=$(flag "${MEMCLOUD_INSTALL_FROM_SOURCE:-}")
    add_path=$(flag "${MEMCLOUD_INSTALL_ADD_PATH:-}")
    yes=$(flag "${MEMCLOUD_INSTALL_YES:-}")
    dry_run=$(flag "${MEMCLOUD_INSTALL_DRY_RUN:-}")
    while [ $# -gt 0 ]; do
        case $1 in
            --version | --prefix)
                [ $# -gt 1 ] || fail $EXIT_USAGE "$1 needs a value; see --help"
                if [ "$1" = --version ]; then version=$2; else prefix=$2; fi
                shift
                ;;
            --version=*) version=${1#*=} ;;
            --prefix=*) prefix=${1#*=} ;;
            --service) service=default ;;
            --service=*) service=${1#*=} ;;
            --from-source) from_source=1 ;;
            --add-path) add_path=1 ;;
            -y | --yes) yes=1 ;;
            --dry-run) dry_run=1 ;;
            -h | --help)
                usage
                exit 0
                ;;
            *) fail $EXIT_USAGE "there is no option '$1'; see --help" ;;
        esac
        shift
    done
    version=${version#v}
    case $version in
        *[!0-9A-Za-z.+-]*) fail $EXIT_USAGE "'$version' is no version, such as 0.1.0" ;;
    esac
    is_root=
    [ "$(id -u)" -ne 0 ] || is_root=1
    case $service in
        '' | user | system) ;;
        1 | default) if [ "$is_root" ]; then service=system; else service=user; fi ;;
        *) fail $EXIT_USAGE "--service is user or system, not '$service'" ;;
    esac
    if [ -z "${HOME:-}" ]; then
        [ -n "$prefix$is_root" ] || fail $EXIT_USAGE "HOME is not set: say where to install with --prefix"
        if [ -n "$add_path" ] || [ "$service" = user ]; then
            fail $EXIT_USAGE "HOME is not set: a user's service and PATH lie there"
        fi
    fi
    service_asked=$service
}

# Sets targets: the platforms whose programs may run here, the likeliest first.
find_targets() {
    system=$(uname -s)
    machine=$(uname -m)
    case $machine in
        x86_64 | amd64) processor=x86_64 ;;
        aarch64 | arm64) processor=aarch64 ;;
        *) fail $EXIT_PLATFORM "there are no programs for the processor '$machine'; $(advise_source)" ;;
    esac
    case $system in
        Linux)
            # A 64-bit kernel under 32-bit programs, as on some Raspberry Pis.
            if [ "$(getconf LONG_BIT 2>/dev/null || echo 64)" = 32 ]; then
                fail $EXIT_PLATFORM "there are no programs for a system of 32 bits; $(advise_source)"
            fi
            # Those for musl are static and run everywhere: also where the C library is older than the others need.
            targets=$processor-unknown-linux-musl
            if getconf GNU_LIBC_VERSION >/dev/null 2>&1; then
                targets="$processor-unknown-linux-gnu $targets"
            fi
            ;;
        Darwin)
            # Under Rosetta, uname tells the processor that is made believe.
            if [ "$(sysctl -n hw.optional.arm64 2>/dev/null || true)" = 1 ]; then
                processor=aarch64
            fi
            targets=$processor-apple-darwin
            ;;
        *) fail $EXIT_PLATFORM "there are no programs for the system '$system'; $(advise_source)" ;;
    esac
}

advise_source() {
    say "see README.md for how to build them"
}

# Whether a file can be made at this path, with the folders that it needs.
is_writable() {
    writable=$1
    while [ ! -e "$writable" ] && [ "$writable" != / ]; do
        writable=$(dirname "$writable")
    done
    [ -d "$writable" ] && [ -w "$writable" ]
}

# The first folder below a prefix that cannot be written, if any.
unwritable_in() {
    for below in bin share/memcloud share/doc/memcloud share/man/man1 share/bash-completion/completions \
        share/zsh/site-functions share/fish/vendor_completions.d; do
        if ! is_writable "$1/$below"; then
            printf '%s' "$1/$below"
            return
        fi
    done
}

choose_prefix() {
    if [ -z "$prefix" ]; then
        prefix=/usr/local
        if [ -n "$(unwritable_in "$prefix")" ] && [ -z "$is_root" ]; then
            prefix=$HOME/.local
        elif [ ! -e "$prefix/share/memcloud/receipt" ] && [ -e "${HOME:-}/.local/share/memcloud/receipt" ]; then
            # What is there is brought up to date, rather than a second one put beside it.
            prefix=$HOME/.local
        fi
        is_prefix_given=
    else
        is_prefix_given=1
    fi
    case $prefix in
        *'
'*) fail $EXIT_USAGE "the name of a folder to install into has one line" ;;
        /*) ;;
        *) prefix=$PWD/$prefix ;;
    esac
    while [ "$prefix" != "${prefix%/}" ]; do
        prefix=${prefix%/}
    done
    [ -n "$prefix" ] || fail $EXIT_USAGE "the root folder is no place to install into"
    unwritable=$(unwritable_in "$prefix")
    if [ -n "$unwritable" ]; then
        fail $EXIT_RIGHTS "no rights to write $unwritable: run this as root, or choose another folder with --prefix"
    fi
    receipt=$prefix/share/memcloud/receipt
}

# Ends where a package manager looks after MemCloud, here or, unless a place was named, anywhere on PATH.
refuse_packages() {
    refuse_packaged "$prefix/bin/memnode"
    refuse_packaged "$prefix/bin/memcli"
    if [ -z "$is_prefix_given" ]; then
        for program in memnode memcli; do
            found=$(command -v "$program" || true)
            [ -z "$found" ] || refuse_packaged "$found"
        done
    fi
}

refuse_packaged() {
    [ -e "$1" ] || return 0
    case $(readlink "$1" 2>/dev/null || true) in
        */Cellar/*) fail $EXIT_OWNED "$1 belongs to Homebrew: upgrade it with: brew upgrade memcloud" ;;
    esac
    if has dpkg; then
        # The tool rpm of such a system has no packages, but makes a database when it is asked.
        if package=$(dpkg -S "$1" 2>/dev/null); then
            package=${package%%:*}
            fail $EXIT_OWNED "$1 belongs to the package $package: upgrade that with apt, or remove it first: apt-get remove $package"
        fi
    elif has rpm && package=$(rpm -qf --queryformat '%{NAME}' "$1" 2>/dev/null); then
        fail $EXIT_OWNED "$1 belongs to the package $package: upgrade that with dnf, or remove it first: dnf remove $package"
    fi
}

find_tools() {
    for tool in tar gzip; do
        has "$tool" || fail $EXIT_TOOLS "'$tool' is needed and not installed"
    done
    if has sha256sum; then
        hasher=sha256sum
    elif has shasum; then
        hasher=shasum
    elif has openssl; then
        hasher=openssl
    else
        fail $EXIT_TOOLS "sha256sum, shasum or openssl is needed to verify the download, and none of them is installed"
    fi
}

sha256() {
    case $hasher in
        sha256sum) sha256sum <"$1" | cut -d ' ' -f 1 ;;
        shasum) shasum -a 256 <"$1" | cut -d ' ' -f 1 ;;
        openssl) openssl dgst -sha256 -r <"$1" | cut -d ' ' -f 1 ;;
    esac
}

find_base_url() {
    if [ -n "${MEMCLOUD_INSTALL_BASE_URL:-}" ]; then
        base_url=${MEMCLOUD_INSTALL_BASE_URL%/}
    elif [ -n "$version" ]; then
        base_url=$RELEASES/download/v$version
    else
        base_url=$RELEASES/latest/download
    fi
    case $base_url in
        https://* | file:/*) ;;
        http://127.0.0.1[:/]* | http://localhost[:/]* | 'http://[::1]'[:/]*) ;;
        *) fail $EXIT_USAGE "MEMCLOUD_INSTALL_BASE_URL is https:, file:, or http: to this machine, not '$base_url'" ;;
    esac
    case $base_url in
        file:*) ;;
        *) has curl || has wget || fail $EXIT_TOOLS "curl or wget is needed, and neither is installed" ;;
    esac
}

# download URL FILE: returns whether it is there; what went wrong is in download_said.
download() {
    case $1 in
        file:///*) set -- cp "${1#file://}" "$2" ;;
        file:*) set -- cp "${1#file:}" "$2" ;;
        https:*)
            if has curl; then
                set -- curl -fsSL --proto '=https' --tlsv1.2 --retry 3 --connect-timeout 20 --speed-limit 1 --speed-time 60 -o "$2" "$1"
            elif wget --version 2>&1 | grep -q 'GNU Wget'; then
                set -- wget -nv --https-only --timeout=60 --tries=3 -O "$2" "$1"
            else
                set -- wget -O "$2" "$1"
            fi
            ;;
        # To this machine: around any proxy.
        *)
            if has curl; then
                set -- curl -fsS --proto '=http' --noproxy '*' -o "$2" "$1"
            else
                set -- env no_proxy=127.0.0.1,localhost,::1 wget -O "$2" "$1"
            fi
            ;;
    esac
    download_said=$("$@" 2>&1)
}

# Takes the checksums of all archives.
take_sums() {
    download "$base_url/SHA256SUMS" "$work/SHA256SUMS" ||
        fail_writing $EXIT_DOWNLOAD "cannot download $base_url/SHA256SUMS" "$download_said"
}

# Sets expected to the checksum of an archive, if SHA256SUMS has a line for it.
find_sum() {
    expected=$(awk -v name="$1" '$2 == name || $2 == "*" name { print $1; exit }' "$work/SHA256SUMS")
    case $expected in
        *[!0-9a-fA-F]*) expected= ;;
    esac
    [ ${#expected} -eq 64 ]
}

# Whether the receipt is that of this archive, all of its files are there, and the programs are as they were put.
is_there_already() {
    [ -f "$receipt" ] && [ "$(receipt_value archive)" = "$1" ] && [ "$(receipt_value service)" = "$service" ] || return 1
    while read -r what sum path; do
        [ "$what" = file ] || continue
        [ -f "$path" ] || return 1
        [ "$sum" = - ] || [ "$(sha256 "$path")" = "$sum" ] || return 1
    done <"$receipt"
}

# receipt_value NAME: the value of the first line of that name.
receipt_value() {
    [ -f "$receipt" ] || return 0
    sed -n "s/^$1 //p" "$receipt" | head -n 1
}

# Downloads, verifies, unpacks and tries the archives in turn, until one runs here. Sets target, archive, expected and, unless it is installed
# already or this is a dry run, unpacked and found_version.
take_archive() {
    unpacked=
    already=
    unlisted=
    not_running=
    # What ran here before comes first.
    target=$(receipt_value target)
    case " $targets " in
        *" $target "*) targets="$target $targets" ;;
    esac
    for target in $targets; do
        archive=memcloud-$target.tar.gz
        if ! find_sum "$archive"; then
            unlisted="${unlisted:-$archive}"
            continue
        fi
        if is_there_already "$expected"; then
            already=1
            return
        fi
        [ -z "$dry_run" ] || return 0
        say "downloading $base_url/$archive"
        download "$base_url/$archive" "$work/$archive" ||
            fail_writing $EXIT_DOWNLOAD "cannot download $base_url/$archive" "$download_said"
        if [ "$(sha256 "$work/$archive")" != "$expected" ]; then
            fail $EXIT_CHECKSUM "$base_url/$archive does not have the checksum that SHA256SUMS tells; try again later"
        fi
        try $EXIT_OTHER "cannot unpack $archive" tar -xzof "$work/$archive" -C "$work"
        rm -f "$work/$archive"
        unpacked=$work/memcloud-$target
        check_version
        if runs_here; then
            return
        fi
        not_running=$runs_said
        rm -rf "$unpacked"
        unpacked=
    done
    [ -n "$not_running" ] || fail $EXIT_CHECKSUM "$base_url/SHA256SUMS has no line for $unlisted"
    fail $EXIT_PROGRAMS "the programs do not run here: $(last_line "$not_running")"
}

# Whether both programs start, and are what the archive says they are.
runs_here() {
    for program in memnode memcli; do
        runs_said=$("$unpacked/bin/$program" --version 2>&1) || return 1
        if [ "$runs_said" != "$program $found_version" ]; then
            runs_said="$program calls itself '$runs_said', not version '$found_version'"
            return 1
        fi
    done
}

check_version() {
    found_version=$(cat "$unpacked/VERSION" 2>/dev/null || true)
    if [ -n "$version" ] && [ "$found_version" != "$version" ]; then
        fail $EXIT_DOWNLOAD "$base_url has version ${found_version:-(none)}, not $version"
    fi
}

# Builds an archive from the checkout, and takes it like one that was downloaded.
build_from_source() {
    checkout=$(cd "$(dirname "$0")" && pwd)
    [ -f "$checkout/memnode/Cargo.toml" ] || checkout=$PWD
    [ -f "$checkout/memnode/Cargo.toml" ] ||
        fail $EXIT_USAGE "--from-source needs a checkout of MemCloud: run ./install.sh in one"
    has cargo || fail $EXIT_TOOLS "cargo is needed to build MemCloud: see https://rustup.rs"
    base_url=file:$work/dist
    if [ -n "$dry_run" ]; then
        return
    fi
    say "building $checkout with cargo"
    # An unpacked source archive is no git checkout that would tell a time.
    (
        cd "$checkout"
        if ! git log -1 >/dev/null 2>&1; then
            SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(date +%s)}
            export SOURCE_DATE_EPOCH
        fi
        cargo xtask dist --out "$work/dist"
    ) >&2 || fail $EXIT_OTHER "MemCloud does not build; what cargo said stands above"
    built=$(cd "$work/dist" && ls memcloud-*.tar.gz)
    targets=${built#memcloud-}
    targets=${targets%.tar.gz}
}

# Prints a line "FILE DESTINATION" for each file of the unpacked archive that is to be installed.
list_files() {
    (
        cd "$unpacked"
        for file in bin/memnode bin/memcli; do
            say "$file $prefix/$file"
        done
        for file in share/man/man1/*.1; do
            [ ! -f "$file" ] || say "$file $prefix/$file"
        done
        for shell in bash/bash-completion/completions zsh/zsh/site-functions fish/fish/vendor_completions.d; do
            for file in share/completions/"${shell%%/*}"/*; do
                [ ! -f "$file" ] || say "$file $prefix/share/${shell#*/}/${file##*/}"
            done
        done
        for file in README.md LICENSE CHANGELOG.md VERSION; do
            say "$file $prefix/share/doc/memcloud/$file"
        done
        say "uninstall.sh $prefix/share/memcloud/uninstall.sh"
    )
    if [ -n "$service" ]; then
        say "service $service_file"
    fi
}

# --- the service ---

# Sets where the file of the service lies, and ends where nothing could run it.
find_service() {
    service_file=
    manager_away=
    service_before=$(receipt_value service)
    # An upgrade looks after the service that was asked for before.
    service=${service:-$service_before}
    if [ -n "$service_before" ] && [ "$service" != "$service_before" ]; then
        fail $EXIT_USAGE "there is a $service_before service already: remove it first with: sh '$prefix/share/memcloud/uninstall.sh'"
    fi
    [ -n "$service" ] || return 0
    if [ "$service" = system ] && [ -z "$is_root" ]; then
        fail $EXIT_RIGHTS "only root can make a system service: run this as root, or take --service=user"
    fi
    case $system in
        Darwin) find_launchd ;;
        *) find_systemd ;;
    esac
}

find_systemd() {
    has systemctl || fail $EXIT_PLATFORM "there is no systemd to run a service: leave out --service, and use: memcli node start"
    if [ "$service" = user ]; then
        service_file=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user/$UNIT
        service_restart="systemctl --user restart memnode"
    else
        service_file=/etc/systemd/system/$UNIT
        service_restart="systemctl restart memnode"
    fi
    if ! said=$(systemctl_ show-environment 2>&1); then
        [ -z "$service_asked" ] ||
            fail $EXIT_PLATFORM "systemd does not run $service services here ($(last_line "$said")): leave out --service, and use: memcli node start"
        # An upgrade from where systemd does not listen, such as cron, still brings the files up to date.
        manager_away=1
    fi
}

find_launchd() {
    if [ "$service" = user ]; then
        service_file=$HOME/Library/LaunchAgents/$LAUNCHD_LABEL.plist
        launchd_domain=gui/$(id -u)
    else
        # Nothing on macOS makes a user for it: the node is that of whoever installs it.
        [ -n "${SUDO_USER:-}" ] ||
            fail $EXIT_USAGE "the system service runs as the user who calls sudo: run this with sudo, or take --service=user"
        service_file=/Library/LaunchDaemons/$LAUNCHD_LABEL.plist
        launchd_domain=system
    fi
    service_restart="launchctl kickstart -k $launchd_domain/$LAUNCHD_LABEL"
}

systemctl_() {
    if [ "$service" = user ]; then
        systemctl --user "$@"
    else
        systemctl "$@"
    fi
}

# Makes the file of the service out of that of the archive, which names /usr/bin/memnode.
write_service() {
    case $system in
        Darwin)
            template=$unpacked/share/launchd/$LAUNCHD_LABEL.plist
            quoted=$(printf '%s' "$prefix" | sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g')
            ;;
        *)
            template=$unpacked/share/systemd/$service/$UNIT
            # systemd.service(5): C escapes, and % and $ doubled.
            quoted=$(printf '%s' "$prefix" | sed 's/[\\"]/\\&/g; s/ /\\x20/g; s/[%$]/&&/g')
            ;;
    esac
    [ -f "$template" ] || fail $EXIT_SERVICE "this release has no file for a $service service"
    quoted=$(printf '%s' "$quoted" | sed 's/[\\&|]/\\&/g')
    sed "s|/usr/bin/mem|$quoted/bin/mem|g" "$template" >"$unpacked/service"
    if [ "$system" = Darwin ] && [ "$service" = system ]; then
        awk -v user="$SUDO_USER" '{ print } /<dict>/ && !done { done = 1
            print "  <key>UserName</key>"; print "  <string>" user "</string>" }' "$unpacked/service" >"$unpacked/service.user"
        mv "$unpacked/service.user" "$unpacked/service"
    fi
}

# Has systemd read what was put there. launchd reads it when it starts the service.
reload_service() {
    [ "$system" != Darwin ] || return 0
    said=$(systemctl_ daemon-reload 2>&1) || service_failed "$said"
}

# From the next start of the machine on. launchd needs nothing for that but the file.
enable_service() {
    [ "$system" != Darwin ] || return 0
    if [ "$service" = system ]; then
        make_system_user
    fi
    reload_service
    said=$(systemctl_ enable "$UNIT" 2>&1) || service_failed "$said"
}

# From now on; one that runs is restarted.
start_service() {
    if [ "$system" = Darwin ]; then
        unload_service
        said=$(launchctl bootstrap "$launchd_domain" "$service_file" 2>&1) || service_failed "$said"
        return
    fi
    said=$(systemctl_ restart "$UNIT" 2>&1) || service_failed "$said"
    if [ "$service" = user ] && [ "$(loginctl show-user "$(id -un)" --property=Linger --value 2>/dev/null)" = no ]; then
        note "the service runs while you are logged in; to have it run from the start of the machine, type: loginctl enable-linger"
    fi
}

# launchd answers before the node has ended, and takes no other of that name until it has.
unload_service() {
    launchctl bootout "$launchd_domain/$LAUNCHD_LABEL" >/dev/null 2>&1 || return 0
    tries=60
    while [ "$tries" -gt 0 ] && launchctl print "$launchd_domain/$LAUNCHD_LABEL" >/dev/null 2>&1; do
        tries=$((tries - 1))
        sleep 1
    done
}

service_failed() {
    fail $EXIT_SERVICE "MemCloud is installed, but its service did not start: $(last_line "$1")"
}

# The user and the group that the system unit names.
make_system_user() {
    if ! id memcloud >/dev/null 2>&1; then
        has useradd || fail $EXIT_SERVICE "MemCloud is installed, but there is no useradd to make the user 'memcloud' of its service"
        said=$(useradd --system --user-group --home-dir /var/lib/memcloud --no-create-home --shell /usr/sbin/nologin memcloud 2>&1) ||
            service_failed "$said"
    fi
}

# --- a running node ---

# Whether a service of ours runs.
find_running_service() {
    [ -n "$service_before" ] && [ -z "$manager_away" ] || return 1
    case $system in
        Darwin) launchctl print "$launchd_domain/$LAUNCHD_LABEL" >/dev/null 2>&1 ;;
        *) systemctl_ is-active --quiet "$UNIT" 2>/dev/null ;;
    esac
}

# json_number NAME JSON: the number of that name.
json_number() {
    printf '%s' "$2" | tr ',' '\n' | sed -n "s/.*\"$1\": *\([0-9][0-9]*\).*/\1/p" | head -n 1
}

# Whether the node of this user runs from the prefix. Sets node_pid and node_used_mib.
find_running_node() {
    [ -x "$prefix/bin/memcli" ] || return 1
    node_status=$("$prefix/bin/memcli" --json node status 2>/dev/null) || return 1
    node_pid=$(json_number pid "$node_status")
    node_used=$(json_number used_bytes "$node_status")
    node_used_mib=$((${node_used:-0} / 1048576))
    [ -n "$node_pid" ] || return 1
    node_program=$(readlink "/proc/$node_pid/exe" 2>/dev/null || ps -o comm= -p "$node_pid" 2>/dev/null || true)
    node_program=${node_program% (deleted)}
    # Where it cannot be told, it is taken for ours.
    [ -z "$node_program" ] || [ "$node_program" = "$(cd "$prefix/bin" && pwd -P)/memnode" ]
}

# Decides what becomes of a running node. Sets restart to service, node, or nothing, and left_running where it should be restarted and is not.
plan_restart() {
    restart=
    left_running=
    if find_running_service; then
        restart=service
        what="The service runs, and what it holds in RAM"
    elif find_running_node; then
        restart=node
        what="A node runs (PID: $node_pid), and what it holds in RAM ($node_used_mib MiB)"
    else
        return 0
    fi
    if [ -n "$yes" ]; then
        say "$what goes when it is restarted."
    elif can_ask; then
        ask "$what goes when it is restarted for the upgrade. Go on?" ||
            fail $EXIT_OTHER "nothing was changed; the node runs on"
    else
        restart=
        left_running=1
    fi
}

# Starts the service, or restarts the node, as was decided.
start_node() {
    if [ -n "$manager_away" ]; then
        note "systemd cannot be reached from here: where the service runs, it keeps the old version until: $service_restart"
    elif [ -n "$left_running" ]; then
        how="$prefix/bin/memcli node restart"
        if [ -n "$service" ]; then
            enable_service
            how=$service_restart
        fi
        note "the running node keeps the old version, since there was nobody to ask whether what it holds in RAM may go; restart it with: $how"
    elif [ -n "$service_asked" ] || [ "$restart" = service ]; then
        if [ "$restart" = node ]; then
            # It has the home that the service wants.
            said=$("$prefix/bin/memcli" node stop 2>&1) || service_failed "$said"
        fi
        enable_service
        start_service
    elif [ "$restart" = node ]; then
        said=$("$prefix/bin/memcli" node restart 2>&1) ||
            fail $EXIT_SERVICE "MemCloud is installed, but the node was not restarted: $(last_line "$said")"
        say "$said"
    elif [ -n "$service" ]; then
        # Somebody has stopped it.
        reload_service
    fi
}

# --- putting files in their places ---

# make_folder FOLDER: makes it with those above it, and remembers which were new.
make_folder() {
    [ ! -d "$1" ] || return 0
    make_folder "$(dirname "$1")"
    try $EXIT_RIGHTS "cannot make $1" mkdir "$1"
    printf '%s\n' "$1" >>"$work/made"
}

# Puts every file beside its place, where it may still fail without harm.
stage() {
    list_files >"$work/list"
    : >"$work/staged"
    : >"$work/made"
    if [ -n "$service" ]; then
        write_service
    fi
    while read -r file destination; do
        [ ! -d "$destination" ] || fail $EXIT_OTHER "$destination is a folder, where a file belongs"
    done <"$work/list"
    while read -r file destination; do
        make_folder "${destination%/*}"
        printf '%s\n' "$destination" >>"$work/staged"
        try $EXIT_RIGHTS "cannot write $destination" cp "$unpacked/$file" "$destination$new"
        # That of a program tells whether it is still what was put there; a text that somebody changes is theirs.
        sum=-
        case $file in
            bin/*)
                sum=$(sha256 "$destination$new")
                rm -f "$unpacked/$file"
                ;;
        esac
        printf 'file %s %s\n' "$sum" "$destination" >>"$work/files"
    done <"$work/list"
    write_receipt
}

write_receipt() {
    {
        say "# What install.sh put here: uninstall.sh removes these files and folders, and no others."
        say "format 1"
        say "version $found_version"
        say "target $target"
        say "archive $expected"
        [ -z "$service" ] || say "service $service"
        [ ! -f "$receipt" ] || sed -n '/^path /p' "$receipt"
        cat "$work/files"
        {
            [ ! -f "$receipt" ] || sed -n 's/^folder //p' "$receipt"
            cat "$work/made"
        } | awk '!seen[$0]++ { print "folder " $0 }'
    } >"$work/receipt" || fail_writing $EXIT_OTHER "cannot write the receipt" ""
    printf '%s\n' "$receipt" >>"$work/staged"
    try $EXIT_RIGHTS "cannot write $receipt" cp "$work/receipt" "$receipt$new"
    [ ! -f "$receipt" ] || try $EXIT_OTHER "cannot read $receipt" cp "$receipt" "$work/receipt.before"
}

# Renames every file into its place. All or none: what was there is kept until the last one is done.
commit() {
    trap '' HUP INT TERM
    : >"$work/committed"
    while IFS= read -r destination; do
        if [ -e "$destination" ] || [ -h "$destination" ]; then
            ln -P "$destination" "$destination$old" 2>/dev/null ||
                said=$(cp -pP "$destination" "$destination$old" 2>&1) || undo "$destination" "$said"
        fi
        said=$(mv -f "$destination$new" "$destination" 2>&1) || undo "$destination" "$said"
        printf '%s\n' "$destination" >>"$work/committed"
    done <"$work/staged"
    if [ -f "$work/receipt.before" ]; then
        remove_outdated
    fi
    while IFS= read -r destination; do
        rm -f "$destination$old"
    done <"$work/staged"
    # Nothing is left to take back.
    : >"$work/staged"
    : >"$work/made"
    changed="MemCloud is installed"
    catch_signals
}

# undo DESTINATION SAID: gives every place what it had, and ends.
undo() {
    while IFS= read -r committed; do
        if [ -e "$committed$old" ] || [ -h "$committed$old" ]; then
            mv -f "$committed$old" "$committed"
        else
            rm -f "$committed"
        fi
    done <"$work/committed"
    rm -f "$1$old"
    fail $EXIT_RIGHTS "cannot write $1: $(last_line "$2")"
}

# Files of the version before that this one does not have.
remove_outdated() {
    while read -r what _ path; do
        if [ "$what" = file ] && ! grep -qxF "$path" "$work/staged"; then
            rm -f "$path"
        fi
    done <"$work/receipt.before"
}

# Takes back whatever was not finished.
clean_up() {
    trap '' HUP INT TERM
    if [ -f "$work/staged" ]; then
        while IFS= read -r destination; do
            rm -f "$destination$new"
        done <"$work/staged"
    fi
    if [ -f "$work/made" ]; then
        # The innermost were made last.
        sed '1!G;h;$!d' "$work/made" | while IFS= read -r folder; do
            rmdir "$folder" 2>/dev/null || true
        done
    fi
    rm -rf "$work"
}

catch_signals() {
    trap 'fail 129 "interrupted; $changed"' HUP
    trap 'fail 130 "interrupted; $changed"' INT
    trap 'fail 143 "interrupted; $changed"' TERM
}

# A folder for all that is temporary, on the disk where the files are to be, so that a lack of room shows early.
make_work_folder() {
    if [ -n "$dry_run" ]; then
        beside=${TMPDIR:-/tmp}
    else
        beside=$prefix/share/memcloud
        while [ ! -d "$beside" ]; do
            beside=$(dirname "$beside")
        done
    fi
    work=$beside
    umask 022
    said=$(mktemp -d "${beside%/}/.memcloud-install.XXXXXX" 2>&1) || fail_writing $EXIT_RIGHTS "cannot write $beside" "$said"
    work=$said
    trap clean_up EXIT
    catch_signals
}

# --- PATH ---

is_on_path() {
    case :$PATH: in
        *:"$prefix/bin":*) ;;
        *) return 1 ;;
    esac
}

# Puts the programs on the PATH of the shells to come.
add_to_path() {
    quoted=$(printf '%s' "$prefix/bin" | sed "s/'/'\\\\''/g")
    line="export PATH='$quoted':\"\$PATH\" $PATH_MARK"
    case ${SHELL##*/} in
        zsh) path_file=${ZDOTDIR:-$HOME}/.zshrc ;;
        bash) path_file=$HOME/.bashrc ;;
        fish)
            path_file=${XDG_CONFIG_HOME:-$HOME/.config}/fish/conf.d/memcloud.fish
            line="fish_add_path --path '$quoted' $PATH_MARK"
            ;;
        *) path_file=$HOME/.profile ;;
    esac
    # A login shell of bash on macOS reads no other.
    if [ "$path_file" = "$HOME/.bashrc" ] && [ "$system" = Darwin ]; then
        path_file=$HOME/.bash_profile
    fi
    if grep -qxF "$line" "$path_file" 2>/dev/null; then
        return
    fi
    # A last line without an end would take this one in.
    if [ -n "$(tail -c 1 "$path_file" 2>/dev/null)" ]; then
        line="
$line"
    fi
    said=$( (mkdir -p "${path_file%/*}" && printf '%s\n' "$line" >>"$path_file") 2>&1) ||
        fail $EXIT_RIGHTS "MemCloud is installed, but cannot write $path_file: $(last_line "$said")"
    grep -qxF "path $path_file" "$receipt" || printf 'path %s\n' "$path_file" >>"$receipt"
    say "Put $prefix/bin on the PATH in $path_file, for shells that are started from now on."
}

# --- what is said ---

show_plan() {
    if [ -n "$already" ]; then
        say "MemCloud $(receipt_value version) is in $prefix already: nothing would be changed."
        return
    fi
    say "Would install MemCloud ${version:-(the latest version)} into $prefix:"
    if [ -n "$from_source" ]; then
        say "  build $checkout with cargo"
    else
        say "  download $base_url/$archive"
    fi
    say "  put memnode and memcli into $prefix/bin, manual pages and shell completions into $prefix/share"
    [ -z "$service" ] || say "  make the $service service $service_file, and start it"
    if find_running_service || find_running_node; then
        say "  restart the running node, so that what it holds in RAM goes"
    fi
    if [ -n "$add_path" ]; then
        say "  put $prefix/bin on the PATH of the shells to come"
    fi
    say "Nothing was changed."
}

report() {
    if is_on_path; then
        found=$(command -v memcli || true)
        if [ -n "$found" ] && [ "$found" != "$prefix/bin/memcli" ]; then
            note "$found comes first on your PATH: remove one of the two"
        fi
    elif [ -z "$add_path" ]; then
        note "$prefix/bin is not on your PATH: run this again with --add-path, or type: export PATH=\"$prefix/bin:\$PATH\""
    fi
    if [ -n "$already" ]; then
        say "MemCloud $(receipt_value version) is in $prefix already."
        return
    fi
    say "Installed MemCloud $found_version in $prefix: memnode, memcli, manual pages and shell completions."
    say "Next:"
    if [ -n "$service" ]; then
        say "  memcli node status          the node runs as a service"
        if [ "$service" = system ] && [ "$system" = Linux ]; then
            say "  usermod -aG memcloud NAME   lets NAME use it, from the next login on"
        fi
    else
        say "  memcli node start           a node that lends a quarter of this machine's RAM"
    fi
    say "  memcli set greeting hello   and on any connected machine: memcli get greeting"
    say "  memcli peer list            the machines around you; memcli connect NAME asks one of them"
    say "Remove it with: sh '$prefix/share/memcloud/uninstall.sh'"
}

main() {
    # What tools say is looked at.
    LC_ALL=C
    export LC_ALL
    new=.memcloud-new.$$
    old=.memcloud-old.$$
    already=
    changed="nothing was changed"
    parse_options "$@"
    find_targets
    choose_prefix
    refuse_packages
    find_tools
    find_service
    if [ -z "$from_source" ]; then
        find_base_url
    fi
    make_work_folder
    if [ -n "$from_source" ]; then
        build_from_source
    fi
    if [ -z "$from_source" ] || [ -z "$dry_run" ]; then
        take_sums
        take_archive
    fi
    if [ -n "$dry_run" ]; then
        show_plan
        return
    fi
    if [ -z "$already" ]; then
        plan_restart
        stage
        commit
        start_node
    fi
    if [ -n "$add_path" ] && ! is_on_path; then
        add_to_path
    fi
    report
}

main "$@"
