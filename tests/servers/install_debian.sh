#!/bin/sh
# Install Debian packages unless a program is there already: install_debian.sh PROGRAM PACKAGE...
# An empty PROGRAM means that the packages are wanted in any case.
set -eu

program=$1
shift
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
[ -n "$program" ] && command -v "$program" >/dev/null && exit 0

if ! command -v apt-get >/dev/null; then
    echo "Please install $* (${program:-needed here}): this machine has no apt-get to do it with." >&2
    exit 1
fi
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
echo "Installing $* ..." >&2
# Servers start throwaway instances of their own; the system's service is not wanted.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
    $sudo chmod +x $policy
    trap '$sudo rm -f $policy' EXIT
fi
$sudo apt-get update -qq
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
