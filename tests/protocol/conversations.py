"""Strategies that make whole conversations between a client and a server, valid ones and broken ones."""

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from hypothesis import strategies as st

from protocol.constants import HEADER_LENGTH, Capability
from tests.protocol.transcripts import COLUMN, LOCAL_INFILE, SCHEMA, SHOWN, UNASKED, frame

#: Where the protocol is scaled down, the length of a full frame.
FULL = 0xFF
LIMITS = (200, 1024)


class Packet(NamedTuple):
    """A frame as it is sent, and what the other side gets in its place."""

    sent: bytes
    passed: bytes


@dataclass(frozen=True)
class Turn:
    """What one side says until it is the other's turn."""

    by_client: bool
    packets: tuple[Packet, ...]

    @property
    def sent(self) -> bytes:
        """What goes on the wire."""
        return b"".join(packet.sent for packet in self.packets)

    @property
    def passed(self) -> bytes:
        """What the other side gets."""
        return b"".join(packet.passed for packet in self.packets)


@dataclass(frozen=True)
class Conversation:
    """What two sides say to each other. `ends_idle`: nothing is owed at the end, and no decision is due."""

    scaled_down: bool
    limit: int
    capabilities: int
    client_listens: bool
    #: Statements that were prepared on an earlier link: the clients' ids, and the server's on this one.
    statements: tuple[tuple[int, int], ...]
    turns: tuple[Turn, ...]
    ends_idle: bool


