#!/bin/sh
# Install the drivers that the tests in this directory try: install.sh DIRECTORY-OF-THE-VIRTUAL-ENVIRONMENT
# Those that pip finds for everybody are in pyproject.toml. What cannot be had is told here, and again by the tests,
# which skip it.
set -eu

venv=$1
here=$(dirname "$0")

missing=
want() { # PROGRAM PACKAGE...: the program may have come from elsewhere; an empty one means that there is none
    program=$1
    shift
    [ -n "$program" ] && command -v "$program" >/dev/null && return
    for package; do
        dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -q '^installed' ||
            missing="$missing $package"
    done
}

failed() {
    echo "Not installed: $1. The tests that need it will be skipped." >&2
}

pip() {
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"
}

if command -v dpkg-query >/dev/null; then
    want "" gcc libc6-dev libmariadb-dev pkg-config python3-dev # what mysqlclient and mariadb are compiled with
    want node nodejs
    want npm npm
    want php php-cli
    want "" php-mysql
    want "" libdbd-mysql-perl libdbd-mariadb-perl
    want "" ruby-mysql2
    want javac default-jdk-headless
    want "" libmariadb-java
    want go golang-go
    want "" golang-github-go-sql-driver-mysql-dev
    # shellcheck disable=SC2086  # it is a list
    [ -z "$missing" ] || "$here/../servers/install_debian.sh" "" $missing || failed "$missing"
fi

"$venv/bin/python" -c 'import MySQLdb' 2>/dev/null || pip mysqlclient || failed mysqlclient
"$venv/bin/python" -c 'import mariadb' 2>/dev/null || pip mariadb || failed mariadb

# The last version whose C library gets along with the OpenSSL of Debian 12, beside the newest, which is tried as Python.
c_library=$venv/mysql-connector-c
[ -d "$c_library" ] || pip --no-deps --target "$c_library" 'mysql-connector-python==9.7.*' || failed "a C library"

[ -d "$here/node/node_modules" ] ||
    timeout 60 npm install --prefix "$here/node" --no-package-lock --no-audit --no-fund --fetch-retries 1 --silent ||
    failed "the packages of Node"
