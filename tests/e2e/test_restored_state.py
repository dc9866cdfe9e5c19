"""A session that has lost its link is what it would be if it had not: beside a direct one that does the same."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any, TypeAlias

import mysql.connector
import pytest
from pymysql.constants import CLIENT

from protocol.constants import Capability, CommandCode
from protocol.large_query import HOLD_ABOVE
from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.e2e.losses import (
    CAPABILITIES,
    Direct,
    Guarded,
    Watched,
    connect_twins,
    first_difference,
    is_error,
    lose_all,
    query,
    schemas,
)
from tests.guard import Guard
from tests.servers import Server, StartServer

SCHEMA = (
    "CREATE TABLE t (id BIGINT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(100)) ENGINE=InnoDB",
    "INSERT INTO t (v) VALUES ('one'), ('two'), ('three')",
    "CREATE TABLE {1}.t (other INT)",
    "INSERT INTO {1}.t VALUES (7)",
    "CREATE PROCEDURE gives(OUT x INT) SET x = 42",
    "CREATE PROCEDURE several(OUT x TEXT) BEGIN SELECT 1; SET x = 'out'; SELECT 2; END",
    "CREATE PROCEDURE sets_mode() SET sql_mode = 'ANSI_QUOTES'",
)

#: Statements before the loss, and statements that look at what became of them.
Case: TypeAlias = tuple[Sequence[str | bytes], Sequence[str | bytes]]

CHARSETS = (
    "SELECT @@character_set_client, @@character_set_results, @@character_set_connection, @@collation_connection",
    "SELECT COLLATION('a'), HEX('é'), 'é' = 'e', HEX(CONCAT('a', 1))",
)

#: Every variable of the session, except for what the guard itself sets and what no two sessions have in common.
ALL_VARIABLES = """SHOW SESSION VARIABLES WHERE Variable_name NOT LIKE 'session_track%' AND Variable_name NOT IN
    ('pseudo_thread_id', 'timestamp', 'rand_seed1', 'rand_seed2', 'statement_id', 'last_gtid', 'gtid_binlog_state',
    'gtid_executed', 'gtid_binlog_pos', 'gtid_current_pos', 'error_count', 'warning_count', 'in_transaction')"""

#: Asked of every session in the end.
STANDARD = (ALL_VARIABLES, "SELECT DATABASE(), CURRENT_ROLE(), LAST_INSERT_ID(), CURRENT_USER()")

SCHEMAS: dict[str, Case] = {
    "none chosen": ([], ["SELECT v FROM t WHERE id = 1"]),
    "USE": (["USE {1}"], ["SELECT * FROM t"]),
    "USE twice": (["USE {1}", "USE {0}"], ["SELECT COUNT(*) FROM t"]),
    "USE that fails": (["USE no_such_schema"], ["SELECT COUNT(*) FROM t"]),
    "USE beside another statement": (["USE {1}; SELECT 1"], ["SELECT * FROM t"]),
}

CHARACTER_SETS: dict[str, Case] = {
    name: ([name], CHARSETS)
    for name in (
        "SET NAMES latin1",
        "SET NAMES utf8mb4",
        "SET NAMES 'latin2'",
        "SET NAMES DEFAULT",
        "SET CHARACTER SET latin1",
        "SET CHARACTER SET utf8mb4",
        "SET CHARSET latin2",
        "SET character_set_results = NULL",
        "SET character_set_client = latin1",
        "SET character_set_connection = latin1",
        "SET collation_connection = utf8mb4_bin",
        "SET @@collation_connection = 'latin1_swedish_ci'",
        "SET collation_connection = latin1_danish_ci, character_set_results = binary",
        "SET SESSION character_set_server = latin1",
        "SET collation_server = utf8mb4_bin",
        "SET NAMES latin1; SELECT 1",
    )
}
CHARACTER_SETS |= {
    "SET NAMES again": (["SET NAMES latin1 COLLATE latin1_bin", "SET NAMES utf8mb4"], CHARSETS),
    "a collation after SET NAMES": (["SET NAMES latin1", "SET collation_connection = utf8mb4_bin"], CHARSETS),
    "SET NAMES after a collation": (["SET collation_connection = utf8mb4_bin", "SET NAMES utf8mb4"], CHARSETS),
    "charset, then collation": (["SET character_set_connection = latin1, collation_connection = latin2_bin"], CHARSETS),
    "collation, then charset": (["SET collation_connection = latin2_bin, character_set_connection = latin1"], CHARSETS),
}

VARIABLES: dict[str, Case] = {
    statement: ([statement], [])
    for statement in (
        "SET time_zone = '+03:30'",
        "SET SESSION time_zone = '-05:00'",
        "SET @@time_zone = '+01:00'",
        "SET @@session.time_zone = '+02:00'",
        "SET LOCAL time_zone = '+04:00'",
        "SET @@local.time_zone = '+05:00'",
        "SET @@`time_zone` = '+06:00'",
        "SET TIME_ZONE := '+07:00'",
        "SET lock_wait_timeout = 123",
        "SET @@lock_wait_timeout = 124, @@sort_buffer_size = 65536, long_query_time = 1.25",
        "SET sort_buffer_size = 2 * 65536",
        "SET sort_buffer_size = @@sort_buffer_size * 2, @@join_buffer_size = @@sort_buffer_size",
        "SET long_query_time = 9.000125",
        "SET @@long_query_time = 1e3",
        "SET unique_checks = OFF, foreign_key_checks = 0",
        "SET @@unique_checks = 0, @@foreign_key_checks = OFF",
        "SET unique_checks = 'off'",
        "SET sql_safe_updates = 1, sql_select_limit = 2",
        "SET sql_select_limit = 18446744073709551615",
        "SET lc_time_names = 'de_DE'",
        "SET lc_messages = 'de_DE'",
        "SET default_week_format = 3, div_precision_increment = 7",
        "SET group_concat_max_len = 999",
        "SET optimizer_switch = 'index_merge=off'",
        "SET @@optimizer_switch = 'index_merge=off,mrr=on'",
        "SET big_tables = ON",
        "SET max_join_size = 12345",
        "SET default_storage_engine = MyISAM",
        "SET innodb_lock_wait_timeout = 7",
        "SET binlog_format = ROW",
        "SET completion_type = 0",
        "SET auto_increment_increment = 5, auto_increment_offset = 2",
        "SET net_read_timeout = 77, net_write_timeout = 78",
        "SET @@autocommit = 1",
        "SET autocommit = 0; SET autocommit = 1",
        "SET transaction_isolation = 'READ-COMMITTED'",
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET SESSION TRANSACTION READ ONLY, ISOLATION LEVEL READ UNCOMMITTED",
        "SET SESSION TRANSACTION READ ONLY",
        "SET sql_mode = ''",
        "SET sql_mode = 'ANSI'",
        "SET @@sql_mode = CONCAT(@@sql_mode, ',PIPES_AS_CONCAT')",
        "SET sql_mode = 'NO_BACKSLASH_ESCAPES,NO_ZERO_DATE'",
        "SET sql_mode = DEFAULT",
        "SET time_zone = NULL",
        "SET no_such_variable = 1",
        "SET time_zone = '+08:00', no_such_variable = 1",
        "SET GLOBAL no_such_variable = 1; SET time_zone = '+09:00'",
        "SET @x = 1, time_zone = '+10:00', @@sort_buffer_size = 131072",
        "SET sql_auto_is_null = 1",
        "SET profiling = 1",
        "SET max_sort_length = 100; SELECT 1; SET @@max_sort_length = 200",
    )
}
VARIABLES |= {
    "DEFAULT again": (["SET sort_buffer_size = 65536", "SET sort_buffer_size = DEFAULT"], []),
    "@@ DEFAULT again": (["SET @@sort_buffer_size = 65536", "SET @@sort_buffer_size = DEFAULT"], []),
    "@@ after the plain form": (["SET sort_buffer_size = 65536", "SET @@sort_buffer_size = 131072"], []),
    "the plain form after @@": (["SET @@sort_buffer_size = 131072", "SET sort_buffer_size = 65536"], []),
    "one that an error follows": (["SET @@sort_buffer_size = 131072; SELECT nonsense"], []),
}

STRINGS = (
    """SELECT "a" 'b', 'it''s', LENGTH('\\\\'), 'C:\\\\n' """,
    """SELECT 'a' || 'b', 1 || 0, NOT 1 BETWEEN 0 AND 2""",
    "INSERT INTO t (v) VALUES ('back\\\\slash')",
    'SELECT id AS "quoted" FROM t ORDER BY "id" DESC LIMIT 1',
    "SELECT 'open\\'",
    "SELECT v, HEX(v) FROM t",
)
MODES: dict[str, Case] = {
    mode: ([f"SET sql_mode = '{mode}'"], STRINGS)
    for mode in (
        "",
        "ANSI_QUOTES",
        "NO_BACKSLASH_ESCAPES",
        "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,HIGH_NOT_PRECEDENCE",
        "IGNORE_SPACE",
    )
}
MODES |= {f"@@ {mode}": ([f"SET @@sql_mode = '{mode}'"], STRINGS) for mode in MODES}

TRANSACTIONS: dict[str, Case] = {
    "autocommit=0": (["SET autocommit = 0"], ["INSERT INTO t (v) VALUES ('x')", "ROLLBACK", "SELECT COUNT(*) FROM t"]),
    "@@autocommit=0": (["SET @@autocommit = 0"], ["INSERT INTO t (v) VALUES ('x')", "ROLLBACK", "SELECT * FROM t"]),
    "READ ONLY": (
        ["SET SESSION TRANSACTION READ ONLY"],
        ["INSERT INTO t (v) VALUES ('x')", "START TRANSACTION READ WRITE", "INSERT INTO t (v) VALUES ('x')", "COMMIT"],
    ),
    "committed": (["BEGIN", "INSERT INTO t (v) VALUES ('x')", "COMMIT"], ["SELECT v FROM t", "COMMIT"]),
    "renewed snapshot": (["SET autocommit = 0", "SELECT * FROM t", "COMMIT"], ["SELECT * FROM t"]),
}

#: The next transaction only. The guard may not look at such a session before, so these have nothing to settle.
ONE_SHOTS: dict[str, Case] = {
    statement: (
        [statement],
        ["START TRANSACTION", "INSERT INTO t (v) VALUES ('x')", "COMMIT", "INSERT INTO t (v) VALUES ('y')"],
    )
    for statement in (
        "SET TRANSACTION READ ONLY",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED, READ ONLY",
    )
}

ALL_BYTES = bytes(range(256))
USER_VARIABLES: dict[str, str | bytes] = {
    "an integer": "SET @a = 42",
    "a negative one": "SET @a = -42",
    "zero": "SET @a = 0",
    "the largest": "SET @a = 9223372036854775807",
    "the smallest": "SET @a = -9223372036854775807 - 1",
    "an unsigned one": "SET @a = 18446744073709551615",
    "a small unsigned one": "SET @a = CAST(5 AS UNSIGNED)",
    "the smallest that only unsigned ones reach": "SET @a = 9223372036854775808",
    "a decimal": "SET @a = 1.50",
    "a whole decimal": "SET @a = CAST(7 AS DECIMAL(10, 0))",
    "a negative decimal": "SET @a = -0.00001",
    "a large decimal": "SET @a = 12345678901234567890123456789012345.123456789012345678901234567890",
    "a large whole decimal": "SET @a = 123456789012345678901234567890123456789012345678901234567890",
    "a double": "SET @a = 1.5e0",
    "a third": "SET @a = 1e0 / 3",
    "a whole double": "SET @a = 3e0",
    "a tiny double": "SET @a = 2.2250738585072014e-308",
    "a huge double": "SET @a = 1.7976931348623157e308",
    "a long double": "SET @a = 123456789.12345679e0",
    "a negative double": "SET @a = -1e15",
    "minus nothing": "SET @a = -0e0",
    "true": "SET @a = TRUE",
    "NULL": "SET @a = NULL",
    "nothing": "SET @a = ''",
    "a string": "SET @a = 'text'",
    "quotes": """SET @a = 'it''s "quoted" `so`'""",
    "backslashes": r"SET @a = 'C:\\new\\table\\'",
    "lines": "SET @a = 'one\ntwo\r\nthree\tfour\0five'",
    "unicode": "SET @a = 'Größe Ωμέγα 日本 🎉'",
    "latin1": "SET @a = _latin1 0xE9",
    "latin1, collated": "SET @a = _latin1 0xE9 COLLATE latin1_german2_ci",
    "utf8mb3": "SET @a = CONVERT('é' USING utf8mb3)",
    "ucs2": "SET @a = CONVERT('日本' USING ucs2)",
    "utf32": "SET @a = CONVERT('🎉' USING utf32)",
    "sjis": "SET @a = CONVERT('表' USING sjis)",
    "utf8mb4_bin": "SET @a = 'text' COLLATE utf8mb4_bin",
    "an empty collated one": "SET @a = '' COLLATE utf8mb4_bin",
    "every byte": b"SET @a = 0x" + ALL_BYTES.hex().encode(),
    "every byte of latin1": b"SET @a = _latin1 0x" + ALL_BYTES.hex().encode(),
    "a binary string": "SET @a = _binary 'abc'",
    "an empty binary string": "SET @a = _binary ''",
    "a cast one": "SET @a = CAST('abc' AS BINARY(5))",
    "a hex literal": "SET @a = 0x41",
    "a bit literal": "SET @a = b'1000001'",
    "a date": "SET @a = DATE'2024-02-29'",
    "a time": "SET @a = TIME'-10:11:12.5'",
    "a datetime": "SET @a = TIMESTAMP'2024-02-29 10:11:12.123456'",
    "JSON": """SET @a = JSON_OBJECT('k', 'v"')""",
    "a column": "SELECT v FROM t WHERE id = 1 INTO @a",
    "a count": "SELECT COUNT(*) INTO @a FROM t",
    "the sum": "SELECT SUM(id), AVG(id) FROM t INTO @a, @b",
    "a selected one": "SELECT @a := 5",
    "one per row": "SELECT @a := id FROM t",
    "a number that is NULL": "SET @a = (SELECT id FROM t WHERE FALSE)",
    "a text that is NULL": "SET @a = (SELECT v FROM t WHERE FALSE)",
    "a decimal that is NULL": "SET @a = (SELECT SUM(id) FROM t WHERE FALSE)",
    "a double that is NULL": "SET @a = (SELECT AVG(1e0) FROM t WHERE FALSE)",
    "one of another": "SET @b = 'other', @a = @b",
    "a chain": "SET @a = @b := 5",
    "an OUT parameter": "CALL gives(@a)",
    "a text from a procedure": "CALL several(@a)",
    "a quoted name": "SET @`a` = 'quoted', @'b' = 2, @\"c\" = 3",
    "capitals": "SET @A = 'capital'",
    "an odd name": "SET @a = 1, @`it's ``odd``` = 'odd name'",
    "a large one": "SET @a = REPEAT('x', 20000)",
    "some in an expression": "SELECT (@a := 3) + (@b := 4)",
    "one in an UPDATE": "UPDATE t SET v = (@a := CONCAT('u', id)) WHERE id = 2",
    "one in an INSERT": "INSERT INTO t (v) SELECT @a := 'inserted'",
    "one beside an error": "SET @a = 'kept'; SELECT nonsense",
    "in a comment": "SET /* a */ @a /* b */ = /* c */ 'commented'",
}
LOOK_AT_VARIABLES = (
    "SELECT @a, @b, @c, @`it's ``odd```",
    "SELECT HEX(@a), COLLATION(@a), CHARSET(@a), COERCIBILITY(@a), LENGTH(@a), COLLATION(@b), HEX(@b)",
    "DROP TABLE IF EXISTS kinds",
    "CREATE TABLE kinds AS SELECT @a AS a, @b AS b",
    "SHOW CREATE TABLE kinds",
    "SELECT HEX(a), HEX(b) FROM kinds",
    "SELECT @a + 1, CONCAT(@a, 'x'), @a = 'TEXT', @a <=> NULL",
    "SELECT @a - 9223372036854775807",
)

INSERT_IDS: dict[str, Case] = {
    "none": ([], []),
    "an AUTO_INCREMENT": (["INSERT INTO t (v) VALUES ('x')"], []),
    "several": (["INSERT INTO t (v) VALUES ('x'), ('y')"], []),
    "a given id": (["INSERT INTO t (id, v) VALUES (77, 'x')"], []),
    "a given id after another": (["INSERT INTO t (v) VALUES ('x')", "INSERT INTO t (id, v) VALUES (99, 'x')"], []),
    "LAST_INSERT_ID(expr)": (["SELECT LAST_INSERT_ID(123)"], []),
    "in an UPDATE": (["UPDATE t SET id = LAST_INSERT_ID(id + 1000) WHERE id = 3"], []),
    "in a DO": (["DO LAST_INSERT_ID(5)"], []),
    "SET": (["SET last_insert_id = 55"], []),
    "SET identity": (["SET @@identity = 56"], []),
    "the largest": (["DO LAST_INSERT_ID(18446744073709551615)"], []),
    "an INSERT that fails behind an id": (["INSERT INTO t (id, v) VALUES (NULL, 'x'), (1, 'y')", "DO 0"], []),
    "an INSERT that fails": (["INSERT INTO t (v) VALUES ('x')", "INSERT INTO t (id) VALUES (1)"], []),
    "one in a procedure": (["CREATE PROCEDURE ins() INSERT INTO t (v) VALUES ('p')", "CALL ins()"], []),
    "RETURNING": (["INSERT INTO t (v) VALUES ('x') RETURNING id"], []),
    "zero again": (["INSERT INTO t (v) VALUES ('x')", "DO LAST_INSERT_ID(0)"], []),
}

SQL_STATEMENTS: dict[str, Case] = {
    "a literal": (["PREPARE p FROM 'SELECT ? + 1, DATABASE()'"], ["SET @n = 4", "EXECUTE p USING @n"]),
    "double quotes": (["PREPARE p FROM \"SELECT 'it''s', ?\""], ["SET @n = 4", "EXECUTE p USING @n"]),
    "escapes": ([r"PREPARE p FROM 'SELECT \'a\\\\n\''"], ["EXECUTE p"]),
    "unicode": (["PREPARE p FROM 'SELECT \\'日本é🎉\\''"], ["EXECUTE p"]),
    "a variable": (["SET @s = 'SELECT 5'", "PREPARE p FROM @s"], ["EXECUTE p"]),
    "a variable that is set anew": (
        ["SET @s = 'SELECT 5'", "PREPARE p FROM @s", "SELECT 1"],
        ["SET @s = 'nonsense'", "EXECUTE p"],
    ),
    "DEALLOCATE": (["PREPARE p FROM 'SELECT 1'", "DEALLOCATE PREPARE p"], ["EXECUTE p"]),
    "DROP PREPARE": (["PREPARE p FROM 'SELECT 1'", "DROP PREPARE p"], ["EXECUTE p"]),
    "anew": (["PREPARE p FROM 'SELECT 1'", "PREPARE p FROM 'SELECT 2'"], ["EXECUTE p"]),
    "anew, and wrong": (["PREPARE p FROM 'SELECT 1'", "PREPARE p FROM 'nonsense'"], ["EXECUTE p"]),
    "capitals": (["PREPARE Pp FROM 'SELECT 1'"], ["EXECUTE pP", "DEALLOCATE PREPARE PP"]),
    "quoted": (["PREPARE `p ``q` FROM 'SELECT 1'"], ["EXECUTE `p ``q`"]),
    # MariaDB has a flag of session tracking in a result of this, without a guard as well, so it is to have none.
    "another schema": (
        ["PREPARE p FROM 'SELECT COUNT(*) FROM t INTO @n'", "USE {1}"],
        ["EXECUTE p", "SELECT @n", "SELECT * FROM t"],
    ),
    "another schema, from a variable": (
        ["SET @s = 'SELECT COUNT(*) FROM t INTO @n'", "PREPARE p FROM @s", "USE {1}"],
        ["EXECUTE p", "SELECT @n", "SELECT * FROM t"],
    ),
    "a text in another character set": (
        ["SET @s = CONVERT('SELECT 5' USING ucs2), @t = _latin1 0x53454C4543542027E927", "PREPARE p FROM @t"],
        ["EXECUTE p", "SELECT HEX(@s), HEX(@t)"],
    ),
    "one that assigns": (["PREPARE p FROM 'SELECT @a := 6'", "EXECUTE p"], ["SELECT @a", "EXECUTE p"]),
    "one that assigns and fails": (
        [
            "PREPARE p FROM 'SELECT @a := v, (SELECT 1 UNION SELECT v) FROM (SELECT 1 AS v UNION ALL SELECT 2) AS x'",
            "EXECUTE p",
        ],
        ["SELECT @a"],
    ),
    "one with an insert": (
        ["PREPARE p FROM 'INSERT INTO t (v) VALUES (?)'", "SET @v = 'x'", "EXECUTE p USING @v"],
        ["SELECT LAST_INSERT_ID()", "EXECUTE p USING @v", "SELECT * FROM t"],
    ),
}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def run_cases(
    stack: ExitStack, guard: Guard, server: Server, cases: dict[str, Case], *, settled: bool = True, **settings: Any
) -> None:
    """Compare all cases, each in sessions of its own that lose their links together."""
    names = stack.enter_context(schemas(server, 2, 2, SCHEMA))
    twins = {}
    for name, (setup, _) in cases.items():
        twins[name] = through, direct = connect_twins(stack, guard, server, names, **settings)
        if not settled:
            through.settle()
        begun = through.run(*setup), direct.run(*setup)
        assert begun[0] == begun[1], (name, begun)
    lose_all({name: through for name, (through, _) in twins.items()}, settled=settled)
    differences = []
    for name, (through, direct) in twins.items():
        for look in (*cases[name][1], *STANDARD):
            restored, untouched = through.ask(query(look)), direct.ask(query(look))
            if restored != untouched:
                differences.append((name, look, *first_difference(restored, untouched)))
    assert not differences, "\n".join(map(str, differences))


@pytest.mark.parametrize(
    "cases",
    [SCHEMAS, CHARACTER_SETS, VARIABLES, MODES, TRANSACTIONS, INSERT_IDS, SQL_STATEMENTS],
    ids=["schemas", "character sets", "variables", "modes", "transactions", "insert ids", "SQL statements"],
)
def test_state(stack: ExitStack, guard: Guard, server: Server, cases: dict[str, Case]) -> None:
    run_cases(stack, guard, server, cases)


def test_autocommit_that_a_procedure_has_set(stack: ExitStack, guard: Guard, server: Server) -> None:
    if server.name != "mariadb":
        pytest.skip("MySQL reports it as a change that is not explained")
    setup = ["CREATE PROCEDURE turns_off() SET @@autocommit = 0", "CALL turns_off()"]
    looks = ["SELECT @@autocommit", "INSERT INTO t (v) VALUES ('x')", "ROLLBACK", "SELECT COUNT(*) FROM t"]
    run_cases(stack, guard, server, {"a procedure": (setup, looks)})


@pytest.mark.parametrize("cases", [CHARACTER_SETS, VARIABLES], ids=["character sets", "variables"])
def test_state_that_sessions_have_had_before(guard: Guard, server: Server, cases: dict[str, Case]) -> None:
    for _ in range(3):  # what passes for the third time need not be looked at while it does
        with ExitStack() as stack:
            run_cases(stack, guard, server, cases)


def test_user_variables(stack: ExitStack, guard: Guard, server: Server) -> None:
    run_cases(stack, guard, server, {name: ([sql], LOOK_AT_VARIABLES) for name, sql in USER_VARIABLES.items()})


def test_one_shots(stack: ExitStack, guard: Guard, server: Server) -> None:
    run_cases(stack, guard, server, ONE_SHOTS, settled=False)


NO_EOF = CAPABILITIES | Capability.DEPRECATE_EOF
LISTENING = NO_EOF | Capability.SESSION_TRACK
FLAGS = CAPABILITIES | CLIENT.FOUND_ROWS | CLIENT.IGNORE_SPACE | CLIENT.INTERACTIVE


@pytest.mark.parametrize("capabilities", [NO_EOF, LISTENING], ids=["no EOF", "no EOF, session track"])
def test_what_clients_hear_of_changes(stack: ExitStack, guard: Guard, server: Server, capabilities: int) -> None:
    looks = ("SET lock_wait_timeout = 77", "USE {1}", "DO 0", "SET @@time_zone = '+01:00'", "USE {0}")
    cases: dict[str, Case] = {
        setup: ([setup], looks)
        for setup in (
            "DO 0",
            "USE {1}",
            "SET time_zone = '+02:00'",
            "SET character_set_client = latin1",
            "SET session_track_state_change = ON",
            "SET session_track_schema = OFF",
        )
    }
    run_cases(stack, guard, server, cases, client_flag=capabilities)


@pytest.mark.xfail(reason="servers do not report this variable when its new list does not name it")
def test_a_client_that_chooses_what_it_hears_of(stack: ExitStack, guard: Guard, server: Server) -> None:
    setup = ["SET session_track_system_variables = 'lock_wait_timeout'", "SET sort_buffer_size = 65536"]
    looks = ("SET lock_wait_timeout = 77", "SET @@time_zone = '+01:00'")
    run_cases(stack, guard, server, {"its list": (setup, looks)}, client_flag=LISTENING)


def test_flags_of_the_login(stack: ExitStack, guard: Guard, server: Server) -> None:
    looks = ("UPDATE t SET v = v", "SELECT COUNT (*) FROM t", "SELECT @@wait_timeout, @@sql_mode", "SELECT 1; SELECT 2")
    cases: dict[str, Case] = {
        "as it was": ([], looks),
        "the wait_timeout of others": (["SET time_zone = '+01:00'"], looks),
        "another sql_mode": (["SET sql_mode = 'STRICT_ALL_TABLES'"], looks),
    }
    server.execute("SET GLOBAL interactive_timeout = 4321")
    try:
        run_cases(stack, guard, server, cases, client_flag=FLAGS)
    finally:
        server.execute("SET GLOBAL interactive_timeout = DEFAULT")


def test_variables_that_change_others(stack: ExitStack, guard: Guard, server: Server) -> None:
    names = stack.enter_context(schemas(server, 2, 2, SCHEMA))
    through, direct = connect_twins(stack, guard, server, names)
    for session in (through, direct):
        session.run("SET NAMES utf8mb4", "SET collation_connection = utf8mb4_bin")
    for _ in range(3):
        through.settle()
        through.lose()
        assert through.run(*CHARSETS) == direct.run(*CHARSETS)


def test_collation_of_names(stack: ExitStack, guard: Guard, server: Server) -> None:
    names = stack.enter_context(schemas(server, 2, 2))
    through, direct = connect_twins(stack, guard, server, names)
    for setup in ("SET NAMES utf8mb4 COLLATE utf8mb4_bin", "SET NAMES latin1 COLLATE latin1_german2_ci"):
        for session in (through, direct):
            session.run(setup)
        through.settle()
        through.lose()
        for look in (*CHARSETS, ALL_VARIABLES):
            # The metadata of results differ: there, the collation is the default one of the character set again.
            assert through.rows(look) == direct.rows(look)


def test_a_schema_that_is_dropped_meanwhile(stack: ExitStack, guard: Guard, server: Server) -> None:
    names = stack.enter_context(schemas(server, 2, 2))
    through, _ = connect_twins(stack, guard, server, names)
    through.run("USE {1}")
    through.settle()
    server.execute(f"DROP DATABASE {names[0][1]}")
    message = through.lose_for_good("the schema", "could not be restored", "Unknown database")
    assert "the schema {1}" in message


@pytest.fixture
def roles(server: Server) -> Iterator[tuple[str, str]]:
    names = ("twin role", "twin`role")
    quoted = ["`" + name.replace("`", "``") + "`" for name in names]
    for name in quoted:
        server.execute(f"CREATE ROLE {name}")
        server.execute(f"GRANT {name} TO root@127.0.0.1")
    yield quoted[0], quoted[1]
    for name in quoted:
        server.execute(f"DROP ROLE {name}")


def test_roles(stack: ExitStack, guard: Guard, server: Server, roles: tuple[str, str]) -> None:
    first, second = roles
    statements = [f"SET ROLE {first}", f"SET ROLE {second}", "SET ROLE NONE", "SET ROLE no_such_role", "DO 0"]
    if server.name == "mysql":
        statements += [
            f"SET ROLE {first}, {second}",
            "SET ROLE ALL",
            f"SET ROLE ALL EXCEPT {first}",
            "SET ROLE DEFAULT",
        ]
    cases: dict[str, Case] = {statement: ([statement], []) for statement in statements}
    cases["the other one"] = ([f"SET ROLE {first}", f"SET ROLE {second}"], [])
    run_cases(stack, guard, server, cases)


def test_attributes_of_the_connection(stack: ExitStack, guard: Guard, server: Server) -> None:
    names = stack.enter_context(schemas(server, 2, 1))
    through, _ = connect_twins(stack, guard, server, names, program_name="the program")
    look = """SELECT attr_name, attr_value FROM performance_schema.session_connect_attrs
        WHERE processlist_id = CONNECTION_ID() ORDER BY 1"""
    before = through.rows(look)
    assert server.name == "mariadb" or ("program_name", "the program") in before
    through.settle()
    through.lose()
    assert through.rows(look) == before


EXECUTE, RESET = CommandCode.STMT_EXECUTE, CommandCode.STMT_RESET
ONCE = b"\0\1\0\0\0"
LONGLONG, VAR_STRING = b"\x08\0", b"\xfd\0"
ONE = (1).to_bytes(8, "little")


def compare(twins: tuple[Guarded, Direct], name: object, code: int, rest: bytes = b"") -> bytes:
    restored, untouched = (session.use(name, code, rest) for session in twins)
    assert restored == untouched, name
    return restored


def prepare(twins: tuple[Guarded, Direct], name: object, sql: str) -> None:
    restored, untouched = (session.prepare(name, sql) for session in twins)
    assert restored == untouched, name


@pytest.mark.parametrize("capabilities", [CAPABILITIES, LISTENING], ids=["EOF", "no EOF, session track"])
def test_prepared_statements(stack: ExitStack, guard: Guard, server: Server, capabilities: int) -> None:
    names = stack.enter_context(schemas(server, 2, 2, SCHEMA))
    twins = connect_twins(stack, guard, server, names, client_flag=capabilities)
    through, direct = twins
    prepare(twins, "select", "SELECT v, ?, ? FROM t WHERE id = ?")
    prepare(twins, "insert", "INSERT INTO t (v) VALUES (?)")
    prepare(twins, "closed", "SELECT 1")
    prepare(twins, "long", f"SELECT LENGTH('{'x' * 60_000}') + ?")
    prepare(twins, "unused", "SELECT ? + 1")
    prepare(twins, "procedure", "CALL several(?)")
    for session in twins:
        session.run("USE {1}")
    prepare(twins, "other", "SELECT * FROM t")
    for session in twins:
        session.run("USE {0}")
    types = b"\1" + LONGLONG + VAR_STRING + LONGLONG
    compare(twins, "select", EXECUTE, ONCE + b"\1" + types + b"\5hello" + ONE)  # the first one is NULL
    compare(twins, "insert", EXECUTE, ONCE + b"\0\1" + VAR_STRING + b"\5first")
    compare(twins, "long", EXECUTE, ONCE + b"\0\1" + LONGLONG + ONE)
    compare(twins, "procedure", EXECUTE, ONCE + b"\1\1" + VAR_STRING)
    for loss in range(2):
        through.settle()
        through.lose()
        # Where the types are left out, they are those of the execution before the loss.
        compare(twins, "select", EXECUTE, ONCE + b"\0\0" + ONE + b"\5again" + ONE)
        compare(twins, "select", EXECUTE, ONCE + b"\6\0" + ONE)
        compare(twins, "insert", EXECUTE, ONCE + b"\0\0\6second")
        compare(twins, "long", EXECUTE, ONCE + b"\0\0" + ONE)
        compare(twins, "procedure", EXECUTE, ONCE + b"\1\0")
        compare(twins, "select", RESET)
        if "closed" in through.statements:
            compare(twins, "closed", EXECUTE, ONCE)
            number = through.statements["closed"]
            for session in twins:
                session.close_statement("closed")
            assert is_error(through.ask(bytes((EXECUTE,)) + number + ONCE), 1243)
        for index in range(3):
            prepare(twins, (loss, index), f"SELECT {loss}, {index}, v FROM {{0}}.t WHERE id = ?")
            compare(twins, (loss, index), EXECUTE, ONCE + b"\0\1" + LONGLONG + ONE)
    compare(twins, "unused", EXECUTE, ONCE + b"\0\1" + LONGLONG + ONE)
    compare(twins, "other", EXECUTE, ONCE)
    for look in ("SELECT * FROM t", "SELECT * FROM {1}.t"):
        assert through.run(look) == direct.run(look)


def test_prepared_statements_that_are_not_what_they_were(stack: ExitStack, guard: Guard, server: Server) -> None:
    names = stack.enter_context(schemas(server, 2, 2, SCHEMA))
    twins = connect_twins(stack, guard, server, names)
    through, direct = twins
    for session in twins:
        session.run("CREATE TABLE gone (n INT)", "CREATE TABLE wider (n INT)")
    prepare(twins, "gone", "SELECT n FROM gone")
    prepare(twins, "wider", "SELECT * FROM wider")
    prepare(twins, "kept", "SELECT COUNT(*) FROM t")
    through.settle()
    for schema, *_ in names:
        server.execute("DROP TABLE gone", database=schema)
        server.execute("ALTER TABLE wider ADD COLUMN m INT", database=schema)
    through.lose()
    # Behind its first result, the server says that the columns are others (SERVER_STATUS_METADATA_CHANGED).
    direct.use("wider", EXECUTE, ONCE)
    for _ in range(2):
        for session in twins:
            code, sqlstate, _ = wire.error(session.use("gone", EXECUTE, ONCE)[4:])
            assert (code, sqlstate) == (1146, "42S02")
        compare(twins, "wider", EXECUTE, ONCE)
        compare(twins, "kept", EXECUTE, ONCE)
        compare(twins, "gone", RESET)
    for schema, *_ in names:
        server.execute("CREATE TABLE gone (n INT)", database=schema)
    for name in ("gone", "gone", "wider", "kept"):
        compare(twins, name, EXECUTE, ONCE)
    through.settle()
    through.lose()
    for name in ("gone", "wider", "kept"):
        compare(twins, name, EXECUTE, ONCE)


def test_long_data_for_a_statement_that_is_not_there(stack: ExitStack, guard: Guard, server: Server) -> None:
    names = stack.enter_context(schemas(server, 2, 2, SCHEMA))
    session, _ = connect_twins(stack, guard, server, names)
    session.run("CREATE TABLE gone (v TEXT)")
    session.prepare("gone", "SELECT CONCAT(v, ?) FROM gone")
    session.settle()
    server.execute("DROP TABLE gone", database=names[0][0])
    session.lose()
    number = session.statements["gone"]
    wire.send(session.connection, 0x18, number + b"\0\0piece")
    server.execute("CREATE TABLE gone (v TEXT)", database=names[0][0])
    with_text = ONCE + b"\0\1\xfd\0"
    # The piece went nowhere, so it cannot be executed with it; then it is there again.
    assert wire.error(session.use("gone", EXECUTE, with_text)[4:])[0] == 1615
    assert not is_error(session.use("gone", EXECUTE, ONCE + b"\0\1\xfd\0\1x"), 1615)
    session.settle()
    session.lose()
    assert not is_error(session.use("gone", EXECUTE, ONCE + b"\0\1\xfd\0\1x"), 1615)


def test_a_statement_is_not_prepared_anew_under_another_mode(stack: ExitStack, guard: Guard, server: Server) -> None:
    names = stack.enter_context(schemas(server, 2, 2, SCHEMA))
    twins = connect_twins(stack, guard, server, names)
    through, _ = twins
    for session in twins:
        session.run("SET sql_mode = 'ANSI_QUOTES'")
    # MySQL takes the parameter for text, and prepares the statement anew when it gets a number.
    prepare(twins, "column", 'SELECT "v", ? FROM t')
    a_number = ONCE + b"\0\1\x03\0" + (7).to_bytes(4, "little")
    compare(twins, "column", EXECUTE, a_number)
    through.settle()
    through.lose()
    for session in twins:
        session.run("SET sql_mode = ''")
    for _ in range(2):
        code, _, message = wire.error(through.use("column", EXECUTE, a_number)[4:])
        assert code == 1615
        assert "another sql_mode" in message
    for session in twins:
        session.run("SET sql_mode = 'ANSI_QUOTES'")
    compare(twins, "column", EXECUTE, a_number)
    for session in twins:
        session.run("SET sql_mode = ''")
    compare(twins, "column", EXECUTE, a_number)


def test_the_option_for_several_statements(stack: ExitStack, guard: Guard, server: Server) -> None:
    names = stack.enter_context(schemas(server, 2, 1))
    for option in (b"\1\0", b"\0\0"):
        twins = connect_twins(stack, guard, server, names)
        for session in twins:
            session.ask(b"\x1b" + option)
        twins[0].settle()
        twins[0].lose()
        restored, untouched = (session.run("SELECT 1; SELECT 2", "SELECT 3") for session in twins)
        assert restored == untouched


#: After these, it is known or can be had again what there is to look back at, so there must be no error.
PLAIN_LEFTOVERS = {
    "DO 0": ("ROW_COUNT", "SHOW"),
    "SELECT v FROM t": ("ROW_COUNT", "SHOW"),
    "COMMIT": ("ROW_COUNT", "SHOW"),
    "INSERT INTO t (v) VALUES ('x'), ('y')": ("SHOW",),
}
LEFTOVERS = (
    *PLAIN_LEFTOVERS,
    "UPDATE t SET v = CONCAT(v, '!')",
    "SELECT SQL_CALC_FOUND_ROWS v FROM t LIMIT 1",
    "SELECT v FROM t WHERE v = 1",
    "INSERT IGNORE INTO t (id, v) VALUES (1, 'x')",
    "SELECT nonsense",
    "SET NAMES utf8mb4",
)
LOOKS_BACK = (
    "SELECT ROW_COUNT()",
    "SELECT FOUND_ROWS()",
    "SELECT LAST_INSERT_ID()",
    "SHOW WARNINGS",
    "SHOW ERRORS",
    "SHOW COUNT(*) WARNINGS",
    "SELECT @@warning_count, @@error_count",
    "GET DIAGNOSTICS @n = NUMBER, @m = ROW_COUNT",
)


def test_looking_back(stack: ExitStack, guard: Guard, server: Server) -> None:
    names = stack.enter_context(schemas(server, 2, 2, SCHEMA))
    twins = {}
    for leftover in LEFTOVERS:
        for look in LOOKS_BACK:
            if leftover.startswith("SET NAMES") and look != "SELECT ROW_COUNT()":
                continue
            through, direct = twins[leftover, look] = connect_twins(stack, guard, server, names, autocommit=True)
            direct.run("SET @settled = 1")
            through.settle()
    for (leftover, _), (through, direct) in twins.items():
        assert through.run(leftover) == direct.run(leftover), leftover
    lose_all({" > ".join(names): through for names, (through, _) in twins.items()}, settled=False)
    for (leftover, look), (through, direct) in twins.items():
        (restored,), (untouched,) = through.run(look), direct.run(look)
        if is_error(restored, 1180):
            assert b"earlier link" in restored
            assert not any(word in look for word in PLAIN_LEFTOVERS.get(leftover, ())), (leftover, look)
            assert "LAST_INSERT_ID" not in look or leftover.startswith("INSERT"), leftover
        else:
            assert restored == untouched, (leftover, look)
            assert through.run("SELECT @n, @m") == direct.run("SELECT @n, @m"), (leftover, look)
        (restored,), (untouched,) = through.run("SELECT 1"), direct.run("SELECT 1")
        assert restored == untouched


def test_an_id_that_went_with_its_link_is_not_made_up(stack: ExitStack, guard: Guard, server: Server) -> None:
    names = stack.enter_context(schemas(server, 2, 2, SCHEMA))
    through, _ = connect_twins(stack, guard, server, names, autocommit=True)
    insert, given = "INSERT INTO t (v) VALUES ('y')", "INSERT INTO t (id, v) VALUES (99, 'z')"
    ask = "SELECT LAST_INSERT_ID()"
    through.run(insert)
    through.settle()
    # The link has to be lost before the guard has read it back, a tenth of a second later.
    for _ in range(10):
        through.run("SELECT LAST_INSERT_ID(1)")
        through.lose()
        answer = through.ask(query(ask))
        if is_error(answer, 1180):
            break
    assert is_error(answer, 1180)
    # Not this one's, which does not generate an id.
    through.run(given)
    assert is_error(through.ask(query(ask)), 1180)
    through.lose()
    assert is_error(through.ask(query(ask)), 1180)
    assert is_error(through.ask(query(f"SELECT '{'x' * HOLD_ABOVE}', LAST_INSERT_ID()")), 1180)
    through.run(insert)
    assert through.rows(ask) == ((100,),)
    through.settle()
    through.lose()
    assert through.rows(ask) == ((100,),)


@pytest.mark.parametrize("capabilities", [CAPABILITIES, NO_EOF, LISTENING], ids=["plain", "no EOF", "session track"])
def test_writes_to_a_binary_log(own_server: StartServer, start_guard: StartGuard, capabilities: int) -> None:
    server = own_server("--log-bin=log", "--server-id=7")
    guard = start_guard(address(server))
    insert = "INSERT INTO t (v) VALUES ('x')"
    writes = (insert, insert, "UPDATE t SET v = 'y'", "DELETE FROM t LIMIT 1")
    with ExitStack() as stack:
        names = stack.enter_context(schemas(server, 2, 2, SCHEMA))
        through, direct = connect_twins(stack, guard, server, names, client_flag=capabilities, autocommit=True)
        assert through.run(*writes) == direct.run(*writes)
        through.settle()
        through.lose()
        assert through.run(*STANDARD, *writes) == direct.run(*STANDARD, *writes)


def test_a_transaction_that_is_lost_while_the_id_is_asked_for(own_server: StartServer, start_guard: StartGuard) -> None:
    server = own_server()
    guard = start_guard(address(server))
    with ExitStack() as stack:
        names = stack.enter_context(schemas(server, 2, 2, SCHEMA))
        through, _ = connect_twins(stack, guard, server, names, autocommit=True)
        through.run("SELECT LAST_INSERT_ID(1)")
        through.lose()
        through.run("BEGIN", "INSERT INTO t (v) VALUES ('lost')")
        server.pause()
        through.talk.send(query("SELECT LAST_INSERT_ID()"))
        time.sleep(0.3)  # the guard asks for it before it lets the client; should it not have yet, no harm is done
        server.crash()
        server.restart()
        assert wire.error(wire.receive(through.connection)[1])[0] == 1213
        assert through.rows("SELECT COUNT(*) FROM t WHERE v = 'lost'") == ((0,),)


def connect_driver(stack: ExitStack, guard: Guard, server: Server, **settings: Any) -> tuple[Any, Watched]:
    """Connect with Oracle's driver."""
    connection: Any = stack.enter_context(
        closing(mysql.connector.connect(host=guard.host, port=guard.port, use_pure=True, **settings))
    )

    def run(sql: str) -> Any:
        with closing(connection.cursor()) as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else None

    return connection, Watched(guard, server, connection.connection_id, run)


