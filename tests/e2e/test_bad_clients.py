"""Clients that break the protocol, stall or vanish: a clear error or a clean close, and nobody else is hurt."""

import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest

from protocol import auth
from protocol.constants import Capability
from protocol.framing import build_packet
from protocol.handshake import Greeting, LoginRequest
from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.guard import Guard
from tests.servers import Server

TIMEOUT_SECONDS = 20
CAPABILITIES = (
    Capability.LONG_PASSWORD
    | Capability.PROTOCOL_41
    | Capability.SECURE_CONNECTION
    | Capability.PLUGIN_AUTH
    | Capability.PLUGIN_AUTH_LENENC_DATA
)


@pytest.fixture
def bystander(guard: Guard) -> Iterator[None]:
    """Have a session that was there before, and one that comes afterwards, work after whatever the test does."""
    with closing(guard.connect()) as before:
        yield
        assert wire.query(before, "SELECT 1") == ((1,),)
        with closing(guard.connect()) as afterwards:
            assert wire.query(afterwards, "SELECT 2") == ((2,),)


def dial(guard: Guard) -> socket.socket:
    return socket.create_connection((guard.host, guard.port), timeout=TIMEOUT_SECONDS)


def receive_all(sock: socket.socket) -> bytes:
    """Receive until the guard closes the link; a guard that keeps it open fails the test by timeout."""
    data = b""
    with suppress(ConnectionError, ssl.SSLError):
        while received := sock.recv(65536):
            data += received
    return data


def read_packet(sock: socket.socket) -> tuple[int, bytes]:
    header = sock.recv(4, socket.MSG_WAITALL)
    return header[3], sock.recv(int.from_bytes(header[:3], "little"), socket.MSG_WAITALL)


def login_request(greeting: bytes, *, capabilities: int = CAPABILITIES) -> bytes:
    """Write a login request of root, who has no password."""
    assert Greeting.parse(greeting).plugin == auth.CACHING_SHA2
    return LoginRequest(capabilities, 1 << 24, 45, bytes(19), b"root", b"", None, auth.CACHING_SHA2, None).build()


def log_in(guard: Guard) -> socket.socket:
    """Give a raw link that has logged in."""
    sock = dial(guard)
    _, greeting = read_packet(sock)
    sock.sendall(build_packet(login_request(greeting), 1))
    sequence_id, answer = read_packet(sock)
    assert (sequence_id, answer[0]) == (2, 0)
    return sock


GARBAGE: dict[str, bytes] = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "ones": b"\xff" * 1000,
    "zeros": bytes(1000),
    "header of 16 MiB": b"\xff\xff\xff\x01",
    "tls without asking": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "wrong sequence id": build_packet(bytes(40), 7),
    "too old": build_packet(b"\x05\x00\x00\x00\x00root\x00", 1),
    "empty packet": build_packet(b"", 1),
    "user name without end": build_packet(CAPABILITIES.to_bytes(4, "little") + bytes(28) + b"x" * 300_000, 1),
    "auth response that lies": build_packet(
        CAPABILITIES.to_bytes(4, "little") + bytes(28) + b"root\0\xfd\xff\xff\xff", 1
    ),
    "tls request, then plain text": build_packet((CAPABILITIES | Capability.SSL).to_bytes(4, "little") + bytes(28), 1)
    + b"\x03SELECT 1" * 100,
}


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_before_login(guard: Guard, garbage: bytes) -> None:
    with dial(guard) as sock:
        read_packet(sock)
        with suppress(OSError):
            sock.sendall(garbage)
            sock.shutdown(socket.SHUT_WR)
        answer = receive_all(sock)
    if answer:
        assert answer[4] == 0xFF or answer[:2] == b"\x15\x03", answer  # an ERR packet, or a TLS alert
    guard.wait_for("login failed")


@pytest.mark.usefixtures("bystander")
def test_random_bytes_before_login(guard: Guard) -> None:
    for _ in range(50):
        with dial(guard) as sock:
            with suppress(ConnectionError):
                sock.sendall(os.urandom(200))
                sock.shutdown(socket.SHUT_WR)
            receive_all(sock)
        guard.wait_for("login failed")