class _Writer:
    """Numbers the packets of a reply, and of a file within it."""

    def __init__(self, draw: st.DrawFn, capabilities: int, *, listens: bool, scaled_down: bool) -> None:
        self.draw = draw
        self.capabilities = capabilities
        self.deprecates_eof = bool(capabilities & Capability.DEPRECATE_EOF)
        self.listens = listens
        self.scaled_down = scaled_down
        #: What statements there are: the server's ids by the client's.
        self.statements: dict[int, int] = {}
        self.turns: list[Turn] = []
        self._packets: list[Packet] = []
        self._sequence_id = 1

    def begin_reply(self) -> None:
        self._sequence_id = 1

    def end_turn(self, *, by_client: bool = False) -> None:
        if self._packets:
            self.turns.append(Turn(by_client, tuple(self._packets)))
        self._packets = []

    def add(self, payload: bytes, shown: bytes | None = None) -> None:
        sent = frame(payload, self._sequence_id)
        self._packets.append(Packet(sent, sent if shown is None else frame(shown, self._sequence_id)))
        self._sequence_id = (self._sequence_id + 1) & 0xFF

    def row(self) -> None:
        row = self.draw(_ROWS)
        if not self.scaled_down:
            row = row[:FULL].replace(b"\xfe", b"\xfd", 1)  # a row that begins so would have 16 MiB
        while self.scaled_down and len(row) >= FULL:
            self.add(row[:FULL])
            row = row[FULL:]
            if not row:
                self.add(b"")
        if row:
            self.add(row)

    def rows(self) -> None:
        for _ in range(self.draw(st.integers(0, 4))):
            self.row()

    def eof(self, status: int) -> None:
        self.add(b"\xfe" + self.draw(_WARNINGS) + status.to_bytes(2, "little"))

    def rows_end(self, status: int) -> None:
        if self.deprecates_eof:
            self.ok(status, header=b"\xfe")
        else:
            self.eof(status)

    def ok(self, status: int, header: bytes = b"\0") -> None:
        numbers = self.draw(_NUMBERS) + self.draw(_NUMBERS)
        warnings = self.draw(_WARNINGS)
        info = self.draw(st.binary(max_size=9))
        entries = self.draw(st.lists(st.sampled_from([*UNASKED, SHOWN, SCHEMA]), max_size=3))
        listed = [entry for entry in entries if entry not in UNASKED] if self.listens else []
        write = partial(_write_ok, header + numbers, status, warnings, info)
        self.add(write(entries), write(listed) if listed != entries else None)

    def progress(self) -> None:
        if self.capabilities & Capability.MARIADB_PROGRESS:
            for _ in range(self.draw(st.integers(0, 2))):
                self.add(b"\xff\xff\xff\x01\x01\x02\x10\x27\x00\x0ccopy to tmp.")

    def error(self) -> None:
        self.add(b"\xff\x15\x04#28000" + self.draw(st.binary(max_size=9)))

    def columns(self) -> None:
        """Write how many columns there are, and their definitions."""
        count = self.draw(st.integers(1, 3))
        has_definitions = True
        flag = b""
        if self.capabilities & (Capability.OPTIONAL_METADATA | Capability.MARIADB_CACHE_METADATA):
            flag = self.draw(st.sampled_from([b"", b"\0", b"\1"]))
            has_definitions = flag != b"\0"
        self.add(bytes((count,)) + flag)
        for _ in range(count if has_definitions else 0):
            self.add(COLUMN)

    def result_set(self, *, more: bool, may_open_cursor: bool) -> None:
        flags = 0x000A if more else 0x0002
        self.columns()
        if may_open_cursor and not more:
            self.rows_end(flags | 0x40)
            return
        # That of a stored program, which has opened a cursor of its own.
        stray = self.draw(st.sampled_from([0, 0x40]))
        announced = self.draw(st.booleans()) and more
        if not self.deprecates_eof:
            # MySQL does not repeat at the end that more follows, MariaDB does.
            status = (
                0x100A if announced else self.draw(st.sampled_from([0x000A] if stray else [0x0002, 0x000A, 0x1002]))
            )
            self.eof(status | stray)
            if announced:
                flags = self.draw(st.sampled_from([0x0002, 0x000A]))
        self.rows()
        self.rows_end(flags | stray)

    def results(self, *, may_load: bool, may_open_cursor: bool) -> None:
        kinds = ["ok", "result set", "error"] + ["load"] * may_load
        more = True
        while more:
            more = self.draw(st.integers(0, 2)) == 0
            self.progress()
            kind = self.draw(st.sampled_from(kinds))
            if kind == "load":
                self.add(LOCAL_INFILE)
                self.end_turn()
                for piece in self.draw(st.lists(st.binary(min_size=1, max_size=150), max_size=3)):
                    self.add(piece)
                self.add(b"")
                self.end_turn(by_client=True)
                kind = self.draw(st.sampled_from(["ok", "error"]))
            if kind == "ok":
                self.ok(0x800B if more else self.draw(st.sampled_from([0x0002, 0x8001])))
            elif kind == "result set":
                self.result_set(more=more, may_open_cursor=may_open_cursor)
            else:
                self.error()
                return

    def prepare(self) -> None:
        parameters, columns = self.draw(st.integers(0, 2)), self.draw(st.integers(0, 2))
        flag = b""
        if self.capabilities & Capability.OPTIONAL_METADATA:
            flag = self.draw(st.sampled_from([b"\0", b"\1"]))
        server_id = self.draw(st.sampled_from(IDS))
        client_id = max(self.statements) + 1 if server_id in self.statements else server_id
        self.statements[client_id] = server_id
        rest = bytes((columns, 0, parameters, 0, 0, 0, 0)) + flag
        self.add(*(b"\0" + statement_id.to_bytes(4, "little") + rest for statement_id in (server_id, client_id)))
        for count in (parameters, columns):
            for _ in range(0 if flag == b"\0" else count):
                self.add(COLUMN)
            if count and not self.deprecates_eof:
                self.eof(2)

    def reply(self, code: int, *, may_load: bool, may_open_cursor: bool = False) -> None:
        """Write an answer to a command; ``may_open_cursor`` is what :meth:`command` has returned."""
        self.begin_reply()
        if code in _SILENT:
            return
        if code in _CHAINS:
            self.results(may_load=may_load, may_open_cursor=may_open_cursor)
        elif self.draw(st.integers(0, 4)) == 0:
            self.error()
        elif code == 0x09:
            self.add(b"Uptime: 7")
        elif code == 0x16:
            self.prepare()
        elif code == 0x1C:
            self.rows()
            self.rows_end(0x42)
        elif code == 0x04:
            for _ in range(self.draw(st.integers(0, 2))):
                self.add(COLUMN)
            self.rows_end(2)
        elif code in {0x0D, 0x1B}:
            self.rows_end(2)
        else:
            self.ok(2)

    def command(self, payload: bytes, *, passes: bool = True) -> bool:
        """Write a command; return whether it asks for a cursor."""
        sent = frame(payload, 0)
        client_id = int.from_bytes(payload[1:5], "little")
        is_execution = payload[0] == 0x17 and (client_id in self.statements or client_id == LAST_PREPARED)
        self._packets.append(Packet(sent, frame(self.with_server_id(payload), 0) if passes else b""))
        return is_execution and len(payload) > 5 and payload[5] & 0x07 != 0

    def with_server_id(self, payload: bytes) -> bytes:
        """Put the server's id of a statement in the place of the client's."""
        client_id = int.from_bytes(payload[1:5], "little")
        if payload[0] not in _NAMING or len(payload) < 5 or client_id == LAST_PREPARED:
            return payload
        server_id = self.statements.get(client_id)
        if server_id is None:
            # By the id of another statement, that one would be meant.
            server_id = 0xFFFFFFFE if client_id in self.statements.values() else client_id
        elif payload[0] == 0x19:
            del self.statements[client_id]
        return payload[:1] + server_id.to_bytes(4, "little") + payload[5:]


