"""Clients that pause in the middle of what they send: the server does not notice, and does not lose its patience."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import pymysql
import pytest

from protocol.framing import build_packet
from tests.conftest import SERVERS, skip_unless_available
from tests.e2e import wire
from tests.e2e.conftest import address
from tests.guard import Guard
from tests.servers import Connection, Server

#: The server's patience, in the middle of a command and of a local file. It measures in seconds, and not too exactly.
PATIENCE_SECONDS = 2
PAUSE_SECONDS = 5.0

MANY = 20 << 20  # two frames
SOME = 1 << 20
FEW = 100_000

INSERT = "INSERT INTO slow.t (v) VALUES ('{}')"


@pytest.fixture(scope="module", params=sorted(SERVERS))
def impatient(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Give a server that waits for nobody."""
    skip_unless_available(request.param)
    options = (
        f"--wait-timeout={PATIENCE_SECONDS}",
        f"--net-read-timeout={PATIENCE_SECONDS}",
        "--max-allowed-packet=64M",
        "--local-infile=ON",
    )
    with SERVERS[request.param](options) as server:
        server.execute("CREATE DATABASE slow")
        server.execute("CREATE TABLE slow.t (id INT PRIMARY KEY AUTO_INCREMENT, v LONGTEXT)")
        server.execute("CREATE TABLE slow.f (n INT)")
        yield server


@pytest.fixture
def slow_guard(impatient: Server) -> Iterator[Guard]:
    impatient.execute("TRUNCATE slow.t")
    impatient.execute("TRUNCATE slow.f")
    with Guard(address(impatient), spool={"memory": "512KiB"}) as guard:
        yield guard
        assert guard.failures() == []


def connect(at: Guard | Server, **options: Any) -> Connection:
    options = {"autocommit": True, "ssl_disabled": True, "local_infile": True, "read_timeout": 60} | options
    return at.connect(**options)


