"""The link ends while a command is on its way: each command meets its own fate, and the session goes on."""

import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from typing import Any

import pymysql
import pymysql.cursors
import pytest
from pymysql.constants import CLIENT

from protocol.constants import CommandCode, Status
from protocol.framing import build_packet
from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.e2e.guarded import (
    Guarded,
    failure,
    in_background,
    running,
    wait_for_statement,
    wait_until,
    wait_until_gone,
    wait_until_old,
)
from tests.guard import Guard
from tests.servers import BlackholeRelay, Connection, Server, StartServer

#: Rows of the large table: more than the kernel's buffers between server and client hold together.
LARGE_ROWS = 40_000


@pytest.fixture
def table(server: Server, schema: str) -> str:
    """Give the full name of a table with the rows 1, 2 and 3."""
    server.execute(f"CREATE TABLE {schema}.t (n INT PRIMARY KEY, v INT DEFAULT 0) ENGINE=InnoDB")
    server.execute(f"INSERT INTO {schema}.t (n) VALUES (1), (2), (3)")
    return f"{schema}.t"


@pytest.fixture
def session(guard: Guard, table: str, schema: str) -> Iterator[Guarded]:
    """Give a session in autocommit mode."""
    with closing(Guarded(guard, database=schema, autocommit=True)) as session:
        yield session


@contextmanager
def holding(server: Server, *statements: str) -> Iterator[Connection]:
    """Have another session run these statements, which hold a lock until the end of the block."""
    with closing(server.connect(autocommit=False)) as holder:
        for statement in statements:
            wire.query(holder, statement)
        yield holder


def kill(server: Server, words: str) -> int:
    """Wait until a statement with these words runs, and KILL its connection; return the thread that it had."""
    thread = wait_for_statement(server, words)
    server.execute(f"KILL CONNECTION {thread}")
    return thread


def assert_gone(server: Server, thread: int) -> None:
    """See that a server's thread has ended."""
    assert not server.execute("SELECT 1 FROM information_schema.processlist WHERE id = %s", (thread,))


def code_of(running_statement: "Future[Any]") -> int:
    """Wait for a statement that must fail; return the error's code."""
    with pytest.raises(pymysql.MySQLError) as failed:
        running_statement.result(30)
    return int(failed.value.args[0])


def outcome_of(running_statement: "Future[Any]") -> int | None:
    """Wait for a statement; return the error's code, None if it has succeeded."""
    try:
        running_statement.result(30)
    except pymysql.MySQLError as error:
        return int(error.args[0])
    return None


def assert_in_step(session: Guarded, outcome: str, cause: str = "killed") -> None:
    """See that the session goes on, that it is in no transaction, and what the log has on it: one incident."""
    incident = session.wait_until_restored()
    assert (incident["outcome"], incident["cause"]) == (outcome, cause)
    assert session.query("SELECT 'in step'") == (("in step",),)
    session.connection.ping(reconnect=False)
    assert not wire.private(session.connection).server_status & Status.IN_TRANSACTION
    assert len(session.incidents()) == 1


def rows(server: Server, table: str) -> list[int]:
    return [n for (n,) in server.execute(f"SELECT n FROM {table} ORDER BY n")]


# Sent, and no reply.


def test_a_read_is_run_again(session: Guarded, server: Server, table: str) -> None:
    with (
        holding(server, f"LOCK TABLES {table} WRITE") as holder,
        in_background(session.query, "SELECT n FROM t ORDER BY n") as read,
    ):
        first = kill(server, "SELECT n FROM t")
        second = wait_for_statement(server, "SELECT n FROM t", besides=first)
        wire.query(holder, "UNLOCK TABLES")
        assert read.result(30) == ((1,), (2,), (3,))
    assert session.thread() == second != first
    assert_in_step(session, "read run again")


