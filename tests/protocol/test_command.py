"""The reader of the client's stream, command by command."""

from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.command import Decision, Verdict, reply_kind
from protocol.constants import Capability
from protocol.errors import OutOfSync
from protocol.notes import Executing
from protocol.reply import ReplyKind
from protocol.resultset import payloads
from protocol.session_track import watch_statement
from tests.protocol.transcripts import (
    ERR,
    EXECUTE,
    FETCH,
    LOCAL_INFILE,
    OK,
    OK_MORE,
    PING,
    PREPARE,
    QUERY,
    STATISTICS,
    Wire,
    ask,
    frame,
    frames,
    ok_with_state,
    small_frames,
)

LONG_DATA = b"\x18\x07\x00\x00\x00\x00\x00"
CLOSE = b"\x19\x07\x00\x00\x00"
RESET = b"\x1a\x07\x00\x00\x00"
EXECUTE_7 = b"\x17\x07\x00\x00\x00\x00\x01\x00\x00\x00"
QUIT = b"\x01"
CHANGE_USER = b"\x11root\x00\x00\x00"
RESET_CONNECTION = b"\x1f"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0x03, ReplyKind.RESULTS),
        (0x17, ReplyKind.RESULTS),
        (0xFA, ReplyKind.RESULTS),
        (0x0A, ReplyKind.RESULTS),
        (0x16, ReplyKind.PREPARE),
        (0x1C, ReplyKind.ROWS),
        (0x04, ReplyKind.ROWS),
        (0x09, ReplyKind.TEXT),
        (0x18, ReplyKind.NONE),
        (0x19, ReplyKind.NONE),
        *((code, ReplyKind.TUNNEL) for code in (0x12, 0x13, 0x1E, 0x20, 0x21)),
        # INIT_DB, CREATE_DB, DROP_DB, REFRESH, PROCESS_KILL, DEBUG, PING, REGISTER_SLAVE, STMT_RESET, SET_OPTION,
        # RESET_CONNECTION
        *((code, ReplyKind.STATUS) for code in (0x02, 0x05, 0x06, 0x07, 0x0C, 0x0D, 0x0E, 0x15, 0x1A, 0x1B, 0x1F)),
        # Nobody knows these, and the answer is an ERR.
        *((code, ReplyKind.STATUS) for code in (0x00, 0x08, 0x0B, 0x22, 0x77, 0xFB, 0xFE, 0xFF)),
    ],
)
def test_what_each_command_is_answered_with(code: int, kind: ReplyKind) -> None:
    assert reply_kind(code) is kind
    if bytes((code,)) == RESET_CONNECTION:
        return  # does not simply pass
    wire = Wire()
    wire.client_asks(bytes((code,)))
    assert [(expected.command, expected.kind, expected.sequence_id) for expected in wire.tracker.expected] == (
        [] if kind is ReplyKind.NONE else [(code, kind, 1)]
    )


def test_commands_pass_when_they_are_whole() -> None:
    wire = Wire()
    data = ask(QUERY)
    for start in range(len(data) - 1):
        assert wire.client_says(data[start : start + 1]) == b""
        assert wire.tracker.idle
    assert wire.client_says(data[-1:]) == data
    assert not wire.tracker.idle


def test_pipelined_commands_pass_together_and_a_half_one_waits() -> None:
    wire = Wire()
    whole = ask(QUERY) + ask(PING) + ask(LONG_DATA + b"data") + ask(EXECUTE_7)
    for cut in range(len(ask(STATISTICS))):
        wire = Wire()
        assert wire.client_says(whole + ask(STATISTICS)[:cut]) == whole
        assert [expected.command for expected in wire.tracker.expected] == [0x03, 0x0E, 0x17]
        assert wire.client_says(ask(STATISTICS)[cut:]) == ask(STATISTICS)


def test_an_empty_packet_is_a_command_that_nobody_knows() -> None:
    wire = Wire()
    data = ask(b"") + ask(PING)
    assert wire.client_says(data) == data
    assert [(expected.command, expected.kind) for expected in wire.tracker.expected] == [
        (0, ReplyKind.STATUS),
        (0x0E, ReplyKind.STATUS),
    ]
    # Also when it is the last one, or when a command that has a special meaning follows.
    assert Wire().client_says(ask(b"")) == ask(b"")
    wire = Wire()
    assert wire.client_says(ask(b"") + ask(QUIT)) == ask(b"")
    assert wire.reader.decision == Decision(Verdict.QUIT, 1)


@pytest.mark.parametrize("command", [QUERY, b"\x77", LONG_DATA, b"\x16SELECT 1"])
def test_large_commands_are_collected(command: bytes) -> None:
    for size, is_large in ((0x10000, False), (0x10001, True)):
        wire = Wire()
        data = ask(command.ljust(size, b" "))
        assert wire.client_says(data[:1000]) == b""
        assert (wire.reader.decision is not None) == is_large
        if wire.reader.decision is not None:
            assert wire.reader.decision.verdict is Verdict.COLLECT
            assert wire.reader.decision.command == command[0]
            continue
        assert wire.client_says(data[1000:-1]) == b""
        assert wire.tracker.idle
        # The next command begins in the same chunk as the last one ends.
        assert wire.client_says(data[-1:] + ask(PING)) == data + ask(PING)


# The limit

