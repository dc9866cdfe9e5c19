"""The reply tracker, exchange by exchange."""

from dataclasses import dataclass, field

import pytest

from protocol.command import reply_kind
from protocol.constants import Capability
from protocol.errors import MalformedPacket, OutOfSync, ProtocolError
from protocol.memory import SessionMemory
from protocol.reply import Expected, ReplyKind, ReplyTracker, Stage
from tests.protocol.transcripts import (
    BINARY_ROW,
    COLUMN,
    END_OK,
    END_OK_CURSOR,
    END_OK_MORE,
    EOF,
    EOF_CURSOR,
    EOF_MORE,
    ERR,
    EXECUTE,
    FETCH,
    HIDDEN,
    LOCAL_INFILE,
    NONE,
    OK,
    OK_MORE,
    OPEN_CURSOR,
    PING,
    PREPARE,
    QUERY,
    ROW,
    SCHEMA,
    SHOWN,
    STATISTICS,
    Wire,
    ask,
    frame,
    frames,
    ok_with_state,
    small_frames,
)

DEPRECATE_EOF = Capability.DEPRECATE_EOF
METADATA = Capability.OPTIONAL_METADATA
CACHE = Capability.MARIADB_CACHE_METADATA
PROGRESS = Capability.MARIADB_PROGRESS

#: MySQL's EOF behind the definitions of a result of OUT parameters: 0x1000, 0x0008 and AUTOCOMMIT.
EOF_OUT_PARAMS = b"\xfe\x00\x00\x0a\x10"
END_OK_OUT_PARAMS = b"\xfe\x00\x00\x0a\x10\x00\x00"
#: The same behind what a stored program has done that has had a cursor of its own.
EOF_CALLED = b"\xfe\x00\x00\xca\x00"
END_OK_CALLED = b"\xfe\x00\x00\xca\x00\x00\x00"
OK_CALLED = b"\x00\x00\x00\xc2\x00\x00\x00"
PROGRESS_REPORT = b"\xff\xff\xff\x01\x01\x02\x10\x27\x00\x0ccopy to tmp."
FIELD_LIST = b"\x04t\x00%"
SET_OPTION = b"\x1b\x00\x00"
DEBUG = b"\x0d"
UPDATED = b"\x00\x03\x05\x02\x00\x01\x00\x0arows: 3..."


def prepare_ok(columns: int, parameters: int, metadata: bytes = b"") -> bytes:
    return b"\x00\x07\x00\x00\x00" + bytes((columns, 0, parameters, 0)) + b"\x00\x00\x00" + metadata


@dataclass(frozen=True)
class Exchange:
    """A command and the packets of its reply, the last of which ends it."""

    name: str
    command: bytes
    reply: list[bytes]
    capabilities: int = field(default=NONE)

    def wire(self) -> Wire:
        """Make a link on which there is the statement that is executed."""
        wire = Wire(self.capabilities)
        wire.prepare(1)
        return wire


