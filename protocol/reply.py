"""Where the reply to each command ends.

Theory of operation
-------------------
A server's stream cannot be cut into replies by looking at it: what a packet means depends on the command that it
answers and on what came before. ``ReplyTracker`` keeps that position. ``CommandReader`` tells it which replies are owed
(:meth:`ReplyTracker.expect`), in the order in which the commands went out, and the tracker walks the server's packets,
header by header, through the stages of a reply. It looks into a packet only where its first bytes decide something: the
first packet of a result, and OK, EOF and ERR packets. Rows and definitions are counted or skipped.

It also decides what the client gets to see. Nearly always that is what came, byte for byte. The exceptions are an OK
packet whose session-track block says more than the client asked for, and the farewell of a server that ends the link,
which answers no command. Only whole packets are given out, so that the guard can go on in the server's place if the
link ends; rows of more than ``STREAM_ABOVE`` bytes are the exception, they are passed on as they come.

The whole position is a handful of integers. Sources of the rules: the manual's pages "COM_QUERY Response", "Text
Resultset" and "COM_STMT_PREPARE Response"; MySQL's ``sql/protocol_classic.cc``.
"""

import re
from collections.abc import Callable
from enum import IntEnum, auto
from struct import Struct
from typing import ClassVar, NamedTuple

from protocol.constants import (
    EOF_BYTE,
    ERR_BYTE,
    HEADER_LENGTH,
    LOCAL_INFILE_BYTE,
    MAX_FRAME_PAYLOAD,
    OK_BYTE,
    Capability,
    CommandCode,
    ErrorCode,
    Status,
)
from protocol.edits import Edit, apply_edits
from protocol.errors import MalformedPacket, OutOfSync, ProtocolError
from protocol.framing import build_packet
from protocol.looking_back import Leftover
from protocol.memory import SessionMemory
from protocol.notes import Executing, Explained, Note, Preparing
from protocol.packets import Err, Ok, PrepareOk, ok_summary
from protocol.wire import Cursor

#: Rows and commands with a payload above this many bytes are passed on as they come instead of being collected first.
STREAM_ABOVE = 64 * 1024

#: So many failures in a row are remembered.
MOST_FAILURES = 8

#: An EOF packet is shorter than this; a row that begins with the same byte holds a value of at least 16 MiB.
_EOF_BELOW = 9

# Plain integers: the operators of enum members are many times slower, and these are needed for every reply.
_IN_TRANSACTION = int(Status.IN_TRANSACTION)
_MORE_RESULTS = int(Status.MORE_RESULTS)
_CURSOR_EXISTS = int(Status.CURSOR_EXISTS)
_CHANGED_AND_IN_TRANSACTION = int(Status.SESSION_STATE_CHANGED | Status.IN_TRANSACTION)
_CURSOR_AND_MORE = int(Status.CURSOR_EXISTS | Status.MORE_RESULTS)
_OUT_PARAMS_AND_MORE = int(Status.PS_OUT_PARAMS | Status.MORE_RESULTS)
#: What a read has for status where it is run again that it would not have had.
_RERUN_STATUS = int(Status.IN_TRANSACTION | Status.IN_TRANSACTION_READ_ONLY)

#: A COM_QUERY, with or without query attributes, whose result FOUND_ROWS() surely is about.
_BEGINS_WITH_SELECT = re.compile(rb"\x03(\x00\x01)?\s*select\b", re.IGNORECASE)

_STATEMENTS = frozenset({CommandCode.QUERY, CommandCode.STMT_EXECUTE, CommandCode.STMT_BULK_EXECUTE})
#: A statement, as far as it is known, that may fail behind having made a new id.
_MAY_INSERT = re.compile(rb"\x03(\x00\x01)?\s*(insert|replace|load)\b|[^\x03]", re.IGNORECASE)

#: ROW_COUNT() behind a result set.
NO_ROW_COUNT = -1