WITH_STATEMENT_ID = {0x17, 0x18, 0x19, 0x1A, 0x1C, 0xFA}
COMMANDS = [
    QUERY,
    PREPARE,
    EXECUTE,
    FETCH,
    PING,
    b"\x02schema",
    b"\x04table",
    b"\xfa\x07\x00\x00\x00",
    b"\x77",
    CLOSE,
    RESET,
]


@pytest.mark.parametrize("limit", [1024, 0x10000, 0x10001, 0x20000, 0xFFFFFF])
@pytest.mark.parametrize("command", [*COMMANDS, LONG_DATA], ids=lambda command: f"0x{command[0]:02x}")
def test_the_limit_is_the_smallest_payload_that_is_refused(command: bytes, limit: int) -> None:
    wire = Wire(limit=limit)
    data = ask(command.ljust(limit - 1, b"x"))
    assert wire.client_says(data + ask(PING)) == data + ask(PING)
    assert wire.reader.decision is None
    wire = Wire(limit=limit)
    data = ask(command.ljust(limit, b"x"))
    # What has arrived of it makes no difference. Only a statement's id is waited for.
    assert wire.client_says(ask(PING) + data[:9]) == ask(PING)
    decision = wire.reader.decision
    assert decision is not None
    assert (decision.verdict, decision.command) == (Verdict.TOO_LARGE, command[0])
    assert decision.statement_id == (command[1] if command[0] in WITH_STATEMENT_ID else None)
    assert wire.client_inbox == data[:9]
    assert len(wire.tracker.expected) == 1  # the ping's


@pytest.mark.parametrize("command", [QUIT, CHANGE_USER, RESET_CONNECTION], ids=lambda command: f"0x{command[0]:02x}")
def test_the_limit_goes_for_what_the_guard_carries_out(command: bytes) -> None:
    for size, refused in ((1023, False), (1024, True)):
        wire = Wire(limit=1024)
        assert wire.client_says(ask(command.ljust(size, b"x"))) == b""
        assert wire.reader.decision is not None
        assert (wire.reader.decision.verdict is Verdict.TOO_LARGE) == refused


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"0x{command[0]:02x}")
@pytest.mark.parametrize(
    ("limit", "verdict"),
    [(0xFFFFFF, Verdict.TOO_LARGE), (0x1000000, Verdict.COLLECT), (1 << 26, Verdict.COLLECT)],
    ids=["16 MiB - 1", "16 MiB", "64 MiB"],
)
def test_nothing_of_several_frames_passes(command: bytes, limit: int, verdict: Verdict) -> None:
    # The first frame tells that another one follows, perhaps an empty one: the size is not known yet.
    wire = Wire(limit=limit)
    assert wire.client_says(ask(PING) + b"\xff\xff\xff\x00" + command.ljust(1000, b"x")) == ask(PING)
    assert wire.reader.decision is not None
    assert wire.reader.decision.verdict is verdict
    assert wire.reader.decision.command == command[0]
    assert len(wire.tracker.expected) == 1  # the ping's
    assert wire.client_says(b"x" * 1000) == b""


def test_the_id_of_a_statement_is_waited_for() -> None:
    wire = Wire(limit=1024)
    data = ask(LONG_DATA.ljust(2000, b"x"))
    assert wire.client_says(ask(PING) + data[:5]) == ask(PING)
    assert wire.reader.decision is None
    for start in range(5, 8):
        assert wire.client_says(data[start : start + 1]) == b""
        assert wire.reader.decision is None
    assert wire.client_says(data[8:9]) == b""
    assert wire.reader.decision == Decision(Verdict.TOO_LARGE, 0x18, 7)


# What the guard carries out


@pytest.mark.parametrize(
    ("command", "verdict"),
    [
        (QUIT, Verdict.QUIT),
        (CHANGE_USER, Verdict.CARRY_OUT),
        (RESET_CONNECTION, Verdict.CARRY_OUT),
    ],
)
def test_some_commands_are_stopped_at(command: bytes, verdict: Verdict) -> None:
    wire = Wire()
    data = ask(PING) + ask(command) + ask(QUERY)
    for size in range(len(data) + 1):
        wire = Wire()
        assert wire.client_says(data[:size]) == (ask(PING) if size >= 5 else b"")
        whole = size >= 5 + len(ask(command))
        assert wire.reader.decision == (Decision(verdict, command[0]) if whole else None)
        assert [expected.command for expected in wire.tracker.expected] == ([0x0E] if size >= 5 else [])
    # Whoever decided takes it out; then the stream goes on.
    wire.reader.decision = None
    wire.client_inbox = wire.client_inbox[len(ask(command)) :]
    assert wire.client_says(b"") == ask(QUERY)


def test_what_the_guard_carries_out_is_not_collected() -> None:
    with small_frames():
        for command, verdict in ((QUIT, Verdict.QUIT), (CHANGE_USER, Verdict.CARRY_OUT)):
            wire = Wire(limit=1024)
            wire.client_says(ask(command.ljust(255, b"x")))
            assert wire.reader.decision == Decision(verdict, command[0])


# Long data that was refused


def refusing(**options: int) -> Wire:
    wire = Wire(**options)  # type: ignore[arg-type]
    wire.prepare(7, refused_size=2000)
    wire.prepare(1)
    return wire


