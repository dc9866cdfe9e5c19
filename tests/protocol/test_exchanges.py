"""Exchanges that are read after they have passed leave a session as if they had been read while they passed."""

from typing import Any

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from protocol.constants import Capability
from protocol.reply import Expected, ReplyKind, Stage
from protocol.session_track import Audience
from tests.protocol.test_conversations import state
from tests.protocol.test_walker import a_walker
from tests.protocol.transcripts import (
    ERR,
    HIDDEN,
    INSERTED,
    NO_CHARACTERISTICS,
    NO_STATE,
    NONE,
    OK,
    OK_MORE,
    QUERY,
    SCHEMA,
    SHOWN,
    STATE,
    Wire,
    ask,
    frame,
    ok_with_state,
)

walker_module = pytest.importorskip("protocol.walker", reason="not compiled", exc_type=ImportError)

from protocol.exchanges import Exchange, Exchanges, find_exchange  # noqa: E402
from protocol.riding import Rider  # noqa: E402

CHANGED = b"\x02\x02\x011"
NAMES = b"\x03SET NAMES utf8mb4"
SAID = ok_with_state(SHOWN, HIDDEN, CHANGED)


def found(command: bytes, reply: bytes, capabilities: int = NONE) -> Exchange | None:
    """Have an exchange pass on a wire; give it if it may become known."""
    wire = Wire(capabilities, client_listens=True)
    wire.client_asks(command)
    (asked,) = wire.tracker.expected
    shown = wire.server_says(frame(reply, 1))
    return find_exchange(asked, frame(reply, 1), shown, wire.memory, capabilities)


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        (b"SET NAMES utf8mb4", SAID),
        (b"set autocommit = 0", ok_with_state(SHOWN, status=0)),
        (b"SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')", ok_with_state(HIDDEN)),
        (b"SET NAMES 'utf8mb4' COLLATE 'utf8mb4_bin'", SAID),
        (b"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", OK),
        (b"SET foreign_key_checks = 0", ok_with_state()),
        (b"USE test", ok_with_state(SCHEMA)),
    ],
)
def test_what_sets_up_a_session_can_wait(text: bytes, reply: bytes) -> None:
    assert found(b"\x03" + text, reply) is not None
    assert found(b"\x03\x00\x01" + text, reply, Capability.QUERY_ATTRIBUTES) is not None


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        (b"SET PASSWORD = 'new'", OK),
        (b"SET @a = 1", OK),
        (b"SET ROLE admin", OK),
        (b"SET last_insert_id = 5", OK),
        (b"SET timestamp = 5", OK),
        (b"SET session_track_schema = OFF", ok_with_state()),
        (b"SET @@session_track_system_variables = '*'", ok_with_state()),
        (b"SET GLOBAL wait_timeout = 5", OK),
        (b"SET sql_mode = f()", OK),
        (b"SET time_zone = '\\x'", OK),
        ("SET time_zone = 'é'".encode(), OK),
        (b"SET time_zone = '" + b"x" * 300 + b"'", OK),
        (b"SET sql_mode = ''; SELECT 1", OK),
        (b"CALL p()", OK),
        (b"LOCK TABLES t READ", OK),
        (b"DO 1", OK),
        (b"BEGIN", OK),
        (b"SELECT 1", OK),
        (b"SET NAMES utf8mb4", ERR),
        (b"SET NAMES utf8mb4", OK_MORE),
        (b"SET NAMES utf8mb4", b"\x00\x01\x00\x02\x00\x00\x00"),
        (b"SET NAMES utf8mb4", b"\x00\x00\x01\x02\x00\x00\x00"),
        (b"SET NAMES utf8mb4", b"\x00\x00\x00\x02\x00\x01\x00"),
        (b"SET NAMES utf8mb4", ok_with_state(INSERTED)),
        (b"SET NAMES utf8mb4", ok_with_state(b"\x00\x18\x14session_track_schema\x02ON")),
        (b"SET NAMES utf8mb4", ok_with_state(STATE)),
        (b"SET autocommit = 1", ok_with_state(SHOWN, NO_STATE)),
        (b"SET autocommit = 1", ok_with_state(SHOWN, NO_CHARACTERISTICS)),
        (b"SET NAMES utf8mb4", OK + b"\xfc\x00\x02" + b"x" * 512),
    ],
)
def test_what_matters_at_once_cannot_wait(text: bytes, reply: bytes) -> None:
    assert found(b"\x03" + text, reply) is None


def test_only_commands_that_are_kept_can_wait() -> None:
    wire = Wire()
    for asked in (Expected(3, ReplyKind.RESULTS, 1, None, None), Expected(2, ReplyKind.STATUS, 1, None, b"\x02test")):
        assert find_exchange(asked, frame(OK, 1), frame(OK, 1), wire.memory, NONE) is None


