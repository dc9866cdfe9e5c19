"""A session that was idle when its link ended comes back by itself, and whoever can go on does so without a word."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.e2e.guarded import Guarded, failure, in_background, wait_until, wait_until_gone, wait_until_old
from tests.e2e.talk import Talk
from tests.guard import Guard
from tests.servers import BlackholeRelay, Connection, Server, StartServer

UNNOTICED = "the client has not noticed"
RENEWED = "snapshot renewed"
ROLLED_BACK = "transaction rolled back"

DEPRECATE_EOF = 1 << 24


@pytest.fixture
def table(server: Server, schema: str) -> str:
    """Give the full name of a table with the rows 1 and 2."""
    server.execute(f"CREATE TABLE {schema}.t (n INT PRIMARY KEY) ENGINE=InnoDB")
    server.execute(f"INSERT INTO {schema}.t VALUES (1), (2)")
    return f"{schema}.t"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connect(stack: ExitStack, guard: Guard, **kwargs: Any) -> Guarded:
    return stack.enter_context(closing(Guarded(guard, **kwargs)))


def assert_restored(session: Guarded, outcome: str, *causes: str) -> None:
    """Wait until a session is back, before it has asked for anything."""
    incident = session.wait_until_restored()
    assert incident["outcome"] == outcome
    assert incident["cause"] in causes
    assert len(session.incidents()) == 1


def session_incidents(session: Guarded) -> list[dict[str, Any]]:
    """Wait for a session's first incident, whatever there is of others in between; return all of it."""
    wait_until(lambda: bool(session.incidents()), "an incident")
    return session.incidents()


# The ways in which a link can end.


def test_killed(stack: ExitStack, guard: Guard, server: Server) -> None:
    wait_until_old(server)
    session = connect(stack, guard, autocommit=True)
    session.query("SET @mine = 'kept'")
    session.settle()
    server.execute(f"KILL CONNECTION {session.known}")
    assert_restored(session, UNNOTICED, "killed")
    assert session.query("SELECT @mine") == (("kept",),)
    assert session.thread() != session.known


@pytest.mark.parametrize("end", ["stop", "crash"])
def test_the_server_is_started_anew(
    stack: ExitStack, own_server: StartServer, start_guard: StartGuard, end: str
) -> None:
    server = own_server()
    server.execute("CREATE TABLE test.t (n INT) ENGINE=InnoDB")
    guard = start_guard(address(server))
    idle = connect(stack, guard, autocommit=True)
    reader, writer = connect(stack, guard, database="test"), connect(stack, guard, database="test")
    settled = reader.times_settled()
    assert reader.query("SELECT n FROM t") == ()
    reader.wait_until_settled_again(settled)
    writer.query("INSERT INTO t VALUES (1)")
    if end == "stop":
        server.stop()
    else:
        server.crash()
    guard.wait_for("server is away")
    server.restart()
    server.execute("INSERT INTO test.t VALUES (7)")
    for session, outcome in ((idle, UNNOTICED), (reader, RENEWED), (writer, ROLLED_BACK)):
        (incident,) = session_incidents(session)
        assert (incident["outcome"], incident["cause"]) == (outcome, "restart")
    assert idle.query("SELECT 1") == ((1,),)
    assert reader.query("SELECT n FROM t") == ((7,),)
    assert writer.fails("INSERT INTO t VALUES (2)") == 1213
    writer.query("INSERT INTO t VALUES (3)")
    writer.query("COMMIT")
    assert server.execute("SELECT n FROM test.t") == [(7,), (3,)]


@pytest.mark.parametrize(("end", "causes"), [("sever", ["network"]), ("hang_up", ["killed"])])
def test_cut_on_the_way(stack: ExitStack, server: Server, start_guard: StartGuard, end: str, causes: list[str]) -> None:
    wait_until_old(server)
    relay = stack.enter_context(BlackholeRelay(server.host, server.port))
    guard = start_guard(f"{relay.host}:{relay.port}")
    session = connect(stack, guard, autocommit=True)
    session.settle()
    getattr(relay, end)()
    assert_restored(session, UNNOTICED, *causes)
    assert session.query("SELECT 1") == ((1,),)