def test_a_statement_whose_long_data_was_refused_is_not_executed() -> None:
    wire = refusing()
    assert wire.client_says(ask(LONG_DATA + b"more") + ask(EXECUTE) + ask(EXECUTE_7)) == ask(LONG_DATA + b"more") + ask(
        EXECUTE
    )
    assert wire.reader.decision == Decision(Verdict.CARRY_OUT, 0x17, 7)
    # Whoever decided forgets what was refused.
    wire.memory.statements[7].refused_size = None
    wire.reader.decision = None
    assert wire.client_says(b"") == ask(EXECUTE_7)


@pytest.mark.parametrize("command", [CLOSE, RESET])
def test_the_server_forgets_long_data_when_a_statement_is_closed_or_reset(command: bytes) -> None:
    wire = refusing()
    wire.client_asks(command, EXECUTE_7)
    assert 7 not in wire.memory.statements or wire.memory.statements[7].refused_size is None


@pytest.mark.parametrize(
    "command", [QUERY, PING, EXECUTE, CLOSE.replace(b"\x07", b"\x08"), b"\x17\x07\x00\x00", b"\x1c\x07\x00\x00\x00\x01"]
)
def test_other_statements_have_nothing_to_do_with_it(command: bytes) -> None:
    wire = refusing()
    wire.client_asks(command)
    assert wire.memory.statements[7].refused_size == 2000


def test_an_execution_of_several_frames_is_not_collected_without_its_long_data() -> None:
    with small_frames():
        wire = refusing(limit=1024)
        wire.client_says(ask(EXECUTE_7.ljust(255, b"x")))
        assert wire.reader.decision == Decision(Verdict.CARRY_OUT, 0x17, 7)


# Sequence ids


@pytest.mark.parametrize("sequence_id", [1, 255])
def test_a_command_has_sequence_id_0(sequence_id: int) -> None:
    wire = Wire()
    with pytest.raises(OutOfSync, match=f"{sequence_id} instead of 0"):
        wire.client_says(frame(QUERY, sequence_id))
    assert wire.tracker.idle


def test_an_empty_packet_has_sequence_id_0_as_well() -> None:
    with pytest.raises(OutOfSync, match="1 instead of 0"):
        Wire().client_says(frame(b"", 1))
    wire = Wire()
    assert wire.client_says(ask(PING) + frame(b"", 1)) == ask(PING)
    assert wire.reader.decision == Decision(Verdict.OUT_OF_SYNC, 0)


def test_the_commands_before_one_that_is_out_of_sync_count() -> None:
    wire = Wire()
    assert wire.client_says(ask(PING) + frame(QUERY, 1)) == ask(PING)
    assert wire.reader.decision == Decision(Verdict.OUT_OF_SYNC, 0x03)
    assert len(wire.tracker.expected) == 1
    wire.server_says(frames(OK))
    wire.reader.decision = None
    with pytest.raises(OutOfSync):
        wire.client_says(b"")


def test_a_file_is_for_somebody_else() -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    wire.server_says(frames(LOCAL_INFILE))
    assert wire.reader.take(b"\0") == 0
    assert wire.reader.decision is None
    for data in (frames(b"1\n", start=2), ask(QUERY), frames(b"", start=2)):
        assert wire.reader.take(data) == 0
        assert wire.reader.decision == Decision(Verdict.LOCAL_FILE, 0)


def test_commands_follow_a_file() -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    wire.server_says(frames(LOCAL_INFILE))
    data = frames(b"1\n", b"", start=2) + ask(PING)
    assert wire.client_says(data) == data
    reply = frames(OK, start=4) + frames(OK)
    assert wire.server_says(reply) == reply
    assert wire.tracker.idle


# SET wait_timeout, where the server does not report it


@pytest.mark.parametrize(
    "statement",
    [
        b"SET @@wait_timeout = 2 + 3",
        b"set @@WAIT_TIMEOUT=2+3",
        b"SET @@wait_timeout:=2+3",
        b"SET @@`wait_timeout` = 2 + 3",
        b"SET sql_mode = '', @@wait_timeout\n=\n2+3",
    ],
)
def test_what_the_server_does_not_report_is_read_back_once_it_has_been_answered(statement: bytes) -> None:
    wire = Wire()
    wire.client_asks(b"\x03" + statement)
    assert not wire.memory.is_unsettled
    wire.server_says(frames(OK))
    assert wire.memory.unsettled_system_variables == {"wait_timeout"}


@pytest.mark.parametrize("command", [b"\x03\x00\x01", b"\x03"], ids=["attributes", "plain"])
def test_query_attributes_are_skipped_where_they_were_negotiated(command: bytes) -> None:
    wire = Wire(Capability.QUERY_ATTRIBUTES)
    wire.client_asks(command + b"SET @@wait_timeout = 2 + 3")
    wire.server_says(frames(OK))
    assert wire.memory.is_unsettled == (command != b"\x03")


def test_a_statement_that_fails_is_read_back_as_well() -> None:
    # Of several variables one may have been set before another was refused.
    wire = Wire()
    wire.client_asks(b"\x03SET @@wait_timeout = 5, @@nonsense = 5")
    wire.server_says(frames(ERR))
    assert wire.memory.is_unsettled


def test_a_prepared_statement_does_what_its_text_says_when_it_is_executed() -> None:
    wire = Wire()
    wire.client_asks(b"\x16SET @@wait_timeout = 2 + 3")
    wire.server_says(frames(b"\x00\x07\x00\x00\x00" + bytes(7)))
    assert not wire.memory.is_unsettled
    wire.client_asks(EXECUTE_7)
    wire.server_says(frames(OK))
    assert wire.memory.unsettled_system_variables == {"wait_timeout"}