EXCHANGES = [
    Exchange("ping", PING, [OK]),
    Exchange("init db", b"\x02test", [OK]),
    Exchange("statement reset", b"\x1a\x07\x00\x00\x00", [OK]),
    Exchange("process kill", b"\x0c\x07\x00\x00\x00", [ERR]),
    Exchange("an unknown command", b"\x77", [ERR]),
    Exchange("an empty packet", b"", [ERR]),
    Exchange("statistics", STATISTICS, [b"Uptime: 7  Threads: 1"]),
    Exchange("statistics refused", STATISTICS, [ERR]),
    # Text, whatever it begins with.
    Exchange("statistics that look like an OK", STATISTICS, [b"\x00\x00"]),
    Exchange("set option", SET_OPTION, [EOF]),
    Exchange("set option, end-OK", SET_OPTION, [END_OK], DEPRECATE_EOF),
    Exchange("debug", DEBUG, [EOF]),
    Exchange("debug, end-OK", DEBUG, [END_OK], DEPRECATE_EOF),
    Exchange("debug refused", DEBUG, [ERR]),
    Exchange("process info of MySQL 9", b"\x0a", [ERR]),
    Exchange("process info of MariaDB", b"\x0a", [b"\x01", COLUMN, EOF, ROW, EOF]),
    # COM_QUERY
    Exchange("do", QUERY, [OK]),
    Exchange("update", QUERY, [UPDATED]),
    Exchange("syntax error", QUERY, [ERR]),
    Exchange("select", QUERY, [b"\x02", COLUMN, COLUMN, EOF, ROW, ROW, EOF]),
    Exchange("select, end-OK", QUERY, [b"\x02", COLUMN, COLUMN, ROW, ROW, END_OK], DEPRECATE_EOF),
    Exchange("select nothing", QUERY, [b"\x01", COLUMN, EOF, EOF]),
    Exchange("select nothing, end-OK", QUERY, [b"\x01", COLUMN, END_OK], DEPRECATE_EOF),
    Exchange("300 columns", QUERY, [b"\xfc\x2c\x01", *([COLUMN] * 300), EOF, ROW, EOF]),
    # In rows, NULL, the empty string and binary rows begin like other packets elsewhere.
    Exchange("rows like other packets", QUERY, [b"\x01", COLUMN, EOF, b"\xfb", b"\x00", OK, LOCAL_INFILE, EOF]),
    Exchange("an error in the rows", QUERY, [b"\x01", COLUMN, EOF, ROW, ERR]),
    Exchange("an error in the rows, end-OK", QUERY, [b"\x01", COLUMN, ROW, ERR], DEPRECATE_EOF),
    Exchange("an error in the definitions", QUERY, [b"\x02", COLUMN, ERR]),
    Exchange("an error instead of the rows", QUERY, [b"\x01", COLUMN, EOF, ERR]),
    # A chain of results
    Exchange("multi", QUERY, [OK_MORE, b"\x01", COLUMN, EOF, ROW, EOF_MORE, OK]),
    Exchange("multi, end-OK", QUERY, [OK_MORE, b"\x01", COLUMN, ROW, END_OK_MORE, OK], DEPRECATE_EOF),
    Exchange("multi ends with an error", QUERY, [OK_MORE, b"\x01", COLUMN, EOF, EOF_MORE, ERR]),
    Exchange("multi ends with a result set", QUERY, [OK_MORE, OK_MORE, b"\x01", COLUMN, EOF, EOF]),
    Exchange("call", QUERY, [b"\x01", COLUMN, EOF, ROW, EOF_MORE, OK]),
    # COM_STMT_EXECUTE
    Exchange("execute", EXECUTE, [b"\x01", COLUMN, EOF, BINARY_ROW, BINARY_ROW, EOF]),
    Exchange("execute, end-OK", EXECUTE, [b"\x01", COLUMN, BINARY_ROW, END_OK], DEPRECATE_EOF),
    Exchange("execute an update", EXECUTE, [UPDATED]),
    Exchange("bulk execute", b"\xfa\x07\x00\x00\x00\x00\x00", [UPDATED]),
    Exchange("bulk execute returning", b"\xfa\x07\x00\x00\x00\x00\x00", [b"\x01", COLUMN, EOF, BINARY_ROW, EOF]),
    # MySQL says only behind the definitions that another OK will follow the OUT parameters.
    Exchange("OUT parameters of MySQL", EXECUTE, [b"\x01", COLUMN, EOF_OUT_PARAMS, BINARY_ROW, EOF, OK]),
    Exchange(
        "OUT parameters of MySQL behind a result set",
        EXECUTE,
        [b"\x01", COLUMN, EOF, BINARY_ROW, EOF_MORE, b"\x01", COLUMN, EOF_OUT_PARAMS, BINARY_ROW, EOF, OK],
    ),
    Exchange("OUT parameters of MariaDB", EXECUTE, [b"\x01", COLUMN, EOF_OUT_PARAMS, BINARY_ROW, EOF_OUT_PARAMS, OK]),
    Exchange("OUT parameters, end-OK", EXECUTE, [b"\x01", COLUMN, BINARY_ROW, END_OK_OUT_PARAMS, OK], DEPRECATE_EOF),
    # More results without OUT parameters, or the other way round, mean nothing in the first EOF.
    Exchange("more in the first EOF", EXECUTE, [b"\x01", COLUMN, EOF_MORE, BINARY_ROW, EOF]),
    Exchange("OUT parameters and no more", EXECUTE, [b"\x01", COLUMN, b"\xfe\x00\x00\x02\x10", BINARY_ROW, EOF]),
    # Cursors: the rows come by COM_STMT_FETCH.
    Exchange("open a cursor", OPEN_CURSOR, [b"\x01", COLUMN, EOF_CURSOR]),
    Exchange("open a cursor, end-OK", OPEN_CURSOR, [b"\x01", COLUMN, END_OK_CURSOR], DEPRECATE_EOF),
    *(
        # Seen where a procedure, or a function in a SELECT, has opened a cursor and fetched from it.
        exchange
        for name, command in (("query", QUERY), ("execute", EXECUTE), ("ask for a cursor", OPEN_CURSOR))
        for exchange in (
            Exchange(f"a program's cursor, {name}", command, [b"\x01", COLUMN, EOF_CALLED, ROW, EOF_CALLED, OK_CALLED]),
            Exchange(
                f"a program's cursor, {name}, end-OK",
                command,
                [b"\x01", COLUMN, ROW, END_OK_CALLED, OK_CALLED],
                DEPRECATE_EOF,
            ),
        )
    ),
    Exchange("a function's cursor", QUERY, [b"\x01", COLUMN, EOF_CURSOR, ROW, EOF_CURSOR]),
    Exchange("a function's cursor, end-OK", QUERY, [b"\x01", COLUMN, ROW, END_OK_CURSOR], DEPRECATE_EOF),
    Exchange("a function's cursor, execute", EXECUTE, [b"\x01", COLUMN, EOF_CURSOR, ROW, EOF_CURSOR]),
    Exchange("fetch", FETCH, [BINARY_ROW, BINARY_ROW, EOF_CURSOR]),
    Exchange("fetch, end-OK", FETCH, [BINARY_ROW, BINARY_ROW, END_OK_CURSOR], DEPRECATE_EOF),
    Exchange("fetch the last rows", FETCH, [BINARY_ROW, b"\xfe\x00\x00\x82\x00"]),
    Exchange("fetch nothing", FETCH, [EOF]),
    Exchange("fetch from nothing", FETCH, [ERR]),
    Exchange("an error while fetching", FETCH, [BINARY_ROW, ERR]),
    # Not a chain of results, so this flag ends it as well.
    Exchange("fetch with more", FETCH, [BINARY_ROW, EOF_MORE]),
    # COM_FIELD_LIST
    Exchange("field list", FIELD_LIST, [COLUMN, COLUMN, EOF]),
    Exchange("field list, end-OK", FIELD_LIST, [COLUMN, COLUMN, END_OK], DEPRECATE_EOF),
    Exchange("field list without metadata", FIELD_LIST, [EOF]),
    Exchange("field list refused", FIELD_LIST, [ERR]),
    # COM_STMT_PREPARE
    Exchange("prepare neither", PREPARE, [prepare_ok(0, 0)]),
    Exchange("prepare parameters", PREPARE, [prepare_ok(0, 2), COLUMN, COLUMN, EOF]),
    Exchange("prepare columns", PREPARE, [prepare_ok(2, 0), COLUMN, COLUMN, EOF]),
    Exchange("prepare both", PREPARE, [prepare_ok(1, 2), COLUMN, COLUMN, EOF, COLUMN, EOF]),
    Exchange("prepare neither, end-OK", PREPARE, [prepare_ok(0, 0)], DEPRECATE_EOF),
    Exchange("prepare parameters, end-OK", PREPARE, [prepare_ok(0, 2), COLUMN, COLUMN], DEPRECATE_EOF),
    Exchange("prepare both, end-OK", PREPARE, [prepare_ok(1, 2), COLUMN, COLUMN, COLUMN], DEPRECATE_EOF),
    Exchange("prepare refused", PREPARE, [ERR]),
    Exchange("an error while preparing", PREPARE, [prepare_ok(1, 2), COLUMN, ERR]),
    # Optional metadata, announced by either server's flag
    Exchange("metadata full", QUERY, [b"\x02\x01", COLUMN, COLUMN, EOF, ROW, EOF], METADATA),
    Exchange("metadata none", QUERY, [b"\x02\x00", EOF, ROW, EOF], METADATA),
    Exchange("metadata full, end-OK", QUERY, [b"\x02\x01", COLUMN, COLUMN, ROW, END_OK], METADATA | DEPRECATE_EOF),
    Exchange("metadata none, end-OK", QUERY, [b"\x02\x00", ROW, END_OK], METADATA | DEPRECATE_EOF),
    Exchange("metadata cached", EXECUTE, [b"\x01\x00", EOF, BINARY_ROW, EOF], CACHE),
    Exchange("metadata cached, end-OK", EXECUTE, [b"\x01\x00", BINARY_ROW, END_OK], CACHE | DEPRECATE_EOF),
    Exchange("metadata not cached", EXECUTE, [b"\x01\x01", COLUMN, EOF, BINARY_ROW, EOF], CACHE),
    Exchange("metadata not mentioned", EXECUTE, [b"\x01", COLUMN, EOF, BINARY_ROW, EOF], CACHE),
    Exchange("cursor without metadata", OPEN_CURSOR, [b"\x01\x00", EOF_CURSOR], METADATA),
    Exchange("prepare, metadata full", PREPARE, [prepare_ok(1, 1, b"\x01"), COLUMN, EOF, COLUMN, EOF], METADATA),
    Exchange("prepare, metadata none", PREPARE, [prepare_ok(1, 1, b"\x00"), EOF, EOF], METADATA),
    Exchange("prepare, metadata none, end-OK", PREPARE, [prepare_ok(1, 1, b"\x00")], METADATA | DEPRECATE_EOF),
    # MariaDB's progress reports
    Exchange("progress", QUERY, [PROGRESS_REPORT, PROGRESS_REPORT, OK], PROGRESS),
    Exchange("progress in a chain", QUERY, [OK_MORE, PROGRESS_REPORT, OK], PROGRESS),
    Exchange("progress, then an error", QUERY, [PROGRESS_REPORT, ERR], PROGRESS),
    Exchange("progress of an execute", EXECUTE, [PROGRESS_REPORT, OK], PROGRESS),
    Exchange("an error of that number, no progress", QUERY, [PROGRESS_REPORT]),
]
by_name = pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.name)