def test_swallowed_on_the_way(server: Server, start_guard: StartGuard, schema: str, stack: ExitStack) -> None:
    server.execute(f"CREATE TABLE {schema}.t (n INT)")
    relay = stack.enter_context(BlackholeRelay(server.host, server.port))
    guard = start_guard(
        f"{relay.host}:{relay.port}",
        keepalive={"interval": "500ms", "probe_timeout": "300ms", "validate_after": "0s"},
    )
    quiet = connect(stack, guard, autocommit=True)
    busy = connect(stack, guard, database=schema, autocommit=True)
    busy.settle()
    relay.swallow(new_connections=False)
    busy.query("INSERT INTO t VALUES (1)")
    for session in (busy, quiet):
        assert session.query("SELECT 1") == ((1,),)
        (incident,) = session.incidents()
        assert (incident["outcome"], incident["cause"]) == (UNNOTICED, "network")
    assert server.execute(f"SELECT n FROM {schema}.t") == [(1,)]


def test_idle_for_too_long(server: Server, start_guard: StartGuard, table: str, stack: ExitStack) -> None:
    server.execute("SET GLOBAL wait_timeout = 2")
    stack.callback(server.execute, "SET GLOBAL wait_timeout = DEFAULT")
    guard = start_guard(address(server))
    schema = table.partition(".")[0]
    # Nobody keeps these alive for longer than the server would have them, because they are in transactions.
    reader, writer = connect(stack, guard, database=schema), connect(stack, guard, database=schema)
    settled = reader.times_settled()
    reader.query("SELECT n FROM t")
    reader.wait_until_settled_again(settled)
    writer.query("INSERT INTO t VALUES (3)")
    for session, outcome in ((reader, RENEWED), (writer, ROLLED_BACK)):
        (incident,) = session_incidents(session)
        assert (incident["outcome"], incident["cause"]) == (outcome, "idle_timeout")
    assert reader.query("SELECT n FROM t ORDER BY n") == ((1,), (2,))
    assert writer.fails("COMMIT") == 1213


# A server that cannot be had for a while.


def test_a_command_waits_for_the_server(stack: ExitStack, own_server: StartServer, start_guard: StartGuard) -> None:
    server = own_server()
    server.execute("CREATE TABLE test.t (n INT)")
    guard = start_guard(address(server))
    session = connect(stack, guard, database="test", autocommit=True)
    session.settle()
    server.crash()
    guard.wait_for("server is away")
    with in_background(session.query, "INSERT INTO t VALUES (1)") as write:
        with pytest.raises(TimeoutError):
            write.result(1)
        server.restart()
        write.result(30)
    assert server.execute("SELECT n FROM test.t") == [(1,)]


def test_a_command_does_not_wait_for_ever(stack: ExitStack, own_server: StartServer, start_guard: StartGuard) -> None:
    server = own_server()
    guard = start_guard(address(server), reconnect={"wait": "500ms"})
    session = connect(stack, guard, autocommit=True)
    session.settle()
    server.crash()
    code, message = failure(session.connection, "INSERT INTO test.t VALUES (1)")
    assert code == 4031
    assert "was not sent" in message
    assert "0.5 s" in message
    assert address(server) in message
    assert guard.wait_for("session lost", session=session.id)["cause"] == "restart"


def test_a_server_without_a_connection_to_spare(
    stack: ExitStack, own_server: StartServer, start_guard: StartGuard
) -> None:
    limit = 10
    server = own_server(f"--max-connections={limit}")
    server.execute("CREATE USER app@'127.0.0.1' IDENTIFIED BY 'secret'")
    guard = start_guard(address(server))
    session = connect(stack, guard, user="app", password="secret", autocommit=True)
    session.settle()
    # One more than all is for an administrator, who so takes the place of the one that is killed.
    others: list[Connection] = []

    def close_others() -> None:
        for other in others:
            other.close()

    stack.callback(close_others)
    others += [server.connect() for _ in range(limit)]
    wire.query(others[0], f"KILL CONNECTION {session.known}")
    assert "Too many connections" in guard.wait_for("server is away")["reason"]
    with in_background(session.query, "SELECT 1") as read:
        with pytest.raises(TimeoutError):
            read.result(0.5)
        others.pop().close()
        others.pop().close()
        assert read.result(30) == ((1,),)
    (incident,) = session_incidents(session)
    assert "Too many connections" in incident["met"]