# Ids of statements


def with_id(code: int, statement_id: int, rest: bytes = b"") -> bytes:
    return bytes((code,)) + statement_id.to_bytes(4, "little") + rest


ONCE = b"\x00\x01\x00\x00\x00"


@pytest.mark.parametrize("code", sorted(WITH_STATEMENT_ID))
def test_a_statement_has_the_id_that_the_server_knows(code: int) -> None:
    wire = Wire()
    wire.prepare(7, 300)
    rest = ONCE + b"\x01\x00"
    asked = ask(PING) + ask(with_id(code, 7, rest)) + ask(QUERY)
    assert wire.client_says(asked) == ask(PING) + ask(with_id(code, 300, rest)) + ask(QUERY)
    # One that is known by the same id passes as it is, and so does one that is not known at all.
    wire.prepare(8)
    for statement_id in (8, 9):
        asked = ask(with_id(code, statement_id, rest))
        assert wire.client_says(asked) == asked


@pytest.mark.parametrize("code", sorted(WITH_STATEMENT_ID))
def test_an_id_that_the_client_has_no_statement_for_must_not_be_that_of_another_one(code: int) -> None:
    wire = Wire()
    wire.prepare(7, 1)
    # The client has closed its statement 1, and the server on the new link has given the id anew.
    assert wire.client_says(ask(with_id(code, 1, ONCE))) == ask(with_id(code, 0xFFFFFFFE, ONCE))


def test_a_statement_that_was_closed_has_no_id_any_more() -> None:
    wire = Wire()
    wire.prepare(7, 1)
    close, execute = with_id(0x19, 7), with_id(0x17, 7, ONCE)
    assert wire.client_says(ask(close) + ask(execute)) == ask(with_id(0x19, 1)) + ask(execute)


def test_ids_are_changed_in_every_command_of_a_pipeline() -> None:
    wire = Wire()
    wire.prepare(1, 2)
    wire.prepare(2, 1)
    asked = b"".join(ask(with_id(0x1A, number)) for number in (1, 2, 1, 3))
    assert wire.client_says(asked) == b"".join(ask(with_id(0x1A, number)) for number in (2, 1, 2, 3))
    assert wire.reader.edits == []


def test_the_id_of_a_large_command_is_changed() -> None:
    wire = Wire()
    wire.prepare(7, 300)
    data = ask(with_id(0x18, 7, bytes(0x10000)))
    assert wire.client_says(data[:-1]) == b""
    assert wire.client_says(data[-1:]) == ask(with_id(0x18, 300, bytes(0x10000)))


@pytest.mark.parametrize("code", sorted(WITH_STATEMENT_ID))
def test_commands_that_are_too_short_for_an_id_pass(code: int) -> None:
    wire = Wire()
    wire.prepare(7, 1, refused_size=2000)
    # What stands behind them is not their id.
    for short in (bytes((code,)), bytes((code, 7)), bytes((code, 7, 0, 0))):
        asked = ask(short) + ask(b"") + ask(PING)
        assert wire.client_says(asked) == asked
    assert wire.reader.decision is None


def test_the_statement_that_was_prepared_last_goes_by_a_number_of_its_own() -> None:
    wire = Wire()
    wire.prepare(7, 1)
    execute = ask(with_id(0x17, 0xFFFFFFFF, ONCE))
    assert wire.client_says(execute) == execute
    (expected,) = wire.tracker.expected
    assert expected.note == Executing(None, execute[4:])
    # For other commands it is not known to mean anything.
    wire.client_asks(with_id(0x1A, 0xFFFFFFFF))
    assert wire.tracker.expected[1].note is None


def test_a_large_execution_of_the_statement_that_was_prepared_last() -> None:
    wire = Wire()
    data = ask(with_id(0x17, 0xFFFFFFFF, ONCE + b"\x00\x01\x08\x00" + bytes(0x20000)))
    assert wire.client_says(data[:0xFFFF]) == b""
    assert wire.client_says(data[0xFFFF:]) == data
    assert isinstance(wire.tracker.expected[0].note, Executing)


def test_a_statement_that_a_new_link_does_not_have_is_not_executed() -> None:
    wire = Wire()
    wire.prepare(7, 0xFFFFFFFE, broken="it was prepared in another schema")
    wire.client_says(ask(PING) + ask(EXECUTE_7))
    assert wire.reader.decision == Decision(Verdict.CARRY_OUT, 0x17, 7)
    # It can be closed, and must not take another one with it.
    wire = Wire()
    wire.prepare(7, 0xFFFFFFFE, broken="it was prepared in another schema")
    wire.prepare(8, 7)
    assert wire.client_says(ask(CLOSE)) == ask(with_id(0x19, 0xFFFFFFFE))
    # To reset it does what a ping does.
    wire.prepare(7, 0xFFFFFFFE, broken="it was prepared in another schema")
    assert wire.client_says(ask(QUERY) + ask(with_id(0x1A, 7)) + ask(QUERY)) == ask(QUERY) + ask(PING) + ask(QUERY)


# The types of parameters


TYPES = b"\x08\x00"
ONE = (False, 1)
BARE = ONCE + b"\x00\x00" + bytes(8)
FULL = ONCE + b"\x00\x01" + TYPES + bytes(8)
BULK_BARE = b"\x40\x00\x00" + bytes(8)
BULK_FULL = b"\xc0\x00" + TYPES + b"\x00" + bytes(8)


