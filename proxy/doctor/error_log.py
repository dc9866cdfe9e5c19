"""What the server's error log has to say about connections that ended: each drop with its cause.

The lines are those of MySQL 5.7 to 9.7 and of MariaDB 10.x and later. What a server logs at all depends on
``log_error_verbosity`` (MySQL: 3) and ``log_warnings`` (MariaDB: 2; 4 for KILL, and to tell clients that are slow from
those that are gone). MySQL never logs a KILL.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from proxy.doctor.findings import Cause

_LINE = re.compile(r"(?P<time>\d{4}-\d\d-\d\d[T ] ?\d{1,2}:\d\d:\d\d\S*) +(?P<thread>\d+) ")
_ABORTED = re.compile(
    r"Aborted connection \d+ to db: '.*?' user: '(?P<user>.*?)' host: '(?P<host>.*?)'.*?\((?P<reason>[^()]*)\)"
)
#: MariaDB gives the reason of the kernel first, with log_warnings=4 and more.
_COULD_NOT = re.compile(
    r"Could not (?:read|write) packet:.*? (?:read_length: (?P<wanted>\d+) .*?)?errno: (?P<errno>\d+)"
)
_START = re.compile(r"starting .*as process", re.IGNORECASE)
_SHUTDOWN = re.compile(r"Received SHUTDOWN|Normal shutdown")

_TIMED_OUT = 110  # ETIMEDOUT on the server's machine, for which Linux is assumed
_HEADER_BYTES = 4
#: Of so many threads, failures are remembered until the server says that the connection was aborted.
_REMEMBERED_THREADS = 1000

_TOO_MANY = "Too many connections"
_KILLED = "KILLED"
_READING_TIMED_OUT = "Got timeout reading communication packets"
_WRITING_FAILED = "Got an error writing communication packets"
_REASONS = {
    "The client was disconnected by the server because of inactivity.": (
        Cause.IDLE_TIMEOUT,
        "idle for longer than wait_timeout",
    ),
    "Got a packet bigger than 'max_allowed_packet' bytes": (Cause.PACKET_TOO_LARGE, "a packet that was too large"),
    "Got timeout writing communication packets": (Cause.SLOW_APPLICATION, "a result that was not read in time"),
    "Got an error reading communication packets": (Cause.NETWORK, "ended from the client's side without a goodbye"),
}


@dataclass
class Drops:
    """What of one kind the log has: how often, when last, and whom it met."""

    cause: Cause
    what: str
    count: int = 0
    first: str = ""
    last: str = ""
    clients: Counter[str] = field(default_factory=Counter)

    def add(self, time: str, client: str | None) -> None:
        """Count one more."""
        self.count += 1
        self.first = self.first or time
        self.last = time
        if client is not None:
            self.clients[client] += 1


class ErrorLog:
    """Reads a log line by line, in the order in which it was written."""

    def __init__(self, *, names_idleness: bool) -> None:
        """``names_idleness``: the server has words of its own for connections that were idle."""
        self._names_idleness = names_idleness
        self._drops: dict[tuple[Cause, str], Drops] = {}
        self._has_started = self._is_stopping = False
        #: What the kernel has told MariaDB's threads of failures to read or write.
        self._failures: dict[str, list[re.Match[str]]] = {}

    def read(self, lines: Iterable[str]) -> tuple[Drops, ...]:
        """Read all lines; return the drops, the most frequent kind first."""
        for line in lines:
            match = _LINE.match(line)
            if match is not None:
                self._read_message(match["time"], match["thread"], line)
        return tuple(sorted(self._drops.values(), key=lambda drops: -drops.count))

    def _read_message(self, time: str, thread: str, line: str) -> None:
        if aborted := _ABORTED.search(line):
            self._note_aborted(time, aborted, self._failures.pop(thread, []))
        elif failure := _COULD_NOT.search(line):
            self._failures.setdefault(thread, []).append(failure)
            if len(self._failures) > _REMEMBERED_THREADS:
                del self._failures[next(iter(self._failures))]
        elif _SHUTDOWN.search(line):
            self._note(Cause.RESTART, "the server was shut down", time)
            self._is_stopping = True
        elif _START.search(line):
            if self._has_started and not self._is_stopping:
                self._note(Cause.RESTART, "the server crashed", time)
            self._has_started, self._is_stopping = True, False
            self._failures.clear()

    def _note_aborted(self, time: str, aborted: re.Match[str], failures: list[re.Match[str]]) -> None:
        reason, client = aborted["reason"], f"{aborted['user']}@{aborted['host']}"
        timed_out = [failure for failure in failures if int(failure["errno"]) == _TIMED_OUT]
        if reason == _TOO_MANY:
            self._note(Cause.RESTART, "refused, because there were too many connections", time)
        elif aborted["user"] == "unauthenticated":
            pass  # It has never been a session.
        elif reason == _KILLED:
            if not self._is_stopping:
                self._note(Cause.KILLED, "ended by KILL", time, client)
        elif reason == _READING_TIMED_OUT:
            # A server waits in vain for the header of the next command, or for more of one that has begun.
            in_command = len(timed_out) > 1 or any(int(each["wanted"] or 0) != _HEADER_BYTES for each in timed_out)
            if self._names_idleness or in_command:
                self._note(Cause.SLOW_APPLICATION, "a command or local file that did not arrive in time", time, client)
            else:
                self._note(Cause.IDLE_TIMEOUT, "idle for longer than wait_timeout", time, client)
        elif reason == _WRITING_FAILED:
            if timed_out:
                self._note(Cause.SLOW_APPLICATION, "a result that was not read in time", time, client)
            else:
                self._note(Cause.NETWORK, "gone, or not reading, while the server was sending", time, client)
        elif reason in _REASONS:
            self._note(*_REASONS[reason], time, client)

    def _note(self, cause: Cause, what: str, time: str, client: str | None = None) -> None:
        self._drops.setdefault((cause, what), Drops(cause, what)).add(time, client)
