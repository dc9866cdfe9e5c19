import random
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.effects import Effects, Kind, SqlPrepare, Statement
from protocol.holds import Hold, HoldKind
from protocol.kill import Kill, find_kill
from protocol.plain import is_plain
from protocol.sql import tokenize
from protocol.statement import classify, read_only_check, runs_others

READ = """
SELECT 1
SELECT 'a' 'b', "INTO OUTFILE", `into`, 'it''s; \\' DROP' FROM t WHERE a = 'FOR UPDATE' -- FOR UPDATE
/* SET x = 1; */ SELECT 1 # DROP
SELECT /*+ MAX_EXECUTION_TIME(1000) */ a FROM t /* INTO @a */ WHERE b IN (1, 2) ORDER BY c LIMIT 10
SELECT /*!40001 SQL_NO_CACHE */ * FROM t
/*!40101 SELECT 1 */
SELECT a.select, LAST_INSERT_ID(), @a, @@session.sql_mode, @@identity FROM t a
SELECT SLEEP(1), BENCHMARK(1, 2), LOAD_FILE('x'), f(1), IS_USED_LOCK('a')
SELECT SUBSTRING('abc' FROM 1 FOR 2) FROM t USE INDEX FOR JOIN (i)
SELECT * FROM t FOR SYSTEM_TIME AS OF NOW()
SELECT @a=1, CASE WHEN a THEN 1 END FROM (SELECT 1 a) d
(SELECT 1) UNION (SELECT 2) ORDER BY 1
((SELECT 1))
WITH x AS (SELECT 1) SELECT * FROM x
WITH RECURSIVE x (a) AS (SELECT 1 UNION SELECT REPLACE(a, 1, 2) FROM x), y AS (SELECT 2) SELECT * FROM x, y
VALUES ROW(1), ROW(2)
TABLE t ORDER BY a LIMIT 1
SELECT next, previous FROM t
WITH x AS (SELECT 1) TABLE x
SHOW TABLES
SHOW CREATE PROCEDURE p
SHOW PROCEDURE STATUS WHERE db = 'a'
SHOW SESSION VARIABLES LIKE 'sql_mode'
DESC t
DESCRIBE db.t 'a%'
EXPLAIN t a
EXPLAIN SELECT 1
EXPLAIN FORMAT=JSON SELECT * FROM t
EXPLAIN FORMAT = TREE FOR SCHEMA s SELECT 1
EXPLAIN EXTENDED SELECT 1
EXPLAIN (SELECT 1) UNION (SELECT 2)
EXPLAIN PARTITIONS WITH x AS (SELECT 1) SELECT 1
EXPLAIN FOR CONNECTION 5
EXPLAIN INSERT INTO t VALUES (1)
EXPLAIN UPDATE t SET a = 1
EXPLAIN DELETE FROM t
EXPLAIN REPLACE INTO t SELECT 1
EXPLAIN ANALYZE SELECT * FROM t
ANALYZE FORMAT=JSON SELECT 1
HELP 'select'
SELECT naïve FROM größe
SELECT 1;
SELECT 1; ;
;SELECT 1; SHOW TABLES
SELECT ';' ; SELECT 2
"""

CHANGE = """
INSERT INTO t VALUES (1, 'a;b')
insert low_priority ignore t set a = (select max(b) from u)
INSERT INTO t SELECT * FROM u ON DUPLICATE KEY UPDATE a = LAST_INSERT_ID(a)
INSERT INTO t VALUES ("{\\"a\\": \\"b\\"}")
REPLACE INTO t (a) VALUES (GET_LOCK('a', 1))
UPDATE t, u SET t.a = u.a
DELETE QUICK FROM t WHERE a = 1
WITH x AS (SELECT 1) UPDATE t SET a = 1
WITH x AS (SELECT 1), y (a, b) AS (SELECT 2, 3) DELETE FROM t USING t JOIN x
DO SLEEP(1)
DO RELEASE_LOCK('a')
SELECT 1 FOR UPDATE
SELECT 1 FROM t FOR /* */ SHARE SKIP LOCKED
SELECT 1 FROM t LOCK IN SHARE MODE
SELECT * FROM (SELECT 1 FROM t FOR UPDATE) x
WITH x AS (SELECT 1) SELECT * FROM x FOR UPDATE
SELECT 1 INTO @a
SELECT 1e1INTO @a
SELECT 1.INTO @a
SELECT 1, 2 INTO @a, @b FROM t
SELECT @a := 1
SELECT @a/**/:=/**/@a + 1 FROM t
SELECT f(), get_lock('a', 1)
SELECT `get_lock` ('a', 1)
SELECT "get_lock"('a', 1)
SELECT RELEASE_ALL_LOCKS()
SELECT LAST_INSERT_ID(5)
SELECT NEXTVAL(s)
SELECT NEXT VALUE FOR s
SELECT s.nextval
SELECT SETVAL(s, 5)
SHOW TABLES WHERE GET_LOCK('a', 1)
EXPLAIN SELECT * FROM (SELECT GET_LOCK('a', 1)) d
EXPLAIN FORMAT=JSON INTO @a SELECT 1
LOAD DATA LOCAL INFILE 'x' INTO TABLE t
LOAD XML INFILE 'x' INTO TABLE t
SAVEPOINT a
SAVEPOINT `SAVEPOINT`
RELEASE SAVEPOINT a
ROLLBACK TO a
ROLLBACK WORK TO SAVEPOINT a
SELECT f(); SELECT 1
SELECT f(); ;
SHOW TABLES WHERE f(1)
EXPLAIN SELECT * FROM t WHERE a = (SELECT f())
EXPLAIN ANALYZE SELECT db.now()
SELECT 1; UPDATE t SET a = 1;
DELETE FROM t; DELETE FROM u
"""

COMMIT = """
COMMIT
commit work;
COMMIT AND NO CHAIN
COMMIT WORK AND NO CHAIN NO RELEASE
COMMIT NO RELEASE
/*!COMMIT*/
"""

ROLLBACK = """
ROLLBACK
ROLLBACK WORK -- really
rollback and no chain
ROLLBACK NO RELEASE;
"""

BEGIN = """
BEGIN
begin work ;
START TRANSACTION
START TRANSACTION READ ONLY
START TRANSACTION WITH CONSISTENT SNAPSHOT, READ WRITE
"""

