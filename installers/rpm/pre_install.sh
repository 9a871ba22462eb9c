#!/bin/sh
# Makes the user and the group of the service before its files are there. Where rpm reads sysusers.d it has done so itself.
getent group memcloud >/dev/null || groupadd --system memcloud
getent passwd memcloud >/dev/null ||
    useradd --system --gid memcloud --home-dir /var/lib/memcloud --no-create-home --shell /sbin/nologin --comment "MemCloud node" memcloud
exit 0