def test_a_name_that_means_another_machine(
    stack: ExitStack, own_server: StartServer, start_guard: StartGuard, tmp_path: Path
) -> None:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("only root can give a process an /etc/hosts of its own")
    old = own_server()
    new = own_server("--bind-address=127.0.0.2", f"--port={old.port}")
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 db.test\n")
    as_seen = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts)]
    guard = start_guard(f"db.test:{old.port}", prefix=as_seen)
    session = connect(stack, guard, autocommit=True)
    session.settle()
    assert session.query("SELECT @@bind_address") == (("127.0.0.1",),)
    hosts.write_text("127.0.0.2 db.test\n")
    old.crash()
    session.wait_until_restored()
    assert session.query("SELECT @@bind_address") == (("127.0.0.2",),)
    assert new.pid


# Open transactions.


@pytest.mark.parametrize("flags", [0, DEPRECATE_EOF], ids=["EOF", "DEPRECATE_EOF"])
def test_a_worker_that_only_reads_goes_on(
    guard: Guard, server: Server, table: str, stack: ExitStack, flags: int
) -> None:
    schema = table.partition(".")[0]
    session = connect(stack, guard, database=schema, client_flag=flags, ssl_disabled=True)
    talk = Talk(session.connection, flags)
    count = b"\x03SELECT COUNT(*) FROM t"
    settled = session.times_settled()
    assert b"\x012" in talk.ask(count)
    if not flags:
        session.wait_until_settled_again(settled)
    server.execute(f"INSERT INTO {table} VALUES (3)")
    assert b"\x012" in talk.ask(count)
    if not flags:
        session.wait_until_settled_again(settled + 1)
    server.execute(f"KILL CONNECTION {session.known}")
    assert_restored(session, RENEWED, "killed")
    assert b"\x013" in talk.ask(count)
    assert talk.ask(b"\x03COMMIT")[4] == 0


def test_a_worker_that_only_reads_may_want_to_be_told(
    server: Server, start_guard: StartGuard, table: str, stack: ExitStack
) -> None:
    guard = start_guard(address(server), reconnect={"snapshots": "tell"})
    session = connect(stack, guard, database=table.partition(".")[0])
    settled = session.times_settled()
    session.query("SELECT n FROM t")
    session.wait_until_settled_again(settled)
    server.execute(f"KILL CONNECTION {session.known}")
    assert_restored(session, ROLLED_BACK, "killed")
    assert session.fails("SELECT n FROM t") == 1213
    assert session.query("SELECT n FROM t ORDER BY n") == ((1,), (2,))


TRANSACTIONS = {
    "wrote": ["INSERT INTO t VALUES (1000 + {n})"],
    "read in an explicit transaction": ["BEGIN", "SELECT n FROM t WHERE n = {n}"],
    "locked for an update": ["SELECT n FROM t WHERE n = {n} FOR UPDATE"],
    "locked for reading": ["SELECT n FROM t WHERE n = {n} LOCK IN SHARE MODE"],
    "is serializable": ["SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SELECT n FROM t WHERE n = {n}"],
}
REACTIONS = ("SELECT 1", "COMMIT", "ROLLBACK")


def test_a_worker_with_something_to_lose_is_told(guard: Guard, server: Server, table: str, stack: ExitStack) -> None:
    sessions = {}
    cases = [(name, reaction) for name in TRANSACTIONS for reaction in REACTIONS]
    # Each has a row of its own, so that their locks do not get in each other's way.
    server.execute(f"INSERT INTO {table} VALUES {', '.join(f'({100 + n})' for n in range(len(cases)))}")
    for n, (name, reaction) in enumerate(cases):
        session = connect(stack, guard, database=table.partition(".")[0])
        for statement in TRANSACTIONS[name]:
            session.query(statement.format(n=100 + n))
        sessions[name, reaction] = session
    for session in sessions.values():
        server.execute(f"KILL CONNECTION {session.known}")
        wait_until_gone(server, session.known)
    for (name, reaction), session in sessions.items():
        (incident,) = session_incidents(session)
        assert (incident["outcome"], incident["cause"]) == (ROLLED_BACK, "killed"), name
        if reaction == "ROLLBACK":
            session.query(reaction)
        else:
            assert session.fails(reaction) == 1213, (name, reaction)
        # It is told once. From now on, all is as in a new transaction.
        assert session.query("SELECT COUNT(*) FROM t") == ((2 + len(cases),),), (name, reaction)
        session.query("COMMIT")