def test_a_driver_with_prepared_cursors(stack: ExitStack, guard: Guard, server: Server, schema: str) -> None:
    connection, session = connect_driver(stack, guard, server, user="root", password="", database=schema)
    connection.autocommit = True
    with closing(connection.cursor(prepared=True)) as insert, closing(connection.cursor(prepared=True)) as select:
        with closing(connection.cursor()) as cursor:
            cursor.execute("CREATE TABLE t (n INT, d DOUBLE, v TEXT)")
        rows = [(1, 1.5, "one"), (2, None, "zwölf"), (None, 2.5, None), (4, -0.5, "x" * 1000)]
        for count, row in enumerate(rows, 1):
            insert.execute("INSERT INTO t VALUES (%s, %s, %s)", row)
            select.execute("SELECT * FROM t WHERE n <=> %s OR %s ORDER BY v", (row[0], 0))
            assert select.fetchall() == [row]
            session.settle()
            session.lose()
            select.execute("SELECT * FROM t WHERE n <=> %s OR %s ORDER BY v", (-1, 1))
            assert len(select.fetchall()) == count


@pytest.fixture
def other_user(server: Server, schema: str) -> Iterator[str]:
    server.execute("CREATE USER 'other'@'127.0.0.1' IDENTIFIED BY 'secret'")
    server.execute(f"GRANT ALL ON {schema}.* TO 'other'@'127.0.0.1'")
    yield "other"
    server.execute("DROP USER 'other'@'127.0.0.1'")


