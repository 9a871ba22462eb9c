#!/bin/sh
# $1 is how many versions will be left: 0 where this is no upgrade.
[ "$1" -eq 0 ] && [ -d /run/systemd/system ] || exit 0
systemctl disable --now memnode.service || :
