"""The client's stream, cut at packet headers and judged before a byte of a command goes out.

Theory of operation
-------------------
``CommandReader`` walks over what the client has sent and says how much of it may go to the server as it is. It stops in
front of a packet that needs a decision (``decision``) and stays there until the one who decided has taken that packet
out of the stream. A packet is let through when it is whole, so that a client that stalls in the middle of a command
does not leave the server waiting; one of more than ``STREAM_ABOVE`` bytes goes out as it comes.

The limit: a server with ``max_allowed_packet`` and ``net_buffer_length`` accepts payloads of fewer than
``max(max_allowed_packet, net_buffer_length)`` bytes and drops the link at the header of a larger one. Source:
``net_realloc()`` in MySQL's ``sql-common/net_serv.cc``, where "length >= max_packet_size" is the error. A single frame
shows its size in its header; a packet of several frames has to be collected first, since only its last header tells.
"""

from dataclasses import dataclass
from enum import Enum, auto
from struct import Struct

from protocol.constants import HEADER_LENGTH, MAX_FRAME_PAYLOAD, CommandCode
from protocol.errors import OutOfSync
from protocol.reply import STREAM_ABOVE, Expected, ReplyKind, ReplyTracker, Stage
from protocol.statement import sets_wait_timeout_unreported

_HEADER_AND_FIRST = Struct("<IB").unpack_from
_STATEMENT_ID = Struct("<I").unpack_from

#: The answers to commands that do not get the ordinary OK or ERR.
_REPLY_KINDS: dict[int, ReplyKind] = {
    CommandCode.QUERY: ReplyKind.RESULTS,
    CommandCode.STMT_EXECUTE: ReplyKind.RESULTS,
    CommandCode.STMT_BULK_EXECUTE: ReplyKind.RESULTS,
    CommandCode.PROCESS_INFO: ReplyKind.RESULTS,
    CommandCode.STMT_PREPARE: ReplyKind.PREPARE,
    CommandCode.STMT_FETCH: ReplyKind.ROWS,
    CommandCode.FIELD_LIST: ReplyKind.ROWS,
    CommandCode.STATISTICS: ReplyKind.TEXT,
    CommandCode.STMT_SEND_LONG_DATA: ReplyKind.NONE,
    CommandCode.STMT_CLOSE: ReplyKind.NONE,
    CommandCode.BINLOG_DUMP: ReplyKind.TUNNEL,
    CommandCode.BINLOG_DUMP_GTID: ReplyKind.TUNNEL,
    CommandCode.TABLE_DUMP: ReplyKind.TUNNEL,
    CommandCode.CLONE: ReplyKind.TUNNEL,
    CommandCode.SUBSCRIBE_GROUP_REPLICATION_STREAM: ReplyKind.TUNNEL,
}

#: Stands for the command byte of an empty packet, which servers answer as a command that they do not know.
_NO_COMMAND = 0

# Looked up for every command, and an enum's own attributes take their time.
_LOCAL_INFILE = Stage.LOCAL_INFILE
_TUNNEL = Stage.TUNNEL

_STOPPED_AT = frozenset({CommandCode.QUIT, CommandCode.CHANGE_USER, CommandCode.RESET_CONNECTION})
_WITH_TEXT = frozenset({CommandCode.QUERY, CommandCode.STMT_PREPARE})
_WITH_STATEMENT_ID = frozenset(
    {
        CommandCode.STMT_EXECUTE,
        CommandCode.STMT_SEND_LONG_DATA,
        CommandCode.STMT_RESET,
        CommandCode.STMT_CLOSE,
    }
)
_FORGETS_LONG_DATA = frozenset({CommandCode.STMT_RESET, CommandCode.STMT_CLOSE})
#: Where a statement's id ends in such a command: frame header, command byte, four bytes.
_ID_END = HEADER_LENGTH + 1 + 4


def reply_kind(code: int) -> ReplyKind:
    """Tell the shape of the answer to a command. Servers answer a command that they do not know with ERR."""
    return _REPLY_KINDS.get(code, ReplyKind.STATUS)


#: The reply to each command of one frame.
_EXPECTED = tuple(Expected(code, reply_kind(code), 1) for code in range(256))


class Verdict(Enum):
    """Why the reader has stopped in front of a packet."""

    TOO_LARGE = auto()  # the server would drop the link at its header
    COLLECT = auto()  # several frames: only the whole packet shows whether it is too large
    LOCAL_FILE_TOO_LARGE = auto()  # a piece of a local file, to be cut into smaller ones
    CARRY_OUT = auto()  # the guard itself has a part in this command
    OUT_OF_SYNC = auto()  # not what the protocol allows here: the next take() raises it, what is in front of it counts
    QUIT = auto()


@dataclass(frozen=True)
class Decision:
    """The packet in front of which the reader has stopped. ``statement_id`` is None unless the command names one."""

    verdict: Verdict
    command: int
    statement_id: int | None = None