def test_a_login_that_stalls(server: Server, start_guard: StartGuard) -> None:
    guard = start_guard(address(server), limits={"login_timeout": "500ms"})
    with dial(guard) as silent, dial(guard) as half_way:
        half_way.sendall(b"\x20\x00\x00")
        receive_all(silent)
        receive_all(half_way)
    assert guard.wait_for("login failed")["reason"] == "not finished within 0.5 s"
    assert guard.wait_for("login failed")["reason"] == "not finished within 0.5 s"
    guard.connect().close()


def plain_login(sock: socket.socket) -> list[bytes]:
    _, greeting = read_packet(sock)
    return [build_packet(login_request(greeting), 1), build_packet(b"\x03SELECT 1", 0)]


def rsa_login(sock: socket.socket) -> list[bytes]:
    _, greeting = read_packet(sock)
    request = LoginRequest.parse(login_request(greeting))
    wrong = LoginRequest(
        request.capabilities, 0, 45, bytes(19), b"root", os.urandom(32), None, auth.CACHING_SHA2, None
    ).build()
    return [build_packet(wrong, 1), build_packet(b"\x02", 3), build_packet(os.urandom(256), 5)]


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("dialogue", [plain_login, rsa_login])
@pytest.mark.parametrize("farewell", ["fin", "rst"])
def test_a_client_that_vanishes_at_every_point(
    guard: Guard, dialogue: Callable[[socket.socket], list[bytes]], farewell: str
) -> None:
    with dial(guard) as sock:
        whole = b"".join(dialogue(sock))
    for cut in range(0, len(whole) + 1, 3):
        with dial(guard) as sock:
            said = b"".join(dialogue(sock))[:cut]
            sock.sendall(said)
            if farewell == "rst":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@pytest.mark.usefixtures("bystander")
def test_wrong_sequence_id_of_a_command(guard: Guard) -> None:
    with log_in(guard) as sock:
        sock.sendall(build_packet(b"\x03SELECT 1", 5))
        _, answer = read_packet(sock)
        assert wire.error(answer)[:2] == (1156, "08S01")
        assert receive_all(sock) == b""


@pytest.mark.usefixtures("bystander")
def test_wrong_sequence_id_inside_a_large_command(guard: Guard) -> None:
    with log_in(guard) as sock:
        sock.sendall(b"\xff\xff\xff\x00\x03" + bytes(0xFFFFFE))
        sock.sendall(b"\x01\x00\x00\x07x")
        _, answer = read_packet(sock)
        assert wire.error(answer)[:2] == (1156, "08S01")
        assert receive_all(sock) == b""


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("packet", [b"\x00\x00\x00\x00", b"\x01\x00\x00\x00\x99", b"\x03\x00\x00\x00\xf0ab"])
def test_unknown_and_empty_commands_are_answered_as_the_server_would(
    guard: Guard, server: Server, packet: bytes
) -> None:
    with log_in(guard) as sock, closing(server.connect()) as direct:
        sock.sendall(packet)
        wire.write(direct, packet)
        assert read_packet(sock) == wire.receive(direct)
        sock.sendall(build_packet(b"\x0e", 0))
        assert read_packet(sock)[1][0] == 0