@pytest.mark.parametrize(("code", "bare", "full"), [(0x17, BARE, FULL), (0xFA, BULK_BARE, BULK_FULL)])
def test_types_are_put_in_where_the_server_does_not_know_them(code: int, bare: bytes, full: bytes) -> None:
    for server_id in (7, 300):
        wire = Wire()
        wire.prepare(7, server_id, types=TYPES, types_form=ONE, lacks_types=True)
        asked = ask(PING) + ask(with_id(code, 7, bare)) + ask(QUERY)
        # The frame's length is that of what goes out.
        assert wire.client_says(asked) == ask(PING) + ask(with_id(code, server_id, full)) + ask(QUERY)
        # Until it has been answered, the server may not know them yet.
        assert wire.client_says(ask(with_id(code, 7, bare))) == ask(with_id(code, server_id, full))
        wire.server_says(frames(OK) * 4)
        assert wire.client_says(ask(with_id(code, 7, bare))) == ask(with_id(code, server_id, bare))


@pytest.mark.parametrize(("code", "bare", "full"), [(0x17, BARE, FULL), (0xFA, BULK_BARE, BULK_FULL)])
def test_types_are_remembered_as_they_were_sent_last(code: int, bare: bytes, full: bytes) -> None:
    wire = Wire()
    prepared = wire.prepare(7, types=b"\xfd\x00")
    wire.client_asks(with_id(code, 7, bare))
    assert prepared.types == b"\xfd\x00"
    wire.client_asks(with_id(code, 7, full))
    assert prepared.types == TYPES


def test_nothing_is_put_in_where_the_client_says_the_types_or_there_are_none() -> None:
    wire = Wire()
    wire.prepare(7, types=b"\xfd\x00", lacks_types=True)
    wire.client_asks(with_id(0x17, 7, FULL))
    wire.prepare(8, lacks_types=True)
    wire.client_asks(with_id(0x17, 8, BARE))
    wire.prepare(9, parameters=0)
    wire.client_asks(with_id(0x17, 9, ONCE))
    # What is malformed is for the server to refuse.
    wire.client_asks(with_id(0x17, 7, ONCE))


def test_types_are_put_in_only_where_they_have_the_same_form() -> None:
    # PARAMETER_COUNT_AVAILABLE: one parameter, then one parameter and an attribute, each with a name.
    named = b"\x08" + ONCE[1:] + b"\x01\x00\x01" + TYPES + b"\x00" + bytes(8)
    with_attribute = b"\x08" + ONCE[1:] + b"\x02\x00\x01" + TYPES + b"\x00" + TYPES + b"\x01a" + bytes(16)
    bare_named = b"\x08" + ONCE[1:] + b"\x01\x00\x00" + bytes(8)
    for last, bare, full in (
        (named, bare_named, named),
        (with_attribute, bare_named, bare_named),
        (named, BARE, BARE),
        (FULL, bare_named, bare_named),
        (FULL, BULK_BARE, BULK_FULL),
    ):
        wire = Wire(Capability.QUERY_ATTRIBUTES if bare is bare_named else 0)
        prepared = wire.prepare(7)
        code = 0xFA if bare is BULK_BARE else 0x17
        wire.client_asks(with_id(0x17, 7, last))
        prepared.lacks_types = True
        # Where they do not fit, values would be taken for types: let the server say that it does not know them.
        assert wire.client_says(ask(with_id(code, 7, bare))) == ask(with_id(code, 7, full))


def test_a_client_that_chooses_what_is_reported_is_held() -> None:
    for command in (b"\x03SET @@Session_Track_System_Variables = ''", b"\x16SET session_track_system_variables = ?"):
        wire = Wire()
        wire.client_asks(command)
        assert [hold.name for hold in wire.memory.holds] == ["SET session_track_system_variables"]


def test_a_guard_in_front_of_this_one_asks_for_the_same_reports() -> None:
    wire = Wire()
    wire.memory.tracked.own_watch = watch_statement(("autocommit",), b"9.1.0")
    wire.client_asks(b"\x03" + watch_statement(("autocommit",), b"9.1.0"))
    assert wire.memory.holds == []
    wire.client_asks(b"\x03" + watch_statement((), b"9.1.0"))
    assert [hold.name for hold in wire.memory.holds] == ["SET session_track_system_variables"]


def test_types_do_not_make_a_command_too_large() -> None:
    for limit, fits in ((len(FULL) + 5, False), (len(FULL) + 6, True)):
        wire = Wire(limit=limit)
        wire.prepare(7, types=TYPES, types_form=ONE, lacks_types=True)
        assert wire.client_says(ask(with_id(0x17, 7, BARE))) == ask(with_id(0x17, 7, FULL if fits else BARE))


def test_types_are_put_into_large_executions() -> None:
    wire = Wire()
    wire.prepare(7, 300, parameters=1000, types=TYPES * 1000, types_form=(False, 1000), lacks_types=True)
    # The bits for NULL alone fill more than is waited for elsewhere.
    rest = ONCE + bytes(125) + b"\x00" + bytes(0x20000)
    full = ONCE + bytes(125) + b"\x01" + TYPES * 1000 + bytes(0x20000)
    data = ask(with_id(0x17, 7, rest))
    out = b""
    for start in range(0, len(data), 5000):
        out += wire.client_says(data[start : start + 5000])
    assert out == ask(with_id(0x17, 300, full))