#: Reads a frame's length and sequence id as one integer, and the first byte of its payload.
_HEADER_AND_FIRST = Struct("<IB").unpack_from
_HEADER_AND_FIRST_LENGTH = HEADER_LENGTH + 1


class ReplyKind(IntEnum):
    """The shapes that the answer to a command can have."""

    NONE = auto()  # no answer at all
    STATUS = auto()  # one OK, EOF or ERR packet
    TEXT = auto()  # one packet of plain text, or ERR
    RESULTS = auto()  # a chain of results, each an OK, a result set or a request for a local file
    PREPARE = auto()  # PREPARE_OK and the definitions that it announces
    ROWS = auto()  # packets up to an EOF: rows of a cursor, or the column definitions of COM_FIELD_LIST
    TUNNEL = auto()  # ERR; or from here on, the link is not question and answer any more


class Stage(IntEnum):
    """What the next packet from the server is."""

    IDLE = auto()  # nothing is owed; only a farewell may come
    STATUS = auto()
    TEXT = auto()
    RESULT = auto()  # the first packet of a result
    COLUMNS = auto()  # one of the column definitions of a result
    COLUMNS_END = auto()  # the EOF between definitions and rows
    ROWS = auto()
    PREPARE = auto()
    DEFINITIONS = auto()  # one of the packets behind PREPARE_OK
    LOCAL_INFILE = auto()  # the client's turn: it sends a file
    TUNNEL_MOUTH = auto()  # the first packet of a tunnel, unless the server does not know the command
    TUNNEL = auto()


# Looked up for every packet, and an enum's own attributes take their time.
_IDLE = Stage.IDLE
_RESULT = Stage.RESULT
_ROWS = Stage.ROWS
_TUNNEL_MOUTH = Stage.TUNNEL_MOUTH
_TUNNEL = Stage.TUNNEL

#: Where no row of a result has been given out yet.
_BEFORE_ROWS = frozenset({Stage.COLUMNS, Stage.COLUMNS_END, Stage.ROWS})

_FIRST_STAGE = {
    ReplyKind.STATUS: Stage.STATUS,
    ReplyKind.TEXT: Stage.TEXT,
    ReplyKind.RESULTS: Stage.RESULT,
    ReplyKind.PREPARE: Stage.PREPARE,
    ReplyKind.ROWS: Stage.ROWS,
    ReplyKind.TUNNEL: Stage.TUNNEL_MOUTH,
}


class Expected(NamedTuple):
    """A reply that the server owes: to which command, of which shape, and the sequence id of its first packet.

    ``note`` is for the session's memory, once the command has been answered. ``packet`` is the command as the client
    has sent it; None where it was passed on as it came, and is not kept.
    """

    command: int
    kind: ReplyKind
    sequence_id: int
    note: Note | None = None
    packet: bytes | None = None


class _Beginning(NamedTuple):
    """Where a result began, and how the tracker stood there."""

    position: int
    sequence_id: int
    reply_begun: bool