class CommandReader:
    """Walks the client's stream; one for each server link, together with that link's reply tracker."""

    def __init__(self, tracker: ReplyTracker, limit: int) -> None:
        """``limit`` is the smallest payload length, in bytes, that the server refuses."""
        self.limit = limit
        #: Set where the reader has stopped; the one who takes that packet out of the stream sets it back to None.
        self.decision: Decision | None = None
        #: The client has set wait_timeout by a form of SET that the server does not report.
        self.wait_timeout_set = False
        #: Statements with a refused piece of long data: id to the size of that piece's payload, in bytes.
        self.refused_long_data: dict[int, int] = {}
        self._tracker = tracker
        #: Bytes of the current frame that are still to come, while its beginning has gone out already.
        self.unsent = 0

    def __repr__(self) -> str:
        return f"<CommandReader limit {self.limit}, {self.decision or 'no decision pending'}>"

    @property
    def inside_packet(self) -> bool:
        """The server has been given the beginning of a packet: nothing but its rest may follow."""
        return self.unsent > 0

    def take(self, data: bytes) -> int:
        """Walk over what the client has sent; return how many bytes of it may go to the server now.

        Replies to the commands among them are announced to the reply tracker. Bring the other bytes again, with more
        behind them, unless :attr:`decision` says that somebody has to act first.

        Raises:
            OutOfSync: the sequence id of the first packet in ``data`` is not the one that the protocol asks for, or
                that of a piece of a file.
        """
        end = len(data)
        position = min(self.unsent, end)
        self.unsent -= position
        tracker = self._tracker
        while end - position >= HEADER_LENGTH or tracker.stage is _TUNNEL:
            if tracker.stage is _TUNNEL:
                return end
            if tracker.stage is _LOCAL_INFILE:
                step = self._take_file(data, position, end)
            else:
                step = self._take_command(data, position, end)
            if not step:
                break
            position += step
        return position

    def expect_reply(self, code: int, sequence_id: int = 1) -> None:
        """Announce the reply to a command that goes out; its first packet will have ``sequence_id``."""
        self._tracker.expect(Expected(code, reply_kind(code), sequence_id))

    def _take_command(self, data: bytes, position: int, end: int) -> int:
        """Judge the command at ``position``; return how many bytes go out, 0 to wait for more or for a decision."""
        tracker = self._tracker
        available = end - position
        if available == HEADER_LENGTH:
            if any(data[position : position + 3]):
                return 0
            header, code = data[position + 3] << 24, _NO_COMMAND
        else:
            header, code = _HEADER_AND_FIRST(data, position)
        length = header & MAX_FRAME_PAYLOAD
        if header >> 24:
            if not position:
                raise OutOfSync(f"a command has sequence id {header >> 24} instead of 0")
            self.decision = Decision(Verdict.OUT_OF_SYNC, code)
            return 0
        whole = HEADER_LENGTH + length
        if available < whole and length <= STREAM_ABOVE and length < self.limit:
            return 0
        if not length:
            code = _NO_COMMAND
        is_ordinary = length < self.limit and length < MAX_FRAME_PAYLOAD and code not in _STOPPED_AT
        if (not is_ordinary or self.refused_long_data) and not self._may_pass(code, length, data, position):
            return 0
        # A SET is short. To search what is streamed would cost, and find only what happens to be here already.
        if (
            code in _WITH_TEXT
            and length <= STREAM_ABOVE
            and sets_wait_timeout_unreported(data, position, position + whole)
        ):
            self.wait_timeout_set = True
        tracker.expect(_EXPECTED[code])
        if available < whole:
            self.unsent = whole - available
            return available
        return whole

    def _may_pass(self, code: int, length: int, data: bytes, position: int) -> bool:
        """Judge an unusual command; where it may not pass, the decision is set, unless more bytes are needed for it."""
        statement_id = None
        if code in _WITH_STATEMENT_ID and length >= _ID_END - HEADER_LENGTH:
            if len(data) - position < _ID_END:
                return False
            (statement_id,) = _STATEMENT_ID(data, position + HEADER_LENGTH + 1)
        is_refused = statement_id in self.refused_long_data
        if length >= self.limit:
            verdict = Verdict.TOO_LARGE
        elif code == CommandCode.QUIT:
            verdict = Verdict.QUIT
        elif code in _STOPPED_AT or (is_refused and code == CommandCode.STMT_EXECUTE):
            verdict = Verdict.CARRY_OUT
        elif length == MAX_FRAME_PAYLOAD:
            verdict = Verdict.COLLECT
        else:
            if code in _FORGETS_LONG_DATA and statement_id is not None:
                self.refused_long_data.pop(statement_id, None)
            return True
        self.decision = Decision(verdict, code, statement_id)
        return False

    def _take_file(self, data: bytes, position: int, end: int) -> int:
        """Judge a piece of a local file at ``position``, as :meth:`_take_command` does a command."""
        length = int.from_bytes(data[position : position + 3], "little")
        sequence_id = data[position + 3]
        if sequence_id != self._tracker.sequence_id:
            raise OutOfSync(f"a piece of a file has sequence id {sequence_id}, not {self._tracker.sequence_id}")
        if length >= self.limit or length == MAX_FRAME_PAYLOAD:
            self.decision = Decision(Verdict.LOCAL_FILE_TOO_LARGE, _NO_COMMAND)
            return 0
        whole = HEADER_LENGTH + length
        available = end - position
        if available < whole and length <= STREAM_ABOVE:
            return 0
        self._tracker.sequence_id = (sequence_id + 1) & 0xFF
        if not length:
            self._tracker.local_file_sent()
        if available < whole:
            self.unsent = whole - available
            return available
        return whole
