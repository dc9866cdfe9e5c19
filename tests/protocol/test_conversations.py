"""Whole conversations: however the two streams are cut, and whatever is wrong in them, the answer is the same."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle

from hypothesis import event, given
from hypothesis import strategies as st

from protocol.command import Verdict
from protocol.constants import Capability
from protocol.errors import OutOfSync, ProtocolError
from tests.protocol.conversations import FULL, Conversation, broken_conversations, conversations
from tests.protocol.transcripts import Wire, small_frames

STREAM_ABOVE = 0x40
WHOLE = [1 << 30]
SIZES = st.lists(st.integers(1, 40) | st.just(300), min_size=1, max_size=5)


@dataclass
class Outcome:
    """What came of a conversation: per turn, what went through; the state at the end; what was wrong."""

    passed: list[bytes]
    state: dict[str, object]
    error: str | None


def cut(data: bytes, sizes: Iterator[int]) -> Iterator[bytes]:
    """Cut a turn into chunks of these sizes; at its end, nothing more comes."""
    position = 0
    while position < len(data):
        size = next(sizes)
        yield data[position : position + size]
        position += size
    yield b""


def play(conversation: Conversation, sizes: list[int]) -> Outcome:
    """Play a conversation up to its end, or up to the first thing that is wrong in it."""
    with ExitStack() as stack:
        if conversation.scaled_down:
            stack.enter_context(small_frames(frame_payload=FULL, stream_above=STREAM_ABOVE))
        wire = Wire(
            conversation.capabilities,
            limit=conversation.limit,
            client_listens=conversation.client_listens,
            keeps_definitions=bool(conversation.capabilities & Capability.MARIADB_CACHE_METADATA),
        )
        for client_id, server_id in conversation.statements:
            wire.prepare(client_id, server_id, parameters=0)
        endless = cycle(sizes)
        passed: list[bytes] = []
        error = None
        try:
            for turn in conversation.turns:
                passed.append(b"")
                for chunk in cut(turn.sent, endless):
                    if turn.by_client:
                        passed[-1] += wire.client_says(chunk)
                    else:
                        passed[-1] += wire.server_says(chunk)
                        # Not more than one packet is ever kept back.
                        assert wire.tracker.broken or len(wire.server_inbox) <= (
                            4 + FULL if conversation.scaled_down else 1 << 24
                        )
                decision = wire.reader.decision
                if decision is not None and decision.verdict is Verdict.OUT_OF_SYNC:
                    wire.reader.decision = None
                    wire.client_says(b"")
                    raise AssertionError("what is out of sync must be raised when it is the first one")
        except ProtocolError as caught:
            error = f"{type(caught).__name__}: {caught}"
        return Outcome(passed, state(wire), error)


def state(wire: Wire) -> dict[str, object]:
    """Give all that a wire keeps."""
    tracker, reader = dict(vars(wire.tracker)), dict(vars(wire.reader))
    memory = vars(wire.memory) | {"tracked": dict(vars(wire.memory.tracked))}
    del tracker["_memory"], reader["_tracker"], reader["_memory"], reader["_current_thread"]
    tracker["broken"] = str(wire.tracker.broken)
    large = reader["_large_query"]
    reader["_large_query"] = large and dict(vars(large), _memory=None)
    return {
        **{f"tracker.{name}": value for name, value in tracker.items()},
        **{f"reader.{name}": value for name, value in reader.items()},
        **{f"memory.{name}": value for name, value in memory.items()},
        "client_inbox": wire.client_inbox,
        "server_inbox": wire.server_inbox,
    }


def test_the_state_that_is_compared_is_all_there_is() -> None:
    kept = state(Wire())
    assert {"tracker.stage", "tracker.sequence_id", "tracker.unseen", "tracker.continued"} <= set(kept)
    assert {
        "reader._large_query",
        "reader.trailing",
        "memory.statements",
        "memory._holds",
        "memory.tracked",
    } <= set(kept)


def assert_nothing_grows(conversation: Conversation, outcome: Outcome) -> None:
    """See that neither side gets more than the other has sent so far."""
    room = {True: 0, False: 0}
    for turn, passed in zip(conversation.turns, outcome.passed, strict=False):
        room[turn.by_client] += len(turn.sent) - len(passed)
        assert room[turn.by_client] >= 0


@given(conversations(), SIZES)
def test_valid_conversations_pass_however_they_are_cut(conversation: Conversation, sizes: list[int]) -> None:
    whole = play(conversation, WHOLE)
    assert whole.error is None
    assert whole.passed == [turn.passed for turn in conversation.turns]
    assert (whole.state["reader.decision"] is None and not whole.state["tracker.expected"]) == conversation.ends_idle
    assert whole.state["server_inbox"] == b""
    assert play(conversation, [1]) == whole
    assert play(conversation, sizes) == whole


@given(broken_conversations(by_client=False), SIZES)
def test_a_broken_server_is_seen_at_the_same_place_however_it_is_cut(
    conversation: Conversation, sizes: list[int]
) -> None:
    whole = play(conversation, WHOLE)
    event("broken" if whole.error else "not noticed")
    assert_nothing_grows(conversation, whole)
    for pieces in (play(conversation, [1]), play(conversation, sizes)):
        assert pieces.error == whole.error
        if whole.error is None:
            assert pieces == whole
        elif not conversation.turns[len(whole.passed) - 1].by_client:
            assert pieces.passed == whole.passed


@given(broken_conversations(by_client=True), SIZES)
def test_a_broken_client_is_seen_at_the_same_place_however_it_is_cut(
    conversation: Conversation, sizes: list[int]
) -> None:
    whole = play(conversation, WHOLE)
    event("broken" if whole.error else "not noticed")
    assert_nothing_grows(conversation, whole)
    for pieces in (play(conversation, [1]), play(conversation, sizes)):
        assert pieces.error == whole.error
        if whole.error is None:
            assert pieces == whole
        # Of a file with something wrong in it, as much may have gone out as came before.
        assert pieces.passed[:-1] == whole.passed[:-1]
        assert pieces.passed == whole.passed or pieces.passed[-1].startswith(whole.passed[-1])


@given(broken_conversations(by_client=False), broken_conversations(by_client=True))
def test_nothing_but_documented_errors(first: Conversation, second: Conversation) -> None:
    # Two conversations that do not fit together: each side says what it had to say in its own.
    for conversation in (first, second):
        turns = tuple(turn for pair in zip(first.turns, second.turns, strict=False) for turn in pair)
        mixed = Conversation(
            conversation.scaled_down,
            conversation.limit,
            conversation.capabilities,
            conversation.client_listens,
            conversation.statements,
            turns,
            conversation.ends_idle,
        )
        play(mixed, WHOLE)  # raises what is not a ProtocolError


def test_the_errors_of_a_stream_are_these() -> None:
    assert issubclass(OutOfSync, ProtocolError)