SESSION = """
USE db
USE `my db`;
SET NAMES utf8mb4
SET NAMES 'latin1' COLLATE latin1_bin
SET NAMES DEFAULT
SET CHARACTER SET utf8mb4
SET CHARSET 'utf8mb4'
SET CHAR SET utf8mb4
SET a = 1
SET SESSION a = DEFAULT, @@b = ON, @@local.c := 'x;y', @d = @e, @f := @@global.g, NAMES utf8mb4
SET LOCAL `a` = -1.5
SET "a" = 1
SET @@session . a = 1
SET @@`a` = 1
SET component.a = 1
SET x=1, @a=2, @@c=3
SET @'my var' = 'GLOBAL', @`b` = "PERSIST", @"c" = 1
SET @a = @b := 3
SET sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')
SET SESSION sql_mode = (SELECT_x)
SET @a = (1 + 2) * 3, @b = IF(@a IN (1, 2), 'x', NOW()), @c = CAST('1' AS DECIMAL)
SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO'
/*!40101 SET NAMES utf8 */;
/*!40014 SET @OLD_X=@@X, X=0 */;
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
SET SESSION TRANSACTION READ ONLY
SET LOCAL TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE
SET ROLE NONE
SET ROLE a, 'b'@'c', `d`
SET ROLE ALL EXCEPT a
SET ROLE a, @x = 1
SET timestamp = 5
SET last_insert_id = 5
PREPARE s FROM 'INSERT INTO t VALUES (?)'
PREPARE `s` FROM @a
DEALLOCATE PREPARE s
DROP PREPARE s
SET a = 1; SET @b = 2; USE c
"""

AUTOCOMMIT = """
SET autocommit = 0
SET AUTOCOMMIT=1
SET SESSION `autocommit` = ON
SET @@autocommit = 1
SET @@session.autocommit := @a
SET @a = 1, autocommit = 0, NAMES utf8
SET "autocommit" = 1
"""

OTHER = """
;
-- nothing
/* nothing */
`
'
SELECT 'a
SELECT /* a
SELECT 1 /*!50700 INTO OUTFILE 'x' */
/*!80000 SELECT 1 */
SELECT 1 /*M! FOR UPDATE */
SELECT INTO
SELECT 1 INTO OUTFILE 'x'
SELECT 1 INTO DUMPFILE 'x'
SELECT 1 INTO a
TABLE t INTO OUTFILE 'x'
SELECT * FROM t PROCEDURE ANALYSE()
SELECT FOUND_ROWS()
SELECT ROW_COUNT()
SELECT @@warning_count
SELECT @@session . `error_count`
SELECT LASTVAL(s)
SELECT s.currval
SELECT `CURRVAL`(s)
SELECT PREVIOUS VALUE FOR s
SELECT group_replication_switch_to_multi_primary_mode()
SELECT sys_exec('rm')
DO sys_exec('rm')
SHOW WARNINGS
SHOW COUNT(*) ERRORS
SHOW PROFILE FOR QUERY 1
HELP
EXPLAIN
EXPLAIN ANALYZE UPDATE t SET a = 1
EXPLAIN ANALYZE WITH x AS (SELECT 1) DELETE FROM t
ANALYZE DELETE FROM t
ANALYZE FORMAT=JSON INSERT INTO t VALUES (1)
ANALYZE TABLE t
ANALYZE LOCAL TABLE t
ANALYZE NO_WRITE_TO_BINLOG TABLE t
EXPLAIN ALTER TABLE t ADD a int
WITH x AS (SELECT 1)
WITH x AS (DELETE FROM t) INSERT INTO t SELECT 1
(UPDATE t SET a = 1)
INSERT DELAYED INTO t VALUES (1)
REPLACE DELAYED t VALUES (1)
DELETE HISTORY FROM t
LOAD DATA INFILE 'x' INTO TABLE t ALGORITHM=BULK
LOAD INDEX INTO CACHE t
LOAD DATA_x
COMMIT AND CHAIN
COMMIT RELEASE
ROLLBACK AND CHAIN
ROLLBACK WORK RELEASE
ROLLBACK TO
COMMIT 'x'
BEGIN NOT ATOMIC SELECT 1; END
BEGIN SELECT 1; END
START SLAVE
START TRANSACTION 'x'
START TRANSACTION WITH CONSISTENT SNAPSHOT FROM SESSION 5
SAVEPOINT
SET GLOBAL a = 1
SET a = 1, GLOBAL b = 1
SET PERSIST a = 1
SET PERSIST_ONLY a = 1
SET @@global.a = 1
SET @@GLOBAL . a = 1
SET @@`global`.a = 1
SET @@persist.a = 1
SET GLOBAL.a = 1
SET GLOBAL TRANSACTION READ ONLY
SET TRANSACTION SNAPSHOT 'x'
SET PASSWORD = 'x'
SET PASSWORD FOR a = 'x'
SET DEFAULT ROLE a TO b
SET RESOURCE GROUP g
SET STATEMENT a = 1 FOR SELECT 1
SET GLOBAL autocommit = 0
SET autocommit = f()
SET @a = f()
SET @a = db.now()
SET @a = NOW ()
SET @a = `concat`('a')
SET @a = "concat"('a')
SET @a = (SELECT f())
SET @a = (SELECT 1)
SET @a = (TABLE t)
SET @a = (VALUES (1))
SET @a = EXISTS (SELECT 1)
SET @a = NEXT VALUE FOR s
SET @a = s.nextval
SET @a = nextval(s)
SET @a = GET_LOCK('a', 1)
SET @a = LAST_INSERT_ID()
SET @a = ROW_COUNT()
SET @a = @@warning_count
SET @a = b := 1
SET @a = é
SET é = 1
SET @a
SET @a =
SET a =, b = 1
SET
SET NAMES utf8 COLLATE
SET NAMES (SELECT 1)
SET CHARACTER
SET ROLE f()
SET ROLE a, f(1)
SET @@ = 1
USE a b
PREPARE s FROM CONCAT('a', f())
PREPARE s FROM 'a' 'b'
PREPARE s FROM @a + 1
PREPARE s AS 'a'
PREPARE
DEALLOCATE s
DEALLOCATE PREPARE s t
EXECUTE s
EXECUTE IMMEDIATE 'SELECT 1'
CREATE TABLE t (a int)
CREATE TEMPORARY TABLE t (a int)
DROP TABLE t
ALTER TABLE t ADD a int
TRUNCATE t
CALL p()
GRANT ALL ON *.* TO a
FLUSH TABLES
LOCK TABLES t READ
UNLOCK TABLES
XA START 'a'
KILL 5
HANDLER t OPEN
OPTIMIZE TABLE t
IF 1 THEN SELECT 1; END IF
label: BEGIN NOT ATOMIC SELECT 1; END
<<label>> BEGIN SELECT 1; END
SELECTED
1 SELECT
'SELECT' 1
`SELECT` 1
START TRANSACTION; UPDATE t SET a = 1
BEGIN; COMMIT
COMMIT; COMMIT
COMMIT; ;
SET a = 1; SELECT 1
SET autocommit = 1; SET autocommit = 1
SELECT 1; DROP TABLE t
SELECT 'a\\'; DROP TABLE t; -- '; DROP TABLE t
SELECT "a\\"; DROP TABLE t; -- "
SET sql_mode = ''; SET @a = '\\\\'
"""