def _write_ok(beginning: bytes, status: int, warnings: bytes, info: bytes, entries: list[bytes]) -> bytes:
    block = b"".join(entries)
    written = beginning + (status | 0x4000 * bool(block)).to_bytes(2, "little") + warnings
    if info or block:
        written += bytes((len(info),)) + info
    if block:
        written += bytes((len(block),)) + block
    return written


_CHAINS = (0x03, 0x17, 0xFA, 0x0A)
_SILENT = (0x18, 0x19)
#: Those that name a statement.
_NAMING = (0x17, 0x18, 0x19, 0x1A, 0x1C, 0xFA)
#: Ids of statements: so few that they meet.
IDS = (7, 8, 9)
#: By this id MariaDB knows the statement that was prepared last.
LAST_PREPARED = 0xFFFFFFFF
_CODES = st.sampled_from([*_CHAINS, *_CHAINS, *_SILENT, 0x02, 0x0E, 0x09, 0x16, 0x1C, 0x04, 0x0D, 0x1B, 0x1A, 0x77])
_STATEMENTS = (
    b"SET @@wait_timeout=1",
    b"SET @a = 1, @b := 2",
    b"SELECT GET_LOCK('a', 1)",
    b"PREPARE s FROM 'SELECT 1'",
    b"EXECUTE s",
    b"CREATE TEMPORARY TABLE t (a INT); DROP TEMPORARY TABLE t",
    b"KILL 7",
    b"LOCK TABLES t READ",
    b"BEGIN",
    b"start transaction",
    b"SELECT * FROM t WHERE id = 7",
    b"\tinsert into t values (1)",
    b"Update t SET a = 'share'",
    b"SELECT '".ljust(90, b"x") + b"' INTO @a",
)
_TAILS = (
    st.binary(max_size=10)
    | st.just(b"\1\1\0\0\0")
    | st.sampled_from(_STATEMENTS)
    | st.binary(min_size=60, max_size=180)
)
_ORDINARY_CODES = st.sampled_from([0x03, 0x03, 0x17, 0x0E]).map(lambda code: [code])
_ORDINARY_TAILS = {
    0x03: st.sampled_from(_STATEMENTS[-5:]) | st.sampled_from(_STATEMENTS),
    0x17: st.just(b"\0\1\0\0\0"),
    0x0E: st.just(b""),
}
_STATEMENT_IDS = st.sampled_from([*IDS, *IDS, 10, LAST_PREPARED]).map(lambda value: value.to_bytes(4, "little"))
_NUMBERS = st.integers(0, 250).map(lambda value: bytes((value,))) | st.just(b"\xfc\x2c\x01")
_WARNINGS = st.sampled_from([b"\0\0", b"\x01\0"])
# Rows of an ordinary size, such that are passed on as they come, and such that take several frames; these alone may
# begin with 0xFE.
_ROWS = (
    st.binary(min_size=1, max_size=FULL - 1).filter(lambda row: row[0] < 0xFE)
    | st.sampled_from([FULL, FULL + 1, 2 * FULL, 2 * FULL + 60, 3 * FULL - 1]).map(
        lambda size: b"\xfe".ljust(size, b"\xff")
    )
    | st.sampled_from([b"\xfb", b"\0", b"\x03abc"])
)
_FLAGS = (
    Capability.DEPRECATE_EOF,
    Capability.OPTIONAL_METADATA,
    Capability.MARIADB_CACHE_METADATA,
    Capability.MARIADB_PROGRESS,
)


