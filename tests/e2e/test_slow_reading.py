"""Clients that take long for large results: the server is free long before, up to what a spool may hold.

The clients connect to the guard's unix socket: the kernel keeps little for them there, so what they do not read is in
the spool.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pymysql
import pytest

from protocol.framing import build_packet
from proxy.freed_memory import KEPT_BYTES
from tests.conftest import SERVERS, skip_unless_available
from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.e2e.guarded import in_background, wait_until, wait_until_gone
from tests.guard import Guard
from tests.servers import Connection, Server

MIB = 1 << 20

#: After so many seconds without progress, the server gives up on who does not read.
NET_WRITE_TIMEOUT = 2

#: Thousands of rows, of about a kilobyte each, that no kernel keeps between a server and a client.
LARGE = 40

#: A spool that is full long before all of that has come.
SMALL = {"memory": "256KiB", "disk": "4MiB"}

EOF_BYTE, ERR_BYTE = 0xFE, 0xFF


@pytest.fixture(scope="module", params=sorted(SERVERS))
def impatient(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Give a server that soon gives up on who does not read, with the numbers below 1000 in the table `test.t`."""
    skip_unless_available(request.param)
    with SERVERS[request.param]((f"--net-write-timeout={NET_WRITE_TIMEOUT}",)) as server:
        server.execute("CREATE TABLE test.t (n INT PRIMARY KEY)")
        server.execute(f"INSERT INTO test.t VALUES {', '.join(f'({number})' for number in range(1000))}")
        yield server


def large(thousands: int) -> str:
    """Write a statement with so many thousands of rows, of which each is what its number says."""
    n = "a.n * 1000 + b.n"
    return f"SELECT {n}, REPEAT(SHA2({n}, 256), 16) FROM test.t a JOIN test.t b WHERE a.n < {thousands}"


class Reading:
    """A large result on its way: what has been received of it, each row checked."""

    def __init__(self, connection: Connection, thousands: int) -> None:
        self._connection = connection
        self._thousands = thousands
        #: The numbers of the rows.
        self.seen: set[int] = set()
        #: Code and text of the error at its end.
        self.error: tuple[int, str] | None = None
        wire.send(connection, wire.COM_QUERY, large(thousands).encode())

    def start(self) -> None:
        """Receive what comes before the rows."""
        _, count = wire.receive(self._connection)
        assert count == b"\2", count
        for _ in range(3):
            wire.receive(self._connection)

    def read(self, rows: int) -> bool:
        """Receive some rows; tell whether there may be more."""
        for _ in range(rows):
            _, payload = wire.receive(self._connection)
            if payload[0] == EOF_BYTE and len(payload) < 9:
                return False
            if payload[0] == ERR_BYTE:
                code, _, text = wire.error(payload)
                self.error = code, text
                return False
            self._check(payload)
        return True

    def _check(self, row: bytes) -> None:
        length = row[0]
        number = row[1 : 1 + length]
        assert row[1 + length :] == b"\xfc\0\4" + hashlib.sha256(number).hexdigest().encode() * 16
        assert int(number) not in self.seen
        self.seen.add(int(number))

    def read_all(self) -> None:
        """Receive the rest."""
        while self.read(1000):
            pass

    def assert_whole(self) -> None:
        """Receive the rest, and see that nothing is missing."""
        self.read_all()
        assert self.error is None
        assert self.seen == set(range(self._thousands * 1000))


