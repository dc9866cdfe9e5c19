"""The native walker goes through conversations as its twins in Python do, wherever it is put in their place."""

from typing import Any

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from protocol.errors import ProtocolError
from protocol.notes import Executing
from protocol.plain import is_plain
from protocol.reply import Stage
from tests.protocol import test_conversations as plain_python
from tests.protocol.conversations import Conversation, Packet, Turn, broken_conversations, conversations
from tests.protocol.test_conversations import SIZES
from tests.protocol.transcripts import NO_STATE, NONE, OK, QUERY, WRITTEN, Wire, ask, frame, ok_with_state

walker_module = pytest.importorskip("protocol.walker", reason="not compiled", exc_type=ImportError)

from protocol.exchanges import Exchanges  # noqa: E402
from protocol.riding import Rider  # noqa: E402


class RidingWire(Wire):
    """A wire on which the walker does whatever it can, and changes places with its twins at every piece."""

    def __init__(self, capabilities: int = NONE, **options: Any) -> None:
        super().__init__(capabilities, **options)
        self.walker = walker_module.Walker()
        self.rider = Rider(
            self.walker, self.reader, self.tracker, self.memory, agreed=capabilities, exchanges=Exchanges()
        )
        #: Commands admitted, and pieces of replies walked over.
        self.admitted = self.walked = 0

    def client_says(self, data: bytes) -> bytes:
        if self.client_inbox or self.server_inbox or not (self.tracker.idle and self.rider.can_board):
            return super().client_says(data)
        self.rider.board()
        if not self.walker.admits(data):
            self.rider.alight(b"")
            return super().client_says(data)
        self.admitted += 1
        self.rider.alight(data)
        return data

    def server_says(self, data: bytes) -> bytes:
        if self.tracker.idle or not self.rider.can_board:
            return super().server_says(data)
        self.walked += 1
        command = self.rider.board()
        self.server_inbox += data
        shown, count, has_stopped = self.walker.take(self.server_inbox)
        self.server_inbox = self.server_inbox[count:]
        is_at_rest = self.walker.position["stage"] == Stage.IDLE
        assert not (is_at_rest and has_stopped)
        self.rider.alight(b"" if is_at_rest else command)
        try:
            rest: bytes = super().server_says(b"")
        except ProtocolError as error:
            if not shown:
                raise
            # What came before it is the client's all the same: the twin would raise it at the next call, too.
            self.tracker.broken, rest = error, b""
        assert has_stopped or is_at_rest or not rest, "the walker has left something that is whole"
        return bytes(shown + rest)


def compare(conversation: Conversation, sizes: list[int]) -> RidingWire:
    """Play a conversation on both wires; return the one that rode. Raises AssertionError where they differ."""
    expected = plain_python.play(conversation, sizes)
    wires: list[RidingWire] = []

    def riding(capabilities: int, **options: Any) -> RidingWire:
        wires.append(RidingWire(capabilities, **options))
        return wires[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_python, "Wire", riding)
        outcome = plain_python.play(conversation, sizes)
    for each in (expected, outcome):
        # These are for the relay to look at in between.
        for name in ("memory.has_news", "reader.trailing", "reader.decision", "reader.ordinary_run"):
            each.state.pop(name, None)
    assert outcome.passed == expected.passed
    assert outcome.error == expected.error
    assert {name: value for name, value in outcome.state.items() if value != expected.state[name]} == {}
    return wires[0]


def assert_alike(conversation: Conversation, sizes: list[int]) -> None:
    wire = compare(conversation, sizes)
    event(f"admitted {min(wire.admitted, 2)}, walked {min(wire.walked, 4)}")


@given(conversations(ordinary=True), SIZES)
def test_valid_conversations(conversation: Conversation, sizes: list[int]) -> None:
    assert_alike(conversation, sizes)
    assert_alike(conversation, [1 << 30])


def says(by_client: bool, *sent: bytes) -> Turn:  # noqa: FBT001 - who says it
    return Turn(by_client, tuple(Packet(packet, packet) for packet in sent))


def answered(*replies: tuple[bytes, ...]) -> Conversation:
    """Have a statement sent and answered with these payloads, as often as there are such."""
    return Conversation(
        scaled_down=False,
        limit=200,
        capabilities=NONE,
        client_listens=False,
        statements=(),
        turns=tuple(
            turn
            for reply in replies
            for turn in (
                says(True, ask(QUERY)),
                says(False, *(frame(payload, number) for number, payload in enumerate(reply, 1))),
            )
        ),
        ends_idle=True,
    )