@by_name
def test_a_reply_ends_with_its_last_packet(exchange: Exchange) -> None:
    wire = exchange.wire()
    wire.client_asks(exchange.command)
    for index, payload in enumerate(exchange.reply, 1):
        assert not wire.tracker.idle
        assert wire.tracker.reply_begun == (index > 1)
        assert wire.tracker.sequence_id == index & 0xFF
        packet = frame(payload, index)
        assert wire.server_says(packet) == packet
    assert wire.tracker.idle
    assert not wire.tracker.inside_packet
    assert not wire.tracker.reply_begun
    assert wire.tracker.sequence_id == 0


@by_name
def test_a_reply_may_come_together_with_the_next(exchange: Exchange) -> None:
    wire = exchange.wire()
    wire.client_asks(exchange.command, PING, exchange.command, STATISTICS)
    again = list(exchange.reply)
    if exchange.command == PREPARE and exchange.reply[-1] != ERR:
        # Two statements by one id: whatever the server means by it, the client is to tell them apart.
        again[0] = again[0].replace(b"\x07", b"\x08", 1)
    replies = [frames(*reply) for reply in (exchange.reply, [OK], exchange.reply, [b"Uptime: 7"])]
    shown = [frames(*reply) for reply in (exchange.reply, [OK], again, [b"Uptime: 7"])]
    assert wire.server_says(b"".join(replies)) == b"".join(shown)
    assert wire.tracker.idle


@by_name
def test_a_reply_that_has_ended_is_followed_by_nothing(exchange: Exchange) -> None:
    wire = exchange.wire()
    wire.client_asks(exchange.command)
    wire.server_says(frames(*exchange.reply))
    for sequence_id in (0, len(exchange.reply) + 1):
        with pytest.raises(OutOfSync):
            wire.tracker.take(frame(OK, sequence_id))


@pytest.mark.parametrize("command", [b"\x18\x07\x00\x00\x00\x00\x00data", b"\x19\x07\x00\x00\x00"])
def test_commands_without_a_reply(command: bytes) -> None:
    wire = Wire()
    wire.client_asks(command)
    assert wire.tracker.idle
    wire.client_asks(command, PING, command)
    assert wire.server_says(frames(OK)) == frames(OK)
    assert wire.tracker.idle


@pytest.mark.parametrize("command", [b"\x18", b"\x18\x07\x00\x00\x00\x00", b"\x19", b"\x19\x07\x00\x00"])
@pytest.mark.parametrize("answers_unreadable", [True, False])
def test_a_command_without_a_reply_that_the_server_cannot_read(command: bytes, answers_unreadable: bool) -> None:  # noqa: FBT001
    wire = Wire()
    wire.memory.answers_unreadable = answers_unreadable
    reply = frames(ERR) if answers_unreadable else b""
    wire.client_asks(command)
    assert wire.server_says(reply) == reply
    assert wire.tracker.idle
    wire.client_asks(PING, command, PING)
    assert wire.server_says(frames(OK) + reply + frames(OK)) == frames(OK) + reply + frames(OK)
    assert wire.tracker.idle
    assert wire.tracker.farewell is None


@pytest.mark.parametrize("code", [0x12, 0x13, 0x1E, 0x20, 0x21])
def test_a_tunnel_passes_everything_in_both_directions(code: int) -> None:
    wire = Wire()
    wire.client_asks(bytes((code, 1, 2, 3)))
    for data in (frames(OK, b"event", EOF, start=9), b"\x00", b"", ERR):
        assert wire.server_says(data) == data
        assert wire.client_says(data) == data
    assert wire.tracker.stage is Stage.TUNNEL
    assert reply_kind(code) is ReplyKind.TUNNEL


def test_a_tunnel_begins_when_the_replies_before_it_have_ended() -> None:
    wire = Wire()
    wire.client_asks(PING, b"\x12\x00")
    data = frames(OK) + b"anything"
    assert wire.server_says(data) == data
    assert wire.client_says(b"x") == b"x"


