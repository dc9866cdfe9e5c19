"""What the service manager is told: of the start, of a reload, of the end, and that the event loop runs."""

import os
import signal
import socket
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import StartGuard, address
from tests.servers import Server

SECONDS = 20.0
#: How often the guard has to show itself, in seconds.
INTERVAL = 0.2


@pytest.fixture(params=["a file", "an abstract name"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Give the socket at which a service manager listens to the guards that are started now."""
    name = f"{tmp_path}/notify" if request.param == "a file" else f"@stillhere-{uuid.uuid4().hex}"
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0"))
        sock.settimeout(SECONDS)
        yield sock


def test_states(mariadb: Server, start_guard: StartGuard, manager: socket.socket) -> None:
    guard = start_guard(address(mariadb))
    assert manager.recv(4096) == b"READY=1"
    for _ in range(2):
        guard.signal(signal.SIGHUP)
        state, monotonic = manager.recv(4096).split(b"\n")
        assert (state, monotonic[:15]) == (b"RELOADING=1", b"MONOTONIC_USEC=")
        assert manager.recv(4096) == b"READY=1"
    guard.signal(signal.SIGTERM)
    assert manager.recv(4096) == b"STOPPING=1"
    assert guard.process.wait(SECONDS) == 0


@pytest.mark.parametrize("manager", ["a file"], indirect=True)
def test_a_guard_that_hangs_is_noticed(
    mariadb: Server, start_guard: StartGuard, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", str(int(INTERVAL * 1_000_000)))
    guard = start_guard(address(mariadb))
    assert sorted(manager.recv(4096) for _ in range(4)) == [b"READY=1", *[b"WATCHDOG=1"] * 3]
    guard.signal(signal.SIGSTOP)
    os.waitid(os.P_PID, guard.process.pid, os.WSTOPPED | os.WNOWAIT)
    manager.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            manager.recv(4096)  # what was sent before
    manager.settimeout(5 * INTERVAL)
    with pytest.raises(TimeoutError):
        manager.recv(4096)
    guard.signal(signal.SIGCONT)
    assert manager.recv(4096) == b"WATCHDOG=1"