KIND: tuple[int, Audience] = (NONE, (True, frozenset(), frozenset()))
OTHER_KIND: tuple[int, Audience] = (NONE, (False, frozenset(), frozenset()))


def an_exchange(number: int = 0, reply: bytes = OK) -> Exchange:
    return Exchange(ask(b"\x03SET sql_mode = %d" % number), frame(reply, 1), frame(OK, 1), 2, unsettles=False)


def test_what_was_seen_twice_is_known_on_links_of_the_kind() -> None:
    exchanges = Exchanges()
    exchanges.note(KIND, an_exchange())
    assert exchanges.table(KIND).exchanges == ()
    exchanges.note(OTHER_KIND, an_exchange())
    assert exchanges.table(KIND).exchanges == exchanges.table(OTHER_KIND).exchanges == ()
    exchanges.note(KIND, an_exchange())
    exchanges.note(KIND, an_exchange())
    assert exchanges.table(KIND).exchanges == (an_exchange(),)
    assert exchanges.table(OTHER_KIND).exchanges == ()


def test_what_is_kept_is_bounded() -> None:
    exchanges = Exchanges()
    for number in range(2000):
        exchanges.note(KIND, an_exchange(number))
        exchanges.note((number, KIND[1]), an_exchange(number))
    assert len(exchanges._familiar) <= 16
    for number in range(100):
        exchanges.note(KIND, an_exchange(number))
        exchanges.note(KIND, an_exchange(number))
        assert exchanges.table(KIND).exchanges[-1:] or number < 1
    assert len(exchanges.table(KIND).exchanges) <= 32
    assert len(exchanges._familiar[KIND].seen_once) <= 256


class KnowingWire(Wire):
    """A wire on which the walker has a ride for as long as it can go on, and knows what it was told."""

    def __init__(self, exchanges: Exchanges, capabilities: int = NONE, **options: Any) -> None:
        super().__init__(capabilities, **options)
        self.walker = walker_module.Walker()
        self.rider = Rider(
            self.walker, self.reader, self.tracker, self.memory, agreed=capabilities, exchanges=exchanges
        )
        self.is_riding = False
        #: Exchanges that were known.
        self.known = 0

    def board(self) -> None:
        if not self.is_riding and self.rider.can_board:
            self.rider.board()
            self.is_riding = True

    def alight(self, command: bytes = b"") -> None:
        if self.is_riding:
            self.rider.alight(command)
            self.is_riding = False

    def pass_on(self, command: bytes, reply: bytes) -> bytes:
        """Have a command answered; return what the client sees of it."""
        self.board()
        if self.is_riding:
            is_known = not self.walker.admits(command) and self.walker.knows(command)
            if is_known or self.walker.position["stage"] != Stage.IDLE:
                shown: bytes
                shown, count, has_stopped = self.walker.take(reply)
                self.known += is_known and not has_stopped
                if has_stopped:
                    self.alight(command)
                    shown += self.server_says(reply[count:])
                return shown
        self.alight()
        assert self.client_says(command) == command
        (asked,) = self.tracker.expected
        shown = self.server_says(reply)
        self.rider.note_exchange(asked, reply, shown)
        return shown


TEXTS = [
    b"SELECT 1",
    b"SET NAMES utf8mb4",
    b"SET autocommit = 0",
    b"SET NAMES utf8mb4 COLLATE utf8mb4_bin",
    b"SET SESSION wait_timeout = 100",
    b"USE test",
    b"INSERT INTO t VALUES (1)",
    b"BEGIN",
    b"COMMIT",
    b"SET @a = 1",
    b"SELECT GET_LOCK('a', 1)",
    b"SET session_track_schema = OFF",
]
REPLIES = [
    OK,
    b"\x00\x00\x00\x03\x00\x00\x00",  # in a transaction
    b"\x00\x01\x05\x02\x00\x01\x00",
    ok_with_state(SHOWN),
    ok_with_state(SHOWN, HIDDEN, CHANGED),
    ok_with_state(HIDDEN),
    ok_with_state(SCHEMA),
    ok_with_state(STATE, status=3),
    ok_with_state(NO_STATE),
    ok_with_state(INSERTED),
    ERR,
]
STEPS = st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from(REPLIES), st.booleans()), max_size=30)
Steps = list[tuple[bytes, bytes, bool]]

USUAL: Steps = [(text, reply, False) for text in (*TEXTS[1:6], TEXTS[0]) for reply in (OK, ok_with_state(SHOWN))]


