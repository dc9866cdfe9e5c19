"""A guard that a test, the demo or a bench starts as its users do: as a process of its own, with a file."""

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pymysql
import yaml

from tests.servers import Connection
from tests.servers.process import spawn

START_SECONDS = 30.0
EVENT_SECONDS = 30.0


class Guard:
    """`python -m proxy run` in front of `upstream`, at `port` (0: a free one) and a unix socket (`socket_path`).

    `listen` are entries of the configuration in the place of the one for `port`. `config` is merged into the
    configuration file, section by section. Its log is JSON, and read as it comes. `prefix` is a command that becomes
    the one behind it. The environment variable STILLHERE_TEST_RELAY chooses the relay, where `config` does not.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        upstream: str,
        /,
        *,
        port: int = 0,
        listen: Sequence[Mapping[str, Any]] = (),
        prefix: Sequence[str] = (),
        **config: Mapping[str, Any] | str | int,
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="stillhere-guard-")
        self.socket_path = Path(self._directory.name, "guard.sock")
        sections: dict[str, Any] = {
            "listen": [
                *(map(dict, listen) if listen else [{"address": f"{self.host}:{port}"}]),
                {"address": f"unix:{self.socket_path}"},
            ],
            "upstream": {"address": upstream},
            "admin": {"address": f"{self.host}:0"},
            "log": {"level": "debug", "format": "json"},
        }
        if relay := os.environ.get("STILLHERE_TEST_RELAY"):
            sections["relay"] = relay
        for name, section in config.items():
            sections[name] = sections.get(name, {}) | section if isinstance(section, dict) else section
        self._sections = sections
        self._file = Path(self._directory.name, "config.yaml")
        self._file.write_text(yaml.safe_dump(sections))
        self._log = Path(self._directory.name, "guard.log")
        self._events: list[dict[str, Any]] = []
        self._log_read = 0  # bytes of the log that have become events
        self._waited_for = 0  # events up to here are behind those that were waited for
        self.process = spawn([*prefix, sys.executable, "-m", "proxy", "run", str(self._file)], self._log)
        #: Where it listens on TCP, in the order of the configuration.
        self.ports: list[int] = []
        #: Where its admin pages are.
        self.admin_url = ""
        try:
            if sections["admin"]["address"]:
                self.admin_url = self.wait_for("admin pages", seconds=START_SECONDS)["address"]
            for _ in sections["listen"]:
                address = self.wait_for("listening", seconds=START_SECONDS)["address"]
                if not address.startswith("unix:"):
                    self.ports.append(int(address.rpartition(":")[2]))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """Return the first port that it listens at."""
        return self.ports[0]

    def connect(self, user: str = "root", password: str = "", **kwargs: Any) -> Connection:
        """Return a new PyMySQL connection through the guard, over TCP."""
        return pymysql.connect(host=self.host, port=self.port, user=user, password=password, **kwargs)

    @property
    def events(self) -> list[dict[str, Any]]:
        """What the guard has logged so far. A line that is no event (of a traceback) counts as a critical one."""
        with self._log.open("rb") as log:
            log.seek(self._log_read)
            lines, end, _ = log.read().rpartition(b"\n")  # the last line may still be half-way
        self._log_read += len(lines) + len(end)
        for line in lines.decode().splitlines():
            try:
                self._events.append(json.loads(line))
            except json.JSONDecodeError:
                self._events.append({"event": line, "level": "critical"})
        return self._events

    def failures(self) -> list[dict[str, Any]]:
        """Return what should never be in the log."""
        return [event for event in self.events if event["level"] in ("error", "critical")]

    def wait_for(self, name: str, *, seconds: float = EVENT_SECONDS, **fields: Any) -> dict[str, Any]:
        """Return the next event of this name, and with these fields, behind the one that was waited for last."""
        deadline = time.monotonic() + seconds
        while True:
            has_ended = self.process.poll() is not None
            for index, event in enumerate(self.events[self._waited_for :], self._waited_for):
                if event["event"] == name and all(event.get(key) == value for key, value in fields.items()):
                    self._waited_for = index + 1
                    return event
            if has_ended or time.monotonic() > deadline:
                raise AssertionError(f"no event {name!r} with {fields} in {self.events}")
            time.sleep(0.02)

    def reconfigure(self, **config: Any) -> None:
        """Replace sections of the configuration file, as they are given, and have it read again."""
        self._file.write_text(yaml.safe_dump(self._sections | config))
        self.signal(signal.SIGHUP)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the guard."""
        self.process.send_signal(number)

    def peak_memory(self) -> int:
        """Return the most memory that was ever resident at once, in bytes (Linux)."""
        return self._status_bytes("VmHWM")

    def forget_peak_memory(self) -> None:
        """Have :meth:`peak_memory` start anew from what is resident now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def _status_bytes(self, field: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{field}:"))
        return int(line.split()[1]) * 1024

    def close(self) -> None:
        """Kill the guard, whatever its state, and remove its files."""
        self.process.kill()
        self.process.wait()
        self._directory.cleanup()