def statements(listing: str) -> list[bytes]:
    return [line.encode() for line in listing.strip("\n").split("\n")]


LISTINGS = {
    Kind.READ: READ,
    Kind.CHANGE: CHANGE,
    Kind.COMMIT: COMMIT,
    Kind.ROLLBACK: ROLLBACK,
    Kind.BEGIN: BEGIN,
    Kind.SESSION: SESSION,
    Kind.AUTOCOMMIT: AUTOCOMMIT,
    Kind.OTHER: OTHER,
}

CASES = [(text, kind) for kind, listing in LISTINGS.items() for text in statements(listing)]


@pytest.mark.parametrize(("text", "kind"), CASES)
def test_kinds(text: bytes, kind: Kind) -> None:
    assert classify(text).kind is kind


@pytest.mark.parametrize(
    "name",
    [
        "asynchronous_connection_failover_add_source",
        "audit_log_filter_set_user",
        "firewall_group_enlist",
        "gen_dictionary_drop",
        "group_replication_set_as_primary",
        "keyring_key_store",
        "load_rewrite_rules",
        "masking_dictionary_remove",
        "mle_set_session_state",
        "mysql_firewall_flush_status",
        "read_firewall_users",
        "service_get_write_locks",
        "set_firewall_mode",
        "spider_direct_sql",
        "sys_exec",
        "version_tokens_set",
    ],
)
def test_functions_that_change_a_server(name: str) -> None:
    for text in (f"SELECT {name}('a')", f"DO `{name.upper()}` ('a')", f"SELECT mysql.{name}('a') FOR UPDATE"):
        assert classify(text.encode()).kind is Kind.OTHER


def test_an_empty_text() -> None:
    assert classify(b"") == Statement(Kind.OTHER, None)
    assert not is_plain(b"", 0, 0)
    hidden = b"SELECT 5 INTO\xa0@x"  # a space in latin1
    assert not is_plain(hidden, 0, len(hidden))


def test_lines_that_end() -> None:
    assert classify(b"-- SET x = 1\nSELECT 1\n# DROP\n").kind is Kind.READ
    assert classify(b"SELECT 1 -- \nINTO OUTFILE 'x'").kind is Kind.OTHER
    assert classify(b"SELECT 1 --\nFOR UPDATE").kind is Kind.CHANGE


def test_backslashes_that_are_nothing_special() -> None:
    assert classify(rb"SELECT 'a\'; DROP TABLE t; -- '").kind is Kind.READ
    assert classify(rb"SELECT 'a\'; DROP TABLE t; -- '", backslash_escapes=False).kind is Kind.OTHER
    assert classify(rb"SELECT 'a\'", backslash_escapes=False).kind is Kind.READ
    assert classify(rb"SELECT '\'' INTO OUTFILE 'x'", backslash_escapes=True).kind is Kind.OTHER


def temporary(name: str) -> Hold:
    return Hold(HoldKind.TEMPORARY_TABLE, name)


def lock(name: str) -> Hold:
    return Hold(HoldKind.USER_LOCK, name)


def replay(name: str) -> Hold:
    return Hold(HoldKind.REPLAY_VARIABLE, name)


CHARACTER_SETS = frozenset(
    {"character_set_client", "character_set_connection", "character_set_results", "collation_connection"}
)
TABLE_LOCKS = Hold(HoldKind.TABLE_LOCKS)
UNEXPLAINED = Hold(HoldKind.UNEXPLAINED)


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT @a, 'a@b.c' FROM t WHERE b = ':= GET_LOCK'",
        b"SELECT LAST_INSERT_ID()",
        b"SELECT f(1)",
        b"INSERT INTO t (a) VALUES ('share; set @a := 1', 'bob@example.org')",
        b"UPDATE t SET a = @b",
        b"COMMIT",
        b"ROLLBACK TO a",
        b"SHOW TABLES",
        b"CREATE TABLE t (a int)",
        b"CREATE PROCEDURE p() SET @a = GET_LOCK('a', 1)",
        b"CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END",
        b"CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1",
        b"CREATE DEFINER = a@b VIEW v AS SELECT GET_LOCK('a', 1)",
        b"ALTER EVENT e DO SELECT GET_LOCK('a', 1)",
        b"GRANT ALL ON *.* TO 'a'@'b'",
        b"KILL 5",
        b"SELECT 1; SELECT 2",
        b"XA RECOVER",
        b"FLUSH TABLES",
        b"HANDLER t READ FIRST",
        b"RENAME USER a TO b",
        b"UNLOCK",
    ],
)
def test_what_does_nothing_to_its_session(text: bytes) -> None:
    assert classify(text).effects is None


