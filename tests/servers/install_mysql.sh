#!/bin/sh
# Put a real MySQL 9 (server, client, Router) where the tests find it.
#
# Debian packages MySQL only in unstable, built for a newer libc than a stable machine has, so it gets a root of its own
# under the cache directory (about 1.2 GB). Running it again on a finished root does nothing.
#
# Environment: STILLHERE_MYSQL_ROOT  where the root lives (default: ~/.cache/stillhere/mysql)
#              STILLHERE_DEBIAN_MIRROR  the package mirror (default: debootstrap's own)
# Exit status: 0 ready; 1 could not be had, with the reason on standard error. Tests for MySQL then skip.
set -eu

root=${STILLHERE_MYSQL_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/stillhere/mysql}
ready="$root/stillhere-ready"

unavailable() {
    echo "MySQL 9 is not available: $1. Tests that need it will be skipped." >&2
    exit 1
}

[ -e "$ready" ] && exit 0
[ "$(uname -s)" = Linux ] || unavailable "its root can only be made on Linux"
[ "$(id -u)" = 0 ] || unavailable "making its root needs the rights of root (debootstrap and chroot)"
if ! command -v debootstrap >/dev/null; then
    command -v apt-get >/dev/null || unavailable "debootstrap is not installed"
    { apt-get update && apt-get install -y --no-install-recommends debootstrap; } >/dev/null 2>&1 \
        || unavailable "debootstrap cannot be installed"
fi

echo "Making a root for MySQL 9 in $root (once, about a minute) ..." >&2
mkdir -p "$root"
# A run that was interrupted leaves a root that debootstrap refuses; start anew beside it and swap at the end.
work="$root.$$"
trap 'rm -rf "$work"' EXIT
debootstrap --variant=minbase --include=mysql-server-core,mysql-client,mysql-router sid "$work" \
    ${STILLHERE_DEBIAN_MIRROR:-} >"$root.log" 2>&1 || unavailable "debootstrap failed (see $root.log)"
mkdir -p "$work/data" "$work/run/mysqld" "$work/var/lib/mysql-files"
chroot "$work" sh -c '
    getent group mysql >/dev/null || groupadd -r mysql
    getent passwd mysql >/dev/null || useradd -r -g mysql mysql
    chown mysql /data /run/mysqld /var/lib/mysql-files
    mysqld --no-defaults --initialize-insecure --user=mysql --datadir=/data
' >>"$root.log" 2>&1 || unavailable "mysqld could not make its data directory (see $root.log)"
rm -rf "$root"
mv "$work" "$root"
: >"$ready"
