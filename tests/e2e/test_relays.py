"""Which relay a guard uses, and that it says so."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import StartGuard, address
from tests.servers import Server

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the pump needs epoll")

#: Runs the guard as where nothing was compiled; its arguments end with those of `stillhere`.
WITHOUT_PUMP = (
    "import sys; sys.modules['proxy.pump'] = None; sys.argv[1:] = sys.argv[sys.argv.index('run') :]; "
    "from proxy.cli import main; main()"
)


@linux_only
@pytest.mark.parametrize("relay", ["auto", "pump"])
def test_the_pump_is_compiled_and_used(server: Server, start_guard: StartGuard, relay: str) -> None:
    guard = start_guard(address(server), relay=relay, workers=2)
    assert [(event["kind"], event["workers"]) for event in guard.events if event["event"] == "relay"] == [("pump", 2)]
    for _ in range(3):
        with guard.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchall() == ((1,),)


def test_plain_trio_can_be_chosen(server: Server, start_guard: StartGuard) -> None:
    guard = start_guard(address(server), relay="trio")
    assert [event["kind"] for event in guard.events if event["event"] == "relay"] == ["trio"]
    with guard.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == ((1,),)


def test_without_the_pump_trio_takes_its_place_and_says_so(server: Server, start_guard: StartGuard) -> None:
    guard = start_guard(address(server), prefix=[sys.executable, "-c", WITHOUT_PUMP])
    (event,) = (event for event in guard.events if event["event"] == "relay")
    assert (event["kind"], event["level"]) == ("trio", "warning")
    assert "pump is not to be had" in event["reason"]
    assert ("install a C compiler" in event["advice"]) == sys.platform.startswith("linux")
    with guard.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == ((1,),)


def test_a_pump_that_is_wanted_and_not_there_is_an_error(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("upstream: {address: '127.0.0.1:1'}\nlisten: [{address: '127.0.0.1:0'}]\nrelay: pump\n")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PUMP, "run", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "relay: the pump is not to be had here" in done.stderr
    assert "Traceback" not in done.stderr