class ReplyTracker:
    """Walks the server's stream; one for each server link."""

    def __init__(self, capabilities: int, memory: SessionMemory) -> None:
        """Track a link on which client and server have agreed on ``capabilities``."""
        self.stage = Stage.IDLE
        #: The replies that are owed; the first one is the one that comes now.
        self.expected: list[Expected] = []
        #: Sequence id that the next packet must have.
        self.sequence_id = 0
        #: Whether the client has been given a part of the current reply.
        self.reply_begun = False
        #: Server status flags, as of the last packet that had them.
        self.status = 0
        #: Commands that have failed since then, with the codes of their errors: an ERR packet has no status flags.
        self.failures: list[tuple[Expected, int]] = []
        #: What ROW_COUNT() is, where that is known.
        self.row_count: int | None = 0
        #: Whether the last statement has left warnings or an error to look at.
        self.left_warnings = False
        #: Whether there may still be such to look at: MariaDB keeps them until a statement that uses a table.
        self.may_have_warnings = False
        #: While a read is run again: what to say in place of the server's word that it is none.
        self.rerun_refusal: bytes | None = None
        #: The ERR packet with which the server ended the link unasked; the client has not seen it.
        self.farewell: Err | None = None
        #: Why the packet at which :meth:`take` has stopped cannot be understood; the next call raises it.
        self.broken: ProtocolError | None = None
        self._memory = memory
        self._deprecates_eof = bool(capabilities & Capability.DEPRECATE_EOF)
        # With DEPRECATE_EOF an OK packet ends the rows, and the text in it may have any length that fits in a frame.
        self._rows_end_below = MAX_FRAME_PAYLOAD if self._deprecates_eof else _EOF_BELOW
        self._counts_with_metadata_flag = bool(
            capabilities & (Capability.OPTIONAL_METADATA | Capability.MARIADB_CACHE_METADATA)
        )
        #: Where the result at hand begins in the bytes that are being walked over, as long as no row of it has passed.
        self._beginning: _Beginning | None = None
        self._reports_progress = bool(capabilities & Capability.MARIADB_PROGRESS)
        self.count = 0  # packets to come in the stages COLUMNS and DEFINITIONS
        self.out_params_more = False  # the result at hand is one of OUT parameters, and another one follows
        self.has_cursor = False  # the rows of the result at hand come by COM_STMT_FETCH
        self.unseen = 0  # bytes of the current frame that are still to come
        self.continued = False  # the next frame belongs to the same row

    def __repr__(self) -> str:
        return f"<ReplyTracker {self.stage.name}, {len(self.expected)} replies owed>"

    @property
    def idle(self) -> bool:
        """Nothing is owed."""
        return self.stage is Stage.IDLE

    @property
    def inside_packet(self) -> bool:
        """The client has been given the beginning of a packet: nothing but its rest may follow."""
        return self.unseen > 0 or self.continued

    def expect(self, expected: Expected) -> None:
        """Take note that a command goes out, before any byte of it does."""
        if expected.kind is ReplyKind.NONE:
            return
        self.expected.append(expected)
        if self.stage is _IDLE:
            self._begin_reply()

    def abandon(self) -> None:
        """Forget what is owed: nobody waits for it any more."""
        self.expected.clear()
        self.stage = Stage.IDLE
        self.sequence_id = 0
        self.reply_begun = False
        self.out_params_more = False
        self.unseen = 0
        self.continued = False

    def answer_instead(self) -> None:
        """Take note that the guard has answered the first of the commands that the server owes a reply to."""
        self.expected.pop(0)
        if self.expected:
            self._begin_reply()
        else:
            self.abandon()

    def local_file_sent(self) -> None:
        """Go on behind the client's file, the packets of which have been counted in :attr:`sequence_id`."""
        self.stage = Stage.RESULT

    def take(self, data: bytes) -> tuple[bytes, int]:
        """Walk over what has come from the server.

        Returns what to give to the client and how many bytes of ``data`` that accounts for; bring the others again,
        with more behind them. In the usual case the former is ``data`` itself.

        Raises:
            MalformedPacket, OutOfSync: the server does not speak the protocol. What came before the packet that shows
                it is the client's all the same: where there is such, it is returned, and the next call raises.
        """
        if self.broken is not None:
            raise self.broken
        end = len(data)
        position = min(self.unseen, end)
        self.unseen -= position
        edits: list[Edit] = []
        position = self._walk(data, position, end, edits)
        if edits:
            return apply_edits(data[:position], edits), position
        return (data if position == end else data[:position]), position

    def _begin_reply(self) -> None:
        expected = self.expected[0]
        self.stage = _FIRST_STAGE[expected.kind]
        self.sequence_id = expected.sequence_id
        self.reply_begun = False

    def _end_reply(self, *, failed: bool = False) -> None:
        note = self.expected.pop(0).note
        if note is not None:
            self._memory.end_command(note, self.status, failed=failed, has_cursor=self.has_cursor)
            self.has_cursor = False
        if self.expected:
            self._begin_reply()
        else:
            self.stage = Stage.IDLE
            self.sequence_id = 0
            self.reply_begun = False

    def _end_result(self, status: int, row_count: int | None = None) -> None:
        self.status = status
        self.failures.clear()
        self.row_count = row_count
        more = status & _MORE_RESULTS or self.out_params_more
        # What follows may be what begins it: another result, or the reply to a command that was sent behind this one.
        self._memory.may_have_begun &= bool(more) or len(self.expected) > 1
        self.out_params_more = False
        if more and self.expected[0].kind is ReplyKind.RESULTS:
            self.stage = Stage.RESULT
        else:
            self._end_reply()

    def _walk(self, data: bytes, position: int, end: int, edits: list[Edit]) -> int:
        """Walk from ``position`` over all that can be given out; return where it ends."""
        try:
            # An empty frame has no first byte, but no reply ends with one: the next packet's header is read instead.
            while end - position >= _HEADER_AND_FIRST_LENGTH or self.stage is _TUNNEL:
                begin = position
                if self.stage is _TUNNEL_MOUTH and data[position + HEADER_LENGTH] != ERR_BYTE:
                    self.stage = _TUNNEL
                if self.stage is _TUNNEL:
                    return end
                if self.stage is _ROWS:
                    position = self._pass_rows(data, position, end)
                if end - position >= _HEADER_AND_FIRST_LENGTH:
                    position = self._pass_packet(data, position, end, edits)
                if position == begin:
                    break
        except ProtocolError as error:
            self._beginning = None
            if not position:
                raise
            self.broken = error
        beginning, self._beginning = self._beginning, None
        if self.farewell is not None and beginning is not None and self.stage in _BEFORE_ROWS:
            return self._go_back(beginning, edits)
        return position

    def _go_back(self, beginning: "_Beginning", edits: list[Edit]) -> int:
        """Give nothing out of a result in the place of whose rows the server has said goodbye; return where it begins.

        MySQL does so when it is shut down. No driver expects an error there, and without its definitions the client has
        nothing of the result, so that the statement can be run again unseen.
        """
        self.stage = _RESULT
        self.count = 0
        self.out_params_more = False
        self.sequence_id, self.reply_begun = beginning.sequence_id, beginning.reply_begun
        edits[:] = [edit for edit in edits if edit.start < beginning.position]
        return beginning.position

    def _pass_packet(self, data: bytes, position: int, end: int, edits: list[Edit]) -> int:
        """Read the packet at ``position``; return where it ends, or ``position`` if it is not whole yet."""
        if self.stage is _RESULT:
            self._beginning = _Beginning(position, self.sequence_id, self.reply_begun)
        header, first = _HEADER_AND_FIRST(data, position)
        length = header & MAX_FRAME_PAYLOAD
        sequence_id = header >> 24
        if sequence_id != self.sequence_id or not 0 < length < MAX_FRAME_PAYLOAD:
            self._judge(length, sequence_id, first)
        stop: int = position + HEADER_LENGTH + length
        if stop > end:
            return position
        payload = data[position + HEADER_LENGTH : stop]
        if first == ERR_BYTE:
            shown = self._read_err(payload, sequence_id)
        else:
            begun = self.reply_begun
            self.sequence_id = (sequence_id + 1) & 0xFF
            self.reply_begun = True
            try:
                shown = self._STEPS[self.stage](self, payload)
            except ProtocolError:
                # The client will not see this packet: the next one that it sees takes its number.
                self.sequence_id = sequence_id
                self.reply_begun = begun
                raise
        if shown is not payload:
            edits.append(Edit(position, stop, b"" if shown is None else build_packet(shown, sequence_id)))
        return stop

    def _pass_rows(self, data: bytes, position: int, end: int) -> int:
        """Walk over rows, as many as there are; return where the last one that can be given out ends.

        What is there is the beginning of a row, or not a row, or not one that the protocol allows.
        """
        start = position
        sequence_id = self.sequence_id
        rows_end_below = self._rows_end_below
        continued = self.continued
        while end - position >= _HEADER_AND_FIRST_LENGTH:
            header, first = _HEADER_AND_FIRST(data, position)
            length = header & MAX_FRAME_PAYLOAD
            if first >= EOF_BYTE and not continued and (first == ERR_BYTE or length < rows_end_below):
                break
            if header >> 24 != sequence_id or not (length or continued):
                break
            stop = position + HEADER_LENGTH + length
            if stop > end:
                if length <= STREAM_ABOVE:
                    break
                self.unseen = stop - end
                stop = end
            position = stop
            sequence_id = (sequence_id + 1) & 0xFF
            continued = length == MAX_FRAME_PAYLOAD
        if position > start:
            self._beginning = None
            self.sequence_id = sequence_id
            self.reply_begun = True
            self.continued = continued
        return position

    def _judge(self, length: int, sequence_id: int, first: int) -> None:
        """Judge the header of a packet that will be read, where it is not an ordinary one."""
        if sequence_id != self.sequence_id and not (first == ERR_BYTE and self._is_farewell(sequence_id)):
            raise OutOfSync(f"a packet has sequence id {sequence_id} where {self.sequence_id} was expected")
        if length == 0:
            raise MalformedPacket(f"an empty packet from the server in stage {self.stage.name}")
        if length == MAX_FRAME_PAYLOAD:
            raise MalformedPacket(f"a packet of 16 MiB or more from the server in stage {self.stage.name}")

    def _is_farewell(self, sequence_id: int) -> bool:
        """Tell the ERR packet of a server that ends the link from one that answers a command.

        Between commands, servers number it 0; so they do if a command is just on its way to them. While they wait for a
        local file they answer nothing until it has ended, so what comes then is one as well.
        """
        if self.stage is Stage.IDLE or self.stage is Stage.LOCAL_INFILE:
            return True
        return sequence_id == 0 and self.sequence_id != 0 and not self.reply_begun

    def _read_err(self, payload: bytes, sequence_id: int) -> bytes | None:
        """Read an ERR packet, or what looks like one; return it if the client is to see it."""
        if self._is_farewell(sequence_id):
            self.farewell = Err.parse(payload)
            return None
        code = _error_code(payload)
        if code == ErrorCode.SERVER_SHUTDOWN:
            # The end of the link follows; what became of the command is for recovery to say.
            self.farewell = Err.parse(payload)
            return None
        self.sequence_id = (sequence_id + 1) & 0xFF
        self.reply_begun = True
        if code == ErrorCode.PROGRESS_REPORT and self._reports_progress:
            return payload
        if code == ErrorCode.READ_ONLY_TRANSACTION and self.rerun_refusal is not None:
            payload = self.rerun_refusal
        failed = self.expected[0]
        if len(self.failures) < MOST_FAILURES:
            self.failures.append((failed, code))
        packet = failed.packet
        if failed.command in _STATEMENTS and (packet is None or _MAY_INSERT.match(packet, HEADER_LENGTH)):
            self._memory.doubt_insert_id()  # one may have been given to a row that was not inserted in the end
        if self._memory.may_have_begun:
            # What a procedure did before it failed may be in an open transaction.
            self.status |= _IN_TRANSACTION
            self._memory.is_transaction_unsettled = True
        self.row_count = None
        self.left_warnings = True
        self._note_leftovers(has_warnings=True, has_rows=False)
        self.out_params_more = False
        self._end_reply(failed=True)
        return payload

    def _read_unasked(self, payload: bytes) -> bytes:
        raise OutOfSync(f"a packet that begins with 0x{payload[0]:02x} from the server, which owes no reply")

    def _read_status(self, payload: bytes) -> bytes:
        if payload[0] == EOF_BYTE and len(payload) < _EOF_BELOW and not self._deprecates_eof:
            self._end_result(_eof_status(payload))
            return self._shown_eof(payload)
        if payload[0] not in (OK_BYTE, EOF_BYTE):
            raise MalformedPacket(f"0x{payload[0]:02x} begins neither an OK nor an EOF nor an ERR packet")
        return self._read_ok(payload)

    def _read_text(self, payload: bytes) -> bytes:
        self._end_reply()
        return payload

    def _read_result(self, payload: bytes) -> bytes:
        first = payload[0]
        if first == OK_BYTE:
            return self._read_ok(payload)
        if first == LOCAL_INFILE_BYTE:
            if len(self.expected) > 1:
                raise OutOfSync("commands were sent behind a LOAD DATA LOCAL that now asks for its file")
            self.stage = Stage.LOCAL_INFILE
            return payload
        cursor = Cursor(payload)
        self.count = cursor.lenenc_integer()
        if self._counts_with_metadata_flag and cursor.remaining and not cursor.integer(1):
            self.count = 0
        if cursor.remaining:
            raise MalformedPacket(f"{cursor.remaining} bytes too many behind the number of columns")
        self.stage = Stage.COLUMNS if self.count else self._stage_behind_columns()
        return payload

    def _stage_behind_columns(self) -> Stage:
        return Stage.ROWS if self._deprecates_eof else Stage.COLUMNS_END

    def _read_column(self, payload: bytes) -> bytes:
        self.count -= 1
        if not self.count:
            self.stage = self._stage_behind_columns()
        return payload

    def _read_columns_end(self, payload: bytes) -> bytes:
        status = _eof_status(payload)
        if self._opens_cursor(status):
            self._memory.note_result_end(status)
            self.has_cursor = True
            self._end_result(status)  # the rows come by COM_STMT_FETCH
        else:
            # MySQL announces the result behind OUT parameters here, and no more in the EOF that ends the rows.
            self.out_params_more = status & _OUT_PARAMS_AND_MORE == _OUT_PARAMS_AND_MORE
            self.stage = Stage.ROWS
        return self._shown_eof(payload)

    def _opens_cursor(self, status: int) -> bool:
        """Return whether the rows of the result at hand come by COM_STMT_FETCH, by the flags after its definitions.

        CURSOR_EXISTS alone does not tell: servers leave it set when a stored program has opened a cursor of its own. So
        it counts only where the client has asked for a cursor, and never in a CALL, in which another result follows.
        """
        note = self.expected[0].note
        return isinstance(note, Executing) and note.asks_for_cursor and status & _CURSOR_AND_MORE == _CURSOR_EXISTS

    def _read_rows_end(self, payload: bytes) -> bytes:
        if not self._deprecates_eof:
            status = _eof_status(payload)
            self._memory.note_result_end(status)
            if status & _CHANGED_AND_IN_TRANSACTION == Status.SESSION_STATE_CHANGED:
                self._memory.note_result_change(self.expected[0].note)
            self.left_warnings = bool(payload[1] or payload[2])
            self._note_leftovers(has_warnings=self.left_warnings, has_rows=True)
            self._end_result(status, NO_ROW_COUNT)
            return self._shown_eof(payload)
        self._note_leftovers(has_warnings=False, has_rows=True)
        self.has_cursor = self._opens_cursor(ok_summary(payload)[2])
        shown = self._read_ok(payload)
        self.row_count = NO_ROW_COUNT
        return shown

    def _read_prepare(self, payload: bytes) -> bytes:
        prepared = PrepareOk.parse(payload)
        note = self.expected[0].note
        if isinstance(note, Preparing):
            client_id = self._memory.note_prepared(note, prepared)
            if client_id != prepared.statement_id:
                payload = payload[:1] + client_id.to_bytes(4, "little") + payload[5:]
        self.row_count = None
        self.count = 0
        for definitions in (prepared.parameters, prepared.columns):
            if definitions:
                self.count += (definitions if prepared.sends_metadata else 0) + (not self._deprecates_eof)
        self.stage = Stage.DEFINITIONS
        if not self.count:
            self._end_reply()
        return payload

    def _read_definition(self, payload: bytes) -> bytes:
        note = self.expected[0].note
        # The EOFs among them tell how things stand in the session, which says nothing of the statement.
        if isinstance(note, Preparing) and self._memory.keeps_definitions and payload[0] != EOF_BYTE:
            note.definitions.append(payload)
        self.count -= 1
        if not self.count:
            self._end_reply()
        return payload

    def _read_ok(self, payload: bytes) -> bytes:
        """Read an OK packet, take out of it what the client did not ask for, and end the result."""
        affected_rows, insert_id, status, warnings = ok_summary(payload)
        if insert_id:
            self._memory.note_insert_id(insert_id)
        note = self.expected[0].note
        if note is not None:
            self._memory.note_success(note)
        if status & Status.SESSION_STATE_CHANGED:
            ok = Ok.parse(payload)
            shown = self._memory.tracked.note(ok.state)
            self._memory.note_ok(note)
            # MySQL sets the flag for some changes that it has no word for.
            if shown != ok.state or not shown:
                payload = ok._replace(state=shown).build()
        if self.rerun_refusal is not None:
            ok = Ok.parse(payload)
            payload = ok._replace(status=ok.status & ~_RERUN_STATUS).build()
        if self.expected[0].kind is ReplyKind.RESULTS:
            self.left_warnings = warnings > 0
            self._note_leftovers(has_warnings=self.left_warnings, has_rows=False, has_changed_rows=affected_rows > 0)
            self._end_result(status, affected_rows)
        else:
            # COM_PING leaves the list of warnings alone. What others do to it, and what COM_STMT_RESET and its like do
            # to ROW_COUNT(), is not known well enough.
            self.left_warnings = self.left_warnings or warnings > 0
            self._end_result(status, 0 if self.expected[0].command == CommandCode.PING else None)
        return payload

    def _note_leftovers(self, *, has_warnings: bool, has_rows: bool, has_changed_rows: bool = False) -> None:
        """Take note of what there is to look back at now, behind the current one of the client's statements."""
        if isinstance(self.expected[0].note, Explained):
            return  # one of the guard's own
        if has_warnings or has_changed_rows:
            self.may_have_warnings = has_warnings
        memory = self._memory
        if memory.lost_leftovers:
            if has_rows and _BEGINS_WITH_SELECT.match((self.expected[0].packet or b"")[HEADER_LENGTH:]):
                memory.lost_leftovers &= ~Leftover.FOUND_ROWS
            if has_warnings or has_changed_rows:
                memory.lost_leftovers &= ~Leftover.WARNINGS

    def _shown_eof(self, payload: bytes) -> bytes:
        """Give the EOF packet that the client is to see."""
        if self.rerun_refusal is None:
            return payload
        return payload[:3] + (_eof_status(payload) & ~_RERUN_STATUS).to_bytes(2, "little")

    _STEPS: ClassVar[dict[Stage, Callable[["ReplyTracker", bytes], bytes]]] = {
        Stage.IDLE: _read_unasked,
        Stage.STATUS: _read_status,
        Stage.TEXT: _read_text,
        Stage.RESULT: _read_result,
        Stage.COLUMNS: _read_column,
        Stage.COLUMNS_END: _read_columns_end,
        Stage.ROWS: _read_rows_end,
        Stage.PREPARE: _read_prepare,
        Stage.DEFINITIONS: _read_definition,
        Stage.LOCAL_INFILE: _read_unasked,
        Stage.TUNNEL_MOUTH: _read_unasked,
    }


def _error_code(payload: bytes) -> int:
    return int.from_bytes(payload[1:3], "little")


def _eof_status(payload: bytes) -> int:
    """Read the status flags of an EOF packet: 0xFE, warnings, status."""
    if payload[0] != EOF_BYTE or len(payload) != 5:
        raise MalformedPacket(f"{len(payload)} bytes that begin with 0x{payload[0]:02x} where an EOF packet is due")
    return payload[3] | payload[4] << 8
