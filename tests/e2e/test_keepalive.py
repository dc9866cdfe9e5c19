"""Nothing idle dies, and the session cannot tell that it was kept alive."""

import time
from collections.abc import Iterator
from contextlib import closing, nullcontext, suppress

import pymysql
import pytest

from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.e2e.guarded import Guarded, failure
from tests.guard import Guard
from tests.servers import BlackholeRelay, Connection, Server, StartServer

WAIT_TIMEOUT = 2
DEADLINE_SECONDS = 60


@pytest.fixture(scope="module")
def impatient(server: Server) -> Iterator[None]:
    """Have `server` end sessions that are idle for two seconds."""
    server.execute(f"SET GLOBAL wait_timeout = {WAIT_TIMEOUT}")
    yield
    server.execute("SET GLOBAL wait_timeout = DEFAULT")


def is_connected(server: Server, thread: int) -> bool:
    return bool(server.execute("SELECT 1 FROM information_schema.processlist WHERE id = %s", (thread,)))


def wait_until_ended(server: Server, thread: int) -> None:
    """Wait until the server has ended a session by itself."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while is_connected(server, thread):
        assert time.monotonic() < deadline, "the server does not end idle sessions"
        time.sleep(0.1)


def outlive_direct_sessions(server: Server, times: int) -> None:
    """Stay idle for as long as so many sessions without a guard live, one after the other."""
    for _ in range(times):
        with closing(server.connect()) as direct:
            wait_until_ended(server, wire.thread_id(direct))


#: What a session can look back at after each of these, it must find there after an idle time as well.
LEFTOVERS = (
    "INSERT INTO t (v) VALUES (4), (5)",
    "UPDATE t SET v = v",
    "UPDATE t SET v = v + 1",
    "SELECT SQL_CALC_FOUND_ROWS v FROM t LIMIT 1",
    "SELECT v FROM t WHERE v = 'text'",
    "INSERT IGNORE INTO t (id, v) VALUES (1, 1)",
    "SELECT nonsense",
    "DO 0",
    "COMMIT",
)
LOOKS_BACK = ("SELECT ROW_COUNT()", "SELECT FOUND_ROWS()", "SELECT LAST_INSERT_ID()", "SHOW WARNINGS")


def leave_behind(connection: Connection, leftover: str) -> None:
    # MariaDB's FOUND_ROWS() begins with whatever the session before has left in the same thread.
    wire.query(connection, "SELECT 1")
    wire.query(connection, "CREATE TEMPORARY TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT)")
    wire.query(connection, "INSERT INTO t (v) VALUES (1), (2), (3)")
    with suppress(pymysql.OperationalError) if "nonsense" in leftover else nullcontext():
        wire.query(connection, leftover)


@pytest.mark.usefixtures("impatient")
def test_idle_sessions_live_and_notice_nothing(guard: Guard, server: Server, schema: str) -> None:
    cases = [(leftover, look_back) for leftover in LEFTOVERS for look_back in LOOKS_BACK]
    idle = [guard.connect(database=schema, autocommit=True, ssl_disabled=True) for _ in cases]
    for connection, (leftover, _) in zip(idle, cases, strict=True):
        leave_behind(connection, leftover)
    outlive_direct_sessions(server, 3)
    for connection, (leftover, look_back) in zip(idle, cases, strict=True):
        with closing(connection), closing(server.connect(database=schema, autocommit=True)) as direct:
            leave_behind(direct, leftover)
            assert wire.query(connection, look_back) == wire.query(direct, look_back), (leftover, look_back)
            assert wire.query(connection, "SELECT CONNECTION_ID()") == ((wire.thread_id(connection),),)


@pytest.mark.parametrize("form", ["SET wait_timeout = 2", "SET @@wait_timeout = 2", "SET SESSION wait_timeout := 2"])
def test_a_client_that_sets_its_own_timeout_is_not_kept_alive(guard: Guard, server: Server, form: str) -> None:
    with closing(Guarded(guard)) as session:
        wire.query(session.connection, form)
        thread = session.thread()
        wait_until_ended(server, thread)
        assert session.thread() != thread
        lost = session.wait_until_restored()
        assert (lost["cause"], lost["outcome"]) == ("idle_timeout", "the client has not noticed")
        assert wire.query(session.connection, "SELECT @@wait_timeout") == ((2,),)
        probed = [event["event"] for event in guard.events if event.get("session") == session.id]
        assert "probe" not in probed


@pytest.mark.usefixtures("impatient")
def test_an_idle_transaction_is_kept_alive_only_as_long_as_the_server_would(
    guard: Guard, server: Server, schema: str
) -> None:
    with closing(Guarded(guard, database=schema)) as session:
        wire.query(session.connection, "CREATE TABLE t (n INT) ENGINE=InnoDB")
        wire.query(session.connection, "INSERT INTO t VALUES (1)")
        started = time.monotonic()
        wait_until_ended(server, wire.thread_id(session.connection))
        # It was probed, so it has lived longer than alone, but not for ever.
        assert WAIT_TIMEOUT * 1.2 < time.monotonic() - started < WAIT_TIMEOUT * 4
        assert session.wait_until_restored()["outcome"] == "transaction rolled back"
        code, message = failure(session.connection, "COMMIT")
        assert code == 1213
        assert "rolled back" in message
        assert wire.query(session.connection, "SELECT COUNT(*) FROM t") == ((0,),)


def test_a_frozen_server_is_noticed_by_the_keepalive(own_server: StartServer, start_guard: StartGuard) -> None:
    server = own_server()
    guard = start_guard(
        address(server), upstream={"connect_timeout": "500ms"}, keepalive={"interval": "1s", "probe_timeout": "500ms"}
    )
    with closing(Guarded(guard)) as session:
        server.pause()
        assert "no answer" in guard.wait_for("server is away")["reason"]
        server.resume()
        lost = session.wait_until_restored()
        assert lost["cause"] == "network"
        assert "no answer to a probe within 0.5 s" in lost["seen"]
        assert wire.query(session.connection, "SELECT 1") == ((1,),)


def test_a_black_hole_is_noticed_before_a_command_is_trusted_to_it(server: Server, start_guard: StartGuard) -> None:
    with BlackholeRelay(server.host, server.port) as relay:
        guard = start_guard(
            f"{relay.host}:{relay.port}",
            keepalive={"probe_timeout": "500ms", "validate_after": "0s"},
            reconnect={"wait": "500ms"},
        )
        with closing(Guarded(guard)) as session:
            relay.swallow()
            sent = relay.bytes_to_server
            started = time.monotonic()
            code, message = failure(session.connection, "SELECT 'into the void'")
            assert code == 4031
            assert "not sent" in message
            assert 1 <= time.monotonic() - started < 5
            relay.restore()
            # Enough for an encrypted COM_PING, not for the statement.
            assert relay.bytes_to_server - sent < 40


def test_a_session_that_is_used_again_after_a_while_is_checked_first(server: Server, start_guard: StartGuard) -> None:
    guard = start_guard(address(server), keepalive={"validate_after": "0s"})
    with closing(guard.connect()) as connection:
        wire.query(connection, "DO 0")
        guard.wait_for("probe", command="PING")
        wire.query(connection, "SELECT 1")
        wire.query(connection, "DO 1")
        guard.wait_for("probe", command="STATISTICS")
