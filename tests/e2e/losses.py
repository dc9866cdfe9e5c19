"""Sessions through the guard that lose their link, beside direct ones that do the same."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import takewhile
from typing import Any

import pytest
from pymysql.constants import CLIENT

from protocol.constants import EOF_BYTE, HEADER_LENGTH, CommandCode
from tests.e2e import wire
from tests.e2e.talk import Talk
from tests.guard import EVENT_SECONDS, Guard
from tests.servers import Connection, Server

#: What a session may use of the protocol; PyMySQL adds what it needs itself.
CAPABILITIES = CLIENT.MULTI_STATEMENTS | 1 << 18  # and PS_MULTI_RESULTS

#: A quiet session is settled after 0.1 s. One that is not after this time has been settled before anybody looked.
_SETTLING_SECONDS = 5.0

#: An idle session has a new link in much less, unless it cannot have one.
_RESTORING_SECONDS = 10.0

_RESTORED = "link lost and restored"
_LOST = "session lost"


def query(sql: str | bytes) -> bytes:
    """Write a COM_QUERY."""
    return bytes((CommandCode.QUERY,)) + (sql.encode() if isinstance(sql, str) else sql)


def _without_stray_flags(reply: bytes) -> bytes:
    """Take the flag of session tracking out of the EOF packets: MariaDB has it there at times, with no use."""
    shown = bytearray(reply)
    position = 0
    while position < len(reply):
        length = int.from_bytes(reply[position : position + 3], "little")
        if length == 5 and reply[position + 4] == EOF_BYTE:
            shown[position + 8] &= 0xBF
        position += HEADER_LENGTH + length
    return bytes(shown)


class Direct:
    """A session without a guard. It is told all that its twin is told, and has nothing to lose."""

    def __init__(self, connection: Connection, capabilities: int = CAPABILITIES, others: Sequence[str] = ()) -> None:
        self.connection = connection
        #: The names of the schemas that are this session's alone: twins have others, of the same length.
        self.schemas = tuple(others)
        self.talk = Talk(connection, capabilities)
        #: Ids of prepared statements, by whatever name the test has for them.
        self.statements: dict[object, bytes] = {}

    def ask(self, payload: bytes) -> bytes:
        """Send a command and give its reply, with the names of schemas replaced by what all twins have in common."""
        for index, name in enumerate(self.schemas):
            payload = payload.replace(b"{%d}" % index, name.encode())
        reply = _without_stray_flags(self.talk.ask(payload))
        return self._shown(reply)

    def _shown(self, reply: bytes) -> bytes:
        for index, name in enumerate(self.schemas):
            reply = reply.replace(name.encode(), b"{%d}" % index + b"." * (len(name) - 3))
        return reply

    def run(self, *statements: str | bytes) -> list[bytes]:
        """Run statements one after the other, and give their replies."""
        return [self.ask(query(statement)) for statement in statements]

    def prepare(self, name: object, sql: str | bytes) -> bytes:
        """Prepare a statement and remember its id; give the reply without it."""
        reply = self.ask(bytes((CommandCode.STMT_PREPARE,)) + (sql.encode() if isinstance(sql, str) else sql))
        if reply[4] == 0xFF:
            return reply
        assert reply[5:9] not in self.statements.values(), "the id of a statement that there is already"
        self.statements[name] = reply[5:9]
        return reply[:5] + reply[9:]

    def use(self, name: object, code: int, rest: bytes = b"") -> bytes:
        """Send a command that names a prepared statement, and give its reply."""
        return self.ask(bytes((code,)) + self.statements[name] + rest)

    def close_statement(self, name: object) -> None:
        """Close a prepared statement, to which there is no reply."""
        self.talk.send(bytes((CommandCode.STMT_CLOSE,)) + self.statements.pop(name))

    def rows(self, sql: str) -> Any:
        """Run a statement and give its rows, as a driver does."""
        for index, name in enumerate(self.schemas):
            sql = sql.replace(f"{{{index}}}", name)
        return wire.query(self.connection, sql)


class Watched:
    """A session through the guard, of whatever client, whose link can be cut."""

    def __init__(self, guard: Guard, server: Server, thread: int, run: Callable[[str], Any]) -> None:
        """``run`` is to run a statement in the session and give its rows."""
        self._guard = guard
        self._server = server
        self._thread = thread
        self._run = run
        self.number = guard.wait_for("session begins", server_thread=thread)["session"]

    def _events(self, *names: str) -> list[dict[str, Any]]:
        return [
            event for event in self._guard.events if event["event"] in names and event.get("session") == self.number
        ]

    def _next_event(self, names: Sequence[str], seen: int, seconds: float = EVENT_SECONDS) -> dict[str, Any] | None:
        """Wait for the event behind the first ``seen`` ones."""
        deadline = time.monotonic() + seconds
        while len(events := self._events(*names)) <= seen:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.01)
        return events[seen]

    def begin_settling(self) -> int:
        """Give the session something to settle; what this returns is for :meth:`await_settled`."""
        self._run("SET @settled = 1 + 0")
        return self.times_settled()

    def times_settled(self) -> int:
        """Tell how often the session has been settled."""
        return len(self._events("settled"))

    def await_settled(self, begun: int) -> dict[str, Any]:
        """Wait until all that the session is has been read back."""
        while (event := self._next_event(("settled",), begun, _SETTLING_SECONDS)) is None:
            begun = self.begin_settling()
        return event

    def settle(self) -> dict[str, Any]:
        """Wait until all that the session is has been read back; it is given a user variable for that."""
        return self.await_settled(self.begin_settling())

    def kill(self) -> int:
        """End the session's thread on the server; what this returns is for :meth:`await_restored`."""
        seen = len(self._events(_RESTORED, _LOST))
        self._server.execute(f"KILL CONNECTION {self._thread}")
        return seen

    def await_restored(self, seen: int) -> dict[str, Any]:
        """Wait until the session has another link."""
        event = self._next_event((_RESTORED, _LOST), seen, _RESTORING_SECONDS)
        if event is None:  # it waits for a command, to say goodbye
            with pytest.raises(Exception, match=r".") as goodbye:
                self._run("SELECT 'lost'")
            raise AssertionError(goodbye.value)
        assert event["event"] == _RESTORED, event
        self._thread = event["server_thread"]
        return event

    def lose(self) -> dict[str, Any]:
        """Have the session lose its link, and wait until it has another one."""
        return self.await_restored(self.kill())

    def await_lost(self, seen: int) -> dict[str, Any]:
        """Wait until the session is over, and give the event that says why."""
        event = self._next_event((_RESTORED, _LOST), seen)
        assert event is not None, "nothing has come of the loss"
        assert event["event"] == _LOST, event
        return event