class Client:
    """A client that reads when the test tells it to."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.thread = wire.thread_id(connection)

    def ask(self, thousands: int = LARGE) -> Reading:
        """Ask for a large result and receive its beginning."""
        reading = Reading(self.connection, thousands)
        reading.start()
        return reading

    def assert_goes_on(self) -> None:
        """See that the session is in step."""
        assert wire.query(self.connection, "SELECT 'in step'") == (("in step",),)


@contextmanager
def through(guard: Guard, **settings: Any) -> Iterator[Client]:
    defaults: dict[str, Any] = {"unix_socket": str(guard.socket_path), "read_timeout": 60}
    connection = guard.connect(database="test", autocommit=True, **defaults | settings)
    try:
        yield Client(connection)
    finally:
        if connection.open:
            wire.vanish(connection)


def wait_until_idle(server: Server, thread: int) -> None:
    """Wait until the server has nothing to do for a thread."""
    wait_until(
        lambda: (
            server.execute("SELECT command FROM information_schema.processlist WHERE id = %s", (thread,))
            == [("Sleep",)]
        ),
        f"the end of what thread {thread} does",
    )


def nameless_files(process: int | str, directory: Path | None = None) -> list[str]:
    """List the files without a name that a process has open, in a directory if that is given."""
    found = []
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue  # closed meanwhile
        if target.endswith(" (deleted)") and (directory is None or target.startswith(f"{directory}/")):
            found.append(target)
    return found


def wait_until_nothing_is_left(guard: Guard) -> None:
    wait_until(lambda: not nameless_files(guard.process.pid), "the end of the guard's files")


def times(guard: Guard, name: str) -> int:
    return sum(event["event"] == name for event in guard.events)


# Reading slowly.


def test_without_the_guard_a_client_that_reads_slowly_fails(impatient: Server) -> None:
    connection = impatient.connect(database="test", autocommit=True, read_timeout=60, ssl_disabled=True)
    try:
        client = Client(connection)
        reading = client.ask()
        wait_until_gone(impatient, client.thread)
        with pytest.raises((pymysql.Error, OSError)):
            reading.read_all()
        assert len(reading.seen) < LARGE * 1000
    finally:
        wire.vanish(connection)


@pytest.mark.parametrize("encrypted", [False, True])
def test_the_server_is_free_before_a_slow_client_has_everything(
    impatient: Server, start_guard: StartGuard, tmp_path: Path, *, encrypted: bool
) -> None:
    guard = start_guard(address(impatient), spool={"directory": str(tmp_path)})
    settings: dict[str, Any] = {"ssl_disabled": True}
    if encrypted:
        settings = {"unix_socket": None, "ssl": {"check_hostname": False}}
    with through(guard, **settings) as client:
        reading = client.ask()
        wait_until_idle(impatient, client.thread)
        assert len(nameless_files(guard.process.pid, tmp_path)) == 1
        assert list(tmp_path.iterdir()) == []
        time.sleep(NET_WRITE_TIMEOUT + 1)  # for a server that had only fallen asleep
        reading.read(10_000)
        assert impatient.execute("SELECT 1 FROM information_schema.processlist WHERE id = %s", (client.thread,))
        reading.assert_whole()
        caught_up = guard.wait_for("client has caught up")
        assert caught_up["bytes"] > LARGE * 500_000
        assert caught_up["server_waited_seconds"] == 0
        assert wire.query(client.connection, "SELECT CONNECTION_ID()") == ((client.thread,),)
        assert times(guard, "client reads slowly") == 1
        wait_until_nothing_is_left(guard)


@pytest.mark.skipif("STILLHERE_SLOW_SECONDS" not in os.environ, reason="takes long: make test-slow")
@pytest.mark.timeout(1200)
def test_a_client_that_takes_very_long(impatient: Server, start_guard: StartGuard) -> None:
    seconds = float(os.environ["STILLHERE_SLOW_SECONDS"])
    guard = start_guard(address(impatient))
    with through(guard, read_timeout=600) as client:
        thousands, begun = 200, time.monotonic()
        reading = client.ask(thousands)
        for number in range(thousands):
            reading.read(1000)
            time.sleep(max(0.0, begun + seconds * (number + 1) / thousands - time.monotonic()))
        reading.assert_whole()
        assert time.monotonic() - begun >= seconds
        client.assert_goes_on()
        wait_until_nothing_is_left(guard)


def test_a_client_that_reads_fast_needs_no_file(impatient: Server, start_guard: StartGuard) -> None:
    guard = start_guard(address(impatient))
    with through(guard, unix_socket=None, ssl_disabled=True) as client:
        sock = wire.socket_of(client.connection)
        sock.sendall(build_packet(b"\3" + large(LARGE).encode(), 0))
        received, end = 0, b""
        while not (end.startswith(b"\5\0\0") and end[4] == EOF_BYTE):
            data = sock.recv(MIB)
            assert data
            received, end = received + len(data), (end + data)[-9:]
        assert received > LARGE * 1_000_000
        client.assert_goes_on()
    assert times(guard, "client reads slowly") == 0


# Limits.


def small_disk(directory: Path, size: str) -> list[str]:
    """Write the command that gives the guard a disk of its own, which is gone with it."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("only root can give a process a disk of its own")
    mount = f'mount -t tmpfs -o size={size} none "$0" && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", mount, str(directory)]


