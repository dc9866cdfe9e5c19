"""The session-track block of OK packets: what the server says about the session's own state.

The guard has the server report more than the client asked for. ``SessionTracker`` keeps what the guard needs and gives
back the block that the client should see. Source: the manual's page "OK_Packet", section "Session State Information";
a STATE_CHANGE entry holds one bare byte, all others nest length-encoded strings.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TypeAlias

from protocol.constants import SessionTrack
from protocol.wire import Cursor

#: The transaction state of a session that is in no transaction and holds no table locks.
NO_TRANSACTION = "________"

#: The server sets these when a schema is chosen; sessions may set them to something else afterwards.
FOLLOWING_SCHEMA = ("character_set_database", "collation_database")

#: Not to be kept: what changes with every statement, what lasts for one statement, and what follows the schema.
_UNWATCHED = frozenset(
    {
        *FOLLOWING_SCHEMA,
        "error_count",
        "gtid_next",
        "identity",
        "insert_id",
        "last_gtid",
        "pseudo_thread_id",
        "rand_seed1",
        "rand_seed2",
        "statement_id",
        "timestamp",
        "warning_count",
    }
)

_MARIADB_NAMES_STATEMENT = (
    "SELECT variable_name FROM information_schema.system_variables "
    "WHERE variable_scope LIKE 'SESSION%' AND read_only = 'NO'"
)
#: Older versions do not have this table.
_MYSQL_NAMES_STATEMENT = (
    "SELECT variable_name FROM performance_schema.variables_metadata "
    "WHERE variable_scope IN ('SESSION', 'SESSION_ONLY')"
)

_LIST_VARIABLE = "session_track_system_variables"
_SCHEMA_VARIABLE = "session_track_schema"
_CHANGE_VARIABLE = "session_track_state_change"
_TRANSACTION_VARIABLE = "session_track_transaction_info"
#: The variables by which a client says what is to be reported. The guard answers for them; the server is never given
#: the client's values again.
REPORT_VARIABLES = (_LIST_VARIABLE, _SCHEMA_VARIABLE, _CHANGE_VARIABLE, _TRANSACTION_VARIABLE)

#: What statements change by themselves; the latter is MariaDB's, and goes with each write to the binary log.
_CHANGED_UNASKED = frozenset({"last_insert_id", "last_gtid"})
_TRANSACTION_KINDS = frozenset({SessionTrack.TRANSACTION_CHARACTERISTICS, SessionTrack.TRANSACTION_STATE})
#: Servers say ON, clients also something else.
_ON = ("ON", "1", "TRUE")
#: Which kinds of entries a server reports at which value of a variable.
_KINDS: dict[tuple[str, str], frozenset[SessionTrack]] = {
    (_TRANSACTION_VARIABLE, "STATE"): frozenset({SessionTrack.TRANSACTION_STATE}),
    (_TRANSACTION_VARIABLE, "CHARACTERISTICS"): _TRANSACTION_KINDS,
    **{(_SCHEMA_VARIABLE, on): frozenset({SessionTrack.SCHEMA}) for on in _ON},
    **{(_CHANGE_VARIABLE, on): frozenset({SessionTrack.STATE_CHANGE}) for on in _ON},
}


def is_mariadb(version: bytes) -> bool:
    """Tell by the version in the greeting whether a server is a MariaDB."""
    return b"MariaDB" in version


def names_statements(version: bytes) -> tuple[str, ...]:
    """Give the statements, to be tried in turn, that list the session's variables; the first column is a name."""
    if is_mariadb(version):
        # MariaDB refuses a list with a name in it that it does not know, so the list must be its own.
        return (_MARIADB_NAMES_STATEMENT,)
    return (_MYSQL_NAMES_STATEMENT, "SHOW SESSION VARIABLES")


def watch_statement(names: Iterable[str], version: bytes) -> bytes:
    """Write the statement, run on a new link, that has the server report all that a new link would have to be given.

    To read a list of 200 names takes a server as long as all the rest of a login, so MariaDB gets none. MySQL does:
    with ``*`` it reports ``statement_id`` with every statement. The list is set last: MariaDB reports what is set
    behind it, in an order that changes.
    """
    watched = "*" if is_mariadb(version) else ",".join(sorted(set(names) - _UNWATCHED))
    statement = (
        "SET SESSION session_track_schema = ON, session_track_state_change = ON, "
        f"session_track_transaction_info = 'CHARACTERISTICS', session_track_system_variables = '{watched}'"
    )
    return statement.encode()


#: What decides which part of a block a client sees: whether it listens at all, and if so, to which variables (None: to
#: all) and kinds of entries.
Audience: TypeAlias = tuple[bool, frozenset[str] | None, frozenset[int]]