EFFECTS = [
    # Assignments to user variables.
    (b"SET @A = 1, @`b``B` := @c, x = 1", {"user_variables": {b"a", b"b`b"}, "user_literals": [(b"a", "1")]}),
    (b"SET @'it''s\\n' = NOW()", {"user_variables": {b"it's\n"}}),
    (b"SET @a = @b := 1", {"user_variables": {b"a", b"b"}}),
    (b"SELECT @a := 1, @b", {"user_variables": {b"a"}}),
    (b"SELECT @a, 1 INTO @B, @c FROM t WHERE @d", {"user_variables": {b"b", b"c"}}),
    (b"EXPLAIN FORMAT=JSON INTO @a SELECT @b", {"user_variables": {b"a"}}),
    (b"UPDATE t SET a = (@a := a + 1), b = @b", {"user_variables": {b"a"}}),
    (b"SET @a = COUNT_THEM(@b)", {"user_variables": {b"a"}, "explains_change": False}),
    (b"SELECT f() INTO @a", {"user_variables": {b"a"}, "explains_change": False}),
    (b"SELECT db.now() INTO @a", {"user_variables": {b"a"}, "explains_change": False}),
    (b"SELECT NOW () INTO @a", {"user_variables": {b"a"}, "explains_change": False}),
    (b"SELECT `now`() INTO @a", {"user_variables": {b"a"}, "explains_change": False}),
    (b"SELECT COUNT(*) INTO @a FROM t WHERE b IN (SELECT c FROM u)", {"user_variables": {b"a"}}),
    (b"SET @a = LAST_INSERT_ID()", {"user_variables": {b"a"}}),
    (b"CALL p(@a, @b)", {"user_variables": {b"a", b"b"}, "explains_change": False}),
    (
        b"LOAD DATA INFILE 'x' INTO TABLE t (@a, b) SET c = @a",
        {"user_variables": {b"a"}, "explains_change": False, "sets_insert_id": True},
    ),
    (b"GET DIAGNOSTICS @n = NUMBER", {"user_variables": {b"n"}, "explains_change": False}),
    (b"FETCH c INTO @a", {"user_variables": {b"a"}, "explains_change": False}),
    # Assignments to system variables that are to be read back.
    (
        b"SET a = 1, SESSION b = 2, @@session.C = 3, @@d := 4 + 4, @@local.`e` = 'five', @@f = oN, @@g = NULL",
        {
            "system_variables": {"c", "d", "e", "f", "g"},
            "system_literals": [("c", "3"), ("e", "five"), ("f", "ON")],
        },
    ),
    (b"SET @@a = -1.5, @@a = @b", {"system_variables": {"a"}}),
    (b"SET @@tx_isolation = 'SERIALIZABLE'", {"system_variables": {"tx_isolation"}}),
    (
        b"SET @@session.tx_read_only = 1",
        {"system_variables": {"tx_read_only"}, "system_literals": [("tx_read_only", "1")]},
    ),
    (b"SET @`\xc3\xa4` = 1", {"user_variables": {b"\xc3\xa4"}}),
    (
        b"SET @a = 1, @b = -2.50, @c = 'it', @d = null, @e = True",
        {
            "user_variables": {b"a", b"b", b"c", b"d", b"e"},
            "user_literals": [(b"a", "1"), (b"b", "-2.50"), (b"c", "'it'"), (b"d", "null"), (b"e", "True")],
        },
    ),
    (
        b"SET @a = 1 + 1, @b = 'a' 'b', @c = \"x\", @d = x'41', @e = 1e3, @f = 'a\\b', @g = '\xc3\xa9', @h = 'it''s'",
        {"user_variables": {bytes((letter,)) for letter in b"abcdefgh"}},
    ),
    (b"SET @a = 1, @a = NOW()", {"user_variables": {b"a"}}),
    (b"SET @a = NOW(), @a = 2", {"user_variables": {b"a"}, "user_literals": [(b"a", "2")]}),
    (b"SET a = 1", {}),
    (b"SET GLOBAL a = 1", {}),
    (b"SET @@global.a = 1", {}),
    (b"SET PASSWORD = 'x'", {}),
    (b"SET PERSIST a = 1, PERSIST_ONLY b = 1", {}),
    (b"SET TRANSACTION READ ONLY", {}),
    (b"SET NAMES utf8", {}),
    (b"SET NAMES utf8 COLLATE utf8_bin", {"system_variables": CHARACTER_SETS}),
    (b"SET NAMES DEFAULT", {"system_variables": CHARACTER_SETS}),
    (b"SET a = 1, CHARACTER SET utf8", {"system_variables": CHARACTER_SETS}),
    (b"SET collation_connection = x", {"system_variables": {"collation_connection", "character_set_connection"}}),
    (b"SET @@autocommit = 1", {"system_variables": {"autocommit"}, "system_literals": [("autocommit", "1")]}),
    (b"SET a = 1; SET SESSION b = 2, @c = 3", {"system_variables": {"a", "b"}, "user_variables": {b"c"}}),
    (
        b"SET STATEMENT a = 1, b = IF(1, 2, 3) FOR SELECT @a := 1",
        {"system_variables": {"a", "b"}, "user_variables": {b"a"}},
    ),
    (b"SET STATEMENT a = SUBSTRING('b' FOR 1) FOR SELECT 1", {"system_variables": {"a"}}),
    (
        b"SET STATEMENT sql_mode = 'ANSI_QUOTES' FOR PREPARE p FROM 'SELECT 1'",
        {"takes": [UNEXPLAINED], "explains_change": False},
    ),
    (b"CALL p(1)", {"explains_change": False}),
    (b"SELECT 5 INTO\xa0@x", {"takes": [UNEXPLAINED], "explains_change": False}),
    (b"SET STATEMENT a = 1 FOR SELECT GET_LOCK('x', 1)", {"system_variables": {"a"}, "takes": [lock("x")]}),
    # LAST_INSERT_ID() and roles.
    (b"INSERT INTO t VALUES (1) RETURNING id", {"sets_insert_id": True}),
    (b"REPLACE INTO t SET a = 1 RETURNING a", {"sets_insert_id": True}),
    (b"SET last_insert_id = 5", {"sets_insert_id": True}),
    (b"SET @@identity = 5", {"sets_insert_id": True}),
    (b"UPDATE t SET a = last_insert_id(a + 1)", {"sets_insert_id": True}),
    (b"SELECT `LAST_INSERT_ID` (5)", {"sets_insert_id": True, "explains_change": False}),
    (b"SET ROLE a, b", {"sets_role": True}),
    (b"SET @a = @b, ROLE NONE", {"sets_role": True, "user_variables": {b"a"}}),
    # Variables that replay the past.
    (b"SET timestamp = 5, @@session.INSERT_ID = 6", {"takes": [replay("timestamp"), replay("insert_id")]}),
    (b"SET rand_seed1 = 1, rand_seed2 = 2", {"takes": [replay("rand_seed1"), replay("rand_seed2")]}),
    (b"SET gtid_next = 'a:1', gtid_seq_no = 2", {"takes": [replay("gtid_next"), replay("gtid_seq_no")]}),
    (b"SET @@timestamp = @a", {"takes": [replay("timestamp")]}),
    (b"SET timestamp = 0 + 5", {"takes": [replay("timestamp")]}),
    (b"SET timestamp = Default", {"releases": [replay("timestamp")]}),
    (b"SET SESSION timestamp = 0", {"releases": [replay("timestamp")]}),
    (b"SET insert_id = 0", {"takes": [replay("insert_id")]}),
    (
        b"SET gtid_next = 'AUTOMATIC', pseudo_thread_id = 5",
        {"releases": [replay("gtid_next")], "takes": [replay("pseudo_thread_id")]},
    ),
    (b"SET timestamp = 5, timestamp = DEFAULT", {"takes": [replay("timestamp")], "releases": [replay("timestamp")]}),
    (b"SET timestamp = DEFAULT, timestamp = 5", {"takes": [replay("timestamp")]}),
    # Temporary tables.
    (b"CREATE TEMPORARY TABLE Orders (a varchar(10))", {"takes": [temporary("Orders")]}),
    (b"CREATE OR REPLACE TEMPORARY TABLE `d b`.`a``b` AS SELECT NOW()", {"takes": [temporary("d b.a`b")]}),
    (b"CREATE TEMPORARY TABLE IF NOT EXISTS t SELECT f()", {"takes": [temporary("t")], "explains_change": False}),
    (b"CREATE TEMPORARY SEQUENCE s", {"takes": [temporary("s")]}),
    ("CREATE TEMPORARY TABLE größe LIKE t".encode(), {"takes": [temporary("größe")]}),
    (b"CREATE TEMPORARY TABLE 1st (a int)", {"takes": [UNEXPLAINED]}),
    (b"CREATE TABLE t SELECT @a := 1", {"user_variables": {b"a"}, "explains_change": False}),
    (b"DROP TEMPORARY TABLE IF EXISTS a, `b`.c RESTRICT", {"releases": [temporary("a"), temporary("b.c")]}),
    (b"DROP TABLES a", {"releases": [temporary("a")]}),
    (b"DROP TABLE ``, b.``", {}),
    (b"DROP SEQUENCE s", {"releases": [temporary("s")]}),
    (b"ALTER TABLE t ADD a int", {}),
    (b"ALTER TABLE t RENAME COLUMN a TO b, RENAME INDEX c TO d", {}),
    (b"ALTER IGNORE TABLE t RENAME TO d.u", {"renames": [("t", "d.u")], "releases": [temporary("t")]}),
    (b"ALTER TABLE t RENAME u", {"renames": [("t", "u")], "releases": [temporary("t")]}),
    (b"ALTER TABLE IF EXISTS d.t ADD a INT, RENAME = u", {"renames": [("d.t", "u")], "releases": [temporary("d.t")]}),
    (b"RENAME TABLE a TO b, c TO d.e", {"renames": [("a", "b"), ("c", "d.e")]}),
    (b"RENAME TABLE IF EXISTS a WAIT 1 TO b, b TO `x`", {"renames": [("a", "b"), ("b", "x")]}),
    (b"DROP TABLE b; RENAME TABLE a TO b", {"renames": [("a", "b")]}),
    (b"CREATE INDEX i ON t (a)", {}),
    (b"DROP INDEX i ON t", {}),
    (b"CREATE OR REPLACE UNIQUE INDEX i ON t (a)", {}),
    # Locks.
    (b"LOCK TABLES a READ, b WRITE", {"takes": [TABLE_LOCKS], "explains_change": False}),
    (b"UNLOCK TABLES", {"releases": [TABLE_LOCKS, Hold(HoldKind.GLOBAL_READ_LOCK)], "explains_change": False}),
    (b"BEGIN", {"releases": [TABLE_LOCKS]}),
    (b"START TRANSACTION READ ONLY", {"releases": [TABLE_LOCKS]}),
    (b"FLUSH TABLES WITH READ LOCK", {"takes": [Hold(HoldKind.GLOBAL_READ_LOCK)], "explains_change": False}),
    (b"FLUSH LOCAL TABLES t FOR EXPORT", {"takes": [Hold(HoldKind.GLOBAL_READ_LOCK)], "explains_change": False}),
    (b"LOCK INSTANCE FOR BACKUP", {"takes": [Hold(HoldKind.BACKUP_LOCK, "INSTANCE")], "explains_change": False}),
    (b"UNLOCK INSTANCE", {"releases": [Hold(HoldKind.BACKUP_LOCK, "INSTANCE")], "explains_change": False}),
    (b"BACKUP STAGE START", {"takes": [Hold(HoldKind.BACKUP_LOCK, "STAGE")], "explains_change": False}),
    (b"BACKUP STAGE END", {"releases": [Hold(HoldKind.BACKUP_LOCK, "STAGE")], "explains_change": False}),
    (b"BACKUP LOCK t", {"takes": [Hold(HoldKind.BACKUP_LOCK, "TABLE")], "explains_change": False}),
    (b"BACKUP UNLOCK", {"releases": [Hold(HoldKind.BACKUP_LOCK, "TABLE")], "explains_change": False}),
    (b"SELECT 1 FROM t FOR SHARE", {"share_locks": True}),
    (b"SELECT 1 FROM t LOCK/**/IN SHARE MODE", {"share_locks": True}),
    # User locks.
    (b"SELECT GET_LOCK('It''s', 1) AND 1", {"takes": [lock("It's")]}),
    (b'DO get_lock("a", 1), get_lock(@b, 1)', {"takes": [lock("a"), lock("?")]}),
    (b"SELECT GET_LOCK(?, ?)", {"takes": [lock("?")]}),
    (b"SELECT `GET_LOCK`('a' 'b', 1)", {"takes": [lock("?")], "explains_change": False}),
    (b"SELECT GET_LOCK(N'a', 1)", {"takes": [lock("?")]}),
    (b"SET @a = GET_LOCK('a', 1)", {"takes": [lock("a")], "user_variables": {b"a"}}),
    (b"INSERT INTO t VALUES (GET_LOCK('a', 1))", {"takes": [lock("a")]}),
    (b"SELECT RELEASE_LOCK('a')", {"releases": [lock("a")]}),
    (b"DO RELEASE_LOCK(CONCAT('a', 'b')), RELEASE_LOCK('c')", {"releases": [lock("?"), lock("c")]}),
    (b"SELECT 1, RELEASE_ALL_LOCKS() AS x", {"releases": [lock("")]}),
    (b"SELECT GET_LOCK('a', 1), RELEASE_LOCK('a') `x`", {"takes": [lock("a")], "releases": [lock("a")]}),
    (b"SELECT RELEASE_LOCK('a'), RELEASE_ALL_LOCKS(), GET_LOCK('a', 1)", {"takes": [lock("a")]}),
    # HANDLER, XA.
    (b"HANDLER d.t OPEN", {"takes": [Hold(HoldKind.HANDLER, "t")], "explains_change": False}),
    (b"HANDLER t OPEN AS `x`", {"takes": [Hold(HoldKind.HANDLER, "x")], "explains_change": False}),
    (b"HANDLER t OPEN x", {"takes": [Hold(HoldKind.HANDLER, "x")], "explains_change": False}),
    (b"HANDLER x CLOSE", {"releases": [Hold(HoldKind.HANDLER, "x")], "explains_change": False}),
    (b"XA START 'a'", {"takes": [Hold(HoldKind.XA)], "explains_change": False}),
    (b"XA BEGIN 'a','b'", {"takes": [Hold(HoldKind.XA)], "explains_change": False}),
    (b"XA COMMIT 'a' ONE PHASE", {"releases": [Hold(HoldKind.XA)], "explains_change": False}),
    (b"XA ROLLBACK 'a'", {"releases": [Hold(HoldKind.XA)], "explains_change": False}),
    # Statements PREPAREd in SQL.
    (b"PREPARE S FROM 'SELECT ''a'''", {"prepares": [SqlPrepare(b"s", b"'SELECT ''a'''", None)]}),
    (b"PREPARE `S``x` FROM @`A b`", {"prepares": [SqlPrepare(b"s`x", None, b"a b")]}),
    (b"DROP PREPARE S", {"deallocates": [b"s"]}),
    (b"EXECUTE s", {"executes": [b"s"], "explains_change": False}),
    (b"EXECUTE S USING @a, @b", {"executes": [b"s"], "user_variables": {b"a", b"b"}, "explains_change": False}),
    (
        b"PREPARE s FROM CONCAT('a')",
        {"prepares": [SqlPrepare(b"s", None, None)], "takes": [UNEXPLAINED]},
    ),
    (
        b"DEALLOCATE PREPARE s; PREPARE s FROM @a; EXECUTE s; DEALLOCATE PREPARE t",
        {
            "prepares": [SqlPrepare(b"s", None, b"a")],
            "executes": [b"s"],
            "deallocates": [b"t"],
            "explains_change": False,
        },
    ),
    (
        b"SET @a = 'SELECT 1'; PREPARE s FROM @a; EXECUTE s; DEALLOCATE PREPARE s; SET @a = NULL",
        {
            "user_variables": {b"a"},
            "prepares": [SqlPrepare(b"s", None, b"a")],
            "executes": [b"s"],
            "deallocates": [b"s"],
            "explains_change": False,
        },
    ),
    (
        b"PREPARE s FROM @a; SET @a = NULL",
        {"user_variables": {b"a"}, "prepares": [SqlPrepare(b"s", None, b"a")], "takes": [UNEXPLAINED]},
    ),
    (
        b"EXECUTE s; PREPARE s FROM 'SELECT 1'",
        {
            "prepares": [SqlPrepare(b"s", b"'SELECT 1'", None)],
            "executes": [b"s"],
            "takes": [UNEXPLAINED],
            "explains_change": False,
        },
    ),
    # Several statements: what happens in one of them happens, and all must explain it.
    (b"SELECT 1; SELECT @a := 1", {"user_variables": {b"a"}}),
    (b"SELECT f(); SELECT @a := 1", {"user_variables": {b"a"}, "explains_change": False}),
    (b"DROP TABLE a; CREATE TEMPORARY TABLE a (b int)", {"takes": [temporary("a")]}),
    (
        b"CREATE TEMPORARY TABLE a (b int); DROP TABLE a",
        {"takes": [temporary("a")], "releases": [temporary("a")]},
    ),
    (b"USE a; ;", {}),
    # What cannot be told apart.
    (b"EXECUTE IMMEDIATE 'SET @a = @b'", {"user_variables": {b"a"}}),
    (b"EXECUTE IMMEDIATE 'CREATE TEMPORARY TABLE t (a INT)'", {"takes": [temporary("t")]}),
    (b"EXECUTE IMMEDIATE 'SELECT ''a'', ?' USING @b", {"user_variables": {b"b"}, "explains_change": False}),
    (b"EXECUTE IMMEDIATE 'SELECT GET_LOCK(''a'', 1)'", {"takes": [lock("a")], "explains_change": False}),
    (b"EXECUTE IMMEDIATE 'SELECT \\'a\\''", {"takes": [UNEXPLAINED], "explains_change": False}),
    (b'EXECUTE IMMEDIATE "SET @a = 1"', {"takes": [UNEXPLAINED], "explains_change": False}),
    (b"EXECUTE IMMEDIATE CONCAT('SELECT', ' 1')", {"takes": [UNEXPLAINED], "explains_change": False}),
    (b"EXECUTE IMMEDIATE 'SELECT 1' || ' + 1'", {"takes": [UNEXPLAINED], "explains_change": False}),
    (b"EXECUTE IMMEDIATE 'PREPARE p FROM @s'", {"takes": [UNEXPLAINED], "explains_change": False}),
    (b"EXECUTE IMMEDIATE @a USING @b", {"takes": [UNEXPLAINED], "explains_change": False}),
    (b"SET \xc3\xa9 = 1", {"takes": [UNEXPLAINED]}),
    (b"SET RESOURCE GROUP g", {"takes": [UNEXPLAINED]}),
]


