"""A client that is gone while its statement runs: the server learns of it as soon as without the guard."""

import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from protocol.framing import build_packet
from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.e2e.guarded import running, wait_for_statement, wait_until
from tests.guard import Guard
from tests.servers import Connection, Server, StartServer

#: Servers look every few seconds whether the client is still there; what is run here goes on for much longer.
NOTICED_SECONDS = 15.0
LONG_SECONDS = 120
LOCAL_FILES, MULTI_STATEMENTS = 1 << 7, 1 << 16


def close(connection: Connection) -> None:
    """Close the socket as the system does for a process that is killed."""
    wire.socket_of(connection).close()
    wire.vanish(connection)


def close_in_good_order(connection: Connection) -> None:
    end_own_side(connection)
    close(connection)


def reset(connection: Connection) -> None:
    wire.socket_of(connection).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    close(connection)


def end_own_side(connection: Connection) -> None:
    """Go on listening; with TLS, that is to say farewell."""
    sock = wire.socket_of(connection)
    if isinstance(sock, ssl.SSLSocket):
        sock.setblocking(False)
        with pytest.raises(ssl.SSLError):  # there is no answer to it
            sock.unwrap()
        sock.settimeout(NOTICED_SECONDS)
    else:
        sock.shutdown(socket.SHUT_WR)


def end_own_side_of_tcp(connection: Connection) -> None:
    socket.socket.shutdown(wire.socket_of(connection), socket.SHUT_WR)


def by_tcp(guard: Guard, **settings: Any) -> Connection:
    return guard.connect(ssl_disabled=True, **settings)


def by_tls(guard: Guard, **settings: Any) -> Connection:
    return guard.connect(ssl={}, **settings)


def by_unix_socket(guard: Guard, **settings: Any) -> Connection:
    return guard.connect(unix_socket=str(guard.socket_path), ssl_disabled=True, **settings)


WAYS: dict[str, tuple[Callable[..., Connection], Callable[[Connection], None]]] = {
    "tcp closed": (by_tcp, close),
    "tcp reset": (by_tcp, reset),
    "tcp half": (by_tcp, end_own_side),
    "tls closed": (by_tls, close),
    "tls closed in good order": (by_tls, close_in_good_order),
    "tls reset": (by_tls, reset),
    "tls half": (by_tls, end_own_side),
    "tls, but tcp half": (by_tls, end_own_side_of_tcp),
    "unix closed": (by_unix_socket, close),
    "unix half": (by_unix_socket, end_own_side),
}


def ask_to_sleep(connection: Connection, mark: str) -> None:
    wire.send(connection, wire.COM_QUERY, f"SELECT SLEEP({LONG_SECONDS}) /* {mark} */".encode())


def ask_for_lock(connection: Connection, mark: str) -> None:
    wire.send(connection, wire.COM_QUERY, f"SELECT GET_LOCK('held', {LONG_SECONDS}) /* {mark} */".encode())


def execute_sleep(connection: Connection, mark: str) -> None:
    statement_id = wire.prepare(connection, f"DO SLEEP({LONG_SECONDS}) /* {mark} */")
    wire.send(connection, wire.COM_STMT_EXECUTE, wire.execute_argument(statement_id, blobs=0))


def sleep_after_loading(connection: Connection, mark: str) -> None:
    statements = f"LOAD DATA LOCAL INFILE 'x' INTO TABLE t; SELECT SLEEP({LONG_SECONDS}) /* {mark} */"
    wire.send(connection, wire.COM_QUERY, statements.encode())
    sequence_id, payload = wire.receive(connection)
    assert payload == b"\xfbx"
    wire.write(connection, build_packet(b"1\n", sequence_id + 1) + build_packet(b"", sequence_id + 2))


STATEMENTS = {
    "sleep": ask_to_sleep,
    "lock": ask_for_lock,
    "prepared": execute_sleep,
    "local file": sleep_after_loading,
}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def open_client(stack: ExitStack, way: str, guard: Guard, **settings: Any) -> Connection:
    """Connect, and do so much that the pump has the session, if there is one."""
    connection = WAYS[way][0](guard, autocommit=True, **settings)
    stack.callback(wire.vanish, connection)
    for _ in range(5):
        wire.query(connection, "SELECT 1")
    return connection


def wait_until_noticed(server: Server, words: str) -> None:
    """Wait until no thread runs statements with these words any more."""
    deadline = time.monotonic() + NOTICED_SECONDS
    while left := running(server, words):
        assert time.monotonic() < deadline, f"{len(left)} threads have not ended"
        time.sleep(0.05)


def assert_nothing_was_lost(guard: Guard, connections: int) -> None:
    """See that so many sessions end because their clients have left, and not because of a link of the server's."""
    for _ in range(connections):
        assert guard.wait_for("session ends")["reason"].startswith("the client's link: ")
    assert not [event for event in guard.events if event["event"] in ("session lost", "link lost and restored")]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_the_server_ends_what_a_client_that_is_gone_was_waiting_for(
    stack: ExitStack, server: Server, schema: str, start_guard: StartGuard, statement: str
) -> None:
    server.execute(f"CREATE TABLE {schema}.t (n INT)")
    stack.enter_context(set_global(server, "local_infile", "1"))
    holder = stack.enter_context(closing(server.connect()))
    assert wire.query(holder, "SELECT GET_LOCK('held', 0)") == ((1,),)
    guard = start_guard(address(server))
    clients: dict[str, Connection] = {}
    for way in WAYS:
        clients[way] = open_client(stack, way, guard, database=schema, client_flag=LOCAL_FILES | MULTI_STATEMENTS)
        STATEMENTS[statement](clients[way], f"gone {way}")
        wait_for_statement(server, f"gone {way}")
    for way, client in clients.items():
        WAYS[way][1](client)
    wait_until_noticed(server, "gone")
    assert_nothing_was_lost(guard, len(WAYS))