def test_the_types_of_a_large_execution_are_waited_for() -> None:
    wire = Wire()
    prepared = wire.prepare(7, parameters=40_000)
    data = ask(with_id(0x17, 7, ONCE + bytes(5000) + b"\x01" + TYPES * 40_000 + bytes(100)))
    assert wire.client_says(data[:80_000]) == b""
    assert wire.client_says(data[80_000:]) == data
    assert prepared.types == TYPES * 40_000


# Ids of threads


@pytest.mark.parametrize(
    ("statement", "sent"),
    [
        (b"KILL 7", b"KILL 1234"),
        (b"kill query 7;", b"kill query 1234;"),
        (b"/* by hand */ KILL CONNECTION 7 -- 7", b"/* by hand */ KILL CONNECTION 1234 -- 7"),
        (b"KILL 8", b"KILL 8"),
        (b"SELECT 'KILL 7'", b"SELECT 'KILL 7'"),
        (b"KILL 7 + 1", b"KILL 7 + 1"),
    ],
)
@pytest.mark.parametrize("attributes", [b"", b"\x00\x01"], ids=["plain", "attributes"])
def test_a_thread_is_killed_by_the_id_that_it_has_now(statement: bytes, sent: bytes, attributes: bytes) -> None:
    wire = Wire(Capability.QUERY_ATTRIBUTES if attributes else 0)
    wire.threads = {7: 1234}
    asked = ask(PING) + ask(b"\x03" + attributes + statement) + ask(PING)
    assert wire.client_says(asked) == ask(PING) + ask(b"\x03" + attributes + sent) + ask(PING)


def test_the_old_command_for_it_is_changed_as_well() -> None:
    wire = Wire()
    wire.threads = {7: 1234}
    assert wire.client_says(ask(with_id(0x0C, 7))) == ask(with_id(0x0C, 1234))
    assert wire.client_says(ask(with_id(0x0C, 8))) == ask(with_id(0x0C, 8))
    assert wire.client_says(ask(b"\x0c\x07")) == ask(b"\x0c\x07")


# Statements too large to be looked at as a whole

LARGE = 0x20000
HELD = ["state that was not read back yet (what a statement of more than 65536 bytes may have set)"]


def large(beginning: bytes, end: bytes = b"") -> bytes:
    return beginning + b"1".rjust(LARGE - len(beginning) - len(end), b" ") + end


def holds(wire: Wire) -> list[str]:
    return [str(hold) for hold in wire.memory.holds]


@pytest.mark.parametrize("end", [b", @a := 1", b" INTO @a", b", GET_LOCK(1, 1)", b", get_lock(1, 1)"])
@pytest.mark.parametrize("size", [7, 1000, 1 << 30])
def test_what_may_do_something_is_found_however_the_stream_is_cut(end: bytes, size: int) -> None:
    for position in (LARGE, 0x10000, 0x10004):  # at the end, and around the end of what is judged
        wire = Wire()
        data = ask(b"\x03" + large(b"SELECT ", end.ljust(LARGE - position + len(end))))
        for start in range(0, len(data), size):
            wire.client_says(data[start : start + size])
        assert holds(wire) == HELD


def test_large_statements_that_do_nothing_leave_nothing() -> None:
    wire = Wire()
    wire.client_asks(b"\x03" + large(b"SELECT "))
    wire.server_says(frames(OK))
    assert holds(wire) == []


@pytest.mark.parametrize("verb", [b"INSERT INTO t VALUES (", b"\n replace into t values (", b"UPDATE t SET a = "])
def test_a_large_statement_of_an_ordinary_kind_leaves_no_doubt(verb: bytes) -> None:
    wire = Wire()
    # What is cut off in the middle of a string cannot be understood, and need not be.
    wire.client_asks(b"\x03" + large(verb + b"'" + b"x" * 0x10000, b"')"))
    assert not wire.memory.is_insert_id_unsettled
    assert not wire.memory.may_have_begun
    wire.server_says(frames(OK))
    assert holds(wire) == []
    assert not wire.memory.is_insert_id_unsettled


@pytest.mark.parametrize("position", [LARGE, 0x10000, 0x10004])
def test_what_a_large_statement_says_at_its_end_is_taken_down(position: int) -> None:
    wire = Wire()
    wire.client_asks(b"\x03" + large(b"SELECT ", b" FOR ShARE".ljust(LARGE - position + 10)))
    assert wire.memory.has_share_locks
    wire = Wire()
    wire.client_asks(
        b"\x03" + large(b"INSERT INTO t SELECT 'share' ", b", Last_Insert_Id(5)".ljust(LARGE - position + 19))
    )
    assert wire.memory.is_insert_id_unsettled
    assert not wire.memory.has_share_locks
    wire = Wire()
    wire.client_asks(b"\x03" + large(b"DO "))  # what else it asks for is not searched for
    assert wire.memory.has_share_locks


@pytest.mark.parametrize("is_multiple", [True, False])
def test_another_statement_behind_a_large_one_may_leave_a_transaction(is_multiple: bool) -> None:  # noqa: FBT001
    wire = Wire()
    wire.memory.multi_statements = is_multiple
    wire.client_asks(b"\x03" + large(b"INSERT INTO t VALUES ('", b"'); CALL p()"))
    assert wire.memory.is_insert_id_unsettled == is_multiple
    wire.server_says(frames(OK_MORE, ERR))
    assert bool(wire.tracker.status & 1) == is_multiple