#: What servers count, as it is written above.
COUNTED = re.compile(rb"(?:^|; |FOR |IMMEDIATE ')SET (?!STATEMENT)|CREATE (?:OR REPLACE )?TEMPORARY")


@pytest.mark.parametrize(("text", "expected"), EFFECTS)
def test_effects(text: bytes, expected: dict[str, Any]) -> None:
    effects = classify(text).effects
    assert effects is not None
    noted: dict[str, Any] = {
        "explains_change": True,
        "is_multiple": b";" in text,
        "counted": len(COUNTED.findall(text)),
        "calls": b"CALL" in text,
    } | expected
    for name, value in noted.items():
        # Written above in the shortest way.
        if isinstance(value, set):
            noted[name] = frozenset(value)
        elif isinstance(value, list):
            noted[name] = tuple(value)
    assert effects == Effects(**noted)


@pytest.mark.parametrize(
    "text",
    [
        b"BEGIN NOT ATOMIC SET @@x = 1; END",
        b"IF a THEN SET @@x = 1; END IF",
        b"x: LOOP SET @@x = 1; END LOOP",
        b"`x` : /**/ WHILE 1 DO SET @@x = 1; END WHILE",
        b"<<x>> BEGIN SET @@x = 1; END",
        b"SELECT 1; CASE a WHEN 1 THEN SET @@x = 1; END CASE",
        b"CREATE PROCEDURE p() BEGIN SET @a = 1; SET @b = 1; END",
        b"CREATE FUNCTION f() RETURNS int BEGIN DECLARE a int; RETURN a; END; SET @a = 1",
        b"SET @a = 'x",
        b"SET @a = 1 /*!50700 , @b = 2 */",
        b"/*!80000 CREATE TEMPORARY TABLE t (a int) */",
        b"SET sql_mode = 'ANSI_QUOTES'; SET @a = \"b\"",
        b"SET sql_mode = @a; SET @b = '\\' , @c = '",
        b"SET NAMES gbk; SET @a = '\xc3\xa9'",
        b"SET character_set_client = gbk; SET @a = '\xc3\xa9'",
        b"SET a.5 = 1",
        b"DECLARE a int; SET @b = 1",
        b"SET STATEMENT a = 1",
        b"EXECUTE 's'",
        b"SET STATEMENT a = 1 FOR SET @b = 1",
        b"SET STATEMENT 'a' FOR SELECT 1",
        rb'SET @a = "\"", @b = ""',
        b"," * 30_000 + b"GET_LOCK",
    ],
)
def test_what_cannot_be_told_apart_may_have_changed_anything(text: bytes) -> None:
    statement = classify(text)
    assert statement.kind is Kind.OTHER
    assert statement.effects is not None
    assert UNEXPLAINED in statement.effects.takes
    assert not statement.effects.releases
    assert statement.effects.is_multiple or b";" not in text