def test_a_full_disk_has_the_server_wait(impatient: Server, start_guard: StartGuard, tmp_path: Path) -> None:
    spool = {"memory": "256KiB", "directory": str(tmp_path)}
    guard = start_guard(address(impatient), spool=spool, prefix=small_disk(tmp_path, "2m"))
    with through(guard) as client:
        for _ in range(2):
            reading = client.ask()
            guard.wait_for("client reads slowly")
            assert guard.wait_for("spool has no file")["reason"] == "No space left on device"
            full = guard.wait_for("spool is full")
            assert full["on_disk"] <= 2 * MIB
            # It reads before the server has lost its patience.
            reading.assert_whole()
            assert guard.wait_for("client has caught up")["server_waited_seconds"] > 0
            disk = os.statvfs(f"/proc/{guard.process.pid}/root{tmp_path}")
            assert disk.f_bfree == disk.f_blocks
        client.assert_goes_on()
        # Once for each time that the client was slow, and not for each piece. It may be fast in between.
        assert 2 <= times(guard, "spool has no file") <= times(guard, "client reads slowly")


def test_a_directory_that_is_gone(impatient: Server, start_guard: StartGuard, tmp_path: Path) -> None:
    directory = tmp_path / "spool"
    directory.mkdir()
    guard = start_guard(address(impatient), spool={"memory": "256KiB", "directory": str(directory)})
    directory.rmdir()
    with through(guard) as client:
        reading = client.ask()
        assert guard.wait_for("spool has no file")["reason"] == "No such file or directory"
        guard.wait_for("spool is full")
        reading.assert_whole()
        directory.mkdir()
        reading = client.ask()
        guard.wait_for("client reads slowly")
        wait_until_idle(impatient, client.thread)
        reading.assert_whole()
        client.assert_goes_on()


def test_a_slow_client_need_not_wait_for_a_probe(impatient: Server, start_guard: StartGuard) -> None:
    guard = start_guard(address(impatient), keepalive={"interval": "100ms", "probe_timeout": "60s"})
    with through(guard) as client:
        reading = client.ask()
        wait_until_idle(impatient, client.thread)
        guard.wait_for("probe")
        impatient.pause()
        try:
            guard.wait_for("probe")
            begun = time.monotonic()
            reading.assert_whole()
            assert time.monotonic() - begun < 20
        finally:
            impatient.resume()
        client.assert_goes_on()


@pytest.mark.parametrize("kind", ["missing", "file", "unwritable"])
def test_a_directory_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path, kind: str) -> None:
    directory = tmp_path / "spool"
    if kind == "file":
        directory.touch()
    elif kind == "unwritable":
        if os.geteuid() == 0:
            directory = Path("/proc/self")  # where not even root can make a file
        else:
            directory.mkdir(mode=0o500)
    config = tmp_path / "config.yaml"
    config.write_text(f"upstream: {{address: '127.0.0.1:3306'}}\nspool: {{directory: '{directory}'}}\n")
    outcome = subprocess.run(
        [sys.executable, "-m", "proxy", "check", str(config)], capture_output=True, text=True, timeout=20, check=False
    )
    assert outcome.returncode != 0
    assert "spool.directory" in outcome.stderr


@pytest.mark.parametrize("spool", [SMALL, {"memory": "256KiB", "disk": "0"}], ids=["file", "memory"])
def test_a_result_that_the_server_has_cut_off_does_not_look_whole(
    impatient: Server, start_guard: StartGuard, spool: dict[str, str]
) -> None:
    guard = start_guard(address(impatient), spool=spool)
    with through(guard) as client:
        reading = client.ask()
        full = guard.wait_for("spool is full")
        assert "net_write_timeout" in full["advice"]
        wait_until_gone(impatient, client.thread)
        reading.read_all()
        assert reading.error is not None
        assert reading.error[0] == 1213
        assert "not complete" in reading.error[1]
        assert 0 < len(reading.seen) < LARGE * 1000
        client.assert_goes_on()
        wait_until_nothing_is_left(guard)


