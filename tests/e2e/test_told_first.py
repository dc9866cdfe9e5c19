"""What may have been carried out is told by 1180; only the statement after it hears that the session is over."""

from collections.abc import Iterator
from contextlib import closing

import pymysql
import pytest

from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.e2e.guarded import Guarded, failure, in_background, wait_for_statement, wait_until, wait_until_gone
from tests.e2e.onlooker import ask_for
from tests.guard import Guard
from tests.servers import BlackholeRelay, Connection, Server, StartServer

#: What a new link cannot have, or not yet.
HOLDS = (
    "SELECT GET_LOCK('mine', 0)",
    "CREATE TEMPORARY TABLE held (n INT)",
    "SET @a = 1, @b = (SELECT 2)",
    "SET timestamp = 1",
    "HANDLER t OPEN",
)


@pytest.fixture
def table(server: Server, schema: str) -> str:
    server.execute(f"CREATE TABLE {schema}.t (n INT PRIMARY KEY, v INT DEFAULT 0) ENGINE=InnoDB")
    server.execute(f"INSERT INTO {schema}.t (n) VALUES (1), (2)")
    return f"{schema}.t"


@pytest.fixture
def holder(server: Server, table: str) -> Iterator[Connection]:
    """Give a session that has locked a row, for which a write has to wait."""
    with closing(server.connect(autocommit=False)) as holder:
        wire.query(holder, f"UPDATE {table} SET v = 7 WHERE n = 1")
        yield holder


def is_running(session: Guarded) -> bool:
    """Ask the guard whether it waits for the answer to a command of the session."""
    (row,) = (row for row in ask_for(session.guard, "/sessions")["sessions"] if row["id"] == session.id)
    return bool(row["running"])


def is_over(session: Guarded, reason: str) -> None:
    """See that the session tells the next statement that it was not sent, and why, and hangs up."""
    code, message = failure(session.connection, "SELECT 1")
    assert code == 4031
    assert reason in message
    assert "This command was not sent" in message
    with pytest.raises(pymysql.Error):
        wire.query(session.connection, "SELECT 1")


@pytest.mark.parametrize("hold", HOLDS)
@pytest.mark.parametrize("begin", ["", "BEGIN"])
def test_a_write_in_a_session_that_cannot_come_back(
    guard: Guard, server: Server, table: str, holder: Connection, hold: str, begin: str
) -> None:
    with closing(Guarded(guard, database=table.partition(".")[0], autocommit=True)) as session:
        for statement in (hold, begin):
            if statement:
                session.query(statement)
        with in_background(failure, session.connection, "UPDATE t SET v = 1 WHERE n = 1") as write:
            server.execute(f"KILL CONNECTION {wait_for_statement(server, 'SET v = 1')}")
            code, message = write.result(30)
        assert (code, "unknown" in message) == ((1213, False) if begin else (1180, True))
        is_over(session, "a new link cannot have")


@pytest.mark.parametrize("hold", ["", *HOLDS[:2]])
def test_a_commit_that_was_under_way(server: Server, start_guard: StartGuard, table: str, hold: str) -> None:
    with BlackholeRelay(server.host, server.port) as relay:
        guard = start_guard(f"{relay.host}:{relay.port}", keepalive={"validate_after": "1h"})
        with closing(Guarded(guard, database=table.partition(".")[0], autocommit=True)) as session:
            for statement in (hold, "BEGIN", "UPDATE t SET v = 1 WHERE n = 1"):
                if statement:
                    session.query(statement)
            relay.swallow(new_connections=False)
            with in_background(failure, session.connection, "COMMIT") as commit:
                wait_until(lambda: is_running(session), "the COMMIT")
                relay.sever()
                code, message = commit.result(30)
            assert (code, "may or may not" in message) == (1180, True)
            if hold:
                is_over(session, "a new link cannot have")
            else:
                assert session.query("SELECT 1") == ((1,),)


@pytest.mark.parametrize("hold", ["", *HOLDS[:2]])
@pytest.mark.parametrize(
    ("statement", "code"), [("UPDATE t SET v = 1 WHERE n = 1", 1180), ("SELECT 1 FROM (SELECT SLEEP(30)) waits", 1180)]
)
def test_no_server_comes_back_in_time(
    start_guard: StartGuard, own_server: StartServer, hold: str, statement: str, code: int
) -> None:
    server = own_server()
    server.execute("CREATE TABLE test.t (n INT PRIMARY KEY, v INT) ENGINE=InnoDB")
    server.execute("INSERT INTO test.t (n) VALUES (1)")
    guard = start_guard(address(server), reconnect={"wait": "300ms"})
    with (
        closing(server.connect(autocommit=False)) as holder,
        closing(Guarded(guard, database="test", autocommit=True)) as session,
    ):
        wire.query(holder, "UPDATE test.t SET v = 7 WHERE n = 1")
        if hold:
            session.query(hold)
        with in_background(failure, session.connection, statement) as waiting:
            wait_for_statement(server, statement[:20])
            server.crash()
            told = waiting.result(30)
        assert told[0] == code
        assert "it may still carry the statement out" in told[1]
        is_over(session, "a new link cannot have" if hold else "no new link could be had")


def test_an_account_that_is_not_let_in_again(guard: Guard, server: Server, table: str, holder: Connection) -> None:
    schema = table.partition(".")[0]
    server.execute(f"CREATE USER u_{schema}@'%' IDENTIFIED BY 'secret'")
    server.execute(f"GRANT ALL ON {schema}.* TO u_{schema}@'%'")
    with closing(Guarded(guard, user=f"u_{schema}", password="secret", database=schema, autocommit=True)) as session:
        with in_background(failure, session.connection, "UPDATE t SET v = 1 WHERE n = 1") as write:
            thread = wait_for_statement(server, "SET v = 1")
            server.execute(f"DROP USER u_{schema}@'%'")
            server.execute(f"KILL CONNECTION {thread}")
            assert write.result(30)[0] == 1180
        is_over(session, "does not")
        wait_until_gone(server, thread)
