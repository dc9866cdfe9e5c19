"""The reader of the client's stream, command by command."""

import pytest

from protocol.command import Decision, Verdict, reply_kind
from protocol.errors import OutOfSync
from protocol.reply import ReplyKind, Stage
from protocol.statement import sets_wait_timeout_unreported
from tests.protocol.transcripts import (
    EXECUTE,
    FETCH,
    LOCAL_INFILE,
    OK,
    PING,
    PREPARE,
    QUERY,
    STATISTICS,
    Wire,
    ask,
    frame,
    frames,
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
    assert not wire.reader.inside_packet


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


def test_large_commands_pass_as_they_come() -> None:
    for size, streamed in ((0x10000, False), (0x10001, True)):
        wire = Wire()
        data = ask(QUERY.ljust(size, b" "))
        assert wire.client_says(data[:4]) == b""
        assert wire.client_says(data[4:1000]) == (data[:1000] if streamed else b"")
        assert wire.reader.inside_packet == streamed
        assert wire.tracker.idle != streamed
        assert wire.client_says(data[1000:-1]) == (data[1000:-1] if streamed else b"")
        assert wire.reader.inside_packet == streamed
        # The next command begins in the same chunk as the last one ends.
        assert wire.client_says(data[-1:] + ask(PING)) == (data[-1:] if streamed else data) + ask(PING)
        assert not wire.reader.inside_packet
        assert [expected.command for expected in wire.tracker.expected] == [0x03, 0x0E]


# The limit

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
    assert decision.statement_id == (None if command[0] not in {0x17, 0x18, 0x19, 0x1A} else command[1])
    assert wire.client_inbox == data[:9]
    assert len(wire.tracker.expected) == 1  # the ping's


@pytest.mark.parametrize("command", [QUIT, CHANGE_USER, RESET_CONNECTION], ids=lambda command: f"0x{command[0]:02x}")
def test_the_limit_goes_for_what_the_guard_carries_out(command: bytes) -> None:
    for size, refused in ((1023, False), (1024, True)):
        wire = Wire(limit=1024)
        assert wire.client_says(ask(command.ljust(size, b"x"))) == b""
        assert wire.reader.decision is not None
        assert (wire.reader.decision.verdict is Verdict.TOO_LARGE) == refused


@pytest.mark.parametrize("size", [1023, 1024])
def test_the_limit_goes_for_local_files(size: int) -> None:
    wire = Wire(limit=1024)
    wire.client_asks(QUERY)
    wire.server_says(frames(LOCAL_INFILE))
    data = frames(b"1\n", b"x" * size, b"", start=2)
    shown = wire.client_says(data)
    if size < 1024:
        assert shown == data
        assert wire.tracker.stage is Stage.RESULT
    else:
        assert shown == frames(b"1\n", start=2)
        assert wire.reader.decision == Decision(Verdict.LOCAL_FILE_TOO_LARGE, 0)
        assert wire.client_inbox == data[len(shown) :]
        assert wire.tracker.sequence_id == 3


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


def test_the_largest_frame_that_is_not_continued_passes() -> None:
    wire = Wire(limit=0x1000000)
    data = ask(QUERY.ljust(0xFFFFFE, b" "))
    assert wire.client_says(data) == data
    assert wire.reader.decision is None


def test_files_in_pieces_of_several_frames_are_cut() -> None:
    wire = Wire(limit=1 << 26)
    wire.client_asks(QUERY)
    wire.server_says(frames(LOCAL_INFILE))
    assert wire.client_says(b"\xff\xff\xff\x021,2,3") == b""
    assert wire.reader.decision == Decision(Verdict.LOCAL_FILE_TOO_LARGE, 0)


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
    wire.reader.refused_long_data[7] = 2000
    return wire


def test_a_statement_whose_long_data_was_refused_is_not_executed() -> None:
    wire = refusing()
    assert wire.client_says(ask(LONG_DATA + b"more") + ask(EXECUTE) + ask(EXECUTE_7)) == ask(LONG_DATA + b"more") + ask(
        EXECUTE
    )
    assert wire.reader.decision == Decision(Verdict.CARRY_OUT, 0x17, 7)
    # Whoever decided forgets what was refused.
    del wire.reader.refused_long_data[7]
    wire.reader.decision = None
    assert wire.client_says(b"") == ask(EXECUTE_7)


@pytest.mark.parametrize("command", [CLOSE, RESET])
def test_the_server_forgets_long_data_when_a_statement_is_closed_or_reset(command: bytes) -> None:
    wire = refusing()
    wire.client_asks(command, EXECUTE_7)
    assert wire.reader.refused_long_data == {}


@pytest.mark.parametrize(
    "command", [QUERY, PING, EXECUTE, CLOSE.replace(b"\x07", b"\x08"), b"\x17\x07\x00\x00", b"\x1c\x07\x00\x00\x00\x01"]
)
def test_other_statements_have_nothing_to_do_with_it(command: bytes) -> None:
    wire = refusing()
    wire.client_asks(command)
    assert wire.reader.refused_long_data == {7: 2000}


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


def test_the_pieces_of_a_file_go_on_with_the_ids() -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    wire.server_says(frames(LOCAL_INFILE))
    with pytest.raises(OutOfSync, match="0, not 2"):
        wire.client_says(ask(QUERY))
    assert wire.tracker.stage is Stage.LOCAL_INFILE


def test_the_ids_of_a_file_wrap() -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    wire.server_says(frames(LOCAL_INFILE))
    data = frames(*[b"1\n"] * 300, b"", start=2)
    for start in range(0, len(data), 11):
        wire.client_says(data[start : start + 11])
    assert wire.client_inbox == b""
    answer = frames(OK, start=303)
    assert wire.server_says(answer) == answer
    assert wire.tracker.idle


def test_pieces_of_a_file_pass_whole_unless_they_are_large() -> None:
    for size, streamed in ((0x10000, False), (0x10001, True)):
        wire = Wire()
        wire.client_asks(QUERY)
        wire.server_says(frames(LOCAL_INFILE))
        data = frames(b"x" * size, b"", start=2)
        assert wire.client_says(data[:1000]) == (data[:1000] if streamed else b"")
        assert wire.reader.inside_packet == streamed
        assert wire.tracker.stage is Stage.LOCAL_INFILE
        assert wire.client_says(data[1000:]) == (data[1000:] if streamed else data)
        assert wire.tracker.stage.name == "RESULT"


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
        b"SET @@wait_timeout = 5",
        b"set @@WAIT_TIMEOUT=5",
        b"SET @@wait_timeout:=5",
        b"SET @@`wait_timeout` = 5",
        b"SET sql_mode = '', @@wait_timeout\n=\n5",
    ],
)
def test_wait_timeout_is_set_unreported(statement: bytes) -> None:
    assert sets_wait_timeout_unreported(statement, 0, len(statement))
    for command in (b"\x03" + statement, b"\x03\x00\x01" + statement, b"\x16" + statement):
        wire = Wire()
        wire.client_asks(command)
        assert wire.reader.wait_timeout_set
    # Also with a statement whose long data was refused.
    wire = refusing()
    wire.client_asks(b"\x03" + statement)
    assert wire.reader.wait_timeout_set
    # In a statement of another kind, or in the next one, it is only text.
    wire = Wire()
    wire.client_asks(LONG_DATA + statement)
    assert not wire.reader.wait_timeout_set
    wire.client_says(ask(QUERY) + ask(b"\x03" + statement)[:-1])
    assert not wire.reader.wait_timeout_set


@pytest.mark.parametrize(
    "statement",
    [
        b"SELECT @@wait_timeout",
        b"SET wait_timeout = 5",
        b"SET SESSION wait_timeout = 5",
        b"SET @@session.wait_timeout = 5",
        b"SET @@interactive_timeout = 5",
        b"SET @wait_timeout = 5",
        b"SET @@sql_mode = ''",
    ],
)
def test_wait_timeout_is_not_set_or_will_be_reported(statement: bytes) -> None:
    assert not sets_wait_timeout_unreported(statement, 0, len(statement))


def test_statements_that_are_streamed_are_not_searched() -> None:
    for size, found in ((0x10000, True), (0x10001, False)):
        wire = Wire()
        wire.client_asks(b"\x03SET @@wait_timeout = 5".ljust(size))
        assert wire.reader.wait_timeout_set == found


def test_only_the_given_part_is_searched() -> None:
    statement = b"xSET @@wait_timeout = 5"
    assert sets_wait_timeout_unreported(statement, 1, len(statement))
    assert not sets_wait_timeout_unreported(statement, 10, len(statement))
    assert not sets_wait_timeout_unreported(statement, 0, len(statement) - 4)


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