def test_what_is_not_understood_but_plain_does_nothing() -> None:
    for text in (
        b"SELECT 'a",
        b"INSERT INTO t VALUES ('\xe9\\'')",
        b"SELECT /*!50700 1 */",
        b"INSERT INTO t VALUES" + b"(1)," * 9999,
    ):
        assert classify(text) == Statement(Kind.OTHER, None)


def test_a_release_counts_only_where_it_is_surely_called() -> None:
    for text in (
        b"SELECT RELEASE_LOCK(@a) FROM t",
        b"SELECT RELEASE_LOCK(@a) WHERE 0",
        b"SELECT RELEASE_LOCK(@a) LIMIT 0",
        b"SELECT 1 UNION SELECT RELEASE_LOCK(@a)",
        b"SELECT 0 AND RELEASE_LOCK(@a)",
        b"SELECT IF(0, RELEASE_LOCK(@a), 1)",
        b"SELECT IF(0, 1, RELEASE_ALL_LOCKS())",
        b"SELECT RELEASE_LOCK(@a) + 1",
        b"SELECT RELEASE_LOCK(@a",
        b"UPDATE t SET a = RELEASE_LOCK(@a)",
        b"SELECT db.RELEASE_LOCK(@a)",
        b"SELECT RELEASE_LOCK(@a) AS b LIMIT 0",
        b"SELECT RELEASE_LOCK(@a) AS b FROM t",
        b"SELECT RELEASE_LOCK(@a) AS b HAVING 0",
        b"EXPLAIN SELECT RELEASE_LOCK(@a)",
        b"INSERT INTO t SELECT RELEASE_LOCK(@a)",
    ):
        assert classify(text).effects is None