def test_a_client_that_vanishes_frees_the_server(impatient: Server, start_guard: StartGuard) -> None:
    guard = start_guard(address(impatient), spool=SMALL)
    with through(guard) as client:
        client.ask()
        guard.wait_for("spool is full")
        assert nameless_files(guard.process.pid)
        wire.vanish(client.connection)
        # Sooner than by its own patience, if only a little: the guard tells it.
        guard.wait_for("session ends")
        wait_until_gone(impatient, client.thread)
        wait_until_nothing_is_left(guard)


def test_a_server_that_dies_has_said_what_it_has_said(impatient: Server, start_guard: StartGuard) -> None:
    guard = start_guard(address(impatient), spool=SMALL)
    with through(guard) as client:
        reading = client.ask()
        guard.wait_for("spool is full")
        impatient.crash()
        with in_background(impatient.restart) as restart:
            reading.read_all()
            restart.result(60)
        assert reading.error is not None
        assert reading.error[0] == 1213
        assert len(reading.seen) > 4000  # what was in the spool
        client.assert_goes_on()
        wait_until_nothing_is_left(guard)


def test_a_statement_that_is_killed(impatient: Server, start_guard: StartGuard) -> None:
    guard = start_guard(address(impatient), spool=SMALL)
    with through(guard) as client:
        reading = client.ask()
        guard.wait_for("spool is full")
        impatient.execute(f"KILL QUERY {client.thread}")
        reading.read_all()
        assert reading.error is not None
        assert reading.error[0] == 1317
        assert len(reading.seen) > 4000
        client.assert_goes_on()
        wait_until_nothing_is_left(guard)


def test_a_hundred_slow_clients_at_once(impatient: Server, start_guard: StartGuard, tmp_path: Path) -> None:
    count, cap = 100, 16 * MIB
    statement = b"SELECT REPEAT(SHA2(n, 256), 32) FROM test.t"  # two megabytes
    guard = start_guard(address(impatient), spool={"total_memory": str(cap), "directory": str(tmp_path)})
    with ExitStack() as stack:
        clients = [stack.enter_context(through(guard, ssl_disabled=True)) for _ in range(count)]
        wire.send(clients[0].connection, wire.COM_QUERY, statement)
        expected = receive(clients[0], 1000 + 4)
        guard.forget_peak_memory()
        before = guard.peak_memory()
        for client in clients:
            wire.send(client.connection, wire.COM_QUERY, statement)
        for client in clients:
            wait_until_idle(impatient, client.thread)
        assert len(nameless_files(guard.process.pid, tmp_path)) > count // 2
        for client in clients:
            assert receive(client, 1000 + 4) == expected
        if "ASAN_OPTIONS" not in os.environ:  # its allocator keeps what was freed, and takes more for the rest
            # For each of them, there is also what has been received and what is just being sent.
            assert guard.peak_memory() - before < cap + count * 256 * 1024 + KEPT_BYTES
        wait_until_nothing_is_left(guard)
        clients[-1].assert_goes_on()


def receive(client: Client, packets: int) -> list[bytes]:
    return [wire.receive(client.connection)[1] for _ in range(packets)]


def test_a_guard_that_dies_leaves_no_files(impatient: Server, tmp_path: Path) -> None:
    with Guard(address(impatient), spool={"directory": str(tmp_path)}) as guard, through(guard) as client:
        client.ask()
        wait_until_idle(impatient, client.thread)
        assert nameless_files(guard.process.pid, tmp_path)
        guard.process.kill()
        guard.process.wait()
        assert list(tmp_path.iterdir()) == []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                assert nameless_files(process.name, tmp_path) == []
            except (FileNotFoundError, PermissionError):
                continue  # it has ended, or is not ours to look at