@pytest.mark.usefixtures("bystander")
def test_commands_that_stop_half_way(guard: Guard) -> None:
    for size in (1, 100, 100_000, 20_000_000):
        for sent in (3, 4, 5, 4 + size // 2):
            with log_in(guard) as sock:
                packet = build_packet(b"\x03" + b"x" * size, 0)
                with suppress(ConnectionError):
                    sock.sendall(packet[:sent])
            guard.wait_for("session ends")


@pytest.mark.usefixtures("bystander")
def test_change_user_nonsense(guard: Guard) -> None:
    for argument in (b"", b"root", b"root\0", b"root\0\xff", os.urandom(100)):
        with log_in(guard) as sock:
            sock.sendall(build_packet(b"\x11" + argument, 0))
            sock.shutdown(socket.SHUT_WR)
            receive_all(sock)
            guard.wait_for("session ends")


@pytest.mark.usefixtures("bystander")
def test_a_local_file_with_wrong_sequence_ids(guard: Guard, server: Server, schema: str) -> None:
    server.execute("CREATE TABLE t (v TEXT)", database=schema)
    with closing(guard.connect(database=schema, local_infile=True, ssl_disabled=True)) as connection:
        wire.send(connection, wire.COM_QUERY, b"LOAD DATA LOCAL INFILE 'f' INTO TABLE t")
        wire.receive(connection)
        wire.write(connection, build_packet(b"one\ntwo\n", 2) + build_packet(b"three\n", 9))
        receive_all(wire.private(connection)._sock)
    assert server.execute("SELECT COUNT(*) FROM t", database=schema) == [(0,)]


def test_too_many_sessions(server: Server, start_guard: StartGuard) -> None:
    guard = start_guard(address(server), limits={"sessions": 2})
    with closing(guard.connect()), closing(guard.connect()), dial(guard) as sock:
        sequence_id, answer = read_packet(sock)
        assert sequence_id == 0
        assert answer[:3] == b"\xff" + (1040).to_bytes(2, "little")
        assert answer[3:].startswith(b"stillhere: too many connections")
        assert b"limits.sessions" in answer
    guard.wait_for("session ends")
    guard.wait_for("session ends")
    guard.connect().close()


@pytest.mark.usefixtures("bystander")
def test_a_command_that_its_client_did_not_finish_is_never_carried_out(
    guard: Guard, server: Server, schema: str
) -> None:
    """Not even if the bytes that are missing are as many as a COM_QUIT has, which would then end it."""
    server.execute("CREATE TABLE t (n INT)", database=schema)
    statement = f"INSERT INTO {schema}.t VALUES (1) -- ".encode() + b"x" * 100_000
    packet = build_packet(b"\x03" + statement, 0)
    for missing in range(1, 12):
        with log_in(guard) as sock:
            sock.sendall(packet[:-missing])
        guard.wait_for("session ends")
    assert server.execute("SELECT COUNT(*) FROM t", database=schema) == [(0,)]
    with log_in(guard) as sock:
        sock.sendall(packet)
        assert read_packet(sock)[1][0] == 0
    assert server.execute("SELECT COUNT(*) FROM t", database=schema) == [(1,)]


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(("rows", "row_bytes"), [(10, 1), (80, 1_000), (180, 100_000)], ids=["small", "large", "cut"])
def test_a_local_file_that_its_client_did_not_finish_is_not_loaded(
    guard: Guard, server: Server, schema: str, rows: int, row_bytes: int
) -> None:
    server.execute("CREATE TABLE t (v LONGTEXT) ENGINE=InnoDB", database=schema)
    for missing in range(7):
        connection = guard.connect(database=schema, local_infile=True, autocommit=True, ssl_disabled=True)
        ended = [event for event in guard.events if event["event"] == "session ends"]
        wire.send(connection, wire.COM_QUERY, b"LOAD DATA LOCAL INFILE 'f' INTO TABLE t")
        wire.receive(connection)
        packet = build_packet((b"x" * row_bytes + b"\n") * rows, 2)
        wire.write(connection, packet[: len(packet) - missing])
        wire.vanish(connection)
        while [event for event in guard.events if event["event"] == "session ends"] == ended:
            time.sleep(0.01)
        wait_until_alone(server, wire.thread_id(connection))
    assert server.execute("SELECT COUNT(*) FROM t", database=schema) == [(0,)]


def wait_until_alone(server: Server, thread: int) -> None:
    """Wait until the server has given a session up, and with it what it had done."""
    while server.execute("SELECT 1 FROM information_schema.processlist WHERE id = %s", (thread,)):
        time.sleep(0.02)
