"""Two raw clients that say the same: one through the guard, one without it. What they are answered must be the same.

What differs by its nature is replaced by what both have in common: names of schemas, ids of prepared statements,
counters. The rest is compared byte for byte, sequence ids included.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from protocol.constants import Capability, CommandCode, SessionTrack
from protocol.framing import build_packet
from protocol.packets import Ok
from protocol.session_track import is_mariadb
from protocol.wire import Cursor
from tests.e2e.raw import Packet, RawClient
from tests.guard import Guard
from tests.servers import Server

#: For what a test says of itself when it fails.
_SHOWN_BYTES = 400

#: In the upper byte of the status flags, and a matter of luck.
_WAS_SLOW = 0x08

#: Commands without an answer. Where they are shorter than this, MySQL complains, and MariaDB does not.
_SHORTEST_SILENT = {int(CommandCode.STMT_CLOSE): 5, int(CommandCode.STMT_SEND_LONG_DATA): 7}

#: Flags of an execution that asks for no cursor.
_NO_CURSOR = frozenset({b"", b"\0", b"\x08"})

_TRANSACTION_KINDS = frozenset({SessionTrack.TRANSACTION_CHARACTERISTICS, SessionTrack.TRANSACTION_STATE})
_NUMBERS = re.compile(rb"[0-9]+([.][0-9]+)?")
#: Where a parameter is at fault, MariaDB gives the row of the statement before, which may be one of the guard's own.
_ROW = re.compile(rb"at row [0-9]+")
#: In the text of an error, in whatever language.
_STATEMENT_ID = re.compile(rb"\([0-9]+\)")


@dataclass(frozen=True)
class Command:
    """A command for both. In its payload, ``{0}`` stands for the name of the first schema, and so on.

    ``statement`` is the number of the statement whose id is put behind the code, ``prepares`` that of the one which it
    prepares.
    """

    payload: bytes
    statement: int | None = None
    prepares: int | None = None

    def __repr__(self) -> str:
        shown = self.payload if len(self.payload) <= _SHOWN_BYTES else self.payload[:_SHOWN_BYTES] + b"..."
        which = f" of statement {self.statement}" if self.statement is not None else ""
        prepared = f", statement {self.prepares}" if self.prepares is not None else ""
        return f"<{len(self.payload)} bytes {shown!r}{which}{prepared}>"

    @property
    def code(self) -> int | None:
        """The first byte."""
        return self.payload[0] if self.payload else None


@dataclass
class Side:
    """One of the twins."""

    name: str
    client: RawClient
    schemas: Sequence[str]
    #: Ids of prepared statements, by their numbers.
    ids: dict[int, bytes] = field(default_factory=dict)
    #: Whether the client is told of transactions because it has said that it wants to be.
    hears_of_transactions: bool = False
    #: The schema that the server has reported last, as it came.
    _schema: bytes = b""

    def write(self, command: Command) -> bytes:
        """Write a command's packet."""
        payload = command.payload
        if command.statement is not None:
            payload = payload[:1] + self.ids[command.statement] + payload[1:]
        for index, name in enumerate(self.schemas):
            payload = payload.replace(b"{%d}" % index, name.encode())
        return build_packet(payload, 0)

    def hear(self, command: Command) -> list[Packet]:
        """Receive the answer to a command, in the form in which it can be compared."""
        code = command.code
        if code in _SHORTEST_SILENT and len(command.payload) < _SHORTEST_SILENT[code] and command.statement is None:
            code = code if is_mariadb(self.client.greeting.version) else None
        flags = command.payload[5 if command.statement is None else 1 :][:1]
        asks_for_cursor = code == CommandCode.STMT_EXECUTE and flags not in _NO_CURSOR
        try:
            reply = self.client.reply(code, asks_for_cursor=asks_for_cursor)
        except (OSError, EOFError) as error:
            raise AssertionError(f"{self.name}: no whole answer to {command}: {error}") from error
        if command.prepares is not None and reply[0].payload[0] == 0:
            head = reply[0].payload
            assert head[1:5] not in self.ids.values(), "the id of a statement that there is already"
            self.ids[command.prepares] = head[1:5]
            reply[0] = replace(reply[0], payload=head[:1] + b"(id)" + head[5:])
        return [self.shown(packet, command) for packet in reply]

    def shown(self, packet: Packet, command: Command) -> Packet:
        """Replace what need not be the same."""
        payload = packet.payload
        for index, name in enumerate(self.schemas):
            payload = payload.replace(name.encode(), (b"{%d}" % index).ljust(len(name), b"."))
        if command.code == CommandCode.STATISTICS and payload[0] != 0xFF:
            payload = _NUMBERS.sub(b"N", payload)
        if payload[0] == 0xFF:
            payload = _STATEMENT_ID.sub(b"(id)", payload)
            payload = _ROW.sub(b"at row N", payload)
        if payload[0] == 0xFE and len(payload) == 5:
            # MariaDB says in EOF packets that the session's state has changed, where it cannot say what of it, if
            # somebody wants to know of more than it tells by default.
            payload = payload[:4] + bytes((payload[4] & ~_WAS_SLOW & 0xBF,))
        if packet.is_ok:
            payload = self._shown_ok(payload)
        return replace(packet, payload=payload)

    def _shown_ok(self, payload: bytes) -> bytes:
        status = Cursor(payload, 1)
        status.lenenc_integer()
        status.lenenc_integer()
        at = status.position + 1
        payload = payload[:at] + bytes((payload[at] & ~_WAS_SLOW,)) + payload[at + 1 :]
        if not self.client.capabilities & Capability.SESSION_TRACK:
            return payload
        ok = Ok.parse(payload)
        entries = []
        cursor = Cursor(ok.state)
        while cursor.remaining:
            start = cursor.position
            kind = cursor.integer(1)
            entry = cursor.lenenc_bytes()
            # MySQL tells clients of transactions even where session_track_transaction_info is OFF; behind the guard,
            # it is those that have asked for it.
            is_uncalled = kind in _TRANSACTION_KINDS and not self.hears_of_transactions
            # Where a statement has failed in another schema, MariaDB reports the one that has not changed, with the
            # next OK packet that has something to say; behind the guard, that may be an earlier one.
            is_repeated = (
                kind == SessionTrack.SCHEMA and entry == self._schema and is_mariadb(self.client.greeting.version)
            )
            if kind == SessionTrack.SCHEMA:
                self._schema = entry
            if not is_uncalled and not is_repeated:
                entries.append(ok.state[start : cursor.position])
        # MariaDB reports several variables in the order of its hash table. An empty block goes with its flag.
        return ok._replace(state=b"".join(sorted(entries))).build()