@given(STEPS, STEPS, st.booleans())
@example(USUAL * 3, USUAL * 2, True)
@example(USUAL * 3, USUAL * 2, False)
def test_a_session_is_what_it_would_be(taught: Steps, steps: Steps, client_listens: bool) -> None:  # noqa: FBT001
    exchanges = Exchanges()
    teaching = KnowingWire(exchanges, client_listens=client_listens)
    for text, reply, _ in [*taught, *taught]:
        teaching.pass_on(ask(b"\x03" + text), frame(reply, 1))
    knowing = KnowingWire(exchanges, client_listens=client_listens)
    plain = Wire(client_listens=client_listens)
    for text, reply, looks in steps:
        plain.client_asks(b"\x03" + text)
        assert knowing.pass_on(ask(b"\x03" + text), frame(reply, 1)) == plain.server_says(frame(reply, 1))
        if looks:
            knowing.alight()
            assert_alike(knowing, plain)
    knowing.alight()
    event(f"known: {min(knowing.known, 4)}")
    assert_alike(knowing, plain)


def assert_alike(wire: Wire, other: Wire) -> None:
    """See that two wires have the same state, but for what tells when somebody has to look at it."""
    differing = {name for name, value in state(wire).items() if value != state(other)[name]}
    assert differing <= {"memory.has_news", "reader.ordinary_run", "reader.trailing"}


def a_knowing_walker(*exchanges: tuple[bytes, bytes, bytes]) -> Any:
    walker = a_walker()
    walker.know(
        walker_module.ExchangeTable(
            [(ask(command), reply, shown, 2, False) for command, reply, shown in sorted(exchanges)]
        )
    )
    return walker


REPLY, SEEN = frame(SAID, 1), frame(OK, 1)


def test_replies_come_in_pieces() -> None:
    for cut in range(1, len(REPLY)):
        walker = a_knowing_walker((NAMES, REPLY, SEEN))
        assert walker.knows(ask(NAMES))
        assert walker.take(REPLY[:cut]) == (b"", 0, False)
        assert walker.journal == []
        assert walker.take(REPLY) == (SEEN, len(REPLY), False)
        assert walker.journal == [(ask(NAMES), REPLY, SEEN, 2, False)]
        assert walker.position["stage"] == Stage.IDLE


def test_what_follows_a_reply_is_left() -> None:
    walker = a_knowing_walker((NAMES, REPLY, SEEN))
    assert walker.knows(ask(NAMES))
    assert walker.take(REPLY + b"more") == (SEEN, len(REPLY), False)


def test_other_replies_are_for_python() -> None:
    for cut in range(len(REPLY)):
        walker = a_knowing_walker((NAMES, REPLY, SEEN))
        assert walker.knows(ask(NAMES))
        other = REPLY[:cut] + bytes((REPLY[cut] ^ 1,)) + REPLY[cut + 1 :]
        assert walker.take(other) == (b"", 0, True)
        assert walker.journal == []


def test_a_command_may_have_several_known_replies() -> None:
    longer = frame(ok_with_state(SHOWN, HIDDEN), 1)
    shorter = frame(ok_with_state(SHOWN), 1)
    for reply in (longer, shorter):
        walker = a_knowing_walker((NAMES, longer, SEEN), (b"\x03USE x", SEEN, SEEN), (NAMES, shorter, SEEN))
        assert walker.knows(ask(NAMES))
        assert walker.take(reply[:3]) == (b"", 0, not (longer.startswith(reply[:3]) or shorter.startswith(reply[:3])))
        assert walker.take(reply) == (SEEN, len(reply), False)


def test_a_walker_knows_nothing_but_what_it_was_told() -> None:
    walker = a_knowing_walker((NAMES, REPLY, SEEN))
    assert not walker.knows(ask(NAMES) + ask(QUERY))
    assert not walker.knows(ask(NAMES)[:-1])
    assert not walker.knows(frame(NAMES, 1))
    assert not walker.knows(ask(b"\x03SET NAMES latin1"))
    assert not walker.knows(b"")
    assert not walker_module.Walker().knows(ask(NAMES))


def test_the_journal_ends() -> None:
    walker = a_knowing_walker((NAMES, REPLY, SEEN))
    count = 0
    while walker.knows(ask(NAMES)):
        count += 1
        assert walker.take(REPLY) == (SEEN, len(REPLY), False)
        assert len(walker.journal) == count
    assert count == 16
    walker.position = walker.position  # as when the next ride begins
    assert walker.journal == []
    assert walker.knows(ask(NAMES))


def test_no_more_is_shown_than_has_come() -> None:
    with pytest.raises(ValueError, match="12 bytes are shown of 11"):
        a_knowing_walker((NAMES, SEEN, SEEN + b"x"))