OLD_STATE = (
    "SET time_zone = '+03:00', @@lock_wait_timeout = 99",
    "SET @a = 'old', @b = 2",
    "SET NAMES latin1 COLLATE latin1_bin",
    "PREPARE p FROM 'SELECT 1'",
    "DO LAST_INSERT_ID(5)",
    "SET SESSION TRANSACTION READ ONLY",
)
LOOK_FOR_OLD_STATE = (
    "SELECT @@time_zone, @@lock_wait_timeout, @a, @b, LAST_INSERT_ID(), @@collation_connection",
    "SELECT DATABASE(), CURRENT_USER()",
)


def test_another_user(stack: ExitStack, guard: Guard, server: Server, schema: str, other_user: str) -> None:
    answers = []
    for connect in (True, False):
        target: Any = guard if connect else server
        connection: Any = stack.enter_context(
            closing(
                mysql.connector.connect(
                    host=target.host, port=target.port, use_pure=True, user="root", password="", autocommit=True
                )
            )
        )

        def run(sql: str, connection: Any = connection) -> Any:
            with closing(connection.cursor()) as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else None

        session = Watched(guard, server, connection.connection_id, run) if connect else None

        def lose(session: Watched | None = session) -> None:
            if session is not None:
                session.settle()
                session.lose()

        for statement in OLD_STATE:
            run(statement)
        lose()
        found = [run(look) for look in LOOK_FOR_OLD_STATE]
        connection.cmd_change_user(other_user, "secret", schema)
        found += [run(look) for look in LOOK_FOR_OLD_STATE]
        lose()
        found += [run(look) for look in LOOK_FOR_OLD_STATE]
        run("SET time_zone = '+04:00', @a = 'new'")
        run("CREATE TABLE IF NOT EXISTS t (n INT)")
        with closing(connection.cursor(prepared=True)) as cursor:
            cursor.execute("SELECT %s, @a", (1,))
            found.append(cursor.fetchall())
            lose()
            cursor.execute("SELECT %s, @a", (2,))
            found.append(cursor.fetchall())
        found += [run(look) for look in LOOK_FOR_OLD_STATE]
        with pytest.raises(mysql.connector.Error) as unknown:
            run("EXECUTE p")
        found.append(unknown.value.errno)
        answers.append(found)
    assert answers[0] == answers[1]