class Twins:
    """A session through the guard and a direct one."""

    def __init__(
        self,
        stack: ExitStack,
        guard: Guard,
        server: Server,
        names: Sequence[Sequence[str]],
        capabilities: int,
        *,
        charset: int = 45,
        attributes: bytes = b"",
        note: Callable[[str], object] = lambda _: None,
    ) -> None:
        """Log in to both; ``names`` are the schemas of the one and of the other. ``note`` is told all that goes on."""
        self.note = note
        targets: tuple[Guard | Server, ...] = (guard, server)
        self.sides = [
            Side(
                name,
                stack.enter_context(
                    RawClient(
                        target.host,
                        target.port,
                        capabilities,
                        schema=own[0],
                        charset=charset,
                        attributes=attributes,
                    )
                ),
                own,
            )
            for name, target, own in zip(("through", "direct"), targets, names, strict=True)
        ]
        self.capabilities = self.sides[1].client.capabilities
        login = Command(b"")
        through, direct = (side.shown(side.client.login, login) for side in self.sides)
        assert_alike([through], [direct], login)

    @property
    def has_attributes(self) -> bool:
        """Whether queries have attributes in front."""
        return bool(self.capabilities & Capability.QUERY_ATTRIBUTES)

    def query(self, sql: str | bytes, attributes: bytes = b"\0\1") -> Command:
        """Write a COM_QUERY. ``attributes`` is what stands in front of the text where they were negotiated."""
        text = sql.encode() if isinstance(sql, str) else sql
        return Command(bytes((CommandCode.QUERY,)) + (attributes if self.has_attributes else b"") + text)

    def run(self, *statements: str | bytes) -> list[Packet]:
        """Run statements one after the other; give the last answer."""
        reply: list[Packet] = []
        for sql in statements:
            (reply,) = self.ask(self.query(sql))
        return reply

    def ask(self, *commands: Command, cuts: Iterable[int] = (), file: Sequence[bytes] = ()) -> list[list[Packet]]:
        """Send commands to both in one go; give the answers, which must be the same."""
        cuts = tuple(cuts)
        self.note(f"ask {', '.join(map(repr, commands))}" + (f" cut at {cuts}" if cuts else ""))
        for side in self.sides:
            side.client.file = file
            side.client.send_bytes(b"".join(map(side.write, commands)), cuts)
        answers = []
        for command in commands:
            through, direct = self.hear(command)
            assert_alike(through, direct, command)
            answers.append(direct)
        return answers

    def hear(self, command: Command) -> list[list[Packet]]:
        """Receive both answers to a command, the direct one first: by that, the rules of this test are judged."""
        direct = self.sides[1].hear(command)
        self.note(f"  -> {direct[:4]}{' and so on' if len(direct) > 4 else ''}")
        return [self.sides[0].hear(command), direct]

    def prepare(self, number: int, sql: str | bytes) -> bool:
        """Prepare a statement; tell whether that has succeeded."""
        text = sql.encode() if isinstance(sql, str) else sql
        (reply,) = self.ask(Command(bytes((CommandCode.STMT_PREPARE,)) + text, prepares=number))
        return reply[0].payload[0] == 0

    def use(self, number: int, code: int, rest: bytes = b"", *, cuts: Iterable[int] = ()) -> list[Packet]:
        """Send a command that names a prepared statement."""
        (reply,) = self.ask(Command(bytes((code,)) + rest, statement=number), cuts=cuts)
        return reply

    def close_statement(self, number: int) -> None:
        """Close a prepared statement."""
        self.use(number, CommandCode.STMT_CLOSE)
        for side in self.sides:
            del side.ids[number]

    def change_user(self, schema: int, attributes: bytes, charset: int) -> None:
        """Become the same user anew. By which plugin the password is asked for, is the guard's own choice."""
        self.note(f"change user, schema {schema}")
        command = Command(bytes((CommandCode.CHANGE_USER,)))
        answers = []
        for side in self.sides:
            answer = side.client.change_user("root", side.schemas[schema], attributes, charset=charset)
            answers.append([side.shown(answer, command)])
            side.ids.clear()
            side.hears_of_transactions = False
        assert_alike(answers[0], answers[1], command)

    def assert_in_step(self) -> None:
        """See that nothing more comes than has been taken for the replies."""
        self.ask(Command(bytes((CommandCode.PING,))))


def assert_alike(through: Sequence[Packet], direct: Sequence[Packet], command: Command) -> None:
    """See that two answers are the same; the error shows the first packets that are not."""
    for index, (ours, theirs) in enumerate(zip(through, direct, strict=False)):
        if ours != theirs:
            same = next(
                (at for at, pair in enumerate(zip(ours.payload, theirs.payload, strict=False)) if pair[0] != pair[1]),
                min(len(ours.payload), len(theirs.payload)),
            )
            raise AssertionError(
                f"{command}: packet {index} of the reply differs at {same}:\nthrough {ours}\ndirect  {theirs}"
            )
    assert len(through) == len(direct), f"{command}:\nthrough {through}\ndirect  {direct}"
