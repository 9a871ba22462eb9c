# shellcheck shell=sh
# Usage: reaper NAMESPACE_PREFIX FOLDER
# Waits until its stdin closes, then ends all processes in the namespaces of this prefix, deletes the namespaces (and
# with them their interfaces) and removes the folder. What is gone already is no failure.
trap '' HUP INT TERM
cat >/dev/null

namespaces() {
    ip netns list | while read -r name _; do
        case $name in "$1"*) echo "$name" ;; esac
    done
}

for namespace in $(namespaces "$1"); do
    # A process may start another while it is looked at, and the killed take a moment to go.
    tries=50
    while pids=$(ip netns pids "$namespace") && [ -n "$pids" ] && [ $tries -gt 0 ]; do
        # Each line is a process.
        # shellcheck disable=SC2086
        kill -9 $pids
        tries=$((tries - 1))
        sleep 0.1
    done
    ip netns del "$namespace"
done
rm -rf "$2"
[ ! -e "$2" ]