def test_what_a_read_that_is_run_again_has_left_behind(session: Guarded, server: Server, table: str) -> None:

    def read_again(what: str) -> Any:
        select = f"SELECT SQL_CALC_FOUND_ROWS {what} FROM t ORDER BY n LIMIT 1"
        with holding(server, f"LOCK TABLES {table} WRITE") as holder, in_background(session.query, select) as read:
            kill(server, "SQL_CALC_FOUND_ROWS")
            wire.query(holder, "UNLOCK TABLES")
            return read.result(30)

    assert len(read_again("n + 'x'")) == 1
    if server.name == "mysql":  # where the end of the transaction that only reads has cleared them
        assert session.fails("SHOW WARNINGS") == 1180
    else:
        assert len(session.query("SHOW WARNINGS")) > 0
    for question, answer in (("SELECT ROW_COUNT()", -1), ("SELECT FOUND_ROWS()", 3)):
        assert read_again("n") == ((1,),)
        assert session.query(question) == ((answer,),)


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("one_shot", ["", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"])
def test_a_read_that_is_run_again_opens_the_transaction_that_it_would_have_opened(
    guard: Guard, server: Server, table: str, isolation: str, one_shot: str
) -> None:
    with (
        closing(Guarded(guard, database=table.partition(".")[0])) as session,
        closing(server.connect(autocommit=True)) as other,
    ):
        session.query(f"SET SESSION TRANSACTION ISOLATION LEVEL {isolation}")
        session.query("COMMIT")
        if one_shot:
            session.query(one_shot)
        wire.query(other, f"LOCK TABLES {table} WRITE")
        with in_background(session.query, "SELECT COUNT(*), MAX(v) FROM t") as read:
            kill(server, "SELECT COUNT(*), MAX(v)")
            wire.query(other, "UNLOCK TABLES")
            assert read.result(30) == ((3, 0),)
        wire.query(other, "SET SESSION innodb_lock_wait_timeout = 1")
        if one_shot or isolation == "SERIALIZABLE":
            # It has share locks on what it has read.
            assert failure(other, f"UPDATE {table} SET v = v + 1 WHERE n = 1")[0] == 1205
        else:
            wire.query(other, f"UPDATE {table} SET v = v + 1 WHERE n = 1")
            assert session.query("SELECT COUNT(*), MAX(v) FROM t") == ((3, 0),)  # one snapshot
        session.query("UPDATE t SET v = v + 10 WHERE n = 2")
        session.query("COMMIT")
        assert server.execute(f"SELECT v FROM {table} WHERE n = 2") == [(10,)]
        # What was said for one transaction counts for no other.
        if one_shot and isolation != "SERIALIZABLE":
            assert session.query("SELECT COUNT(*) FROM t") == ((3,),)
            wire.query(other, f"UPDATE {table} SET v = v + 1 WHERE n = 1")


def test_a_read_that_fails_again_is_told_the_servers_own_error(session: Guarded, server: Server, table: str) -> None:
    with (
        holding(server, f"LOCK TABLES {table} WRITE") as holder,
        in_background(failure, session.connection, "SELECT n FROM t WHERE n = (SELECT n FROM t)") as read,
    ):
        first = kill(server, "WHERE n = (SELECT")
        wait_for_statement(server, "WHERE n = (SELECT", besides=first)
        wire.query(holder, "UNLOCK TABLES")
        assert read.result(30)[0] == 1242
    assert_in_step(session, "read run again")


def test_of_a_write_nobody_knows(session: Guarded, server: Server, table: str) -> None:
    with (
        holding(server, "BEGIN", f"INSERT INTO {table} (n) VALUES (4)") as holder,
        in_background(session.query, "INSERT INTO t (n) VALUES (4)") as write,
    ):
        kill(server, "INSERT INTO t (n)")
        assert code_of(write) == 1180
        wire.query(holder, "ROLLBACK")
    assert rows(server, table) == [1, 2, 3]
    assert_in_step(session, "error 1180")


@pytest.mark.parametrize("autocommit", [True, False])
def test_a_transaction_is_to_be_started_again(
    guard: Guard, server: Server, table: str, schema: str, *, autocommit: bool
) -> None:
    with closing(Guarded(guard, database=schema, autocommit=autocommit)) as session:
        session.query("START TRANSACTION" if autocommit else "DO 0")
        session.query("UPDATE t SET v = 1 WHERE n = 1")
        with (
            holding(server, "BEGIN", f"UPDATE {table} SET v = 7 WHERE n = 2") as holder,
            in_background(session.query, "UPDATE t SET v = 2 WHERE n = 2") as write,
        ):
            kill(server, "UPDATE t SET v = 2")
            assert code_of(write) == 1213
            wire.query(holder, "ROLLBACK")
        assert server.execute(f"SELECT SUM(v) FROM {table}") == [(0,)]
        # It has been told. What it does next is a transaction of its own.
        session.query("UPDATE t SET v = 3 WHERE n = 3")
        session.query("COMMIT")
        assert server.execute(f"SELECT SUM(v) FROM {table}") == [(3,)]
        assert_in_step(session, "transaction rolled back; error 1213")


def test_a_read_in_a_transaction_is_not_run_again(session: Guarded, server: Server, table: str) -> None:
    session.query("BEGIN")
    session.query("UPDATE t SET v = 1 WHERE n = 1")
    with (
        holding(server, "BEGIN", f"UPDATE {table} SET v = 7 WHERE n = 2") as holder,
        in_background(session.query, "SELECT n FROM t WHERE n = 2 FOR UPDATE") as read,
    ):
        kill(server, "n = 2 FOR UPDATE")
        assert code_of(read) == 1213
        wire.query(holder, "ROLLBACK")
    assert_in_step(session, "transaction rolled back; error 1213")
    assert server.execute(f"SELECT SUM(v) FROM {table}") == [(0,)]


def test_of_a_commit_nobody_knows(session: Guarded, server: Server, table: str) -> None:
    session.query("BEGIN")
    session.query("INSERT INTO t (n) VALUES (4)")
    with holding(server, "FLUSH TABLES WITH READ LOCK") as holder:
        with in_background(session.query, "COMMIT") as commit:
            kill(server, "COMMIT")
            assert code_of(commit) == 1180
        wire.query(holder, "UNLOCK TABLES")
    assert_in_step(session, "transaction rolled back; error 1180")


def test_of_a_definition_nobody_knows(session: Guarded, server: Server, table: str) -> None:
    with holding(server, "BEGIN", f"SELECT * FROM {table}") as holder:
        with in_background(session.query, "ALTER TABLE t ADD COLUMN w INT") as ddl:
            kill(server, "ALTER TABLE t ADD")
            assert code_of(ddl) == 1180
        wire.query(holder, "ROLLBACK")
    assert_in_step(session, "error 1180")


def test_a_definition_in_a_transaction_may_have_committed_it(session: Guarded, server: Server, table: str) -> None:
    session.query("BEGIN")
    session.query("INSERT INTO t (n) VALUES (4)")
    server.execute(f"CREATE TABLE {table}2 (n INT)")
    with holding(server, "BEGIN", f"SELECT * FROM {table}2") as holder:
        with in_background(session.query, "ALTER TABLE t2 ADD COLUMN w INT") as ddl:
            kill(server, "ALTER TABLE t2 ADD")
            assert code_of(ddl) == 1180
        wire.query(holder, "ROLLBACK")
    assert rows(server, table) == [1, 2, 3, 4]
    assert_in_step(session, "transaction rolled back; error 1180")


def test_a_rollback_has_happened(session: Guarded, server: Server, start_guard: StartGuard, schema: str) -> None:
    with BlackholeRelay(server.host, server.port) as relay:
        guard = start_guard(f"{relay.host}:{relay.port}")
        with closing(Guarded(guard, database=schema)) as cut:
            cut.query("INSERT INTO t (n) VALUES (4)")
            relay.swallow()
            with in_background(cut.query, "ROLLBACK") as rollback:
                wait_until(rollback.running, "the ROLLBACK")
                time.sleep(0.1)  # for the guard to send it; if it has not, the same is to be expected
                relay.restore()
                relay.sever()
                assert not rollback.result(30)
            assert cut.query("SELECT COUNT(*) FROM t") == ((3,),)


@pytest.mark.parametrize(
    ("begin", "work", "code"),
    [
        ("BEGIN", "SELECT COUNT(*) FROM t", None),
        ("SET autocommit = 0", "SELECT COUNT(*) FROM t", None),
        ("START TRANSACTION WITH CONSISTENT SNAPSHOT", "SELECT COUNT(*) FROM t", None),
        ("BEGIN", "SELECT n FROM t WHERE n = 1 FOR UPDATE", 1180),  # which counts as a write
        ("BEGIN", "UPDATE t SET v = v + 1 WHERE n = 1", 1180),
        ("BEGIN", "UPDATE t SET v = 7 WHERE n = 77", 1180),  # it could have written
    ],
)
def test_the_commit_of_what_has_only_read(
    session: Guarded, server: Server, start_guard: StartGuard, schema: str, begin: str, work: str, code: int | None
) -> None:
    with BlackholeRelay(server.host, server.port) as relay:
        guard = start_guard(f"{relay.host}:{relay.port}")
        with closing(Guarded(guard, database=schema, autocommit=True)) as cut:
            cut.query(begin)
            times = cut.times_settled()
            cut.query(work)
            if work.startswith("SELECT"):  # whose end could not say what it has done
                cut.wait_until_settled_again(times)
            relay.swallow(new_connections=False)
            with in_background(cut.query, "COMMIT") as commit:
                wait_until(commit.running, "the COMMIT")
                time.sleep(0.1)  # for the guard to send it; if it has not, the same is to be expected
                relay.sever()
                if code is None:
                    assert not commit.result(30)
                else:
                    assert code_of(commit) == code
            assert cut.query("SELECT COUNT(*) FROM t") == ((3,),)


# Functions and procedures.


@pytest.fixture
def function(server: Server, schema: str, table: str) -> str:
    """Give the name of a function that writes down each of its calls."""
    server.execute(f"CREATE TABLE {schema}.calls (n INT) ENGINE=InnoDB")
    server.execute(
        f"CREATE FUNCTION {schema}.f(n INT) RETURNS INT MODIFIES SQL DATA "
        f"BEGIN INSERT INTO {schema}.calls VALUES (n); RETURN n; END"
    )
    return "f"


def calls(server: Server, schema: str) -> int:
    ((count,),) = server.execute(f"SELECT COUNT(*) FROM {schema}.calls")
    return int(count)


def test_a_select_that_writes_is_never_applied_twice(
    server: Server, start_guard: StartGuard, schema: str, function: str
) -> None:
    wait_until_old(server)
    with BlackholeRelay(server.host, server.port) as relay:
        guard = start_guard(f"{relay.host}:{relay.port}")
        with closing(Guarded(guard, database=schema, autocommit=True)) as session:
            with in_background(failure, session.connection, "SELECT f(1), SLEEP(0.5)") as select:
                thread = wait_for_statement(server, "SELECT f(1)")
                relay.sever()
                code, message = select.result(30)
            assert (code, "may or may not" in message) == (1180, True)
            # The server had not noticed. What was done until the client is told is all that will be done.
            assert_gone(server, thread)
            assert calls(server, schema) <= 1
            assert_in_step(session, "read run again", "network")


@pytest.mark.parametrize(
    "before",
    [["CALL fails()"], ["BEGIN", "INSERT INTO t (n) VALUES (10)", "CREATE TABLE t (n INT)"]],
    ids=["a procedure", "an implicit commit"],
)
def test_nothing_is_said_to_be_rolled_back_where_a_failure_may_have_ended_the_transaction(
    server: Server, start_guard: StartGuard, table: str, schema: str, before: list[str]
) -> None:
    server.execute(f"CREATE PROCEDURE {schema}.fails() SIGNAL SQLSTATE '45000'")
    wait_until_old(server)
    with BlackholeRelay(server.host, server.port) as relay:
        guard = start_guard(f"{relay.host}:{relay.port}")
        with closing(Guarded(guard, database=schema, autocommit=True)) as session:
            for statement in before[:-1]:
                session.query(statement)
            assert session.fails(before[-1]) in (1644, 1050)
            with in_background(failure, session.connection, "INSERT INTO t (n) SELECT 11 + SLEEP(0.5)") as insert:
                thread = wait_for_statement(server, "11 + SLEEP")
                relay.sever()
                assert insert.result(30)[0] == 1180
            assert_gone(server, thread)


def test_whoever_is_told_that_an_outcome_is_unknown_hears_of_the_transaction_as_well(
    session: Guarded, server: Server, table: str, schema: str
) -> None:
    server.execute(f"CREATE PROCEDURE {schema}.p() UPDATE {table} SET v = v + 1 WHERE n = 1")
    with holding(server, "BEGIN", f"UPDATE {table} SET v = 7 WHERE n = 1") as holder:
        session.query("BEGIN")
        session.query("INSERT INTO t (n) VALUES (10)")
        with in_background(failure, session.connection, "CALL p()") as call:
            kill(server, "UPDATE")
            code, message = call.result(30)
        wire.query(holder, "ROLLBACK")
    assert code == 1180
    assert "transaction that was open is over" in message
    assert rows(server, table) == [1, 2, 3]


def test_the_results_of_a_procedure_are_not_made_again(
    session: Guarded, server: Server, table: str, schema: str
) -> None:
    server.execute(
        f"CREATE PROCEDURE {schema}.p() BEGIN SELECT 1; UPDATE {table} SET v = v + 1 WHERE n = 1; SELECT 2; END"
    )
    with holding(server, "BEGIN", f"UPDATE {table} SET v = 7 WHERE n = 1") as holder:
        wire.send(session.connection, wire.COM_QUERY, b"CALL p()")
        # The first result has come: number of columns, column, EOF, row, EOF.
        assert [wire.receive(session.connection)[0] for _ in range(5)] == [1, 2, 3, 4, 5]
        kill(server, "UPDATE")
        sequence_id, answer = wire.receive(session.connection)
        assert (sequence_id, wire.error(answer)[0]) == (6, 1180)
        wire.query(holder, "ROLLBACK")
    assert_in_step(session, "error 1180")
    assert server.execute(f"SELECT SUM(v) FROM {table}") == [(0,)]


def test_a_read_that_is_run_again_leaves_no_transaction_where_they_are_chained(
    session: Guarded, server: Server, table: str
) -> None:
    session.query("SET SESSION completion_type = 1")
    with in_background(session.query, "SELECT COUNT(*), SLEEP(1) FROM t WHERE n = 1") as select:
        kill(server, "SLEEP(1)")
        assert select.result(30) == ((1, 0),)
    session.query("INSERT INTO t (n) VALUES (4)")
    assert_in_step(session, "read run again")
    assert rows(server, table) == [1, 2, 3, 4]


# Several statements at once.


@pytest.mark.parametrize("in_transaction", [False, True])
def test_several_statements_in_one(
    guard: Guard, server: Server, table: str, schema: str, *, in_transaction: bool
) -> None:
    with closing(Guarded(guard, database=schema, autocommit=True, client_flag=CLIENT.MULTI_STATEMENTS)) as session:
        session.query("BEGIN" if in_transaction else "DO 0")
        with holding(server, "BEGIN", f"UPDATE {table} SET v = 7 WHERE n = 2") as holder:
            wire.send(
                session.connection, wire.COM_QUERY, b"UPDATE t SET v = 1 WHERE n = 1; UPDATE t SET v = 2 WHERE n = 2"
            )
            assert wire.receive(session.connection)[0] == 1
            kill(server, "UPDATE t SET v = 2")
            sequence_id, answer = wire.receive(session.connection)
            assert (sequence_id, wire.error(answer)[0]) == (2, 1213 if in_transaction else 1180)
            wire.query(holder, "ROLLBACK")
        assert server.execute(f"SELECT SUM(v) FROM {table}") == [(0 if in_transaction else 1,)]
        session.connection.ping(reconnect=False)
        assert session.query("SELECT 'in step'") == (("in step",),)


def test_several_commands_in_one_go(session: Guarded, server: Server, table: str) -> None:
    connection = session.connection
    with holding(server, f"LOCK TABLES {table} WRITE") as holder:
        commands = [b"\x03SELECT COUNT(*) FROM t", b"\x03INSERT INTO t (n) VALUES (4)", b"\x03SELECT 'last'", b"\x0e"]
        wire.write(connection, b"".join(build_packet(command, 0) for command in commands))
        first = kill(server, "SELECT COUNT(*) FROM t")
        wait_for_statement(server, "SELECT COUNT(*) FROM t", besides=first)
        wire.query(holder, "UNLOCK TABLES")
        assert [wire.receive(connection)[0] for _ in range(5)] == [1, 2, 3, 4, 5]
        sequence_id, answer = wire.receive(connection)
        assert (sequence_id, wire.error(answer)[0]) == (1, 1180)
        assert [wire.receive(connection)[0] for _ in range(5)] == [1, 2, 3, 4, 5]
        sequence_id, answer = wire.receive(connection)
        assert (sequence_id, answer[0]) == (1, 0)
    assert rows(server, table) in ([1, 2, 3], [1, 2, 3, 4])
    assert_in_step(session, "read run again; error 1180; read run again")


# In the middle of the reply.


@pytest.fixture
def large(server: Server, schema: str, table: str) -> str:
    """Give the name of a table with many rows."""
    server.execute(f"CREATE TABLE {schema}.large (n INT PRIMARY KEY, v CHAR(200)) ENGINE=InnoDB")
    server.execute(
        f"INSERT INTO {schema}.large SELECT a.n * 1000 + b.n * 100 + c.n * 10 + d.n, REPEAT('x', 200) FROM "
        + ", ".join(
            f"(SELECT 0 AS n{''.join(f' UNION ALL SELECT {n}' for n in range(1, last))}) AS {name}"
            for name, last in (("a", LARGE_ROWS // 1000), ("b", 10), ("c", 10), ("d", 10))
        )
    )
    return "large"


def read_until_it_ends(connection: Connection, sql: str, cut: BlackholeRelay) -> tuple[int, int]:
    """Read a large result row by row, with its link cut behind the first rows; return their number and the error."""
    with suppress(pymysql.MySQLError), connection.cursor(pymysql.cursors.SSCursor) as cursor:
        cursor.execute(sql)
        count = len(cursor.fetchmany(10))
        cut.sever()
        try:
            while cursor.fetchone():
                count += 1
        except pymysql.MySQLError as error:
            wire.private(cursor)._result = None  # closed already; a cursor would read on to the end
            wire.private(connection)._result = None
            return count, error.args[0]
    raise AssertionError("the result has come to its end")


@pytest.mark.parametrize(
    ("sql", "code"), [("SELECT n, v FROM large", 1213), ("SELECT f(n), v FROM large", 1180)], ids=["read", "function"]
)
def test_a_result_that_is_cut_off(
    server: Server, start_guard: StartGuard, schema: str, function: str, large: str, sql: str, code: int
) -> None:
    with BlackholeRelay(server.host, server.port) as relay:
        guard = start_guard(f"{relay.host}:{relay.port}")
        with closing(Guarded(guard, database=schema, autocommit=True, ssl_disabled=True)) as session:
            count, told = read_until_it_ends(session.connection, sql, relay)
            assert told == code
            assert 10 <= count < LARGE_ROWS
            assert_in_step(session, f"error {code}", "network")


# Local files.


def test_a_local_file_that_was_not_at_its_end(session: Guarded, guard: Guard, server: Server, table: str) -> None:
    with closing(Guarded(guard, database=table.partition(".")[0], autocommit=True, local_infile=True)) as loader:
        connection = loader.connection
        wire.send(connection, wire.COM_QUERY, b"LOAD DATA LOCAL INFILE 'f' INTO TABLE t (n)")
        assert wire.receive(connection) == (1, b"\xfbf")
        wire.write(connection, build_packet(b"4\n5\n", 2))
        thread = kill(server, "LOAD DATA LOCAL")
        wait_until_gone(server, thread)
        wire.write(connection, build_packet(b"6\n", 3) + build_packet(b"", 4))
        sequence_id, answer = wire.receive(connection)
        assert (sequence_id, wire.error(answer)[0]) == (5, 1213)
        assert rows(server, table) == [1, 2, 3]
        assert_in_step(loader, "error 1213")


def test_of_a_local_file_that_was_whole_nobody_knows(guard: Guard, server: Server, table: str) -> None:
    with closing(Guarded(guard, database=table.partition(".")[0], autocommit=True, local_infile=True)) as loader:
        connection = loader.connection
        with holding(server, "BEGIN", f"INSERT INTO {table} (n) VALUES (5)") as holder:
            wire.send(connection, wire.COM_QUERY, b"LOAD DATA LOCAL INFILE 'f' INTO TABLE t (n)")
            assert wire.receive(connection) == (1, b"\xfbf")
            wire.write(connection, build_packet(b"4\n5\n", 2) + build_packet(b"", 3))
            wait_until(lambda: bool(server.execute(LOCK_WAITS)), "a wait for a lock")
            kill(server, "LOAD DATA LOCAL")
            sequence_id, answer = wire.receive(connection)
            assert (sequence_id, wire.error(answer)[0]) == (4, 1180)
            wire.query(holder, "ROLLBACK")
        assert rows(server, table) == [1, 2, 3]
        assert_in_step(loader, "error 1180")


LOCK_WAITS = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"


# Binary prepared statements.


def execute(connection: Connection, statement: int, flags: int = 0) -> None:
    argument = statement.to_bytes(4, "little") + bytes((flags,)) + (1).to_bytes(4, "little")
    wire.send(connection, wire.COM_STMT_EXECUTE, argument)


def test_the_execution_of_a_read_is_repeated(session: Guarded, server: Server, table: str) -> None:
    connection = session.connection
    statement = wire.prepare(connection, "SELECT n FROM t ORDER BY n")
    with holding(server, f"LOCK TABLES {table} WRITE") as holder:
        execute(connection, statement)
        first = kill(server, "SELECT n FROM t ORDER")
        wait_for_statement(server, "SELECT n FROM t ORDER", besides=first)
        wire.query(holder, "UNLOCK TABLES")
        # Number of columns, column, EOF, three rows, EOF.
        reply = [wire.receive(connection) for _ in range(7)]
    assert [sequence_id for sequence_id, _ in reply] == [1, 2, 3, 4, 5, 6, 7]
    assert [payload[2] for _, payload in reply[3:6]] == [1, 2, 3]
    assert_in_step(session, "read run again")


def test_of_the_execution_of_a_write_nobody_knows(session: Guarded, server: Server, table: str) -> None:
    connection = session.connection
    statement = wire.prepare(connection, "INSERT INTO t (n) VALUES (4)")
    with holding(server, "BEGIN", f"INSERT INTO {table} (n) VALUES (4)") as holder:
        execute(connection, statement)
        kill(server, "INSERT INTO t (n)")
        sequence_id, answer = wire.receive(connection)
        assert (sequence_id, wire.error(answer)[0]) == (1, 1180)
        wire.query(holder, "ROLLBACK")
    assert_in_step(session, "error 1180")
    # The statement is there, on the new link as well.
    execute(connection, statement)
    assert wire.receive(connection)[1][0] == 0
    assert rows(server, table) == [1, 2, 3, 4]


def test_a_cursor_ends_with_its_link(session: Guarded, server: Server) -> None:
    connection = session.connection
    statement = wire.prepare(connection, "SELECT n FROM t ORDER BY n")
    execute(connection, statement, flags=1)
    assert [wire.receive(connection)[0] for _ in range(3)] == [1, 2, 3]
    fetch = statement.to_bytes(4, "little") + (1).to_bytes(4, "little")
    wire.send(connection, CommandCode.STMT_FETCH, fetch)
    assert [wire.receive(connection)[0] for _ in range(2)] == [1, 2]
    server.execute(f"KILL CONNECTION {session.known}")
    wait_until_gone(server, session.known)
    wire.send(connection, CommandCode.STMT_FETCH, fetch)
    sequence_id, answer = wire.receive(connection)
    code, sqlstate, message = wire.error(answer)
    assert (sequence_id, code, sqlstate) == (1, 4031, "08S01")
    assert "an open cursor" in message
    assert "not sent" in message
    wire.vanish(connection)


# A server that says what it is about to do, or does not come to it.


def test_nothing_is_sent_to_a_silent_server(own_server: StartServer, start_guard: StartGuard) -> None:
    server = own_server()
    server.execute("CREATE TABLE test.t (n INT)")
    guard = start_guard(
        address(server),
        upstream={"connect_timeout": "300ms"},
        keepalive={"validate_after": "0s", "probe_timeout": "300ms"},
    )
    with closing(Guarded(guard, database="test", autocommit=True)) as session:
        server.pause()
        with in_background(session.query, "INSERT INTO t VALUES (1)") as write:
            guard.wait_for("server is away")
            server.resume()
            write.result(30)
        assert server.execute("SELECT n FROM test.t") == [(1,)]
        assert_in_step(session, "the client has not noticed", "network")


@pytest.mark.parametrize("end", ["stop", "crash"])
def test_a_server_that_stops_while_statements_run(own_server: StartServer, start_guard: StartGuard, end: str) -> None:
    server = own_server()
    server.execute("CREATE TABLE test.t (n INT PRIMARY KEY, v INT) ENGINE=InnoDB")
    server.execute("INSERT INTO test.t VALUES (1, 0), (2, 0)")
    guard = start_guard(address(server))
    with (
        closing(Guarded(guard, database="test", autocommit=True)) as reader,
        closing(Guarded(guard, database="test", autocommit=True)) as writer,
        closing(Guarded(guard, database="test")) as worker,
        closing(server.connect(database="test", autocommit=False)) as holder,
    ):
        wire.query(holder, "UPDATE t SET v = 7 WHERE n = 1")
        worker.query("UPDATE t SET v = 1 WHERE n = 2")
        with (
            in_background(reader.query, "SELECT v, SLEEP(1) FROM t WHERE n = 2 LOCK IN SHARE MODE") as locked_read,
            in_background(writer.query, "UPDATE t SET v = 2 WHERE n = 1") as write,
            in_background(worker.query, "UPDATE t SET v = 3 WHERE n = 1") as change,
        ):
            for words in ("LOCK IN SHARE MODE", "SET v = 2", "SET v = 3"):
                wait_for_statement(server, words)
            if end == "stop":
                server.stop()
            else:
                server.crash()
            server.restart()
            # What a server ends first on its way down may be what the others wait for, so that they come to their end.
            told = outcome_of(write)
            assert told in (None, 1180) or (told == 1213 and (server.name, end) == ("mysql", "stop"))
            if outcome_of(change) is None:
                assert worker.fails("SELECT 'still in the transaction?'") == 1213
            outcome_of(locked_read)
        for session in (reader, writer, worker):
            # Only the writer's statement was one that could be committed.
            assert session.query("SELECT v FROM t WHERE n = 2") == ((0,),)
            assert session.query("SELECT v FROM t WHERE n = 1") in (((0,),), ((2,),))
            (incident,) = session.incidents()
            assert incident["event"] == "link lost and restored"
    assert not running(server, "SET v")
