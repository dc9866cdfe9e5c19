"""The thread of a lost link is gone before anybody is told what became of its work; nobody else's thread is ended."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.e2e.guarded import Guarded, failure, in_background, wait_for_statement, wait_until, wait_until_old
from tests.servers import BlackholeRelay, Connection, Server, StartServer

#: A session is to be given up soon where nothing answers.
IMPATIENT = {"probe_timeout": "500ms", "validate_after": "0s"}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def relay(stack: ExitStack, server: Server) -> BlackholeRelay:
    wait_until_old(server)
    return stack.enter_context(BlackholeRelay(server.host, server.port))


@pytest.fixture
def table(server: Server, schema: str) -> str:
    server.execute(f"CREATE TABLE {schema}.t (n INT PRIMARY KEY, v INT DEFAULT 0) ENGINE=InnoDB")
    server.execute(f"INSERT INTO {schema}.t (n) VALUES (1), (2)")
    return f"{schema}.t"


def connect(stack: ExitStack, start_guard: StartGuard, relay: BlackholeRelay, **kwargs: Any) -> Guarded:
    guard = start_guard(f"{relay.host}:{relay.port}", keepalive=IMPATIENT)
    return stack.enter_context(closing(Guarded(guard, **kwargs)))


def uptime(server: Server) -> int:
    ((_, seconds),) = server.execute("SHOW GLOBAL STATUS LIKE 'Uptime'")
    return int(seconds)


def exists(server: Server, thread: int) -> bool:
    return bool(server.execute("SELECT 1 FROM information_schema.processlist WHERE id = %s", (thread,)))


FAULTS: dict[str, Callable[[BlackholeRelay], None]] = {"reset": BlackholeRelay.sever, "hung up": BlackholeRelay.hang_up}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_write_is_not_carried_out_after_its_client_was_told(
    stack: ExitStack, start_guard: StartGuard, server: Server, relay: BlackholeRelay, table: str, fault: str
) -> None:
    session = connect(stack, start_guard, relay, database=table.partition(".")[0], autocommit=True)
    with closing(server.connect(autocommit=False)) as holder:
        wire.query(holder, f"UPDATE {table} SET v = 7 WHERE n = 1")
        with in_background(failure, session.connection, "UPDATE t SET v = v + 1 WHERE n = 1") as update:
            thread = wait_for_statement(server, "v = v + 1")
            FAULTS[fault](relay)
            code, message = update.result(30)
        assert (code, "could not be ended" in message) == (1180, False)
        # Without the guard's help, it would go on waiting for the row, and get it now.
        assert not exists(server, thread)
        wire.query(holder, "ROLLBACK")
    assert session.query("SELECT v FROM t WHERE n = 1") == ((0,),)


def test_a_transaction_that_is_begun_again_does_not_wait_for_the_lost_one(
    stack: ExitStack, start_guard: StartGuard, server: Server, relay: BlackholeRelay, table: str
) -> None:
    session = connect(stack, start_guard, relay, database=table.partition(".")[0], autocommit=True)
    session.query("SET SESSION innodb_lock_wait_timeout = 1")
    session.query("BEGIN")
    session.query("UPDATE t SET v = 1 WHERE n = 1")
    relay.swallow(new_connections=False)  # the server does not notice
    assert session.fails("UPDATE t SET v = 1 WHERE n = 2") == 1213
    assert not exists(server, session.known)
    session.query("BEGIN")
    session.query("UPDATE t SET v = 2 WHERE n = 1")
    session.query("COMMIT")
    assert server.execute(f"SELECT v FROM {table} ORDER BY n") == [(2,), (0,)]


def test_a_frozen_server(stack: ExitStack, start_guard: StartGuard, own_server: StartServer) -> None:
    server = own_server()
    wait_until_old(server)
    server.execute("CREATE TABLE test.t (n INT PRIMARY KEY)")
    guard = start_guard(address(server), keepalive=IMPATIENT)
    session = stack.enter_context(closing(Guarded(guard, database="test", autocommit=True)))
    session.query("BEGIN")
    session.query("INSERT INTO t VALUES (1)")
    server.pause()
    try:
        with in_background(session.fails, "INSERT INTO t VALUES (2)") as insert:
            guard.wait_for("server is away")
            server.resume()
            assert insert.result(30) == 1213
    finally:
        server.resume()
    assert not exists(server, session.known)
    session.query("INSERT INTO t VALUES (1)")


def occupy(stack: ExitStack, server: Server, thread: int) -> Connection:
    """Have another session get a thread of this id."""
    while True:
        connection = stack.enter_context(closing(server.connect()))
        if wire.thread_id(connection) == thread:
            return connection
        assert wire.thread_id(connection) < thread


def test_the_thread_of_somebody_else_on_a_server_that_was_restarted(
    stack: ExitStack, start_guard: StartGuard, own_server: StartServer
) -> None:
    server = own_server()
    relay = stack.enter_context(BlackholeRelay(server.host, server.port))
    for _ in range(30):  # more threads than there are right after a start
        server.connect().close()
    born = uptime(server)
    session = connect(stack, start_guard, relay, autocommit=True)
    session.query("BEGIN")
    # Servers count their uptime in whole seconds: a link has to be a little older than that.
    wait_until(lambda: uptime(server) >= born + 3, "three seconds")
    relay.swallow(new_connections=False)
    server.crash()
    server.restart()
    other = occupy(stack, server, session.known)
    # Its threads have ended with it.
    code, message = failure(session.connection, "SELECT 1")
    assert (code, "could not be ended" in message) == (1213, False)
    assert wire.query(other, "SELECT 1") == ((1,),)


def test_the_thread_of_somebody_else_on_another_server(
    stack: ExitStack, start_guard: StartGuard, own_server: StartServer
) -> None:
    server, other_server = own_server(), own_server()
    wait_until_old(server)
    relay = stack.enter_context(BlackholeRelay(server.host, server.port))
    for _ in range(30):
        server.connect().close()
    session = connect(stack, start_guard, relay, autocommit=True)
    session.query("BEGIN")
    relay.swallow(new_connections=False)
    relay._server = (other_server.host, other_server.port)
    other = occupy(stack, other_server, session.known)
    # The old server may still run, and nobody can ask it any more.
    code, message = failure(session.connection, "SELECT 1")
    assert (code, "could not be ended" in message) == (1213, True)
    assert wire.query(other, "SELECT 1") == ((1,),)
    assert exists(server, session.known)