def test_whether_a_lock_with_a_name_is_released_is_asked() -> None:
    effects = classify(b"SELECT IF(@a, RELEASE_LOCK('a'), 1) FROM t").effects
    assert effects is not None
    assert effects.releases == (Hold(HoldKind.USER_LOCK, "a"),)


def test_holds_in_words() -> None:
    assert str(temporary("orders")) == "a temporary table (orders)"
    assert str(TABLE_LOCKS) == "LOCK TABLES"


PLAIN = [
    b"SELECT * FROM t WHERE name = 'bob@example.org' AND share_price > 1",
    b" \n insert into t values ('a; b', ';color: red;', 'bob@example.org', '&nbsp;</p> into home', 'let us share')",
    b"UPDATE t SET a = @b",
    b"DELETE FROM t",
    b"REPLACE INTO t VALUES (1)",
    b"COMMIT",
    b"ROLLBACK",
    b"SHOW TABLES;",
    b"SELECT 1; SELECT 2",
    b"EXPLAIN SELECT 1",
    b"DESC t",
    b"SAVEPOINT a",
    b"WITH x AS (SELECT 1) SELECT 1",
]

NOT_PLAIN = [
    b"SELECT @a:=1",
    b"select 1 into@a",
    b"SELECT 1 INTO/**/@a",
    b"SELECT 1 INTO -- \n @a",
    b"SELECT 1 INTO # \n @a",
    b"SELECT /*! 1 INTO*/@a",
    b"SELECT Get_Lock('a', 1)",
    b"DELETE FROM t WHERE release_all_locks()",
    b"SELECT LAST_INSERT_ID(1)",
    b"SELECT 1 FOR SHARE",
    b"SELECT 1 FOR/**/SHARE",
    b"SELECT 1 FOR -- \nSHARE",
    b"SELECT 1 FOR /*! SHARE */",
    b"SELECT 1 FOR /*!40101SHARE */",
    b"SELECT 1 LOCK IN\nSHARE MODE",
    b"SELECT 1; SET @a = 1",
    b"SELECT 1;\xa0SET @a = 1",
    b"SELECT 1; /**/ SET @a = 1",
    b"SELECT 1; -- \nSET @a = 1",
    b"SELECT 1; # \nSET @a = 1",
    b"SELECT 1 /*! ; */ SET @a = 1",
    b"SELECT 1; x: LOOP SET @a = 1; END LOOP",
    b"SELECT 1; x: # \n # \n LOOP SET @a = 1; END LOOP",
    b"commit: BEGIN NOT ATOMIC SELECT 1; END",
    b"SELECT 1; <<x>> BEGIN END",
    b"SELECT 1; lock tables t read",
    b"KILL 5",
    b"BEGIN",
    b"SET @a = 1",
    b"CALL p(@a)",
    b"/**/ SELECT 1",
]


@pytest.mark.parametrize(("texts", "expected"), [(PLAIN, True), (NOT_PLAIN, False)])
def test_plain_statements(texts: list[bytes], *, expected: bool) -> None:
    for text in texts:
        assert is_plain(b"'@:=" + text + b";SET", 4, 4 + len(text)) is expected, text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"KILL 5", (b"5", 5)),
        (b"kill query 12;", (b"12", 12)),
        (b"/* x */ KILL -- y\n CONNECTION /*! 12 */", (b"12", 12)),
        (b" Kill Hard Query 7 ", (b"7", 7)),
        (b"KILL SOFT 7", (b"7", 7)),
        (b"KILL 18446744073709551615", (b"18446744073709551615", 2**64 - 1)),
        (b"KILL " + b"9" * 5000, None),
        (b"KILL USER a", None),
        (b"KILL QUERY ID 5", None),
        (b"KILL 1 + 1", None),
        (b"KILL (5)", None),
        (b"KILL 0x5", None),
        (b"KILL 5.0", None),
        (b"KILL '5'", None),
        (b"KILL @a", None),
        (b"KILL", None),
        (b"KILL QUERY", None),
        (b"KILL 5; KILL 6", None),
        (b"KILL /*!50700 5 */", None),
        (b"KILLED 5", None),
        (b"`KILL` 5", None),
        (b"-- KILL 5", None),
        (b"SELECT 5", None),
        (b"", None),
    ],
)
def test_find_kill(text: bytes, expected: tuple[bytes, int] | None) -> None:
    kill = find_kill(text)
    if expected is None:
        assert kill is None
    else:
        number, thread_id = expected
        start = text.rindex(number)
        assert kill == Kill(start, start + len(number), thread_id)


@pytest.mark.parametrize(
    ("text", "is_checked"),
    [
        (b"SELECT f()", True),
        (b"-- x\n(SELECT 1) UNION (SELECT 2);", True),
        (b"WITH x AS (SELECT 1) SELECT * FROM x", True),
        (b"TABLE t", True),
        (b"VALUES ROW(1)", True),
        (b"/*! SELECT 1 */", True),
        (b"SELECT 1; SELECT 2", False),
        (b"SELECT 1; ;", False),
        (b"SELECT 1 FOR UPDATE", False),
        (b"WITH x AS (SELECT 1) DELETE FROM t", False),
        (b"EXPLAIN SELECT 1", False),
        (b"SHOW TABLES", False),
        (b"SELECT 'a", False),
        (b"", False),
    ],
)
def test_read_only_check(text: bytes, *, is_checked: bool) -> None:
    assert read_only_check(text) == (b"EXPLAIN " + text if is_checked else None)