def test_each_large_statement_is_searched_by_itself() -> None:
    wire = Wire()
    wire.client_asks(b"\x03" + large(b"SELECT ", b":"), b"\x03" + large(b"= "))
    assert holds(wire) == []


def test_a_large_statement_explains_nothing() -> None:
    # Of its end nothing is known.
    wire = Wire()
    wire.client_asks(b"\x03" + large(b"SET @a = 1 "))
    wire.server_says(frames(ok_with_state(b"\x02\x01\x31")))
    assert "a change of session state that the server did not explain" in holds(wire)


@pytest.mark.parametrize("size", [1000, 1 << 30])
def test_the_beginning_of_a_large_statement_is_judged(size: int) -> None:
    wire = Wire()
    data = ask(b"\x03" + large(b"SET @@sql_mode = '', @@wait_timeout = 5, a = "))
    for start in range(0, len(data), size):
        wire.client_says(data[start : start + size])
    wire.server_says(frames(OK))
    assert wire.memory.unsettled_system_variables == {"sql_mode", "wait_timeout"}


@pytest.mark.parametrize("size", [1000, 1 << 30])
def test_other_large_commands_are_only_data(size: int) -> None:
    wire = Wire()
    wire.prepare(7, parameters=0)
    asked = ask(b"\x03" + large(b"SELECT ")) + ask(with_id(0x17, 7, ONCE + large(b"", b" := "))) + ask(b"\x77:= ")
    for start in range(0, len(asked), size):
        wire.client_says(asked[start : start + size])
    assert holds(wire) == []


def test_a_large_statement_whose_attributes_are_large_as_well_is_held() -> None:
    # One attribute: a string of 70,000 bytes, behind which the text begins.
    value = b"\xfd" + (70_000).to_bytes(3, "little") + b"x" * 70_000
    payload = b"\x03\x01\x01\x00\x01\xfd\x00\x01a" + value + b"SELECT 1"
    wire = Wire(Capability.QUERY_ATTRIBUTES)
    wire.client_asks(payload)
    assert holds(wire) == HELD


# Commands that were collected because of their size


def test_a_collected_statement_is_judged_when_it_goes_out() -> None:
    wire = Wire()
    beginning = large(b"\x03SET @@sql_mode = 1, a = ")
    assert wire.reader.expect_held(0x03, beginning, 2) == beginning
    wire.reader.look_through(b"1, @a :")
    wire.reader.look_through(b"= 2")
    assert holds(wire) == HELD
    wire.server_says(frames(OK, start=2))
    assert wire.memory.unsettled_system_variables == {"sql_mode"}


def test_a_collected_execution_has_the_servers_id_and_the_types() -> None:
    wire = Wire()
    wire.prepare(7, 300, types=TYPES, types_form=ONE, lacks_types=True)
    rest = bytes(LARGE)
    assert wire.reader.expect_held(0x17, with_id(0x17, 7, BARE + rest), 3) == with_id(0x17, 300, FULL + rest)
    wire.reader.look_through(b" := ")
    wire.server_says(frames(OK, start=3))
    assert wire.tracker.idle
    assert not wire.memory.statements[7].lacks_types
    assert holds(wire) == []


def test_a_collected_prepare_is_too_large_to_be_remembered() -> None:
    wire = Wire()
    beginning = large(b"\x16SELECT ")
    assert wire.reader.expect_held(0x16, beginning, 2) == beginning
    wire.server_says(frames(b"\x00\x07\x00\x00\x00" + bytes(7), start=2))
    assert holds(wire) == ["a prepared statement too large to be remembered"]


def test_a_collected_command_of_another_kind_goes_out_as_it_is() -> None:
    wire = Wire()
    assert wire.reader.expect_held(0x77, large(b"\x77"), 2) == large(b"\x77")
    assert [(expected.command, expected.sequence_id) for expected in wire.tracker.expected] == [(0x77, 2)]
    wire.reader.expect_held(0x18, large(b"\x18"), 2)
    assert len(wire.tracker.expected) == 1


# What was lost with a link


def test_a_command_is_examined_once() -> None:
    wire = Wire()
    wire.reader.examines = True
    assert wire.client_says(ask(CLOSE) + ask(QUERY) + ask(PING)) == ask(CLOSE)  # nobody waits for an answer to that
    assert wire.reader.decision == Decision(Verdict.EXAMINE, 0x03)
    wire.reader.decision, wire.reader.has_examined = None, True
    assert wire.client_says(b"") == ask(QUERY)
    assert wire.reader.decision == Decision(Verdict.EXAMINE, 0x0E)
    wire.reader.decision, wire.reader.has_examined, wire.reader.examines = None, True, False
    assert wire.client_says(ask(QUERY)) == ask(PING) + ask(QUERY)


def test_a_command_without_the_id_that_it_should_have_is_examined_as_well() -> None:
    wire = Wire()
    wire.reader.examines = True
    assert wire.client_says(ask(b"\x17\x07")) == b""
    assert wire.reader.decision == Decision(Verdict.EXAMINE, 0x17, None)