#: In chunks of eight bytes, the second one's header arrives together with the end of the first.
ONE_REPLY_TOO_MANY = answered((OK, OK))
STRANGE_STATE = answered((ok_with_state(b"\x05\x09\x08____W__\xa6"),), (OK,))


@given(broken_conversations(by_client=False, ordinary=True), SIZES)
@example(ONE_REPLY_TOO_MANY, [8])
@example(STRANGE_STATE, [1 << 30])
def test_broken_servers(conversation: Conversation, sizes: list[int]) -> None:
    assert_alike(conversation, sizes)


@given(broken_conversations(by_client=True, ordinary=True), SIZES)
def test_broken_clients(conversation: Conversation, sizes: list[int]) -> None:
    assert_alike(conversation, sizes)


PARTS = st.sampled_from(
    [
        *(b"select", b"SHOW", b"insert", b"Update", b"delete", b"replace", b"with", b"explain", b"commit", b"rollback"),
        *(
            b"begin",
            b"set",
            b"call",
            b"desc",
            b"save",
            b"savepoint",
            b"kill 7",
            b"handler",
            b"into",
            b"INTO",
            b"@",
            b"@a",
        ),
        *(b":=", b":", b"=", b";", b"get_lock(", b"_LOCK", b"last_insert_id", b"share", b"lock in SHARE mode", b"for"),
        *(b" ", b"\n", b"\t", b"\x0b", b"\xa0", b"/*", b"*/", b"/*!", b"--", b"#", b"'", b'"', b"`", b"x", b"1", b"%"),
    ]
)
TEXTS = st.lists(PARTS | st.binary(min_size=1, max_size=3), max_size=12).map(b"".join) | st.lists(
    PARTS, max_size=12
).map(b" ".join)


def a_walker(**agreed: Any) -> Any:
    walker = walker_module.Walker()
    usual = {
        "deprecates_eof": False,
        "counts_with_metadata_flag": False,
        "has_attributes": False,
        "hides_reports": True,
        "admits_begin": False,
    }
    walker.agree(**{**usual, "limit": 1 << 24, **agreed})
    return walker


@given(TEXTS, st.booleans())
def test_what_is_admitted_is_plain(text: bytes, has_attributes: bool) -> None:  # noqa: FBT001 - an example
    admitted = a_walker(has_attributes=has_attributes).admits(ask(b"\x03" + b"\0\x01" * has_attributes + text))
    event(f"admitted: {admitted}")
    assert not admitted or is_plain(text, 0, len(text))


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT c FROM sbtest1 WHERE id=5007",
        b" \n select '_', '@' FROM information_schema.tables",
        b"INSERT INTO t (is_local, sharp) VALUES (1, 'INTO')",
        b"update t set k=k+1 where id=7 and at > '2026-01-01 12:00:00'",
        b"DELETE FROM t",
        b"SHOW VARIABLES LIKE 'version'",
        b"ROLLBACK",
        b"COMMIT",
    ],
)
def test_ordinary_statements_are_admitted(text: bytes) -> None:
    assert a_walker().admits(ask(b"\x03" + text))
    assert a_walker(has_attributes=True).admits(ask(b"\x03\x00\x01" + text))
    assert not a_walker(limit=len(text) + 1).admits(ask(b"\x03" + text))
    assert not a_walker().admits(ask(b"\x03" + text)[:-1])
    assert not a_walker().admits(ask(b"\x03" + text) + b"\0")
    assert not a_walker().admits(frame(b"\x03" + text, 1))
    assert not a_walker(has_attributes=True).admits(ask(b"\x03\x01\x01\x00\x01" + text))


@pytest.mark.parametrize("text", [b"BEGIN", b"start transaction"])
def test_transactions_begin_in_the_pump_where_that_ends_no_locks(text: bytes) -> None:
    assert a_walker(admits_begin=True).admits(ask(b"\x03" + text))
    assert not a_walker().admits(ask(b"\x03" + text))
    for longer in (text + b" ", text + b" READ ONLY", text + b"; SET @a = 1", b"/*!" + text):
        assert not a_walker(admits_begin=True).admits(ask(b"\x03" + longer))
    wire = RidingWire()
    wire.rider.board()
    assert wire.walker.admits(ask(b"\x03" + text))
    wire.rider.alight(ask(b"\x03" + text))
    wire.server_says(frame(b"\0\0\0\2\0\0\0", 1))
    wire.client_asks(b"\x03LOCK TABLES t READ")
    wire.server_says(frame(b"\0\0\0\2\0\0\0", 1))
    wire.rider.board()
    assert not wire.walker.admits(ask(b"\x03" + text))


