"""The guard as a process: where it listens, what it does to sockets, and how it stops."""

import json
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pymysql
import pytest

from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.guard import Guard
from tests.servers import Connection, Server


def exit_code(guard: Guard, seconds: float = 20) -> int:
    return guard.process.wait(seconds)


def test_drains_at_sigterm(server: Server, start_guard: StartGuard, schema: str) -> None:
    server.execute("CREATE TABLE t (n INT) ENGINE=InnoDB", database=schema)
    guard = start_guard(address(server))
    idle = guard.connect()
    with closing(guard.connect(database=schema)) as busy, closing(guard.connect(database=schema)) as in_transaction:
        wire.query(in_transaction, "INSERT INTO t VALUES (1)")
        rows: list[object] = []
        query = threading.Thread(target=lambda: rows.append(wire.query(busy, "SELECT SLEEP(1.5), 'done'")))
        query.start()
        wait_until_running(server, wire.thread_id(busy))
        guard.signal(signal.SIGTERM)
        assert guard.wait_for("draining")["sessions"] == 3
        guard.wait_for("session ends", reason="drained")
        # New clients are not taken; sessions under way come to their end.
        with pytest.raises(pymysql.OperationalError):
            guard.connect()
        query.join()
        assert rows == [((0, "done"),)]
        wire.query(in_transaction, "INSERT INTO t VALUES (2)")
        in_transaction.commit()
        assert exit_code(guard) == 0
    assert guard.events[-1]["event"] == "stopped"
    assert not guard.socket_path.exists()
    assert server.execute("SELECT COUNT(*) FROM t", database=schema) == [(2,)]
    with pytest.raises(pymysql.OperationalError):
        idle.ping(reconnect=False)


def wait_until_running(server: Server, thread: int) -> None:
    for _ in range(500):
        if server.execute(
            "SELECT 1 FROM information_schema.processlist WHERE id = %s AND command = 'Query'", (thread,)
        ):
            return
        time.sleep(0.01)
    raise AssertionError("the query does not run")


def begin(connection: Connection) -> None:
    wire.query(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT")


@pytest.mark.parametrize("second", [True, False], ids=["at a second signal", "at the deadline"])
def test_sessions_that_do_not_end_are_cut_off(server: Server, start_guard: StartGuard, *, second: bool) -> None:
    guard = start_guard(address(server), limits={"drain_timeout": "60s" if second else "500ms"})
    with closing(guard.connect()) as connection:
        begin(connection)
        guard.signal(signal.SIGTERM)
        guard.wait_for("draining")
        if second:
            guard.signal(signal.SIGINT)
        assert exit_code(guard) == 0
        guard.wait_for("sessions cut off")


def test_a_port_that_is_taken(guard: Guard, server: Server) -> None:
    command = [sys.executable, "-m", "proxy", "run", "--listen", f"127.0.0.1:{guard.port}", "--admin", "127.0.0.1:0"]
    outcome = subprocess.run(
        [*command, "--upstream", address(server)], capture_output=True, text=True, timeout=20, check=False
    )
    assert outcome.returncode == 1
    assert outcome.stderr == f"cannot listen on 127.0.0.1:{guard.port}: address already in use\n"


def test_a_guard_that_does_not_start_leaves_nothing_behind(guard: Guard, server: Server, tmp_path: Path) -> None:
    own, taken = f"unix:{tmp_path}/own.sock", f"unix:{guard.socket_path}"
    command = [sys.executable, "-m", "proxy", "run", "--listen", own, "--listen", taken, "--admin", "127.0.0.1:0"]
    command += ["--upstream", address(server)]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert outcome.returncode == 1
    assert outcome.stderr == f"cannot listen on {taken}: address already in use\n"
    assert list(tmp_path.iterdir()) == []
    assert guard.socket_path.exists()


def test_an_admin_address_that_was_chosen_and_is_taken(guard: Guard) -> None:
    taken = guard.admin_url.split("/")[2]
    command = [sys.executable, "-m", "proxy", "run", "--listen", "127.0.0.1:0", "--admin", taken, "--upstream", "db"]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert outcome.returncode == 1
    assert outcome.stderr == f"cannot listen on {taken}: address already in use\n"


def test_two_guards_that_chose_no_admin_address(mariadb: Server) -> None:
    options = ["--listen", "127.0.0.1:0", "--upstream", address(mariadb), "--log-format", "json"]
    with socket.socket() as other:
        with suppress(OSError):  # somebody else has it: so much the better
            other.bind(("127.0.0.1", 8307))
            other.listen()
        guard = subprocess.Popen([sys.executable, "-m", "proxy", "run", *options], stderr=subprocess.PIPE, text=True)
        try:
            assert guard.stderr is not None
            warning, relay, listening = (json.loads(guard.stderr.readline()) for _ in range(3))
            assert warning["event"] == "no admin pages"
            assert "127.0.0.1:8307: address already in use" in warning["reason"]
            assert (relay["event"], listening["event"]) == ("relay", "listening")
        finally:
            guard.terminate()
            guard.communicate(timeout=20)


def test_admin_pages_that_everybody_can_read(mariadb: Server, start_guard: StartGuard) -> None:
    guard = start_guard(address(mariadb), admin={"address": "0.0.0.0:0"})
    assert any(event["event"] == "admin pages are open" for event in guard.events)


def test_clients_wait_while_there_are_no_file_descriptors(server: Server, start_guard: StartGuard) -> None:
    guard = start_guard(address(server))
    most = resource.prlimit(guard.process.pid, resource.RLIMIT_NOFILE)
    answers: list[object] = []

    def visit() -> None:
        with closing(guard.connect()) as client:
            answers.append(wire.query(client, "SELECT 1"))

    with closing(guard.connect()) as earlier:
        resource.prlimit(guard.process.pid, resource.RLIMIT_NOFILE, (3, most[1]))
        visitor = threading.Thread(target=visit)
        visitor.start()
        assert guard.wait_for("cannot accept")["reason"] == "Too many open files"
        assert wire.query(earlier, "SELECT 2") == ((2,),)
        resource.prlimit(guard.process.pid, resource.RLIMIT_NOFILE, most)
        visitor.join()
    assert answers == [((1,),)]


def test_a_socket_left_behind_is_taken_over_and_one_in_use_is_not(server: Server, start_guard: StartGuard) -> None:
    first = start_guard(address(server))
    first.process.kill()
    first.process.wait()
    assert first.socket_path.exists()
    listen = ["--listen", f"unix:{first.socket_path}", "--admin", "127.0.0.1:0"]
    command = [sys.executable, "-m", "proxy", "run", "--upstream", address(server), *listen]
    second = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert second.stderr is not None
        assert any("listening" in line for line in second.stderr)
        with closing(pymysql.connect(unix_socket=str(first.socket_path), user="root")) as connection:
            assert wire.query(connection, "SELECT 1") == ((1,),)
        outcome = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert outcome.returncode == 1
        assert "address already in use" in outcome.stderr
    finally:
        second.terminate()
        assert second.wait(20) == 0
        second.communicate()