def send_slowly(connection: Connection, size: int) -> tuple[int, bytes]:
    """Send an INSERT of so many bytes with a pause in its header, in its middle and before its last byte."""
    data = build_packet(b"\x03" + INSERT.format("x" * size).encode(), 0)
    position = 0
    for end in (3, len(data) // 2, len(data) - 1):
        wire.write(connection, data[position:end])
        position = end
        time.sleep(PAUSE_SECONDS)
    wire.write(connection, data[position:])
    return wire.receive(connection)


def load_slowly(connection: Connection) -> tuple[int, bytes]:
    """Send a local file of 102 lines with pauses in it."""
    wire.send(connection, wire.COM_QUERY, b"LOAD DATA LOCAL INFILE 'f' INTO TABLE slow.f")
    assert wire.receive(connection)[1][0] == 0xFB
    for number, piece in enumerate((b"1\n" * 100, b"2\n3", b"\n"), 2):
        wire.write(connection, build_packet(piece, number))
        time.sleep(PAUSE_SECONDS)
    wire.write(connection, build_packet(b"", 5))
    return wire.receive(connection)


def has_succeeded(sending: "Future[tuple[int, bytes]]") -> bool:
    try:
        return sending.result()[1][0] == 0
    except (OSError, pymysql.MySQLError):
        return False


Slow = Callable[[Connection], tuple[int, bytes]]
SENDERS: dict[str, tuple[Slow, int]] = {
    "several frames": (lambda connection: send_slowly(connection, MANY), 2),
    "one frame": (lambda connection: send_slowly(connection, SOME), 1),
    "in memory": (lambda connection: send_slowly(connection, FEW), 1),
    "a local file": (load_slowly, 6),
}


def test_a_slow_client_is_waited_for(slow_guard: Guard, impatient: Server) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(len(SENDERS) * 2) as pool:
        through = {name: stack.enter_context(closing(connect(slow_guard))) for name in SENDERS}
        direct = {name: stack.enter_context(closing(connect(impatient))) for name in SENDERS}
        answers = {name: pool.submit(send, through[name]) for name, (send, _) in SENDERS.items()}
        failures = {name: pool.submit(send, direct[name]) for name, (send, _) in SENDERS.items()}
        for name, (_, sequence_id) in SENDERS.items():
            number, answer = answers[name].result()
            assert (number, answer[0]) == (sequence_id, 0), (name, answer)
            wire.query(through[name], "SELECT 1")
            # Without the guard, the server does not wait.
            assert not has_succeeded(failures[name]), name
    with closing(connect(impatient)) as connection:
        assert wire.query(connection, "SELECT COUNT(*), SUM(LENGTH(v)) FROM slow.t") == ((3, MANY + SOME + FEW),)
        assert wire.query(connection, "SELECT COUNT(*), SUM(n) FROM slow.f") == ((102, 105),)
    assert not [event for event in slow_guard.events if event["event"] == "link lost and restored"]


def test_a_transaction_outlives_a_slow_command(slow_guard: Guard, impatient: Server) -> None:
    with closing(connect(slow_guard, autocommit=False)) as connection:
        wire.query(connection, INSERT.format("first"))
        data = build_packet(b"\x03" + INSERT.format("x" * FEW).encode(), 0)
        wire.write(connection, data[:FEW])
        time.sleep(PAUSE_SECONDS)
        wire.write(connection, data[FEW:])
        assert wire.receive(connection)[1][0] == 0
        connection.commit()
        assert wire.query(connection, "SELECT COUNT(*) FROM slow.t") == ((2,),)


def test_a_command_that_becomes_whole_while_the_server_is_asked(impatient: Server) -> None:
    """The answer to a probe must not pass for the answer to the command."""
    with (
        Guard(address(impatient), keepalive={"interval": "200ms"}) as guard,
        closing(connect(guard)) as connection,
    ):
        data = build_packet(b"\x03SELECT 42, '" + b"x" * FEW + b"'", 0)
        wire.write(connection, data[:FEW])
        guard.wait_for("probe")  # it is kept alive
        impatient.pause()
        try:
            guard.wait_for("probe")
            wire.write(connection, data[FEW:])
            time.sleep(0.2)  # whatever comes of it, comes at once
        finally:
            impatient.resume()
        assert wire.rows(connection) == ((42, "x" * FEW),)


def test_the_server_is_lost_while_a_command_arrives(slow_guard: Guard, impatient: Server) -> None:
    """Nothing of it has been sent, so it can be sent to the next link."""
    with closing(connect(slow_guard)) as connection:
        wire.query(connection, "SELECT 1")
        payload = b"\x03" + INSERT.format("x" * SOME).encode()
        data = build_packet(payload, 0)
        wire.write(connection, data[: SOME // 2])
        impatient.crash()
        impatient.restart()
        wire.write(connection, data[SOME // 2 :])
        assert wire.receive(connection)[1][0] == 0
    with closing(connect(impatient)) as connection:
        assert wire.query(connection, "SELECT LENGTH(v) FROM slow.t") == ((SOME,),)


def test_a_command_that_is_larger_than_the_room_for_it(impatient: Server) -> None:
    with (
        Guard(address(impatient), spool={"memory": "64KiB", "disk": "512KiB", "total_memory": "128KiB"}) as guard,
        closing(connect(guard)) as connection,
    ):
        wire.send(connection, wire.COM_QUERY, INSERT.format("x" * SOME).encode())
        sequence_id, answer = wire.receive(connection)
        code, _, message = wire.error(answer)
        assert (sequence_id, code) == (1, 1041)
        assert "spool" in message
        assert wire.query(connection, f"SELECT LENGTH('{'x' * 400_000}')") == ((400_000,),)


def test_a_late_answer_to_a_probe_is_not_that_to_the_command(impatient: Server) -> None:
    impatient.execute("REPLACE INTO slow.t VALUES (1, 'there')")
    data = build_packet(b"\x03" + f"INSERT INTO slow.t VALUES (1, '{'x' * FEW}')".encode(), 0)
    times = {"interval": "200ms", "probe_timeout": "300ms", "validate_after": "1h"}
    with Guard(address(impatient), keepalive=times) as guard, closing(connect(guard)) as connection:
        wire.write(connection, data[:70_000])
        impatient.pause()
        try:
            time.sleep(2)  # for the next probe, and its time
        finally:
            impatient.resume()
        time.sleep(0.5)  # for the answer that is late
        wire.write(connection, data[70_000:])
        assert wire.error(wire.receive(connection)[1])[0] == 1062
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchall() == ((1,),)