def test_what_a_write_reports_with_a_binary_log_does_not_end_a_ride() -> None:
    walker = a_walker()
    assert walker.admits(ask(b"\x03INSERT INTO t VALUES (1)"))
    reply = frame(ok_with_state(WRITTEN, NO_STATE), 1)
    assert walker.take(reply) == (frame(OK, 1), len(reply), False)


def executing(rest: bytes, statement_id: int = 7) -> bytes:
    return ask(b"\x17" + statement_id.to_bytes(4, "little") + rest)


HEAD = b"\0\x01\0\0\0"
TYPES = b"\x08\x00\x0f\x00"


@pytest.mark.parametrize(
    ("rest", "is_admitted"),
    [
        (HEAD + b"\0\0" + b"values", True),
        (HEAD + b"\0\x01" + TYPES + b"values", True),
        (HEAD + b"\0\x01" + TYPES, True),
        (HEAD + b"\0\x01" + TYPES[:-1], False),
        (HEAD + b"\0\x01" + b"\x08\x00\x08\x00" + b"values", False),
        (b"\x01\x01\0\0\0" + b"\0\0" + b"values", False),  # with a cursor
        (b"\x08\x01\0\0\0" + b"\x02\0\0" + b"values", False),
        (HEAD + b"\0", False),
        (HEAD, False),
        (HEAD[:-1], False),
        (b"", False),
    ],
)
def test_executions(rest: bytes, is_admitted: bool) -> None:  # noqa: FBT001 - an example
    walker = a_walker()
    assert not walker.admits(executing(rest))
    walker.allow([(6, 0, False, b""), (7, 2, False, TYPES)])
    assert walker.admits(executing(rest)) == is_admitted
    assert not walker.admits(executing(rest, 8))
    assert walker.admits(executing(HEAD, 6))
    assert not walker.admits(executing(HEAD + b"\0", 6))


@pytest.mark.parametrize(
    ("rest", "is_admitted"),
    [
        (b"\x08\x01\0\0\0" + b"\x02\0\0" + b"values", True),
        (b"\x08\x01\0\0\0" + b"\x02\0\x01" + TYPES + b"values", True),
        (b"\x08\x01\0\0\0" + b"\x03\0\0" + b"values", False),
        (b"\x08\x01\0\0\0" + b"\xfc\x02\0\0\0" + b"values", False),
        (b"\x08\x01\0\0\0", False),
        (HEAD + b"\0\0" + b"values", False),
    ],
)
def test_executions_with_names(rest: bytes, is_admitted: bool) -> None:  # noqa: FBT001 - an example
    walker = a_walker(has_attributes=True)
    walker.allow([(7, 2, True, TYPES)])
    assert walker.admits(executing(rest)) == is_admitted


@pytest.mark.parametrize(
    ("fields", "is_allowed"),
    [
        ({"types": TYPES, "types_form": (False, 1)}, True),
        ({"types": b"", "types_form": (False, 0)}, False),
        ({"types": TYPES, "types_form": (False, 1), "lacks_types": True}, False),
        ({"types": TYPES, "types_form": (False, 1), "broken": "it is gone"}, False),
        ({"types": TYPES, "types_form": (False, 1), "refused_size": 7}, False),
        ({"types": TYPES, "types_form": (False, 1), "server_id": 8}, False),
        ({"types": TYPES, "types_form": (False, 1), "text": b"SELECT @a := ?"}, False),
        ({"types": TYPES, "types_form": (False, 1), "text": b"CALL p(?)"}, False),
    ],
)
def test_statements_that_need_looking_at_are_not_allowed(fields: dict[str, Any], is_allowed: bool) -> None:  # noqa: FBT001
    wire = RidingWire()
    prepared = wire.prepare(7, **fields)
    wire.memory.end_command(Executing(prepared), 0, failed=True)
    wire.rider.board()
    execution = executing(HEAD + b"\0\0" + b"v")
    assert wire.walker.admits(execution) == is_allowed
    if is_allowed:
        wire.rider.alight(execution)
        wire.server_says(frame(b"\0\0\0\2\0\0\0", 1))
        wire.client_says(ask(b"\x18\x07\0\0\0\0\0data"))  # long data: the execution has to end that state
        wire.rider.board()
        assert not wire.walker.admits(execution)


def test_statements_are_forgotten_with_their_link() -> None:
    wire = RidingWire()
    execution = executing(HEAD, 6)
    wire.walker.allow([(6, 0, False, b"")])
    wire.rider.board()
    assert not wire.walker.admits(execution)
