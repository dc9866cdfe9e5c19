"""The watchdog's interval, and a service manager that cannot be reached."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from proxy import service_manager


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.bind(f"{tmp_path}/notify")
        yield sock


async def test_twice_in_each_interval(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.abc.Clock
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    with trio.move_on_after(61):
        await service_manager.keep_watchdog_quiet()
    assert [manager.recv(100) for _ in range(5)] == [b"WATCHDOG=1"] * 5
    with pytest.raises(BlockingIOError):
        manager.recv(100)


@pytest.mark.parametrize(
    ("pid", "microseconds", "seconds"),
    [
        (None, "30000000", 30.0),
        ("ours", "30000000", 30.0),
        ("another", "30000000", None),
        (None, "0", None),
        (None, "soon", None),
        (None, None, None),
    ],
)
def test_who_is_watched(
    pid: str | None, microseconds: str | None, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = {None: None, "ours": str(os.getpid()), "another": "1"}
    for name, value in (("WATCHDOG_PID", pids[pid]), ("WATCHDOG_USEC", microseconds)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert service_manager.watchdog_seconds() == seconds


def test_a_manager_that_is_gone_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/nobody")
    with capture_logs() as logs:
        service_manager.tell_ready()
    assert [line["event"] for line in logs] == ["service manager not told"]
    monkeypatch.delenv("NOTIFY_SOCKET")
    with capture_logs() as logs:
        service_manager.tell_ready()
    assert logs == []