@pytest.mark.parametrize("code", [0x12, 0x13, 0x1E, 0x20, 0x21])
def test_a_tunnel_that_the_server_refuses_does_not_begin(code: int) -> None:
    wire = Wire()
    # What came behind it has been taken for commands by the server as well.
    wire.client_asks(bytes((code, 1, 2, 3)), PING)
    refusal = frames(ERR)
    assert wire.server_says(refusal[:4]) == b""
    assert wire.server_says(refusal[4:]) == refusal
    assert wire.server_says(frames(ok_with_state(HIDDEN))) == frames(OK)
    assert wire.tracker.idle


# Local files


@pytest.mark.parametrize("file", [[b"1,2\n", b"3,4\n"], [b"1\n"], []], ids=["two pieces", "one piece", "refused"])
@pytest.mark.parametrize("answer", [OK, ERR], ids=["loaded", "failed"])
def test_a_local_file(file: list[bytes], answer: bytes) -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    request = frames(LOCAL_INFILE)
    assert wire.server_says(request) == request
    assert wire.tracker.stage is Stage.LOCAL_INFILE
    sent = frames(*file, b"", start=2)
    assert wire.client_says(sent) == sent
    assert wire.tracker.stage.name == "RESULT"
    answer = frames(answer, start=3 + len(file))
    assert wire.server_says(answer) == answer
    assert wire.tracker.idle
    wire.client_asks(PING)
    assert wire.server_says(frames(OK)) == frames(OK)


def test_local_files_in_a_chain() -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    wire.server_says(frames(OK_MORE, LOCAL_INFILE))
    assert wire.client_says(frames(b"1\n", b"", start=3)) == frames(b"1\n", b"", start=3)
    wire.server_says(frames(OK_MORE, LOCAL_INFILE, start=5))
    assert wire.client_says(frames(b"", start=7)) == frames(b"", start=7)
    wire.server_says(frames(OK_MORE, b"\x01", COLUMN, EOF, ROW, EOF_MORE, start=8))
    assert not wire.tracker.idle
    wire.server_says(frames(OK, start=14))
    assert wire.tracker.idle


def test_a_server_that_waits_for_a_file_has_nothing_to_say() -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    wire.server_says(frames(LOCAL_INFILE))
    with pytest.raises(OutOfSync, match="owes no reply"):
        wire.server_says(frames(OK, start=2))


def test_commands_behind_a_request_for_a_file_would_be_taken_for_the_file() -> None:
    wire = Wire()
    wire.client_asks(QUERY, PING)
    with pytest.raises(OutOfSync, match="LOAD DATA LOCAL"):
        wire.server_says(frames(LOCAL_INFILE))


# Farewells: an ERR packet that answers no command


FAREWELL = b"\xff\xbf\x0f#HY000The client was disconnected by the server because of inactivity."


def farewell_of(wire: Wire) -> int:
    assert wire.tracker.farewell is not None
    return wire.tracker.farewell.code


@pytest.mark.parametrize("sequence_id", [0, 1, 2])
def test_a_farewell_while_idle(sequence_id: int) -> None:
    wire = Wire()
    # A server that will not have a piece of long data, which is never answered, numbers it 1.
    wire.client_asks(b"\x18\x07\x00\x00\x00\x00\x00data")
    assert wire.server_says(frame(FAREWELL, sequence_id)) == b""
    assert wire.server_inbox == b""
    assert farewell_of(wire) == 4031
    assert wire.tracker.idle


def test_a_farewell_that_crosses_a_command() -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    assert wire.server_says(frame(FAREWELL, 0)) == b""
    assert farewell_of(wire) == 4031
    # The command is still owed its reply, and none of it was seen.
    assert wire.tracker.expected[0].command == 3
    assert not wire.tracker.reply_begun
    assert wire.tracker.sequence_id == 1


def test_an_answer_is_not_a_farewell() -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    assert wire.server_says(frame(FAREWELL, 1)) == frame(FAREWELL, 1)
    assert wire.tracker.farewell is None


def test_a_farewell_behind_a_reply() -> None:
    wire = Wire()
    wire.client_asks(QUERY, QUERY)
    assert wire.server_says(frames(OK) + frame(FAREWELL, 0)) == frames(OK)
    assert farewell_of(wire) == 4031
    assert len(wire.tracker.expected) == 1


@pytest.mark.parametrize("sequence_id", [0, 2, 7])
def test_a_farewell_while_the_server_waits_for_a_file(sequence_id: int) -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    wire.server_says(frames(LOCAL_INFILE))
    assert wire.server_says(frame(FAREWELL, sequence_id)) == b""
    assert farewell_of(wire) == 4031
    assert wire.tracker.stage is Stage.LOCAL_INFILE


def test_an_error_out_of_order_in_a_reply_is_none() -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    wire.server_says(frames(b"\x01", COLUMN, EOF, ROW))
    with pytest.raises(OutOfSync, match="0 where 5"):
        wire.server_says(frame(FAREWELL, 0))


def test_an_error_that_is_numbered_0_because_the_ids_wrap_is_an_answer() -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    reply = frames(b"\x01", COLUMN, EOF, *[ROW] * 252, ERR)
    assert reply.endswith(frame(ERR, 0))
    assert wire.server_says(reply) == reply
    assert wire.tracker.farewell is None
    assert wire.tracker.idle


def test_farewells_may_be_short_of_an_error_code() -> None:
    with pytest.raises(MalformedPacket):
        Wire().server_says(frame(b"\xff\x01", 0))


SHUTTING_DOWN = b"\xff\x1d\x04#08S01Server shutdown in progress"


@pytest.mark.parametrize("begun", [False, True])
def test_a_server_that_is_about_to_stop_refuses_what_it_was_asked(*, begun: bool) -> None:
    wire = Wire()
    wire.client_asks(QUERY, QUERY)
    beginning = [b"\x01", COLUMN, EOF, ROW] if begun else []
    assert wire.server_says(frames(*beginning, SHUTTING_DOWN)) == frames(*beginning)
    # What became of the command is not for the server's error to say, which the client does not get to see.
    assert farewell_of(wire) == 1053
    assert len(wire.tracker.expected) == 2
    assert wire.tracker.reply_begun == begun
    assert wire.tracker.sequence_id == len(beginning) + 1