def test_a_lost_transaction_is_told_of_by_the_first_statement_only(
    guard: Guard, server: Server, table: str, stack: ExitStack
) -> None:
    session = connect(stack, guard, database=table.partition(".")[0])
    session.query("DELETE FROM t")
    server.execute(f"KILL CONNECTION {session.known}")
    session.wait_until_restored()
    # What is no statement tells nobody.
    session.connection.ping(reconnect=False)
    session.connection.select_db("information_schema")
    with pytest.raises(pymysql.err.OperationalError) as told:
        session.connection.commit()
    assert told.value.args[0] == 1213
    assert server.execute(f"SELECT COUNT(*) FROM {table}") == [(2,)]
    session.connection.commit()


def test_a_lost_transaction_stays_lost_when_the_next_link_is_lost_as_well(
    stack: ExitStack, guard: Guard, server: Server, schema: str
) -> None:
    server.execute(f"CREATE TABLE {schema}.t (n INT) ENGINE=InnoDB")
    session = connect(stack, guard, database=schema, autocommit=True)
    session.connection.begin()
    thread = session.known
    for _ in range(2):
        server.execute(f"KILL CONNECTION {thread}")
        thread = session.wait_until_restored()["server_thread"]
    # Carried out now, it would be in no transaction.
    assert session.fails("INSERT INTO t VALUES (1)") == 1213
    assert session.query("SELECT COUNT(*) FROM t") == ((0,),)


def call(session: Guarded) -> int:
    return session.fails("CALL fails()")


def call_prepared(session: Guarded) -> int:
    statement_id = wire.prepare(session.connection, "CALL fails()")
    argument = wire.execute_argument(statement_id, blobs=0)
    return wire.error(wire.ask(session.connection, wire.COM_STMT_EXECUTE, argument))[0]


def call_while_preparing(session: Guarded) -> int:
    """Do as MariaDB's connectors: execute what is being prepared, before the answer is there."""
    wire.send(session.connection, wire.COM_STMT_PREPARE, b"CALL fails()")
    wire.send(session.connection, wire.COM_STMT_EXECUTE, wire.execute_argument(0xFFFFFFFF, blobs=0))
    assert wire.receive(session.connection)[1][0] == 0
    return wire.error(wire.receive(session.connection)[1])[0]


@pytest.mark.parametrize("autocommit", [True, False])
@pytest.mark.parametrize("call_it", [call, call_prepared, call_while_preparing])
def test_what_a_procedure_did_before_it_failed_is_not_forgotten(
    stack: ExitStack,
    guard: Guard,
    server: Server,
    schema: str,
    call_it: Callable[[Guarded], int],
    *,
    autocommit: bool,
) -> None:
    if call_it is call_while_preparing and server.name != "mariadb":
        pytest.skip("MySQL has no name for what was prepared last")
    # The error has no status flags, so nothing says that the transaction is still open.
    server.execute(f"CREATE TABLE {schema}.t (n INT PRIMARY KEY) ENGINE=InnoDB")
    begin = "START TRANSACTION;" if autocommit else ""
    server.execute(
        f"CREATE PROCEDURE {schema}.fails() BEGIN {begin} INSERT INTO t VALUES (1); INSERT INTO t VALUES (1); END"
    )
    session = connect(stack, guard, database=schema, autocommit=autocommit)
    assert call_it(session) == 1062
    server.execute(f"KILL CONNECTION {session.known}")
    session.wait_until_restored()
    # Nor that it was: nobody can say more than that.
    assert session.fails("COMMIT") == 1180
    assert session.query("SELECT COUNT(*) FROM t") == ((0,),)
    session.connection.rollback()


def test_a_pool_does_not_notice_a_planned_shutdown(start_guard: StartGuard, own_server: StartServer) -> None:
    """MySQL answers for two seconds with definitions and error 1053; MariaDB hangs up."""
    server = own_server()
    guard = start_guard(address(server))
    is_over = threading.Event()

    def ask_all_the_time(session: Connection) -> int:
        count = 0
        while not is_over.is_set():
            assert wire.query(session, f"SELECT {count}") == ((count,),)
            count += 1
        return count

    with ExitStack() as stack:
        pool = [stack.enter_context(closing(guard.connect(autocommit=True))) for _ in range(32)]
        threads = stack.enter_context(ThreadPoolExecutor(len(pool)))
        asking = [threads.submit(ask_all_the_time, session) for session in pool]
        try:
            server.stop()
            server.restart()
        finally:
            is_over.set()
        assert all(future.result(30) for future in asking)