@contextmanager
def set_global(server: Server, name: str, value: str) -> Iterator[None]:
    server.execute(f"SET GLOBAL {name} = {value}")
    yield
    server.execute(f"SET GLOBAL {name} = DEFAULT")


def test_the_next_one_in_the_queue_gets_the_lock(stack: ExitStack, server: Server, guard: Guard) -> None:
    holder = stack.enter_context(closing(server.connect()))
    assert wire.query(holder, "SELECT GET_LOCK('held', 0)") == ((1,),)
    dead, alive = open_client(stack, "tcp closed", guard), open_client(stack, "tcp closed", guard)
    for client, mark in ((dead, "dead"), (alive, "alive")):
        ask_for_lock(client, mark)
        wait_for_statement(server, mark)
    close(dead)
    wait_until_noticed(server, "dead")
    wire.query(holder, "SELECT RELEASE_LOCK('held')")
    assert wire.rows(alive) == ((1,),)


def test_two_hundred_clients_that_are_gone_at_once(
    stack: ExitStack, own_server: StartServer, start_guard: StartGuard
) -> None:
    server = own_server("--max-connections=300")
    guard = start_guard(address(server))
    clients = [open_client(stack, "tcp closed", guard) for _ in range(200)]
    for client in clients:
        ask_to_sleep(client, "gone")
    wait_until(lambda: len(running(server, "gone")) == len(clients), "all statements")
    for client in clients:
        close(client)
    wait_until_noticed(server, "gone")
    assert_nothing_was_lost(guard, len(clients))


def test_a_read_that_is_run_again_for_a_client_that_is_gone(
    stack: ExitStack, server: Server, start_guard: StartGuard
) -> None:
    guard = start_guard(address(server), reconnect={"killed_reads": "rerun"})
    client = open_client(stack, "tcp closed", guard)
    ask_to_sleep(client, "again")
    first = wait_for_statement(server, "again")
    server.execute(f"KILL CONNECTION {first}")
    wait_for_statement(server, "again", besides=first)
    close(client)
    wait_until_noticed(server, "again")
    assert guard.wait_for("session ends")["reason"].startswith("the client's link: ")


# A client that has ended its side only, as ``printf ... | nc`` does.


def write(connection: Connection, *statements: str) -> None:
    wire.write(connection, b"".join(build_packet(b"\x03" + text.encode(), 0) for text in statements))


@pytest.mark.parametrize("way", [way for way in WAYS if way.endswith("half")])
def test_it_gets_its_answer_when_there_is_one(
    stack: ExitStack, server: Server, schema: str, guard: Guard, way: str
) -> None:
    server.execute(f"CREATE TABLE {schema}.t (n INT)")
    holder = stack.enter_context(closing(server.connect()))
    wire.query(holder, f"LOCK TABLES {schema}.t WRITE")
    client = open_client(stack, way, guard, database=schema)
    write(client, "SELECT 7 FROM t RIGHT JOIN (SELECT 1) AS one ON TRUE /* waits */", "SELECT 8")
    WAYS[way][1](client)
    wait_for_statement(server, "waits")
    before, began = cpu_seconds(guard), time.monotonic()
    time.sleep(1)
    assert cpu_seconds(guard) - before < 0.3 * (time.monotonic() - began), "it does not wait, it asks again and again"
    wire.query(holder, "UNLOCK TABLES")
    assert wire.rows(client) == ((7,),)
    assert wire.rows(client) == ((8,),)
    assert wire.socket_of(client).recv(1) == b""


def cpu_seconds(guard: Guard) -> float:
    fields = Path(f"/proc/{guard.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_it_may_read_slowly(stack: ExitStack, server: Server, guard: Guard) -> None:
    client = open_client(stack, "tcp half", guard)
    write(client, *["SELECT REPEAT('x', 4000000)"] * 5)
    end_own_side(client)
    time.sleep(1)
    for _ in range(5):
        ((text,),) = wire.rows(client)
        assert len(text) == 4_000_000
    assert wire.socket_of(client).recv(1) == b""


@pytest.mark.parametrize("end", [close, end_own_side])
def test_what_was_sent_before_the_end_is_carried_out(
    stack: ExitStack, server: Server, schema: str, guard: Guard, end: Callable[[Connection], None]
) -> None:
    server.execute(f"CREATE TABLE {schema}.t (n INT)")
    clients = [open_client(stack, "tcp closed", guard, database=schema) for _ in range(50)]
    for number, client in enumerate(clients):
        write(client, f"INSERT INTO t VALUES ({number})")
        end(client)
    count = f"SELECT COUNT(*), COUNT(DISTINCT n) FROM {schema}.t"
    wait_until(lambda: server.execute(count) == [(len(clients), len(clients))], "all of them")


def test_a_server_that_goes_when_the_client_has_gone(
    stack: ExitStack, own_server: StartServer, start_guard: StartGuard
) -> None:
    server = own_server()
    guard = start_guard(address(server))
    client = open_client(stack, "tcp half", guard)
    ask_to_sleep(client, "gone")
    wait_for_statement(server, "gone")
    end_own_side(client)
    time.sleep(0.5)  # the guard need not look at both of them at once
    server.crash()
    assert wire.socket_of(client).recv(1) == b""
    assert_nothing_was_lost(guard, 1)
