#!/bin/sh
# The command lines `mysql` and `mariadb`: command_line.sh HOST PORT USER PASSWORD DATABASE COMMAND...
# They are fed with a pipe. What they select are the names of the steps, if all is well.
set -eu
host=$1 port=$2 user=$3 password=$4 database=$5
shift 5

statements() {
    cat <<'SQL'
SELECT IF(6 * 7 = 42, 'text', 'wrong');

PREPARE parcel FROM "SELECT IF(COUNT(*) = 1, ?, 'wrong') FROM parcels WHERE n = 42";
SET @step = 'prepared';
EXECUTE parcel USING @step;

SELECT n, filler FROM parcels;
SELECT 'large';

BEGIN;
INSERT INTO entries VALUES (1);
ROLLBACK;
BEGIN;
INSERT INTO entries VALUES (1);
COMMIT;
SELECT IF(COUNT(*) = 1, 'transaction', 'wrong') FROM entries;

SET @mine = 'kept';
SQL
    # Twice what the server takes.
    printf "SELECT LENGTH('"
    head -c 2097152 /dev/zero | tr '\0' x
    printf "');\n"
    cat <<'SQL'
SELECT IF(@mine = 'kept', 'oversized', 'wrong');

SELECT 'idle';
SQL
    read -r _ # the test has started the server anew
    cat <<'SQL'
SET @step = IF(@mine = 'kept', 'survived', 'wrong');
EXECUTE parcel USING @step;
SQL
}

# --force goes on behind the error, of which the test hears from the guard; --unbuffered prints each row as it comes.
statements | "$@" --host="$host" --port="$port" --user="$user" --password="$password" \
    --batch --skip-column-names --force --unbuffered "$database" 2>&1 | awk -F'\t' '
        NF == 2 { rows++; next }
        $0 == "large" && rows != 20000 { print "only", rows, "rows of" }
        { print; fflush() }'
