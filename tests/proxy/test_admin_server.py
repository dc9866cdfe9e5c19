"""The admin pages cost nothing until somebody looks at them, and nobody anything if they cannot be had."""

import socket
import subprocess
import sys
from typing import Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from config import parse_address
from proxy.admin import server
from proxy.listener import open_listeners

NEEDLESS = ("anyio", "hypercorn", "jinja2", "starlette")


def test_a_guard_starts_without_what_only_the_pages_need() -> None:
    program = f"import proxy.app, sys; print([name for name in {NEEDLESS} if name in sys.modules])"
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert outcome.stdout == "[]\n"


async def test_pages_that_cannot_be_loaded_end_without_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ImportError("gone")

    monkeypatch.setattr(server, "_load", fail)
    unused: Any = None
    listeners = await open_listeners(parse_address("127.0.0.1:0", default_port=0))
    address = listeners[0].getsockname()
    with capture_logs() as logs, trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve_admin, listeners, unused, unused)
            await trio.testing.wait_all_tasks_blocked()
            assert logs == []
            with socket.create_connection(address):
                pass
    assert [entry["event"] for entry in logs] == ["admin pages have ended"]
    with pytest.raises(ConnectionRefusedError), socket.create_connection(address):
        pass
