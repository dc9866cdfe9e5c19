"""A script that uses a driver through the guard, step by step."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.servers.process import spawn

#: What a script prints when it has done it. Behind "idle" it waits for a line, and for the crash before that.
STEPS = ["text", "prepared", "large", "transaction", "oversized", "idle", "survived"]
IDLE = "idle"

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 60.0


class Script:
    """A running script, whose output (the steps, and its errors) goes to the file `output`."""

    def __init__(self, command: Sequence[str], output: Path) -> None:
        self._output = output
        self._process = spawn(command, output, stdin=subprocess.PIPE, directory=ROOT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if not self.has_ended:
            os.killpg(self._process.pid, signal.SIGKILL)  # also what a shell has started
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()

    @property
    def output(self) -> str:
        """All that it has printed so far."""
        return self._output.read_text(errors="replace")

    @property
    def steps(self) -> list[str]:
        """The steps that it has taken so far."""
        return [line for line in self.output.splitlines() if line in STEPS]

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def status(self) -> int | None:
        """How it has ended, if it has."""
        return self._process.poll()

    def wait_until_idle(self) -> bool:
        """Wait until it waits for us; tell whether it does. If not, it has ended, or takes too long."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while IDLE not in self.steps and not self.has_ended and time.monotonic() < deadline:
            time.sleep(0.02)
        return IDLE in self.steps and not self.has_ended

    def go_on(self) -> None:
        """Let it go on from where it is idle."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()

    def wait(self) -> None:
        """Wait until it has ended, or takes too long."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(DEADLINE_SECONDS)
