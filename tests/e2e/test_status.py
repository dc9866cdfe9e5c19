"""`stillhere status` in front of a running guard, and what `stillhere run` says to who has started it by hand."""

import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import StartGuard, address
from tests.e2e.guarded import Guarded, wait_until
from tests.guard import Guard
from tests.servers import Server

SECRET = "hunter2secret"
STILLHERE = [sys.executable, "-m", "proxy"]


@pytest.fixture
def own_guard(mariadb: Server, start_guard: StartGuard) -> Guard:
    return start_guard(address(mariadb), guard={"max_allowed_packet": "1MiB"})


@pytest.fixture
def session(own_guard: Guard) -> Iterator[Guarded]:
    with closing(Guarded(own_guard)) as session:
        yield session


def admin_address(guard: Guard) -> str:
    return guard.admin_url.split("/")[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    wide = os.environ | {"COLUMNS": "200"} | environment
    return subprocess.run([*STILLHERE, *arguments], capture_output=True, text=True, timeout=30, check=False, env=wide)


def test_status_tells_what_the_page_tells(own_guard: Guard, mariadb: Server, session: Guarded) -> None:
    session.query("SELECT GET_LOCK('nightly [red]report', 1)")
    assert session.fails(f"SELECT '{'x' * (1 << 20)}'") == 1153
    with closing(Guarded(own_guard)) as other:
        mariadb.execute(f"KILL CONNECTION {other.known}")
        other.wait_until_restored()
        outcome = run("status", "--admin", admin_address(own_guard))
    assert (outcome.returncode, outcome.stderr) == (0, "")
    for pattern in (
        rf"-> {re.escape(address(mariadb))}\n",
        r"sessions  1 restorable, 1 held; 0 in a transaction",
        r"closed by KILL, or by something in between +1 +0 +0\n",
        r"payload over max_allowed_packet +1 +0 +0\n",
        r"ago  killed  1 saved +see who runs KILL",
        r"root  COM_QUERY  1\.0 MiB  1024 KiB  refused",
        rf"{session.id} +root  127\.0\.0\.1:\d+  held: GET_LOCK \(nightly \[red\]report\)",
    ):
        assert re.search(pattern, outcome.stdout), pattern
    assert "\x1b" not in outcome.stdout


def test_status_when_nobody_answers() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        outcome = run("status", "--admin", f"127.0.0.1:{nobody.getsockname()[1]}")
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert "refused (is a guard running there?" in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_status_with_a_token(mariadb: Server, start_guard: StartGuard, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(SECRET)
    guard = start_guard(address(mariadb), admin={"address": "127.0.0.1:0", "token_file": str(file)})
    without = run("status", "--admin", admin_address(guard))
    assert without.returncode == 1
    assert "wants a token" in without.stderr
    assert run("status", "--admin", admin_address(guard), STILLHERE_ADMIN_TOKEN=SECRET).returncode == 0
    spoilt = run("status", "--admin", admin_address(guard), STILLHERE_ADMIN_TOKEN=f"{SECRET}\n")
    assert spoilt.returncode == 1
    assert SECRET not in spoilt.stderr
    config = tmp_path / "stillhere.yaml"
    config.write_text(f"upstream: {{address: db}}\nadmin: {{address: '{admin_address(guard)}', token_file: {file}}}\n")
    with_config = run("status", str(config))
    assert with_config.returncode == 0
    assert SECRET not in with_config.stdout


class Terminal:
    """A program that has a terminal to itself, and what it has written there."""

    def __init__(self, command: Sequence[str]) -> None:
        self._end, inner = pty.openpty()
        os.set_blocking(self._end, False)
        environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm"}
        self.process = subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, env=environment)
        os.close(inner)
        self._written = b""

    def wait_for(self, pattern: str) -> None:
        """Wait until something has been written, whatever its colours."""
        wait_until(lambda: re.search(pattern, self.text()) is not None, f"{pattern!r} on the terminal")

    def text(self) -> str:
        with suppress(OSError):  # nothing at the moment, or nothing any more
            self._written += os.read(self._end, 1 << 20)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._written.decode(errors="replace"))

    def interrupt(self) -> int:
        """Press Ctrl-C; return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._end)


def test_watching_shows_what_changes_and_ends_quietly(own_guard: Guard, session: Guarded) -> None:
    command = [*STILLHERE, "status", "--watch", "--admin", admin_address(own_guard)]
    with closing(Terminal(command)) as terminal:
        terminal.wait_for("sessions  1 restorable")
        with closing(Guarded(own_guard)):
            terminal.wait_for("sessions  2 restorable")
        assert terminal.interrupt() == 0
        assert "Traceback" not in terminal.text()


def test_a_guard_that_goes_away_while_it_is_watched(own_guard: Guard) -> None:
    command = [*STILLHERE, "status", "--watch", "--admin", admin_address(own_guard)]
    with closing(Terminal(command)) as terminal:
        terminal.wait_for("sessions  none")
        own_guard.process.kill()
        terminal.wait_for("no answer from")
        assert terminal.interrupt() == 0


def test_who_starts_a_guard_by_hand_is_told_how_to_go_on(mariadb: Server) -> None:
    listen = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    with closing(Terminal([*STILLHERE, "run", *listen, "--upstream", address(mariadb)])) as terminal:
        terminal.wait_for(r"protects +" + re.escape(address(mariadb)))
        terminal.wait_for(r"mysql -h 127\.0\.0\.1 -P [1-9]\d* -u USER -p")
        terminal.wait_for(r"look at it +http://127\.0\.0\.1:[1-9]\d*/")
        assert terminal.interrupt() == 0


def test_who_reads_the_log_from_a_file_is_not_greeted(own_guard: Guard) -> None:
    assert not any("point at it" in str(event) for event in own_guard.events)
