#!/bin/sh
# $1 is how many versions of the package are installed now: 1 where this is the first.
# Whether a new service is enabled is the policy of the distribution; one that ran goes on in the new version.
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload || :
if [ "$1" -eq 1 ]; then
    systemctl preset memnode.service || :
else
    systemctl try-restart memnode.service || :
fi