class Guarded(Watched, Direct):
    """A session through the guard whose link can be cut, and whose replies are received packet by packet."""

    def __init__(
        self,
        connection: Connection,
        guard: Guard,
        server: Server,
        capabilities: int = CAPABILITIES,
        others: Sequence[str] = (),
    ) -> None:
        Direct.__init__(self, connection, capabilities, others)
        Watched.__init__(self, guard, server, wire.thread_id(connection), partial(wire.query, connection))

    def lose_for_good(self, *words: str) -> str:
        """Have the session lose its link and not get another one, because of what these words say; give the error."""
        seen = self.kill()
        reply = self.ask(query("SELECT 'not sent'"))
        code, sqlstate, message = wire.error(reply[4:])
        assert (code, sqlstate) == (4031, "08S01"), message
        assert wire.private(self.connection)._sock.recv(1) == b""
        wire.vanish(self.connection)  # the guard waits for that before it says more
        outcome = self._shown(self.await_lost(seen)["outcome"].encode()).decode()
        for word in words:
            assert word in message, message
            assert word in outcome, outcome
        return message


def lose_all(sessions: Mapping[str, Guarded], *, settled: bool = True) -> None:
    """Have all sessions lose their links, after they have been settled unless that is not wanted."""
    if settled:
        begun = {name: session.begin_settling() for name, session in sessions.items()}
        for name, count in begun.items():
            sessions[name].await_settled(count)
    seen = {name: session.kill() for name, session in sessions.items()}
    failures = {}
    for name, count in seen.items():
        try:
            sessions[name].await_restored(count)
        except AssertionError as failure:
            failures[name] = failure
    assert not failures, failures


def with_names(statement: str, names: Sequence[str]) -> str:
    """Put the names of schemas in the places of ``{0}``, ``{1}`` and so on."""
    for index, name in enumerate(names):
        statement = statement.replace(f"{{{index}}}", name)
    return statement


@contextmanager
def schemas(server: Server, sets: int, count: int, statements: Sequence[str] = ()) -> Iterator[list[list[str]]]:
    """Create ``sets`` times ``count`` schemas with names of equal length; ``statements`` are run in each first one."""
    names = [[f"twin_{uuid.uuid4().hex[:8]}_{index}" for index in range(count)] for _ in range(sets)]
    try:
        for group in names:
            for name in group:
                server.execute(f"CREATE DATABASE {name}")
        if statements:
            for group in names:
                with closing(server.connect(database=group[0], autocommit=True)) as connection:
                    for statement in statements:
                        wire.query(connection, with_names(statement, group))
        yield names
    finally:
        for group in names:
            for name in group:
                server.execute(f"DROP DATABASE IF EXISTS {name}")


def connect_twins(
    stack: ExitStack, guard: Guard, server: Server, names: Sequence[Sequence[str]], **settings: Any
) -> tuple[Guarded, Direct]:
    """Open a session through the guard and a direct one, each with its own schemas."""
    settings = {"client_flag": CAPABILITIES, "ssl_disabled": True, "autocommit": None, "read_timeout": 30} | settings
    capabilities = settings["client_flag"]
    through = stack.enter_context(closing(guard.connect(database=names[0][0], **settings)))
    direct = stack.enter_context(closing(server.connect(database=names[1][0], **settings)))
    return Guarded(through, guard, server, capabilities, names[0]), Direct(direct, capabilities, names[1])


def is_error(reply: bytes, code: int) -> bool:
    """Tell whether a reply is the error of this code."""
    return reply[4:7] == b"\xff" + code.to_bytes(2, "little")


def first_difference(left: bytes, right: bytes) -> tuple[bytes, bytes]:
    """Cut two replies down to what is around the first byte in which they differ."""
    start = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))
    return left[max(0, start - 40) : start + 60], right[max(0, start - 40) : start + 60]