def test_read_only_check_by_sql_mode() -> None:
    assert read_only_check(rb"SELECT '\'", backslash_escapes=False) == rb"EXPLAIN SELECT '\'"
    assert read_only_check(rb"SELECT '\'") is None


#: What may stand between two tokens.
SPACE = [b" ", b"\n", b"\t\r", b" /**/", b"\n/* ; ' */", b"-- it's\n", b'#"\n', b"--\n", b" /*!*/ "]


@given(text=st.sampled_from([case for case in CASES if tokenize(case[0]) and b"/*" not in case[0]]), seed=st.integers())
def test_case_and_comments_change_nothing(*, text: tuple[bytes, Kind], seed: int) -> None:
    written, kind = text
    choice = random.Random(seed)
    tokens = tokenize(written)
    assert tokens is not None
    pieces = []
    for index, token in enumerate(tokens):
        # Between the name of a function and its parenthesis, and within a number or a variable, space means something.
        if index and (token.start > tokens[index - 1].stop):
            pieces += choice.sample(SPACE, choice.randint(1, 3))
        pieces.append(choice.choice([token.text.lower(), token.text.upper(), token.text]) if token.key else token.text)
    ends = choice.sample(SPACE, 2)
    assert classify(ends[0] + b"".join(pieces) + ends[1]).kind is kind


#: Pieces of which texts are made that come close to the rules.
FRAGMENTS = [
    *(case[0] for case in [*CASES, *EFFECTS]),
    *PLAIN,
    *NOT_PLAIN,
    *b"SELECT INSERT INTO @a := ( ) ; , . ' \" ` \\ /* */ /*! /*!50700 -- # FOR SHARE SET LOCK IN @@ = : < 1 x".split(
        b" "
    ),
    b"\n",
    b"\xc3\xa9",
    b"\xa0",
    b"\0",
]
TEXTS = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=3), max_size=8).flatmap(
    lambda pieces: st.sampled_from([b" ", b"", b";", b"\n", b"/**/"]).map(lambda glue: glue.join(pieces))
)


@given(text=TEXTS, escapes=st.booleans())
def test_any_text(*, text: bytes, escapes: bool) -> None:
    statement = classify(text, backslash_escapes=escapes)
    if is_plain(text, 0, len(text)):
        assert statement.effects is None
    if statement.effects is not None:
        assert statement.kind in (Kind.BEGIN, Kind.CHANGE, Kind.SESSION, Kind.AUTOCOMMIT, Kind.OTHER, Kind.READ)
    kill = find_kill(text)
    assert kill is None or int(text[kill.start : kill.stop]) == kill.thread_id
    check = read_only_check(text, backslash_escapes=escapes)
    assert check is None or statement.kind is Kind.READ


COMPLETE = [case for case in CASES if tokenize(case[0]) and case[0] != b";"]


@given(cases=st.lists(st.sampled_from(COMPLETE), min_size=2, max_size=3))
def test_several_statements_are_no_better_than_the_worst(cases: list[tuple[bytes, Kind]]) -> None:
    kinds = {kind for _, kind in cases}
    expected = Kind.OTHER
    for kind in (Kind.READ, Kind.SESSION, Kind.CHANGE):
        if kinds <= ({Kind.READ, Kind.CHANGE} if kind is Kind.CHANGE else {kind}):
            expected = kind
            break
    statement = classify(b"\n;".join(text for text, _ in cases))
    if expected is Kind.READ:
        # Of several statements it cannot be told whether the functions that they call write.
        assert statement.kind in (Kind.READ, Kind.CHANGE)
    else:
        # A statement that changes the sql_mode makes those behind it doubtful.
        assert statement.kind is expected or (statement.kind is Kind.OTHER and Kind.SESSION in kinds)


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT " + b"(" * 65_000,
        b"SELECT " + b"RELEASE_LOCK(" * 5000,
        b"SELECT " + b"RELEASE_LOCK('a'),/**/" * 3000,
        b"SELECT " + b"INTO @a," * 8000,
        b"SELECT 1 INTO " + b"@a," * 20_000,
        b"SET " + b"a=1," * 16_000,
        b"SET " + b"@a:=" * 6000,
        b"SET STATEMENT a=1 FOR " * 2000,
        b"EXPLAIN " + b"ANALYZE " * 8000,
        b"DROP TABLE " + b"a," * 9000,
        b"RENAME TABLE " + b"a TO b," * 5000,
        b"ALTER TABLE " + b"RENAME " * 9000,
        b"WITH " + b"x AS (" * 4000,
        b";" * 65_000,
        b"SELECT 1" + b";SELECT 1" * 6000,
        b"SELECT 1" + b";USE a" * 6000,
        b"PREPARE a FROM @b;" * 3000,
        b"DO GET_LOCK('a',1);" * 2500,
        b"SELECT 'a" + b";\xa0" * 30_000,
        b"SELECT ';" + b": " * 30_000,
        b"SELECT ';" + b":#" * 30_000,
        b"SELECT ';" + b":#\n" * 20_000,
        b"SELECT ';:#" + b"\n" * 60_000,
        b"SELECT ';" + b":" * 60_000,
        b"SELECT ';" + b";<" * 30_000,
        b"SELECT 'share @" + b"into " * 12_000,
        b"SELECT 'share" + b"!1" * 30_000,
        b"SELECT 'share" + b"! " * 30_000,
        b"SELECT 'share" + b"\n" * 60_000,
        b"SELECT 'share" + b"!" + b"1" * 60_000,
        b" " * 65_000,
    ],
)
def test_hostile_texts_take_little_time(text: bytes) -> None:
    began = time.process_time()
    classify(text)
    is_plain(text, 0, len(text))
    find_kill(text)
    read_only_check(text)
    # Some hundredths of a second; a minute or so if one of them were quadratic.
    assert time.process_time() - began < 2


def test_what_may_leave_a_transaction_behind() -> None:
    for text in (
        b"CALL p()",
        b"/* x */ call p(@a)",
        b"EXECUTE s",
        b"SELECT 1; CALL p()",
        b"BEGIN NOT ATOMIC SELECT 1; END",
        b"'",
    ):
        assert runs_others(text)
    for text in (b"KILL 5", b"ALTER TABLE t ADD c INT", b"DROP TABLE t", b"SELECT 'CALL p()'", b""):
        assert not runs_others(text)