def test_a_farewell_refuses_nothing() -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    wire.server_says(frame(SHUTTING_DOWN, 0))
    assert farewell_of(wire) == 1053


def test_an_error_ends_what_was_to_come() -> None:
    wire = Wire()
    wire.client_asks(PREPARE, PREPARE, EXECUTE, EXECUTE)
    data = b"".join(
        (
            frames(prepare_ok(1, 2), COLUMN, ERR),
            frames(prepare_ok(0, 1), COLUMN, EOF),
            frames(b"\x01", COLUMN, EOF_OUT_PARAMS, BINARY_ROW, ERR),
            frames(OK),
        )
    )
    assert wire.server_says(data) == data
    assert wire.tracker.idle


# Sequence ids


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("definitions", [b"\xfc\x2c\x01", *[COLUMN] * 300, EOF, EOF]),
        ("rows", [b"\x01", COLUMN, EOF, *[ROW] * 600, EOF]),
    ],
)
def test_sequence_ids_wrap(name: str, reply: list[bytes]) -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    data = frames(*reply)
    assert wire.server_says(data) == data, name
    assert wire.tracker.idle


@pytest.mark.parametrize("at", range(5))
def test_a_packet_with_another_sequence_id_is_refused(at: int) -> None:
    reply = [b"\x01", COLUMN, EOF, ROW, EOF]
    for other in (at, at + 2, 255):
        wire = Wire()
        wire.client_asks(QUERY)
        assert wire.server_says(frames(*reply[:at])) == frames(*reply[:at])
        with pytest.raises(OutOfSync, match=f"{other} where {at + 1}"):
            wire.server_says(frame(reply[at], other))


def test_the_reply_to_a_command_of_several_frames_goes_on_with_its_ids() -> None:
    wire = Wire()
    wire.reader.expect_reply(0x03, 3)
    assert wire.server_says(frames(OK, start=3)) == frames(OK, start=3)
    assert wire.tracker.idle


# Large packets