def test_a_reset_session(stack: ExitStack, guard: Guard, server: Server) -> None:
    names = stack.enter_context(schemas(server, 2, 2, SCHEMA))
    twins = connect_twins(stack, guard, server, names)
    through, direct = twins
    prepare(twins, "old", "SELECT 'old'")
    numbers = through.statements["old"]
    for statements in (OLD_STATE, ("USE {1}", "SET @a = 'again', time_zone = '+05:00'")):
        assert through.run(*statements) == direct.run(*statements)
        through.settle()
        through.lose()
        assert through.ask(b"\x1f") == direct.ask(b"\x1f")
        for loss in (False, True):
            if loss:
                through.settle()
                through.lose()
            for look in (*LOOK_FOR_OLD_STATE, "EXECUTE p", *STANDARD):
                assert through.run(look) == direct.run(look), (loss, look)
            assert is_error(through.ask(bytes((EXECUTE,)) + numbers + ONCE), 1243)


def test_the_multi_statement_option_outlives_a_reset(stack: ExitStack, guard: Guard, server: Server) -> None:
    names = stack.enter_context(schemas(server, 2, 2, SCHEMA))
    through, direct = connect_twins(stack, guard, server, names)
    two = b"\x03DO 1; DO 2"
    was_on = not is_error(direct.ask(two), 1064)
    assert through.ask(two) == direct.ask(two)
    for option in (b"\x1b" + bytes((was_on, 0)), b"\x1f"):
        assert through.ask(option) == direct.ask(option)
    for loss in (False, True):
        if loss:
            through.settle()
            through.lose()
        answer = through.ask(two)
        assert answer == direct.ask(two)
        assert is_error(answer, 1064) == was_on


def test_the_schema_of_a_reset_session(stack: ExitStack, guard: Guard, server: Server) -> None:
    names = stack.enter_context(schemas(server, 2, 2, SCHEMA))
    twins = connect_twins(stack, guard, server, names)
    through, direct = twins
    prepare(twins, "insert", "INSERT INTO t (v) VALUES ('x')")
    for session in twins:
        session.run("USE {1}")
    # While it is executed, the session is in the other schema.
    compare(twins, "insert", EXECUTE, ONCE)
    assert through.ask(b"\x1f") == direct.ask(b"\x1f")
    through.lose()
    assert through.run("SELECT DATABASE()", "SELECT * FROM t") == direct.run("SELECT DATABASE()", "SELECT * FROM t")