@st.composite
def conversations(draw: st.DrawFn, *, ordinary: bool = False) -> Conversation:
    """Make a conversation in which both sides keep to the protocol.

    An ordinary one has its natural size, and one command at a time, most of them such as applications send.
    """
    scaled_down = not ordinary and draw(st.booleans())
    limit = draw(st.sampled_from(LIMITS))
    capabilities = sum(draw(st.sets(st.sampled_from(_FLAGS))))
    listens = draw(st.booleans())
    writer = _Writer(draw, capabilities, listens=listens, scaled_down=scaled_down)
    writer.statements = draw(st.dictionaries(st.sampled_from(IDS), st.sampled_from(IDS), max_size=3))
    if len(set(writer.statements.values())) < len(writer.statements):
        writer.statements = {}
    statements = tuple(writer.statements.items())
    for _ in range(draw(st.integers(0, 6 if ordinary else 3))):
        codes = draw(_ORDINARY_CODES if ordinary else st.lists(_CODES, min_size=1, max_size=3))
        cursors = []
        for code in codes:
            named = draw(_STATEMENT_IDS) if code in _NAMING and draw(st.integers(0, 9)) else b""
            cursors.append(writer.command(bytes((code,)) + named + draw(_ORDINARY_TAILS[code] if ordinary else _TAILS)))
        writer.end_turn(by_client=True)
        for code, may_open_cursor in zip(codes, cursors, strict=True):
            # Commands that follow a request for a file would be taken for the file.
            writer.reply(code, may_load=len(codes) == 1, may_open_cursor=may_open_cursor)
        writer.end_turn()
    end = draw(st.sampled_from(["idle", "farewell", "farewell in flight", "refused", "stop"]))
    turns = writer.turns
    if end == "stop":
        writer.command(b"\x0e")
        stop = draw(st.sampled_from([b"\x01", b"\x11", b"\x1f", b"\x03"]))
        size = min(limit, FULL) if scaled_down else limit  # too large, or the first of several frames
        writer.command(stop.ljust(size, b"x") if stop == b"\x03" else stop, passes=False)
        writer.command(b"\x0e", passes=False)
        writer.end_turn(by_client=True)
    elif end in {"farewell in flight", "refused"}:
        writer.command(b"\x03SELECT 1")
        writer.end_turn(by_client=True)
    if end.startswith("farewell"):
        turns.append(Turn(by_client=False, packets=(Packet(frame(b"\xff\xbf\x0f#HY000Bye", 0), b""),)))
    elif end == "refused":
        turns.append(Turn(by_client=False, packets=(Packet(frame(b"\xff\x1d\x04#08S01Bye", 1), b""),)))
    ends_idle = end in {"idle", "farewell"}
    return Conversation(scaled_down, limit, capabilities, listens, statements, tuple(turns), ends_idle)


@dataclass(frozen=True)
class Mutation:
    """A change to one frame; `place` and `frame` count round and round."""

    place: int
    frame: int
    kind: str
    position: int
    removed: int
    inserted: bytes

    def apply(self, packets: tuple[Packet, ...]) -> tuple[Packet, ...]:
        """Change one of these frames."""
        index = self.frame % len(packets)
        sent = packets[index].sent
        payload = sent[HEADER_LENGTH:]
        match self.kind:
            case "payload":
                position = self.position % (len(payload) + 1)
                changed = payload[:position] + self.inserted + payload[position + self.removed :]
                sent = len(changed).to_bytes(3, "little") + sent[3:HEADER_LENGTH] + changed
            case "sequence id":
                sent = sent[:3] + bytes((self.position & 0xFF,)) + payload
            case "length":
                sent = self.position.to_bytes(3, "little") + sent[3:]
            case "repeated":
                sent *= 2
            case "no header":
                sent = self.inserted
            case "left out":
                sent = b""
        return (*packets[:index], Packet(sent, b""), *packets[index + 1 :])


MUTATIONS = st.builds(
    Mutation,
    st.integers(0, 9),
    st.integers(0, 30),
    st.sampled_from(["payload", "payload", "payload", "sequence id", "length", "repeated", "no header", "left out"]),
    st.integers(0, 12) | st.sampled_from([0xFE, 0xFF, 0x100, 0xFFFFFE, 0xFFFFFF]),
    st.integers(0, 3),
    st.sampled_from([b"\0", b"\xfb", b"\xfc", b"\xfe", b"\xff", b"\x40", b"\x08", b""]) | st.binary(max_size=5),
)


@st.composite
def broken_conversations(draw: st.DrawFn, *, by_client: bool, ordinary: bool = False) -> Conversation:
    """Make a conversation in which one side says something wrong, mostly inside valid frames."""
    conversation = draw(conversations(ordinary=ordinary))
    turns = list(conversation.turns)
    places = [index for index, turn in enumerate(turns) if turn.by_client == by_client]
    for mutation in draw(st.lists(MUTATIONS, min_size=1, max_size=3)) if places else []:
        place = places[mutation.place % len(places)]
        turns[place] = Turn(by_client, mutation.apply(turns[place].packets))
    return replace(conversation, turns=tuple(turns))