def large_rows(*sizes: int, full: int) -> list[bytes]:
    """Write rows of these sizes as frames of at most `full` bytes, without headers."""
    payloads = []
    for size in sizes:
        payloads += [b"\xfe" + b"\xff" * (full - 1)] * (size // full)
        payloads.append(b"\xfe" + b"\xff" * (size % full - 1) if size % full else b"")
    return payloads


@pytest.mark.parametrize("capabilities", [NONE, DEPRECATE_EOF], ids=["EOF", "end-OK"])
@pytest.mark.parametrize("sizes", [[300], [255], [510], [511, 3000], [255, 255]], ids=str)
def test_rows_of_several_frames(capabilities: int, sizes: list[int]) -> None:
    with small_frames():
        # They begin with 0xFE, as the values of such rows do, and go on with what would be an ERR elsewhere.
        rows = large_rows(*sizes, full=255)
        eof = [] if capabilities else [EOF]
        reply = [b"\x01", COLUMN, *eof, *rows, *eof, *([END_OK] if capabilities else [])]
        data = frames(*reply)
        # In two pieces, cut at every place.
        for cut in range(0, len(data), 7):
            wire = Wire(capabilities)
            wire.client_asks(QUERY, PING)
            shown = wire.server_says(data[:cut]) + wire.server_says(data[cut:] + frames(OK))
            assert shown == data + frames(OK)
            assert wire.tracker.idle


@pytest.mark.parametrize("capabilities", [NONE, DEPRECATE_EOF], ids=["EOF", "end-OK"])
@pytest.mark.parametrize("size", [0xFFFFFF, 0xFFFFFF + 5])
def test_rows_of_16_mib(capabilities: int, size: int) -> None:
    wire = Wire(capabilities)
    wire.client_asks(QUERY)
    data = frames(b"\x01", COLUMN, *([] if capabilities else [EOF]))
    assert wire.server_says(data) == data
    sequence_id = wire.tracker.sequence_id
    first = frame(b"\xfe\x01\x00\x00\x01\x00\x00\x00\x00".ljust(0xFFFFFF, b"x"), sequence_id)
    for start in range(0, len(first), 1 << 18):
        assert wire.server_says(first[start : start + (1 << 18)]) == first[start : start + (1 << 18)]
        assert wire.tracker.inside_packet
    rest = frame(b"\xff" * (size - 0xFFFFFF), sequence_id + 1)
    end = frame(END_OK if capabilities else EOF, sequence_id + 2)
    assert wire.server_says(rest + end) == rest + end
    assert wire.tracker.idle
    assert not wire.tracker.inside_packet


def test_small_rows_are_given_out_whole_and_large_ones_as_they_come() -> None:
    for size, streamed in ((0x10000, False), (0x10001, True)):
        wire = Wire()
        wire.client_asks(QUERY)
        wire.server_says(frames(b"\x01", COLUMN, EOF))
        row = frame(b"x" * size, 4)
        assert wire.server_says(row[:4]) == b""
        assert wire.server_says(row[4:1000]) == (row[:1000] if streamed else b"")
        assert wire.tracker.inside_packet == streamed
        assert wire.tracker.reply_begun
        assert wire.server_says(row[1000:-1]) == (row[1000:-1] if streamed else b"")
        assert wire.tracker.inside_packet == streamed
        assert wire.server_says(row[-1:]) == (row[-1:] if streamed else row)
        assert not wire.tracker.inside_packet


def test_end_of_rows_may_be_long_where_eof_is_deprecated() -> None:
    end = b"\xfe\x00\x00\x02\x00\x00\x00\xfc\x2c\x01" + b"i" * 300
    wire = Wire(DEPRECATE_EOF)
    wire.client_asks(QUERY)
    data = frames(b"\x01", COLUMN, ROW, end)
    assert wire.server_says(data) == data
    assert wire.tracker.idle


@pytest.mark.parametrize("length", [8, 9])
def test_eof_is_shorter_than_9_bytes(length: int) -> None:
    # A row of exactly that beginning cannot come from a server; the manual draws the line here.
    wire = Wire()
    wire.client_asks(QUERY)
    wire.server_says(frames(b"\x01", COLUMN, EOF))
    packet = frame(b"\xfe".ljust(length, b"\0"), 4)
    if length < 9:
        with pytest.raises(MalformedPacket, match="EOF packet is due"):
            wire.server_says(packet)
    else:
        assert wire.server_says(packet) == packet
        assert not wire.tracker.idle


# Nonsense


@pytest.mark.parametrize(
    ("command", "reply", "message"),
    [
        (PING, [b"\x01"], "neither an OK"),
        (PING, [b"\x00"], "ends"),
        (PING, [b"\xfe\x00\x00\x02"], "EOF packet is due"),
        (PING, [b""], "empty packet"),
        (QUERY, [b"\x01\x01"], "1 bytes too many"),
        (QUERY, [b"\x01\x00\x00"], "2 bytes too many"),
        (QUERY, [b"\xfc\x01"], "length-encoded"),
        (QUERY, [b""], "empty packet"),
        (QUERY, [b"\x01", b""], "empty packet"),
        (QUERY, [b"\x01", COLUMN, OK], "EOF packet is due"),
        (QUERY, [b"\x01", COLUMN, EOF, b""], "row|empty packet"),
        (QUERY, [b"\x01", COLUMN, EOF, b"\xfe\x00\x00\x02"], "EOF packet is due"),
        (PREPARE, [EOF], "prepare"),
        (PREPARE, [OK], "ends"),
        (STATISTICS, [b""], "empty packet"),
        (FETCH, [b""], "empty packet"),
    ],
)
def test_nonsense(command: bytes, reply: list[bytes], message: str) -> None:
    wire = Wire()
    wire.client_asks(command)
    good = frames(*reply[:-1])
    assert wire.server_says(good) == good
    state = (wire.tracker.sequence_id, wire.tracker.reply_begun, wire.tracker.stage)
    # An empty packet is seen when the next one begins.
    with pytest.raises(MalformedPacket, match=message):
        wire.server_says(frames(reply[-1], b"next", start=len(reply)))
    # Nothing of it was given out, so the guard's own answer would have to take its place.
    assert (wire.tracker.sequence_id, wire.tracker.reply_begun, wire.tracker.stage) == state
    assert len(wire.tracker.expected) == 1


@pytest.mark.parametrize("first", [b"\x00", b"\x01", b"\xff", b"\xfe"])
def test_only_rows_may_have_several_frames(first: bytes) -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    with pytest.raises(MalformedPacket, match="16 MiB"):
        wire.server_says(b"\xff\xff\xff\x01" + first)


def test_what_came_before_nonsense_is_the_clients() -> None:
    wire = Wire()
    wire.client_asks(PING, QUERY)
    good = frames(OK) + frames(b"\x01", COLUMN, EOF, ROW)
    assert wire.server_says(good + frame(ROW, 77)) == good
    assert wire.tracker.sequence_id == 5
    assert wire.tracker.reply_begun
    for _ in range(2):
        with pytest.raises(OutOfSync, match="77 where 5"):
            wire.tracker.take(b"")
    assert isinstance(wire.tracker.broken, ProtocolError)


def test_a_server_that_speaks_unasked() -> None:
    for payload, sequence_id in ((OK, 0), (OK, 1), (b"x", 0)):
        with pytest.raises(OutOfSync):
            Wire().server_says(frame(payload, sequence_id))


# What the tracker notes on the way


@pytest.mark.parametrize(
    ("capabilities", "command", "reply", "status"),
    [
        (NONE, PING, [b"\x00\x00\x00\x03\x00\x00\x00"], 0x0003),
        (NONE, QUERY, [b"\x00\xfc\x2c\x01\x05\x01\x80\x00\x00"], 0x8001),
        (NONE, QUERY, [b"\x01", COLUMN, b"\xfe\x00\x00\x02\x00", ROW, b"\xfe\x00\x00\x21\x00"], 0x0021),
        (DEPRECATE_EOF, QUERY, [b"\x01", COLUMN, ROW, b"\xfe\x00\x00\x21\x20\x00\x00"], 0x2021),
        (NONE, OPEN_CURSOR, [b"\x01", COLUMN, b"\xfe\x00\x00\x43\x00"], 0x0043),
        (NONE, SET_OPTION, [b"\xfe\x00\x00\x03\x00"], 0x0003),
        (NONE, QUERY, [b"\x00\x00\x00\x0a\x00\x00\x00", b"\x00\x00\x00\x01\x00\x00\x00"], 0x0001),
    ],
)
def test_status_is_that_of_the_last_packet_with_one(
    capabilities: int, command: bytes, reply: list[bytes], status: int
) -> None:
    wire = Wire(capabilities)
    wire.prepare(1)
    wire.client_asks(command)
    wire.server_says(frames(*reply))
    assert wire.tracker.status == status
    # An error, a statistics text and a prepare say nothing about it.
    wire.client_asks(QUERY, STATISTICS, PREPARE)
    wire.server_says(frames(ERR) + frames(b"Uptime") + frames(prepare_ok(0, 0)))
    assert wire.tracker.status == status


@pytest.mark.parametrize(
    ("capabilities", "command", "reply", "is_zero"),
    [
        (NONE, QUERY, [OK], True),
        (NONE, EXECUTE, [OK], True),
        (NONE, QUERY, [UPDATED], False),
        (NONE, QUERY, [UPDATED[:3] + b"\x0a" + UPDATED[4:], OK], True),
        (NONE, QUERY, [OK_MORE, UPDATED], False),
        (NONE, QUERY, [ERR], False),
        (NONE, QUERY, [b"\x01", COLUMN, EOF, ROW, EOF], False),
        (DEPRECATE_EOF, QUERY, [b"\x01", COLUMN, ROW, END_OK], False),
        (NONE, OPEN_CURSOR, [b"\x01", COLUMN, EOF_CURSOR], False),
        (NONE, QUERY, [b"\x01", COLUMN, EOF, ROW, EOF_MORE, OK], True),
        # Measured: ROW_COUNT() is -1 after these, on both servers.
        (NONE, FETCH, [BINARY_ROW, EOF], False),
        (DEPRECATE_EOF, FETCH, [BINARY_ROW, END_OK], False),
        (NONE, SET_OPTION, [EOF], False),
        (DEPRECATE_EOF, SET_OPTION, [END_OK], False),
        (NONE, PING, [OK], True),
        # Not known well enough.
        (NONE, b"\x02test", [OK], False),
        (NONE, PREPARE, [prepare_ok(0, 0)], False),
        (NONE, FIELD_LIST, [COLUMN, EOF], False),
        # These leave it alone.
        (NONE, STATISTICS, [b"Uptime"], True),
        (PROGRESS, QUERY, [PROGRESS_REPORT, OK], True),
    ],
)
def test_row_count_is_zero(capabilities: int, command: bytes, reply: list[bytes], *, is_zero: bool) -> None:
    wire = Wire(capabilities)
    wire.prepare(1)
    wire.client_asks(QUERY)
    wire.server_says(frames(OK))
    assert wire.tracker.row_count == 0
    wire.client_asks(command)
    wire.server_says(frames(*reply))
    assert (wire.tracker.row_count == 0) == is_zero


@pytest.mark.parametrize("definitions", [0, 1, 2, 3])
@pytest.mark.parametrize("capabilities", [NONE, DEPRECATE_EOF])
def test_nothing_is_given_out_of_a_result_that_a_shutdown_has_cut_off(capabilities: int, definitions: int) -> None:
    wire = Wire(capabilities)
    wire.client_asks(QUERY)
    packets = [b"\x02", COLUMN, COLUMN] + ([] if capabilities else [EOF])
    shutdown = b"\xff\x1d\x04#08S01Server shutdown in progress"
    assert wire.server_says(frames(*packets[: definitions + 1], shutdown)) == b""
    assert wire.tracker.farewell is not None
    assert not wire.tracker.reply_begun
    assert wire.tracker.sequence_id == 1
    # Behind another result, the client has that one.
    wire = Wire(capabilities)
    wire.client_asks(QUERY)
    first = frames(OK_MORE)
    assert wire.server_says(first + frames(*packets[: definitions + 1], shutdown, start=2)) == first
    assert wire.tracker.reply_begun
    assert wire.tracker.sequence_id == 2


def test_rows_of_a_result_that_a_shutdown_has_cut_off_are_given_out() -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    rows = frames(b"\x01", COLUMN, EOF, ROW)
    assert wire.server_says(rows + frames(b"\xff\x1d\x04#08S01Bye", start=5)) == rows
    assert wire.tracker.reply_begun


def test_a_new_session_is_in_no_transaction_and_its_row_count_is_zero() -> None:
    assert Wire().tracker.row_count == 0
    assert Wire().tracker.status == 0


@pytest.mark.parametrize(
    ("command", "reply", "left"),
    [
        (QUERY, [UPDATED], True),
        (QUERY, [OK], False),
        (QUERY, [ERR], True),
        (QUERY, [UPDATED[:3] + b"\x0a" + UPDATED[4:], OK], False),
        (QUERY, [b"\x01", COLUMN, EOF, b"\xfe\x01\x00\x02\x00"], True),
        (QUERY, [b"\x01", COLUMN, EOF, b"\xfe\x00\x01\x02\x00"], True),
        (QUERY, [b"\x01", COLUMN, b"\xfe\x01\x00\x02\x00", EOF], False),
    ],
)
def test_whether_there_are_warnings_to_look_at(command: bytes, reply: list[bytes], *, left: bool) -> None:
    wire = Wire()
    assert not wire.tracker.left_warnings
    wire.client_asks(QUERY, command)
    wire.server_says(frames(OK if left else UPDATED) + frames(*reply))
    assert wire.tracker.left_warnings == left


# A read that is run again

REFUSAL = b"\xff\x9c\x04#HY000stillhere: the outcome is unknown"
READ_ONLY = b"\xff\x00\x07#25006Cannot execute statement in a READ ONLY transaction."
#: IN_TRANSACTION, IN_TRANSACTION_READ_ONLY and AUTOCOMMIT.
RERUN_EOF = b"\xfe\x05\x00\x03\x20"
FIRST_EOF = b"\xfe\x05\x00\x02\x00"
RERUN_OK = b"\x00\x00\x00\x03\x20\x00\x00"


@pytest.mark.parametrize(
    ("command", "capabilities", "reply", "shown"),
    [
        (QUERY, NONE, [b"\x01", COLUMN, RERUN_EOF, ROW, RERUN_EOF], [b"\x01", COLUMN, FIRST_EOF, ROW, FIRST_EOF]),
        (QUERY, NONE, [RERUN_OK], [OK]),
        (QUERY, DEPRECATE_EOF, [b"\x01", COLUMN, ROW, b"\xfe" + RERUN_OK[1:]], [b"\x01", COLUMN, ROW, END_OK]),
        (SET_OPTION, NONE, [RERUN_EOF], [FIRST_EOF]),
        (QUERY, NONE, [READ_ONLY], [REFUSAL]),
        (QUERY, NONE, [b"\x01", COLUMN, RERUN_EOF, ROW, READ_ONLY], [b"\x01", COLUMN, FIRST_EOF, ROW, REFUSAL]),
        (QUERY, NONE, [ERR], [ERR]),
    ],
)
def test_it_looks_as_it_would_have_looked_the_first_time(
    command: bytes, capabilities: int, reply: list[bytes], shown: list[bytes]
) -> None:
    wire = Wire(capabilities)
    wire.tracker.rerun_refusal = REFUSAL
    wire.client_asks(command)
    assert wire.server_says(frames(*reply)) == frames(*shown)
    assert wire.tracker.idle
    # And nothing is changed in any other.
    wire.tracker.rerun_refusal = None
    wire.client_asks(command)
    assert wire.server_says(frames(*reply)) == frames(*reply)


def test_what_it_reports_is_filtered_as_well() -> None:
    wire = Wire(client_listens=True)
    wire.tracker.rerun_refusal = REFUSAL
    wire.client_asks(QUERY)
    told = ok_with_state(SHOWN, HIDDEN, status=0x2003)
    assert wire.server_says(frames(told)) == frames(ok_with_state(SHOWN))


# Session state


def test_reports_are_stripped_for_a_client_that_did_not_ask() -> None:
    wire = Wire(client_listens=False)
    wire.client_asks(QUERY, QUERY, PING)
    told = ok_with_state(SHOWN, HIDDEN), ok_with_state(SCHEMA, info=b"Rows"), OK
    asked = OK, b"\x00\x00\x00\x02\x00\x00\x00\x04Rows", OK
    assert wire.server_says(b"".join(map(frames, told))) == b"".join(map(frames, asked))
    assert wire.variables == {"autocommit": "OFF", "wait_timeout": "100"}
    assert wire.tracker.idle


def test_reports_are_filtered_for_a_client_that_asked() -> None:
    wire = Wire(client_listens=True)
    wire.client_asks(QUERY, QUERY, QUERY)
    told = ok_with_state(SHOWN, HIDDEN, SCHEMA), ok_with_state(HIDDEN), ok_with_state(SHOWN)
    asked = ok_with_state(SHOWN, SCHEMA), OK, ok_with_state(SHOWN)
    assert wire.server_says(b"".join(map(frames, told))) == b"".join(map(frames, asked))


def test_reports_are_filtered_at_the_end_of_rows_as_well() -> None:
    wire = Wire(DEPRECATE_EOF)
    wire.client_asks(QUERY)
    end = b"\xfe" + ok_with_state(HIDDEN)[1:]
    assert wire.server_says(frames(b"\x01", COLUMN, ROW, end)) == frames(b"\x01", COLUMN, ROW, END_OK)
    assert wire.tracker.idle


def test_filtering_keeps_the_chain_and_all_other_flags() -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    # MORE_RESULTS, IN_TRANSACTION and MariaDB's ANSI_QUOTES, the flag above the one that is taken away.
    told = frames(ok_with_state(HIDDEN, status=0x8009), UPDATED)
    assert wire.server_says(told) == frames(b"\x00\x00\x00\x09\x80\x00\x00", UPDATED)
    assert wire.tracker.idle


def test_an_ok_that_is_not_whole_is_not_filtered_yet() -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    data = frames(ok_with_state(HIDDEN))
    for start in range(len(data) - 1):
        assert wire.server_says(data[start : start + 1]) == b""
        assert wire.variables == {}
    assert wire.server_says(data[-1:]) == frames(OK)


def test_a_report_that_contradicts_itself() -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    with pytest.raises(MalformedPacket):
        wire.server_says(frames(ok_with_state(b"\x00\x05\x01a")))


def test_rows_are_not_looked_into() -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    data = frames(b"\x01", COLUMN, EOF, ok_with_state(HIDDEN), EOF)
    assert wire.server_says(data) == data
    assert wire.variables == {}


# Commands of the guard's own


def test_abandoned_replies_leave_nothing_behind() -> None:
    with small_frames():
        fresh = Wire().tracker
        for reply in (
            [],
            [b"\x02", COLUMN],
            [b"\x01", COLUMN, EOF_OUT_PARAMS],
            [b"\x01", COLUMN, EOF, b"x" * 255],
            [b"\x01", COLUMN, EOF, b"x" * 255, b"x" * 240],
            [LOCAL_INFILE],
        ):
            wire = Wire()
            wire.client_asks(EXECUTE, *([] if reply == [LOCAL_INFILE] else [PING]))
            data = frames(*reply)
            wire.server_says(data[:-9] if len(data) > 500 else data)
            wire.tracker.abandon()
            assert wire.tracker.idle
            assert not wire.tracker.inside_packet
            assert not wire.tracker.reply_begun
            assert wire.tracker.sequence_id == fresh.sequence_id
            wire.client_asks(EXECUTE, FETCH, EXECUTE)
            data = frames(OK) + frames(EOF) + frames(b"\x01", COLUMN, EOF, ROW, EOF)
            assert wire.server_says(data) == data
            assert wire.tracker.idle


def test_the_guard_answers_in_the_servers_place() -> None:
    wire = Wire()
    wire.client_asks(QUERY, EXECUTE, PING)
    wire.server_says(frames(b"\x01", COLUMN, EOF, ROW))
    for code in (0x17, 0x0E):
        wire.tracker.answer_instead()
        assert wire.tracker.expected[0].command == code
        assert wire.tracker.sequence_id == 1
        assert not wire.tracker.reply_begun
    wire.tracker.answer_instead()
    assert wire.tracker.idle
    assert wire.tracker.sequence_id == 0


def test_what_passes_is_not_copied() -> None:
    wire = Wire()
    wire.client_asks(QUERY)
    data = frames(b"\x01", COLUMN, EOF, ROW, EOF)
    assert wire.tracker.take(data)[0] is data


def test_only_what_is_answered_is_expected() -> None:
    tracker = ReplyTracker(NONE, SessionMemory(client_listens=False, multi_statements=False, keeps_definitions=False))
    tracker.expect(Expected(0x19, ReplyKind.NONE, 1))
    assert tracker.idle
    tracker.expect(Expected(0x0E, ReplyKind.STATUS, 1))
    tracker.expect(Expected(0x03, ReplyKind.RESULTS, 1))
    assert [expected.command for expected in tracker.expected] == [0x0E, 0x03]
    assert repr(tracker) == "<ReplyTracker STATUS, 2 replies owed>"


def test_a_command_that_is_sent_in_the_middle_of_a_reply_changes_nothing_in_it() -> None:
    reply = [b"\x01", COLUMN, EOF, ROW, EOF]
    for size in range(1, len(reply)):
        wire = Wire()
        wire.client_asks(QUERY)
        wire.server_says(frames(*reply[:size]))
        wire.client_asks(PING)
        assert wire.tracker.sequence_id == size + 1
        assert wire.tracker.reply_begun
        data = frames(*reply[size:], start=size + 1) + frames(OK)
        assert wire.server_says(data) == data
        assert wire.tracker.idle


def test_pipelined_replies_each_begin_anew() -> None:
    wire = Wire()
    data = ask(QUERY) + ask(PREPARE) + ask(EXECUTE) + ask(b"\x19\x07\x00\x00\x00") + ask(STATISTICS)
    assert wire.client_says(data) == data
    assert len(wire.tracker.expected) == 4
    for reply in ([ERR], [prepare_ok(0, 1), COLUMN, EOF], [OK], [b"Uptime"]):
        assert wire.tracker.sequence_id == 1
        assert not wire.tracker.reply_begun
        assert wire.server_says(frames(*reply)) == frames(*reply)
    assert wire.tracker.idle