class SessionTracker:
    """What the server has reported about one session."""

    def __init__(self, *, client_listens: bool) -> None:
        """``client_listens`` says whether the client negotiated CLIENT_SESSION_TRACK."""
        self._client_listens = client_listens
        #: The statement with which the guard has asked for its reports.
        self.own_watch = b""
        self.reset()

    def reset(self) -> None:
        """Forget everything, as the server does at COM_RESET_CONNECTION and COM_CHANGE_USER."""
        #: Values of the variables that have been changed, the one changed last at the end.
        self.variables: dict[str, str] = {}
        self.schema = b""
        #: SQL that makes the next transaction what the client has asked it to be; empty if it is an ordinary one.
        self.characteristics = ""
        self.transaction_state = NO_TRANSACTION
        #: The server has said that there is no transaction any more; whoever looks at it sets it back.
        self.has_ended_transaction = False
        #: Whether the server has reported a change without saying which.
        self.has_changed = False
        #: Whether the client has said itself what is to be reported: then less is reported than the guard needs.
        self.is_overruled = False
        self._own: dict[str, str] = {}
        self._shown_variables: frozenset[str] | None = frozenset()  # None: all
        self._shown_kinds: frozenset[int] = frozenset()
        self._choose_shown()

    def begin_link(self, own: Mapping[str, str]) -> None:
        """Take note of a new link to the server; what has been changed outlives the old one.

        ``own`` are the values that :data:`REPORT_VARIABLES` have on the server without the guard.
        """
        self.forget_transaction()
        self._own = dict(own)
        self.watches_again(self.variables)

    def forget_transaction(self) -> None:
        """Take note that there is no transaction, and that nothing was said of the next one."""
        self.characteristics = ""
        self.transaction_state = NO_TRANSACTION

    def watches_again(self, variables: Mapping[str, str]) -> None:
        """Take note that the guard has its reports again; ``variables`` had been changed before it asked for them."""
        self.variables = dict(variables)
        self.has_changed = self.is_overruled = False
        self._choose_shown()

    def choose(self, reports: Iterable[tuple[str, str]]) -> None:
        """Take note of what the client itself wants to hear: variables that servers need not report, and their values.

        DEFAULT is what it would hear without having said anything.
        """
        for name, value in reports:
            if name in REPORT_VARIABLES:
                self.variables[name] = self._own.get(name, "") if value.upper() == "DEFAULT" else value
                self.is_overruled = True
        self._choose_shown()

    @property
    def audience(self) -> Audience:
        """What decides which part of a block the client sees."""
        return self._client_listens, self._shown_variables, self._shown_kinds

    @property
    def hides_usual_reports(self) -> bool:
        """The client does not want to hear what statements do unasked: to the transaction, to LAST_INSERT_ID()."""
        return not self._client_listens or not (
            self._shown_variables is None
            or _CHANGED_UNASKED & self._shown_variables
            or _TRANSACTION_KINDS & self._shown_kinds
        )

    def note(self, block: bytes) -> bytes:
        """Read a block, keep what matters and return the part that is for the client.

        Raises:
            MalformedPacket: the block contradicts its own lengths.
        """
        for_client = [whole for kind, entry, whole in read_entries(block) if self._note_entry(kind, entry)]
        return b"".join(for_client) if self._client_listens else b""

    def _note_entry(self, kind: int, entry: bytes) -> bool:
        """Keep what an entry says; return whether the client would hear of it without the guard."""
        match kind:
            case SessionTrack.SYSTEM_VARIABLES:
                return self._note_variable(entry)
            case SessionTrack.SCHEMA:
                self.schema = Cursor(entry).lenenc_bytes()
                for name in FOLLOWING_SCHEMA:
                    self.variables.pop(name, None)
            case SessionTrack.STATE_CHANGE:
                self.has_changed = True
            case SessionTrack.TRANSACTION_CHARACTERISTICS:
                self.characteristics = _text(Cursor(entry))
            case SessionTrack.TRANSACTION_STATE:
                self.transaction_state = _text(Cursor(entry))
                self.has_ended_transaction |= self.transaction_state == NO_TRANSACTION
        return kind in self._shown_kinds

    def _note_variable(self, entry: bytes) -> bool:
        """Keep a variable's value; return whether the client would hear of it without the guard."""
        name, value = read_variable(entry)
        if name not in _UNWATCHED:
            self.variables.pop(name, None)
            self.variables[name] = value
        if name in REPORT_VARIABLES:
            self.is_overruled = True
            self._choose_shown()
        return self._shown_variables is None or name in self._shown_variables

    def _choose_shown(self) -> None:
        """Find out what the client would hear of without the guard."""
        wanted = self._own | {name: self.variables[name] for name in REPORT_VARIABLES if name in self.variables}
        self._shown_variables, self._shown_kinds = _shown(tuple(wanted.items()))


@lru_cache(maxsize=64)  # of which sessions seldom differ
def _shown(wanted: tuple[tuple[str, str], ...]) -> tuple[frozenset[str] | None, frozenset[int]]:
    """Read :data:`REPORT_VARIABLES`: give which variables are reported (None: all), and which kinds of entries."""
    names = dict(wanted).get(_LIST_VARIABLE, "")
    variables = None if "*" in names else frozenset(name.strip().lower() for name in names.split(","))
    kinds = {kind for name, value in wanted for kind in _KINDS.get((name, value.upper()), ())}
    return variables, frozenset({*kinds, SessionTrack.GTIDS})


def read_entries(block: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Read a block, entry by entry: its kind, what it says, and the whole of it.

    Raises:
        MalformedPacket: the block contradicts its own lengths.
    """
    cursor = Cursor(block)
    while cursor.remaining:
        start = cursor.position
        kind = cursor.integer(1)
        entry = cursor.lenenc_bytes()
        yield kind, entry, block[start : cursor.position]


def read_variable(entry: bytes) -> tuple[str, str]:
    """Read what a SYSTEM_VARIABLES entry says: a name, in lower case, and a value. Raises MalformedPacket."""
    cursor = Cursor(entry)
    # MySQL spells a name as whoever made the list of names did.
    name = sys.intern(_text(cursor).lower())
    return name, sys.intern(_text(cursor))


def _text(cursor: Cursor) -> str:
    return cursor.lenenc_bytes().decode(errors="replace")
