"""What a session consists of beyond its link: what a new link must be given, and what forbids one.

Theory of operation
-------------------
``CommandReader`` attaches a note to each command that may change the session (:mod:`protocol.notes`), and
``ReplyTracker`` hands it in when the command has been answered (:meth:`SessionMemory.end_command`). What the server
reports by itself arrives in :attr:`SessionMemory.tracked`.

What neither tells for sure is *unsettled* until it has been read back from the server, which happens once the session
has been quiet for a moment, or in front of a command if it never is (:mod:`protocol.settling`). Until then it is a
hold: something that a new link cannot have.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from protocol.constants import Status
from protocol.effects import Effects, Kind
from protocol.errors import MalformedPacket
from protocol.holds import Hold, HoldKind
from protocol.looking_back import Leftover
from protocol.notes import Executing, Explained, Fetching, Note, Preparing, Resetting, SettingOption
from protocol.packets import PrepareOk
from protocol.prepared import (
    NO_STATEMENT_ID,
    OTHER_DIALECT,
    Dialect,
    PreparedStatement,
    find_types,
    keep_types,
    settle_dialect,
)
from protocol.session_track import NO_TRANSACTION, SessionTracker
from protocol.sql_statements import SqlStatements

#: What decides how a statement's text is read, beside the schema. A statement that was prepared under other values
#: than a new link has cannot be prepared there as it was.
_DIALECT_VARIABLES = ("sql_mode", "character_set_client", "character_set_connection", "collation_connection")

_IN_TRANSACTION = int(Status.IN_TRANSACTION)
_LAST_ROW_SENT = int(Status.LAST_ROW_SENT)

_ISOLATION_VARIABLES = ("transaction_isolation", "tx_isolation")

# Character sets in which the second byte of a character can be a quote's or a backslash's: their texts are not judged.
_DECEPTIVE_CHARSETS = frozenset({"big5", "cp932", "gb18030", "gbk", "sjis"})


#: Values are not taken out of texts where a session has more user variables than this.
_MOST_LITERALS = 256

#: So many statements are found among those that were executed last.
_EXECUTED_LAST = 64

#: One for all sessions: an empty set is as large as a full one.
_NO_NAMES: frozenset[Any] = frozenset()

_NOTHING_LOST = Leftover(0)


class SessionMemory:
    """All that is known of one client's session on the server."""

    def __init__(self, *, client_listens: bool, multi_statements: bool, keeps_definitions: bool) -> None:
        """``keeps_definitions``: the client may be spared column definitions that it has been given before."""
        self.tracked = SessionTracker(client_listens=client_listens)
        #: It outlives a reset and a change of user: the servers keep it with the capabilities of the connection.
        self.multi_statements = multi_statements
        self.keeps_definitions = keeps_definitions
        #: Whether the server has an answer to a command that it cannot read, even to one that has none otherwise.
        self.answers_unreadable = False
        #: Whether the server can be asked which user variables there are, as only MariaDB can. What it counts tells the
        #: rest of what a stored function may have done.
        self.can_be_surveyed = False
        self.reset()

    def reset(self) -> None:
        """Forget everything, as the server does at COM_RESET_CONNECTION and COM_CHANGE_USER."""
        self.tracked.reset()
        #: SQL of the user variables' values, by name.
        self.user_variables: dict[bytes, str] = {}
        self.unsettled_variables: frozenset[bytes] = _NO_NAMES
        #: User variables of which the text of a SET has the value, and how that text was read.
        self._literals: dict[bytes, Dialect] = {}
        self.unsettled_system_variables: frozenset[str] = _NO_NAMES
        #: What CURRENT_ROLE() was when it was read back; None if no role has been set.
        self.role: str | None = None
        self.is_role_unsettled = False
        #: Whether locks of GET_LOCK may have been got or released; a text does not tell whether they were.
        self.are_locks_unsettled = False
        #: So many statements that set something or create a temporary table the server must have counted on this link;
        #: None where that is not known for sure.
        self.counted: int | None = 0
        #: Whether the server has said that the session has changed where it may say so of one that has not.
        self.is_change_unsettled = False
        self.last_insert_id = 0
        #: Whether the server may think otherwise of LAST_INSERT_ID() than its OK packets say.
        self.is_insert_id_unsettled = False
        self.sql_statements = SqlStatements()
        #: Binary prepared statements by the client's ids, in the order in which they were prepared.
        self.statements: dict[int, PreparedStatement] = {}
        self.last_prepared: PreparedStatement | None = None
        #: It was prepared last on another link; on the link at hand another one may be the last.
        self.last_is_elsewhere = False
        self._executed_last: dict[int, PreparedStatement] = {}
        #: Isolation level of new transactions by the server's configuration.
        self.isolation = ""
        #: Whether a statement of the open transaction has asked for share locks, which the server does not report.
        self.has_share_locks = False
        #: Whether a statement under way may open a transaction, and leave it open where it fails.
        self.may_have_begun = False
        #: Whether the open transaction may have changed without the server having said so yet.
        self.is_transaction_unsettled = False
        #: Something may have become unsettled since somebody last looked.
        self.has_news = False
        #: Whether the transaction that the client believes to be in is lost.
        self.lost_transaction = False
        #: Why it is not certain that it was rolled back, and all of it; empty if it is.
        self.loss_doubt = ""
        #: What the client's next statement must not ask for, because a new link cannot know it.
        self.lost_leftovers = _NOTHING_LOST
        self._dialect_changes = 0
        self._holds: Counter[Hold] = Counter()

    def begin_link(self) -> None:
        """Take note of a new link, on which there is no transaction, and no statement knows its parameters' types."""
        self.has_share_locks = self.is_transaction_unsettled = self.may_have_begun = False
        if self.is_insert_id_unsettled:
            # It went with the old link. On the new one it is 0 until something is inserted.
            self.is_insert_id_unsettled = False
            self.last_insert_id = 0
            self.lost_leftovers |= Leftover.INSERT_ID
        self.last_is_elsewhere = True
        for prepared in self.statements.values():
            prepared.lacks_types = bool(prepared.parameters)

    def __repr__(self) -> str:
        return f"<SessionMemory held by {', '.join(map(str, self.holds)) or 'nothing'}>"

    @property
    def holds(self) -> list[Hold]:
        """What a new link cannot have."""
        holds = [hold for hold, count in self._holds.items() if count > 0]
        prepared = self.statements.values()
        holds += [Hold(HoldKind.CURSOR) for statement in prepared if statement.has_cursor]
        holds += [Hold(HoldKind.LONG_DATA) for statement in prepared if statement.has_long_data]
        holds += [Hold(HoldKind.LARGE_PREPARE) for statement in prepared if statement.text is None]
        holds += [Hold(HoldKind.UNSETTLED, f"@{_shown(name)}") for name in sorted(self.doubtful_variables)]
        holds += [Hold(HoldKind.UNSETTLED, f"@@{name}") for name in sorted(self.unsettled_system_variables)]
        textless = [*sorted(self.sql_statements.lost), *self.sql_statements.unread]
        holds += [Hold(HoldKind.UNSETTLED, f"PREPARE {_shown(name)}") for name in textless]
        if self.is_role_unsettled:
            holds.append(Hold(HoldKind.UNSETTLED, "SET ROLE"))
        if self.is_change_unsettled:
            holds.append(Hold(HoldKind.UNSETTLED, "what a view, a trigger or a function may have set"))
        if self.tracked.is_overruled:
            holds.append(Hold(HoldKind.UNSETTLED, "SET session_track"))
        return holds

    @property
    def has_holds(self) -> bool:
        """Some statement has taken something that a new link cannot have."""
        return bool(self._holds or self.sql_statements.lost)

    @property
    def user_locks(self) -> list[Hold]:
        """The locks of GET_LOCK whose names are known, so that the server can be asked for them."""
        return [hold for hold in self._holds if hold.kind is HoldKind.USER_LOCK and hold.name != "?"]

    @property
    def doubtful_variables(self) -> frozenset[bytes]:
        """The user variables that have to be read back."""
        if not self._literals:
            return self.unsettled_variables
        dialect = self.dialect
        return self.unsettled_variables.union(name for name, read in self._literals.items() if read != dialect)

    @property
    def is_unsettled(self) -> bool:
        """Something has to be read back from the server by SELECTs."""
        return bool(
            self.doubtful_variables
            or self.unsettled_system_variables
            or self.sql_statements.unread
            or self.is_role_unsettled
            or (self.are_locks_unsettled and self.user_locks)
            or self.is_change_unsettled
            or self.is_count_lost
            or self.tracked.is_overruled
        )

    @property
    def is_count_lost(self) -> bool:
        """The server has to be asked what it has counted, to know the next time whether it has counted more."""
        return self.counted is None and self.can_be_surveyed

    @property
    def dialect(self) -> Dialect:
        """What decides how the text of a statement is read now, beside the schema."""
        variables, unsettled = self.tracked.variables, self.unsettled_system_variables
        return tuple(self._dialect_mark if name in unsettled else variables.get(name) for name in _DIALECT_VARIABLES)

    @property
    def _dialect_mark(self) -> str:
        """Stands for a value that is still to be read back."""
        return f"unsettled {self._dialect_changes}"

    @property
    def is_deceptive(self) -> bool:
        """Texts may not be what they seem when they are read byte by byte."""
        return self.tracked.variables.get("character_set_client", "") in _DECEPTIVE_CHARSETS

    @property
    def has_only_read(self) -> bool:
        """The open transaction was opened implicitly and, by the server's own word, has only read."""
        isolation = next(
            (self.tracked.variables[name] for name in _ISOLATION_VARIABLES if name in self.tracked.variables),
            self.isolation,
        )
        state = self.tracked.transaction_state
        return (
            state.startswith("I")
            and not self.may_have_written
            and not self.has_share_locks
            and not self.tracked.characteristics
            and isolation.upper() not in ("SERIALIZABLE", "")
        )

    @property
    def may_have_written(self) -> bool:
        """The open transaction has written something, or the server has not said that it has not.

        What fails (a procedure, say) is not reported, and may leave what it has written.
        """
        state = self.tracked.transaction_state
        is_reported = state.startswith(("T", "I")) and not self.tracked.is_overruled
        return not is_reported or "w" in state.lower() or self.is_transaction_unsettled or self.has_share_locks

    @property
    def has_written_for_good(self) -> bool:
        """The open transaction has written to tables of an engine without transactions, which keep what was written.

        The server says so with the letter ``w``; ``W`` stands for writes that are rolled back. Source: the manual's
        page "Server Tracking of Client Session State".
        """
        return "w" in self.tracked.transaction_state

    def settle_variable(self, name: bytes, literal: str) -> None:
        """Take note of what a user variable is, as a literal that is read the same by all sessions."""
        self._forget_variable(name)
        self.user_variables[name] = literal
        self.release(Hold(HoldKind.UNSETTLED, f"@{_shown(name)}"))

    def give_up_variable(self, name: bytes) -> None:
        """Hold a user variable that cannot be read back."""
        self._forget_variable(name)
        self.user_variables.pop(name, None)
        self.hold(Hold(HoldKind.UNSETTLED, f"@{_shown(name)}"))
        self.sql_statements.give_up(name)

    def _forget_variable(self, name: bytes) -> None:
        self.unsettled_variables -= {name}
        self._literals.pop(name, None)

    def settle_system_variables(self, values: Mapping[str, str]) -> None:
        """Take note of what the unsettled system variables are."""
        for name, value in values.items():
            self.tracked.variables.pop(name, None)
            self.tracked.variables[name] = value
        self.unsettled_system_variables = _NO_NAMES
        # What was read since the last of these was set, was read by the values that have been found now.
        mark, settled = self._dialect_mark, self.dialect
        for prepared in self.statements.values():
            prepared.dialect = settle_dialect(prepared.dialect, mark, settled)
        self.sql_statements.settle(mark, settled)

    def hold(self, hold: Hold) -> None:
        """Take note of something that a new link cannot have, until the session is reset or the hold is released."""
        self._holds[hold] = 1

    def release(self, hold: Hold) -> None:
        """Drop a hold whose cause the server says has ended."""
        self._holds.pop(hold, None)

    def note_insert_id(self, insert_id: int) -> None:
        """Take note of the id in an OK packet: that of LAST_INSERT_ID(), or one that the statement gave itself."""
        if insert_id != self.last_insert_id:
            self.last_insert_id = insert_id
            self.doubt_insert_id()

    def doubt_insert_id(self) -> None:
        """Take note of a statement that may have changed LAST_INSERT_ID() without an OK packet that says so."""
        self.is_insert_id_unsettled = self.has_news = True

    def lose_transaction(self, doubt: str) -> None:
        """Record that a transaction is lost with its link; it stays lost until the client has been told.

        ``doubt`` is why it is not certain that all of it was rolled back; empty if it is.
        """
        self.loss_doubt = doubt or (self.loss_doubt if self.lost_transaction else "")
        self.lost_transaction = True

    def doubt_transaction(self) -> None:
        """Take note that a statement goes out that may run others, which may open a transaction or take share locks."""
        self.may_have_begun = self.has_share_locks = True

    def note_result_end(self, status: int) -> None:
        """Take note of a result that ends with an EOF packet, which cannot say what it did to the transaction."""
        if status & _IN_TRANSACTION:
            self.is_transaction_unsettled = self.has_news = True

    def note_success(self, note: Note) -> None:
        """Take note that a command, or a part of it, has been carried out, before its OK packet is read."""
        effects = self._effects_of(note)
        if isinstance(effects, Effects) and effects.reports:
            self.tracked.choose(effects.reports)

    def note_ok(self, note: Note | None) -> None:
        """Take note of an OK packet with a session-track block, which :attr:`tracked` has read."""
        tracked = self.tracked
        if tracked.has_ended_transaction:
            tracked.has_ended_transaction = self.has_share_locks = False
        if (insert_id := tracked.variables.pop("last_insert_id", "")).isdecimal():
            self.last_insert_id = int(insert_id)
            self.is_insert_id_unsettled = False
            if self.last_insert_id:
                self.lost_leftovers &= ~Leftover.INSERT_ID
        if tracked.has_changed:
            tracked.has_changed = False
            self.note_change(note)

    def note_result_change(self, note: Note | None) -> None:
        """Take note of a result behind which, outside of a transaction, there is something to be reported.

        MariaDB says so with a flag, but what it is only with some later OK packet. Where the session has had something
        to do with transactions it may be no more than that.
        """
        tracked = self.tracked
        if not tracked.characteristics and tracked.transaction_state == NO_TRANSACTION:
            self.note_change(note)

    def note_change(self, note: Note | None) -> None:
        """Take note that the server has said that the session's state has changed, but not what of it."""
        effects = self._effects_of(note)
        if isinstance(effects, Explained) or (isinstance(effects, Effects) and effects.explains_change):
            return
        runs_others = isinstance(effects, Executing) or (
            isinstance(effects, Effects) and bool(effects.calls or effects.executes)
        )
        if not self.can_be_surveyed or self.counted is None or runs_others:
            self.hold(Hold(HoldKind.UNEXPLAINED))
        elif Hold(HoldKind.UNEXPLAINED) not in self._holds:
            self.is_change_unsettled = self.has_news = True

    def note_counted(self, statements: int) -> None:
        """Take note that the server has carried out some of the statements that it counts."""
        if self.counted is not None:
            self.counted += statements

    def settle_change(self, counted: int, variables: Iterable[bytes]) -> None:
        """Take note of what the server has counted, and of all the user variables there are.

        What a view, a trigger or a stored function can do to a session, other than to its user variables, is counted.
        MariaDB reports a change where it only goes through another schema to open one of these (seen on 10.11).
        """
        if self.is_change_unsettled:
            self.unsettled_variables |= {*variables, *self.user_variables}
            if counted != self.counted:
                self.hold(Hold(HoldKind.UNEXPLAINED))
        self.is_change_unsettled = False
        self.counted = counted

    def cannot_be_surveyed(self) -> None:
        """Take note that the server has not said what it was asked for that."""
        self.can_be_surveyed = False
        if self.is_change_unsettled:
            self.is_change_unsettled = False
            self.hold(Hold(HoldKind.UNEXPLAINED))

    def note_prepared(self, note: Preparing, answer: PrepareOk) -> int:
        """Take note of a statement that the server has prepared; return the id by which the client is to know it."""
        client_id = answer.statement_id
        if client_id in self.statements:
            client_id = max(self.statements) + 1
        note.prepared = PreparedStatement(
            client_id,
            answer.statement_id,
            note.text,
            note.statement,
            self.tracked.schema,
            self.dialect,
            answer.columns,
            answer.parameters,
            b"",
        )
        return client_id

    def end_command(self, note: Note, status: int, *, failed: bool, has_cursor: bool = False) -> None:
        """Record that a command has been answered: ``status`` are the last status flags.

        ``has_cursor``: an execution has left its cursor open.
        """
        self.has_news = True
        match note:
            case Effects():
                self._apply(note, failed=failed)
                if not failed:
                    self._take_literals(note)
            case Preparing():
                self._end_prepare(note, failed=failed)
            case Executing():
                self._end_execution(note, failed=failed, has_cursor=has_cursor)
            case Resetting(prepared):
                prepared.has_long_data = prepared.has_cursor = False
            case Fetching(prepared):
                prepared.has_cursor = prepared.has_cursor and not failed and not status & _LAST_ROW_SENT
            case SettingOption(multi_statements):
                self._count(1, failed=failed)  # as servers do
                if not failed:
                    self.multi_statements = multi_statements

    def recently_executed(self) -> list[PreparedStatement]:
        """Give the statements that were executed last and still exist, no more than a few dozen."""
        executed = self._executed_last.items()
        return [prepared for key, prepared in executed if self.statements.get(key) is prepared]

    def forget_statement(self, client_id: int) -> None:
        """Take note of a COM_STMT_CLOSE."""
        self.statements.pop(client_id, None)

    @property
    def last_prepared_id(self) -> int:
        """The server's id of the statement that was prepared last, if that can still be executed."""
        last = self.last_prepared
        is_there = last is not None and self.statements.get(last.client_id) is last and not last.broken
        return last.server_id if last is not None and is_there else NO_STATEMENT_ID

    def refusal(self, prepared: PreparedStatement) -> str:
        """Return why a statement cannot be executed as it was prepared, empty if it can.

        MySQL prepares a statement anew, by the sql_mode of that moment, at its first execution with parameters of other
        types than it had expected (``Prepared_statement::check_parameter_types()`` in ``sql/sql_prepare.cc``). Where
        that has happened on an earlier link, it must not happen again under another mode.
        """
        is_first = prepared.lacks_types and prepared.types
        return prepared.broken or (OTHER_DIALECT if is_first and prepared.dialect != self.dialect else "")

    def _end_prepare(self, note: Preparing, *, failed: bool) -> None:
        self.last_prepared = None if failed else note.prepared
        self.last_is_elsewhere = False
        if note.prepared is not None and not failed:
            note.prepared.definitions = b"".join(note.definitions)
            self.statements[note.prepared.client_id] = note.prepared

    def _end_execution(self, note: Executing, *, failed: bool, has_cursor: bool) -> None:
        prepared = self._executed(note)
        if prepared is None:
            return
        self._executed_last.pop(prepared.client_id, None)
        self._executed_last[prepared.client_id] = prepared
        if len(self._executed_last) > _EXECUTED_LAST:
            del self._executed_last[next(iter(self._executed_last))]
        prepared.has_long_data = False
        prepared.has_cursor = has_cursor
        prepared.lacks_types = prepared.lacks_types and failed
        if note.payload:
            with suppress(MalformedPacket):
                keep_types(prepared, note.payload, find_types(note.payload, prepared.parameters))
        if prepared.statement.kind is Kind.OTHER:
            self.doubt_insert_id()
        if prepared.statement.effects is not None:
            self._apply(prepared.statement.effects, failed=failed)

    def _effects_of(self, note: Note | None) -> Note | None:
        """Give what a prepared statement does instead of the note of its execution, if the statement is known."""
        executed = self._executed(note) if isinstance(note, Executing) else None
        return note if executed is None else executed.statement.effects

    def _executed(self, note: Executing) -> PreparedStatement | None:
        return note.prepared or self.last_prepared

    def _apply(self, effects: Effects, *, failed: bool) -> None:
        if effects.user_variables:
            self.unsettled_variables |= effects.user_variables
        if effects.system_variables:
            self.unsettled_system_variables |= effects.system_variables
        self._dialect_changes += not effects.system_variables.isdisjoint(_DIALECT_VARIABLES)
        self.is_role_unsettled |= effects.sets_role
        self.is_insert_id_unsettled |= effects.sets_insert_id
        self.has_share_locks |= effects.share_locks
        self._count(effects.counted, failed=failed)
        self.are_locks_unsettled |= any(hold.kind is HoldKind.USER_LOCK for hold in (*effects.takes, *effects.releases))
        # Of several statements one may have failed behind others that have not.
        for hold in effects.takes:
            if not failed or effects.is_multiple or hold.kind is HoldKind.USER_LOCK:
                self._take(hold)
        if not failed or effects.is_multiple:
            self._rename(effects.renames)
        for done in self.sql_statements.apply(effects, self.tracked.schema, self.dialect, failed=failed):
            if done is None:
                self.hold(Hold(HoldKind.UNEXPLAINED))
            else:
                self._apply(done, failed=failed)
        if not failed:
            for hold in effects.releases:
                self._release(hold)

    def _take_literals(self, effects: Effects) -> None:
        """Take note of variables whose values the text of a statement has. How a string is read may change."""
        for name, literal in effects.user_literals:
            if len(self.user_variables) < _MOST_LITERALS:
                self.settle_variable(name, literal)
                if literal.startswith("'"):
                    self._literals[name] = self.dialect
        for variable, value in effects.system_literals:
            if variable not in _DIALECT_VARIABLES:
                self.tracked.variables.pop(variable, None)
                self.tracked.variables[variable] = value
                self.unsettled_system_variables -= {variable}

    def _count(self, statements: int, *, failed: bool) -> None:
        if failed and statements:
            self.counted = None  # some of what fails is counted, and some is not
        else:
            self.note_counted(statements)

    def _take(self, hold: Hold) -> None:
        hold = self._qualified(hold)
        # A lock can be taken several times over, and must then be released as often.
        self._holds[hold] += _is_nameless_lock(hold) or not self._holds[hold]

    def _qualified(self, hold: Hold) -> Hold:
        if hold.kind is HoldKind.TEMPORARY_TABLE and hold.name and "." not in hold.name:
            return Hold(hold.kind, f"{_shown(self.tracked.schema)}.{hold.name}")
        return hold

    def _rename(self, renames: Iterable[tuple[str, str]]) -> None:
        """Hold tables of new names whose old names are those of temporary tables. Whether case matters is not known."""
        for old, new in renames:
            renamed = self._qualified(Hold(HoldKind.TEMPORARY_TABLE, old))
            if renamed.name.lower() in (hold.name.lower() for hold in self._holds if hold.kind is renamed.kind):
                self._take(Hold(HoldKind.TEMPORARY_TABLE, new))

    def _release(self, hold: Hold) -> None:
        hold = self._qualified(hold)
        if not hold.name:
            for taken in [taken for taken in self._holds if taken.kind is hold.kind]:
                del self._holds[taken]
        elif self._holds[hold] > 0 and (hold.kind is not HoldKind.USER_LOCK or _is_nameless_lock(hold)):
            self._holds[hold] -= 1


def _is_nameless_lock(hold: Hold) -> bool:
    """Tell whether a hold is a lock for which the server cannot be asked, so that only counting is left."""
    return hold == Hold(HoldKind.USER_LOCK, "?")


def _shown(name: bytes) -> str:
    return name.decode(errors="replace")
