import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MalformedPacket
from protocol.session_track import SessionTracker
from protocol.wire import lenenc_bytes
from tests.protocol.transcripts import HIDDEN, SCHEMA, SHOWN

STATE_CHANGE = b"\x02\x01\x31"  # a bare byte, without a length of its own
GTIDS = b"\x03\x06\x00\x04uuid"
TRANSACTION_STATE = b"\x05\x09\x08T_R___S_"


def variable(name: bytes, value: bytes) -> bytes:
    return b"\x00" + lenenc_bytes(lenenc_bytes(name) + lenenc_bytes(value))


def list_of_names(names: bytes) -> bytes:
    return variable(b"session_track_system_variables", names)


def test_a_client_that_listens_gets_what_it_would_get_without_the_guard() -> None:
    tracker = SessionTracker(client_listens=True)
    others = [SHOWN, SCHEMA, STATE_CHANGE, GTIDS, TRANSACTION_STATE]
    assert tracker.note(b"".join(others)) == b"".join(others)
    assert tracker.note(HIDDEN) == b""
    assert tracker.note(SHOWN + HIDDEN + SCHEMA) == SHOWN + SCHEMA


def test_a_client_that_does_not_listen_gets_nothing() -> None:
    tracker = SessionTracker(client_listens=False)
    assert tracker.note(SHOWN + HIDDEN + SCHEMA) == b""
    assert tracker.variables == {"wait_timeout": "100"}


def test_watched_variables_are_kept_and_others_are_not() -> None:
    tracker = SessionTracker(client_listens=True)
    tracker.note(SHOWN + HIDDEN)
    tracker.note(variable(b"wait_timeout", b"7"))
    assert tracker.variables == {"wait_timeout": "7"}


@pytest.mark.parametrize(
    "names",
    [
        b"*",
        b"time_zone,session_track_system_variables",
        b"time_zone , session_track_system_variables",  # MySQL reports the text as the client wrote it
    ],
)
def test_a_client_that_makes_a_list_of_its_own_has_asked_for_what_comes(names: bytes) -> None:
    tracker = SessionTracker(client_listens=True)
    assert tracker.note(list_of_names(names)) == list_of_names(names)
    assert tracker.note(HIDDEN) == HIDDEN
    assert tracker.variables["wait_timeout"] == "100"


def test_names_come_as_the_list_spells_them() -> None:
    # Seen on MySQL, after SET session_track_system_variables = 'Wait_timeout,...'.
    tracker = SessionTracker(client_listens=True)
    shouted = variable(b"WAIT_Timeout", b"100")
    assert tracker.note(shouted) == b""
    assert tracker.variables == {"wait_timeout": "100"}


def test_reset_forgets_what_the_client_has_set() -> None:
    tracker = SessionTracker(client_listens=True)
    tracker.note(list_of_names(b"*") + HIDDEN)
    tracker.reset()
    assert tracker.variables == {}
    assert tracker.note(HIDDEN) == b""


@pytest.mark.parametrize(
    "block",
    [
        b"\x00",
        b"\x00\x05\x01a",
        b"\x00\x02\x05a",  # the name is longer than its entry
        b"\x00\x03\x01a\x05",  # and so is the value
        SHOWN + b"\x05",
    ],
)
def test_blocks_that_contradict_themselves(block: bytes) -> None:
    with pytest.raises(MalformedPacket):
        SessionTracker(client_listens=False).note(block)


ENTRIES = st.sampled_from([SHOWN, HIDDEN, SCHEMA, STATE_CHANGE, GTIDS, TRANSACTION_STATE]) | st.builds(
    variable, st.sampled_from([b"wait_timeout", b"session_track_system_variables", b"\xff", b""]), st.binary(max_size=9)
)


@given(
    block=st.lists(ENTRIES, max_size=6).map(b"".join) | st.binary(max_size=40),
    mutations=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2), st.binary(max_size=2)), max_size=3),
    listens=st.booleans(),
)
def test_any_block_is_read_or_refused(*, block: bytes, mutations: list[tuple[int, int, bytes]], listens: bool) -> None:
    for position, removed, inserted in mutations:
        block = block[:position] + inserted + block[position + removed :]
    tracker = SessionTracker(client_listens=listens)
    try:
        shown = tracker.note(block)
    except MalformedPacket:
        return
    assert len(shown) <= len(block)
    assert listens or not shown
    assert tracker.variables.keys() <= {"wait_timeout", "session_track_system_variables"}