@pytest.mark.parametrize(
    ("command", "verdict"),
    [(QUIT, Verdict.QUIT), (RESET_CONNECTION, Verdict.CARRY_OUT), (QUERY.ljust(1024), Verdict.TOO_LARGE)],
)
def test_what_stops_anyway_is_not_examined(command: bytes, verdict: Verdict) -> None:
    wire = Wire(limit=1024)
    wire.reader.examines = True
    wire.client_says(ask(command))
    assert wire.reader.decision is not None
    assert wire.reader.decision.verdict is verdict


def test_what_is_examined_before_it_is_collected_does_not_let_the_next_one_pass() -> None:
    with small_frames():
        wire = Wire(limit=1024)
        wire.reader.examines = True
        wire.client_says(ask(PREPARE.ljust(255)))
        for verdict in (Verdict.EXAMINE, Verdict.COLLECT):
            assert wire.reader.decision == Decision(verdict, 0x16)
            wire.reader.decision, wire.reader.has_examined = None, verdict is Verdict.EXAMINE
            wire.client_says(b"")
        wire.client_inbox = b""
        wire.reader.decision = None
        assert wire.client_says(ask(QUERY)) == b""
        assert wire.reader.decision == Decision(Verdict.EXAMINE, 0x03)


# What recovery goes by


def test_a_command_is_kept_until_it_has_been_answered() -> None:
    wire = Wire()
    wire.client_asks(QUERY, PING)
    assert [expected.packet for expected in wire.tracker.expected] == [ask(QUERY), ask(PING)]
    wire = Wire()
    wire.client_asks(large(b"\x03SELECT "))
    assert [expected.packet for expected in wire.tracker.expected] == [None]


def test_a_command_is_kept_as_the_client_has_sent_it() -> None:
    # On the next link, the statement has another id again.
    wire = Wire()
    wire.prepare(7, 300)
    wire.client_says(ask(EXECUTE_7))
    assert wire.tracker.expected[0].packet == ask(EXECUTE_7)


def test_bytes_behind_the_last_command_that_is_answered_are_counted() -> None:
    wire = Wire()
    assert wire.reader.trailing == 0
    wire.client_asks(LONG_DATA + b"data", QUERY)
    assert wire.reader.trailing == 0
    wire.client_asks(CLOSE)
    wire.client_asks(CLOSE)
    assert wire.reader.trailing == 2 * len(ask(CLOSE))
    wire.reader.expect_reply(PING[0])
    assert wire.reader.trailing == 0


# In general

CODES = st.sampled_from([0x03, 0x0C, 0x0E, 0x16, *sorted(WITH_STATEMENT_ID), *sorted(WITH_STATEMENT_ID)])
PIECES = st.sampled_from([BARE, FULL, BULK_BARE, BULK_FULL, b"KILL 7", b"SET @a = 1", ONCE]) | st.binary(max_size=90)
ANY_COMMANDS = st.lists(
    st.builds(
        lambda code, number, rest: bytes((code,)) + (number.to_bytes(4, "little") if code != 0x03 else b"") + rest,
        CODES,
        st.sampled_from([1, 2, 3, 7, 0xFFFFFFFF]),
        PIECES,
    ).flatmap(lambda payload: st.just(payload) | st.integers(0, 9).map(lambda size: payload[:size])),
    max_size=6,
)


@given(ANY_COMMANDS, st.lists(st.integers(1, 30), min_size=1, max_size=4), st.booleans())
def test_what_goes_out_are_frames_of_the_same_commands_however_the_stream_is_cut(
    commands: list[bytes],
    sizes: list[int],
    attributes: bool,  # noqa: FBT001  drawn
) -> None:
    def pass_through(sizes: list[int]) -> tuple[bytes, object, list[str]]:
        wire = Wire(Capability.QUERY_ATTRIBUTES if attributes else 0, limit=200)
        wire.threads = {7: 123_456}
        wire.prepare(1, 2, types=TYPES, types_form=ONE, lacks_types=True)
        wire.prepare(2, 1, parameters=0)
        wire.prepare(3, 0xFFFFFFFE, broken="it")
        data = b"".join(map(ask, commands))
        out, position = b"", 0
        for size in cycle(sizes):
            if position >= len(data):
                break
            out += wire.client_says(data[position : position + size])
            position += size
        return out, wire.reader.decision, holds(wire)

    with small_frames():
        out, decision, held = pass_through([1 << 20])
        assert pass_through(sizes) == (out, decision, held)
    sent = [packet[:1] for packet in payloads(out)] if b"" not in commands else []
    # A statement that is not there is reset by a ping, until it has been closed.
    closed = next((index for index, command in enumerate(commands) if command[:5] == with_id(0x19, 3)), len(commands))
    expected = [
        PING if command[:5] == with_id(0x1A, 3) and index < closed else command[:1]
        for index, command in enumerate(commands)
    ]
    assert sent == expected[: len(sent)]
    assert len(sent) == len(commands) or decision is not None or b"" in commands


def test_the_guards_own_commands_are_answered_like_any() -> None:
    wire = Wire()
    wire.reader.expect_reply(PING[0])
    assert wire.server_says(frames(OK)) == frames(OK)
    assert wire.tracker.idle


def test_repr_says_what_is_waited_for() -> None:
    wire = Wire(limit=1024)
    assert repr(wire.reader) == "<CommandReader limit 1024, no decision pending>"
    wire.client_says(ask(QUIT))
    assert "QUIT" in repr(wire.reader)
