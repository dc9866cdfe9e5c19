"""The client's stream, cut at packet headers and judged before a byte of a command goes out.

Theory of operation
-------------------
``CommandReader`` walks over what the client has sent and says how much of it may go to the server as it is. It stops in
front of a packet that needs a decision (``decision``) and stays there until the one who decided has taken that packet
out of the stream. A packet is let through when it is whole, so that a client that stalls in the middle of a command
does not leave the server waiting; one of more than ``HOLD_ABOVE`` bytes is for somebody else to collect first. A few
bytes of what goes out may have to be changed (:meth:`CommandReader.edited`): the ids of prepared statements and of
threads, where a new link has others than the client knows.

What a command may do to the session is noted for the session's memory, and the command itself is kept until it has been
answered, for the case that the link is lost before.

The limit: a server with ``max_allowed_packet`` and ``net_buffer_length`` accepts payloads of fewer than
``max(max_allowed_packet, net_buffer_length)`` bytes and drops the link at the header of a larger one. Source:
``net_realloc()`` in MySQL's ``sql-common/net_serv.cc``, where "length >= max_packet_size" is the error. A single frame
shows its size in its header; a packet of several frames has to be collected first, since only its last header tells.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from struct import Struct

from protocol.constants import HEADER_LENGTH, MAX_FRAME_PAYLOAD, Capability, CommandCode, Status
from protocol.edits import Edit, apply_edits
from protocol.effects import Effects, Kind, Statement
from protocol.errors import MalformedPacket, OutOfSync
from protocol.holds import Hold, HoldKind
from protocol.kill import find_kill
from protocol.large_query import HOLD_ABOVE, LargeQuery
from protocol.memory import SessionMemory
from protocol.notes import Executing, Explained, Fetching, Note, Preparing, Resetting, SettingOption
from protocol.plain import is_plain
from protocol.prepared import NO_STATEMENT_ID, PreparedStatement, asks_for_cursor, find_types, keep_types
from protocol.reply import Expected, ReplyKind, ReplyTracker, Stage
from protocol.sql import text_start
from protocol.statement import classify, runs_others

_HEADER_AND_FIRST = Struct("<IB").unpack_from

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
_QUERY = int(CommandCode.QUERY)

_STOPPED_AT = frozenset({CommandCode.QUIT, CommandCode.CHANGE_USER, CommandCode.RESET_CONNECTION})
_WITH_STATEMENT_ID = frozenset(
    {
        CommandCode.STMT_EXECUTE,
        CommandCode.STMT_BULK_EXECUTE,
        CommandCode.STMT_SEND_LONG_DATA,
        CommandCode.STMT_CLOSE,
        CommandCode.STMT_RESET,
        CommandCode.STMT_FETCH,
    }
)
_EXECUTIONS = frozenset({CommandCode.STMT_EXECUTE, CommandCode.STMT_BULK_EXECUTE})
#: Those that leave something for the session's memory, or in which an id may have to be changed.
_NOTED = _WITH_STATEMENT_ID | {
    CommandCode.STMT_PREPARE,
    CommandCode.SET_OPTION,
    CommandCode.INIT_DB,
    CommandCode.PROCESS_KILL,
}
#: Where a command's first four bytes end: frame header, command byte, the id that many commands begin with.
_ID_END = HEADER_LENGTH + 1 + 4
#: MariaDB takes it for the statement that was prepared last.
_LAST_PREPARED_ID = 0xFFFFFFFF

#: So much of a command that was collected has to be known when it goes out: the types of an execution's parameters
#: stand within it.
HELD_BEGINNING = 512 * 1024

_NO_BACKSLASH_ESCAPES = int(Status.NO_BACKSLASH_ESCAPES)


def reply_kind(code: int) -> ReplyKind:
    """Tell the shape of the answer to a command. Servers answer a command that they do not know with ERR."""
    return _REPLY_KINDS.get(code, ReplyKind.STATUS)


#: Below this length of payload, MySQL cannot read a command without an answer, and then does answer it.
_SHORTEST_SILENT = {CommandCode.STMT_CLOSE: 1 + 4, CommandCode.STMT_SEND_LONG_DATA: 1 + 4 + 2}

_KINDS = tuple(reply_kind(code) for code in range(256))
_NO_REPLY = ReplyKind.NONE


class Verdict(Enum):
    """Why the reader has stopped in front of a packet."""

    TOO_LARGE = auto()  # the server would drop the link at its header
    COLLECT = auto()  # it is large: it must not go out before it is whole, and may turn out to be too large
    LOCAL_FILE = auto()  # not a command, but the file that the server has asked for
    CARRY_OUT = auto()  # the guard itself has a part in this command
    EXAMINE = auto()  # something has been lost with a link, and the client may be about to meet it
    OUT_OF_SYNC = auto()  # not what the protocol allows here: the next take() raises it, what is in front of it counts
    QUIT = auto()


@dataclass(frozen=True)
class Decision:
    """The packet in front of which the reader has stopped. ``statement_id`` is None unless the command names one."""

    verdict: Verdict
    command: int
    statement_id: int | None = None


def _may_begin(statement: Statement, text: bytes | None) -> bool:
    """Tell whether a statement may open a transaction and then fail; its text is None if it was too large."""
    return statement.kind is Kind.OTHER and (text is None or runs_others(text))


def _same_thread(thread_id: int) -> int:
    return thread_id


class CommandReader:
    """Walks the client's stream; one for each server link, together with that link's reply tracker."""

    def __init__(
        self,
        tracker: ReplyTracker,
        memory: SessionMemory,
        capabilities: int,
        limit: int,
        current_thread: Callable[[int], int] = _same_thread,
    ) -> None:
        """``limit`` is the smallest payload length, in bytes, that the server refuses.

        ``current_thread`` gives the id that a thread has now, by the id that clients know.
        """
        self.limit = limit
        #: Set where the reader has stopped; the one who takes that packet out of the stream sets it back to None.
        self.decision: Decision | None = None
        #: Whether to stop at every command that has an answer.
        self.examines = False
        #: Whether the next command has been examined and may pass.
        self.has_examined = False
        self._tracker = tracker
        self._memory = memory
        self._has_attributes = bool(capabilities & Capability.QUERY_ATTRIBUTES)
        self._current_thread = current_thread
        #: Bytes of commands without an answer behind the last one that has one.
        self.trailing = 0
        #: How many commands in a row, up to the last one, have done nothing to the session, as far as can be told here.
        self.ordinary_run = 0
        #: What has to be changed in the bytes that :meth:`take` has let through.
        self.edits: list[Edit] = []
        self._large_query: LargeQuery | None = None
        #: Whether what was prepared last may begin a transaction. At first, that was on another link, and is not known.
        self._last_may_begin = True

    def __repr__(self) -> str:
        return f"<CommandReader limit {self.limit}, {self.decision or 'no decision pending'}>"

    def take(self, data: bytes) -> int:
        """Walk over what the client has sent; return how many bytes of it may go to the server now.

        Replies to the commands among them are announced to the reply tracker. Bring the other bytes again, with more
        behind them, unless :attr:`decision` says that somebody has to act first. Where :attr:`edits` is not empty,
        :meth:`edited` gives what is to go out.

        Raises:
            OutOfSync: the sequence id of the first packet in ``data`` is not the one that the protocol asks for.
        """
        end = len(data)
        position = 0
        tracker = self._tracker
        while end - position >= HEADER_LENGTH or tracker.stage is _TUNNEL:
            if tracker.stage is _TUNNEL:
                return end
            if tracker.stage is _LOCAL_INFILE:
                self.decision = Decision(Verdict.LOCAL_FILE, _NO_COMMAND)
                break
            step = self._take_command(data, position, end)
            if not step:
                break
            position += step
        return position

    def edited(self, data: bytes) -> bytes:
        """Make the changes that are due in the bytes that :meth:`take` has let through."""
        changed = apply_edits(data, self.edits)
        self.edits.clear()
        return changed

    def expect_reply(self, code: int, sequence_id: int = 1, note: Note | None = None) -> None:
        """Announce the reply to a command that goes out; its first packet will have ``sequence_id``."""
        self.trailing = 0
        self._tracker.expect(Expected(code, reply_kind(code), sequence_id, note))

    def expect_held(self, code: int, beginning: bytes, sequence_id: int) -> bytes:
        """Announce the reply to a command that was collected and goes out now; see :meth:`expect_reply`.

        ``beginning`` are the first :data:`HELD_BEGINNING` bytes of its payload. Returns what is to go out in their
        place; show what follows to :meth:`look_through`.
        """
        data = bytes(HEADER_LENGTH) + beginning
        note: Note | None = None
        self._large_query = None
        if code == _QUERY:
            note = self._note_query(data, 0, len(data), is_large=True)
        elif code in _NOTED:
            note = self._note_command(code, data, 0, len(data), is_large=True)
        self.expect_reply(code, sequence_id, note)
        return self.edited(data)[HEADER_LENGTH:]

    def look_through(self, piece: bytes) -> None:
        """Look at a piece of a command that was collected."""
        if self._large_query is not None:
            self._large_query.search(piece)

    def _take_command(self, data: bytes, position: int, end: int) -> int:
        """Judge the command at ``position``; return how many bytes go out, 0 to wait for more or for a decision."""
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
        if available < whole and length <= HOLD_ABOVE and length < self.limit:
            return 0
        if not length:
            code = _NO_COMMAND
        is_ordinary = length < self.limit and length <= HOLD_ABOVE and code not in _STOPPED_AT
        if (not is_ordinary or self.examines) and not self._may_pass(code, length, data, position):
            return 0
        return self._let_pass(code, data, position, whole)

    def _let_pass(self, code: int, data: bytes, position: int, whole: int) -> int:
        """Take down what is to be known of a command; return how many bytes of it go out, 0 for a decision."""
        note: Note | None = None
        if code == _QUERY:
            note = self._note_query(data, position, position + whole, is_large=False)
        elif code in _NOTED:
            if whole >= _ID_END and not self._may_execute(code, data, position):
                return 0
            note = self._note_command(code, data, position, whole, is_large=False)
        self.ordinary_run = self.ordinary_run + 1 if note is None or isinstance(note, Executing) else 0
        kind = _KINDS[code]
        if kind is _NO_REPLY and self._memory.answers_unreadable:
            kind = _NO_REPLY if whole - HEADER_LENGTH >= _SHORTEST_SILENT[CommandCode(code)] else ReplyKind.STATUS
        if kind is _NO_REPLY:
            self.trailing += whole
        else:
            self.trailing = 0
            self._tracker.expect(Expected(code, kind, 1, note, data[position : position + whole]))
        return whole

    def _may_pass(self, code: int, length: int, data: bytes, position: int) -> bool:
        """Judge an unusual command; where it may not pass, the decision is set, unless more bytes are needed for it."""
        statement_id = None
        if code in _WITH_STATEMENT_ID and length >= _ID_END - HEADER_LENGTH:
            if len(data) - position < _ID_END:
                return False
            statement_id = _id_at(data, position)
        # What has been examined is this packet, wherever it goes from here.
        has_examined, self.has_examined = self.has_examined, False
        if length >= self.limit:
            verdict = Verdict.TOO_LARGE
        elif code == CommandCode.QUIT:
            verdict = Verdict.QUIT
        elif code in _STOPPED_AT:
            verdict = Verdict.CARRY_OUT
        elif self.examines and not has_examined and reply_kind(code) is not ReplyKind.NONE:
            verdict = Verdict.EXAMINE
        elif length > HOLD_ABOVE:
            if not self._may_execute(code, data, position):
                return False
            verdict = Verdict.COLLECT
        else:
            return True
        self.decision = Decision(verdict, code, statement_id)
        return False

    def _may_execute(self, code: int, data: bytes, position: int) -> bool:
        """Tell whether the statement that a command names may be executed; where not, the decision is set."""
        if code not in _EXECUTIONS or len(data) - position < _ID_END:
            return True
        statement_id = _id_at(data, position)
        prepared = self._memory.statements.get(statement_id)
        if prepared is None or (prepared.refused_size is None and not self._memory.refusal(prepared)):
            return True
        self.decision = Decision(Verdict.CARRY_OUT, code, statement_id)
        return False

    def _note_query(self, data: bytes, position: int, end: int, *, is_large: bool) -> Note | None:
        """Find out what a COM_QUERY does to the session, as far as its text tells."""
        start = position + HEADER_LENGTH + 1
        stop = min(end, position + HOLD_ABOVE) if is_large else end
        if self._has_attributes:
            behind = text_start(data, start, stop)
            if behind is None:
                if is_large:  # its text begins further on, where it is not looked for
                    self._large_query = LargeQuery(self._memory, b"")
                    self._large_query.hold()
                return None
            start = behind
        if is_large:
            self._large_query = LargeQuery(self._memory, data[start:end])
        if is_plain(data, start, stop):
            return None
        text = data[start:stop]
        self._hold_for_reports(text)
        statement = classify(text, backslash_escapes=not self._tracker.status & _NO_BACKSLASH_ESCAPES)
        effects = statement.effects
        if statement.kind is Kind.OTHER:
            self._memory.doubt_insert_id()  # a procedure may have inserted something
        if _may_begin(statement, text):
            self._memory.doubt_transaction()
        if is_large:
            return effects and replace(effects, explains_change=False, user_literals=(), system_literals=())
        kill = find_kill(text)
        if kill is not None and (thread_id := self._current_thread(kill.thread_id)) != kill.thread_id:
            new = text[: kill.start] + str(thread_id).encode() + text[kill.stop :]
            self._resize(data, position, len(new) - len(text))
            self.edits.append(Edit(start, stop, new))
        return effects

    def _hold_for_reports(self, text: bytes) -> None:
        """Hold a session that may choose itself which variables are reported: servers need not report that it has.

        What the guard itself has asked for, another guard in front of it may ask for as well.
        """
        if text != self._memory.tracked.own_watch and b"session_track_system_variables" in text.lower():
            self._memory.hold(Hold(HoldKind.UNSETTLED, "SET session_track_system_variables"))

    def _note_command(self, code: int, data: bytes, position: int, whole: int, *, is_large: bool) -> Note | None:
        """Find out what another command does to the session, and change the ids in it that the server does not know."""
        if code == CommandCode.STMT_PREPARE:
            text = data[position + HEADER_LENGTH + 1 : position + (HOLD_ABOVE if is_large else whole)]
            escapes = not self._tracker.status & _NO_BACKSLASH_ESCAPES
            self._hold_for_reports(text)
            preparing = Preparing(None if is_large else text, classify(text, backslash_escapes=escapes))
            self._last_may_begin = _may_begin(preparing.statement, preparing.text)
            return preparing
        if code == CommandCode.SET_OPTION:
            # MariaDB takes an option that is missing for 0.
            return SettingOption(multi_statements=not any(data[position + HEADER_LENGTH + 1 : position + whole][:2]))
        if code == CommandCode.INIT_DB:
            return Explained()
        if whole < _ID_END:
            return None
        if code == CommandCode.PROCESS_KILL:
            self._change_id(data, position, self._current_thread(_id_at(data, position)))
            return None
        return self._note_statement(code, data, position, whole)

    def _note_statement(self, code: int, data: bytes, position: int, whole: int) -> Note | None:
        """Do :meth:`_note_command` for a command that names a prepared statement."""
        memory = self._memory
        client_id = _id_at(data, position)
        if client_id == _LAST_PREPARED_ID and code in _EXECUTIONS:
            return self._note_last_prepared(data, position, whole)
        prepared = memory.statements.get(client_id)
        if prepared is None:
            if any(client_id == other.server_id for other in memory.statements.values()):
                # On this link, the id that the client has no statement for is that of another statement.
                self._change_id(data, position, NO_STATEMENT_ID)
            # A client may have guessed the id of a statement that is just being prepared.
            return Effects(calls=True) if code in _EXECUTIONS else None
        if code in _EXECUTIONS:
            return self._note_execution(prepared, data, position, whole)
        if code == CommandCode.STMT_RESET and prepared.broken:
            self._send_ping_instead(data, position, whole)
        else:
            self._change_id(data, position, prepared.server_id)
        match code:
            case CommandCode.STMT_SEND_LONG_DATA:
                prepared.has_long_data = True
            case CommandCode.STMT_CLOSE:
                memory.forget_statement(client_id)
            case CommandCode.STMT_RESET:
                prepared.refused_size = None
                return Resetting(prepared)
            case CommandCode.STMT_FETCH:
                return Fetching(prepared)
        return None

    def _note_last_prepared(self, data: bytes, position: int, whole: int) -> Note:
        """Do :meth:`_note_command` for an execution of what was prepared last, which may be still to be answered."""
        memory = self._memory
        if self._last_may_begin:
            memory.doubt_transaction()
        if memory.last_is_elsewhere and not any(owed.kind is ReplyKind.PREPARE for owed in self._tracker.expected):
            self._change_id(data, position, memory.last_prepared_id)
        payload = data[position + HEADER_LENGTH : position + min(whole, HOLD_ABOVE)]
        return Executing(None, payload, asks_for_cursor(payload))

    def _note_execution(self, prepared: PreparedStatement, data: bytes, position: int, whole: int) -> Note:
        """Remember the types of the parameters, or put them in where the client relies on the server to know them."""
        begin = position + HEADER_LENGTH
        payload = data[begin : position + whole]
        try:
            block = find_types(payload, prepared.parameters, has_attributes=self._has_attributes)
        except MalformedPacket:
            block = None
        if keep_types(prepared, payload, block) or not prepared.lacks_types or not prepared.types:
            block = None
        length = whole - HEADER_LENGTH + len(prepared.types)
        # Where they do not fit, the server says that it does not know them.
        if block is not None and (block.form != prepared.types_form or length >= min(self.limit, MAX_FRAME_PAYLOAD)):
            block = None
        if block is not None:
            self._resize(data, position, len(prepared.types))
        self._change_id(data, position, prepared.server_id)
        if block is not None:
            self.edits.append(Edit(begin + block.flag, begin + block.flag + 1, bytes((block.flagged,))))
            self.edits.append(Edit(begin + block.start, begin + block.start, prepared.types))
        if _may_begin(prepared.statement, prepared.text):
            self._memory.doubt_transaction()
        return Executing(prepared, asks_for_cursor=asks_for_cursor(payload))

    def _change_id(self, data: bytes, position: int, to: int) -> None:
        if _id_at(data, position) != to:
            self.edits.append(Edit(position + _ID_END - 4, position + _ID_END, to.to_bytes(4, "little")))

    def _send_ping_instead(self, data: bytes, position: int, whole: int) -> None:
        """Have the server answer a COM_STMT_RESET of a statement that it does not have: a ping gets the same OK."""
        self._resize(data, position, HEADER_LENGTH + 1 - whole)
        self.edits.append(Edit(position + HEADER_LENGTH, position + whole, bytes((CommandCode.PING,))))

    def _resize(self, data: bytes, position: int, by: int) -> None:
        length = int.from_bytes(data[position : position + 3], "little") + by
        self.edits.append(Edit(position, position + 3, length.to_bytes(3, "little")))


def _id_at(data: bytes, position: int) -> int:
    """Read the id that the command whose frame begins at ``position`` begins with."""
    return int.from_bytes(data[position + _ID_END - 4 : position + _ID_END], "little")
