"""What the text of a statement tells about what it does to its session, and whether it may be run again.

Theory of operation
-------------------
:func:`classify` cuts the text into tokens and these into statements. Each statement is scanned for what can stand
anywhere in it (assignments, calls of functions that do something, locking clauses), then looked at by the rule for its
verb. What no rule knows is OTHER, and what looks as if it changed the session in a way that cannot be told is a hold.

All rules err on one side: a statement may be taken for more harmful than it is, never for less. A function that is not
the server's own may do anything, which a text cannot show; see :func:`read_only_check`.

:func:`is_plain` is the short cut for the many statements that do nothing to their session. It reads bytes, not tokens,
so that it holds whatever the quotes and the character set mean to the server.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import accumulate
from typing import TypeAlias

from protocol.holds import Hold, HoldKind
from protocol.sql import Lexeme, Token, tokenize, unquote

#: MariaDB's session-track block tells of ``SET wait_timeout`` and ``SET @@session.wait_timeout``, but not of this form.
_UNREPORTED = re.compile(rb"@@`?wait_timeout`?\s*:?=", re.IGNORECASE)


def sets_wait_timeout_unreported(data: bytes, start: int, stop: int) -> bool:
    """Tell whether the statement in ``data[start:stop]`` sets wait_timeout without the server reporting it."""
    # The first test is the faster one by far, and nearly all statements fail it.
    return data.find(b"@@", start, stop) >= 0 and _UNREPORTED.search(data, start, stop) is not None


class Kind(Enum):
    """What a statement is good for when its reply has been lost."""

    READ = auto()  # reads only, as far as its text tells
    CHANGE = auto()  # may change data, and surely does not commit by itself
    COMMIT = auto()
    ROLLBACK = auto()
    BEGIN = auto()
    SESSION = auto()  # affects nothing but the session, which dies with its link
    AUTOCOMMIT = auto()  # the same, but it sets autocommit, which may commit the open transaction
    OTHER = auto()  # all else, and what is not understood


@dataclass(frozen=True)
class SqlPrepare:
    """A PREPARE in SQL. Its text is a literal as written, or in a user variable; both are None if it is neither."""

    name: bytes
    literal: bytes | None
    variable: bytes | None


@dataclass(frozen=True)
class Effects:
    """What a text does to its session, as far as it tells, if the server carries out all of it.

    Take ``takes`` before ``releases``: what is taken again behind its release is not among the latter. The same goes
    for ``prepares`` and ``deallocates``.
    """

    #: User variables that it may assign: without @ and quotes, ASCII letters in lower case.
    user_variables: frozenset[bytes] = frozenset()
    #: Session variables, in lower case, whose values the server may not report as they are then.
    system_variables: frozenset[str] = frozenset()
    takes: tuple[Hold, ...] = ()
    #: A name that is empty stands for all of that kind.
    releases: tuple[Hold, ...] = ()
    prepares: tuple[SqlPrepare, ...] = ()
    deallocates: tuple[bytes, ...] = ()
    #: Names of statements PREPAREd in SQL that it executes. What these do comes on top of all else here.
    executes: tuple[bytes, ...] = ()
    sets_role: bool = False
    #: LAST_INSERT_ID() may be another one than OK packets say.
    sets_insert_id: bool = False
    #: If the server reports that the session's state has changed, all of the change is told here or by the server.
    explains_change: bool = False
    #: It asks for share locks, which the server's report on the transaction leaves out.
    share_locks: bool = False
    is_multiple: bool = False


@dataclass(frozen=True)
class Statement:
    """What a text says; ``effects`` is None if it does nothing to its session."""

    kind: Kind
    effects: Effects | None


@dataclass(frozen=True)
class Kill:
    """A KILL, and where in its text the thread's number stands."""

    start: int
    stop: int
    thread_id: int


_UNEXPLAINED = Hold(HoldKind.UNEXPLAINED)
_TABLE_LOCKS = Hold(HoldKind.TABLE_LOCKS)
_GLOBAL_READ_LOCK = Hold(HoldKind.GLOBAL_READ_LOCK)
_XA = Hold(HoldKind.XA)
_INSTANCE_LOCK = Hold(HoldKind.BACKUP_LOCK, "INSTANCE")
_BACKUP_STAGE = Hold(HoldKind.BACKUP_LOCK, "STAGE")
_BACKUP_TABLE = Hold(HoldKind.BACKUP_LOCK, "TABLE")
_ALL_USER_LOCKS = Hold(HoldKind.USER_LOCK)

#: Functions that change nothing and read nothing of the session that a new link would not have. All supported servers
#: have them: on one that had not, the name could be that of a stored function.
_PURE_FUNCTIONS = """
    ABS ACOS ADDDATE ADDTIME AES_DECRYPT AES_ENCRYPT ASCII ASIN ATAN ATAN2 AVG BIN BIT_AND BIT_COUNT BIT_LENGTH BIT_OR
    BIT_XOR CAST CEIL CEILING CHAR CHARACTER_LENGTH CHARSET CHAR_LENGTH COALESCE COERCIBILITY COLLATION COMPRESS CONCAT
    CONCAT_WS CONNECTION_ID CONV CONVERT CONVERT_TZ COS COT COUNT CRC32 CURDATE CURRENT_DATE CURRENT_TIME
    CURRENT_TIMESTAMP CURRENT_USER CURTIME DATABASE DATE DATEDIFF DATE_ADD DATE_FORMAT DATE_SUB DAY DAYNAME DAYOFMONTH
    DAYOFWEEK DAYOFYEAR DEGREES ELT EXP EXTRACT FIELD FIND_IN_SET FLOOR FORMAT FROM_BASE64 FROM_DAYS FROM_UNIXTIME
    GREATEST GROUP_CONCAT HEX HOUR IF IFNULL INET6_ATON INET6_NTOA INET_ATON INET_NTOA INSTR ISNULL JSON_ARRAY
    JSON_CONTAINS JSON_EXTRACT JSON_KEYS JSON_LENGTH JSON_OBJECT JSON_QUOTE JSON_SEARCH JSON_SET JSON_TYPE JSON_UNQUOTE
    JSON_VALID LAST_DAY LCASE LEAST LEFT LENGTH LN LOCALTIME LOCALTIMESTAMP LOCATE LOG LOG10 LOG2 LOWER LPAD LTRIM
    MAKEDATE MAKETIME MAX MICROSECOND MID MIN MINUTE MOD MONTH MONTHNAME NOW NULLIF OCT OCTET_LENGTH ORD PERIOD_ADD
    PERIOD_DIFF PI POSITION POW POWER QUARTER QUOTE RADIANS RAND REPEAT REPLACE REVERSE RIGHT ROUND RPAD RTRIM SCHEMA
    SECOND SEC_TO_TIME SESSION_USER SIGN SIN SOUNDEX SPACE SQRT STD STDDEV STDDEV_POP STDDEV_SAMP STRCMP STR_TO_DATE
    SUBDATE SUBSTR SUBSTRING SUBSTRING_INDEX SUBTIME SUM SYSDATE SYSTEM_USER TAN TIME TIMEDIFF TIMESTAMP TIMESTAMPADD
    TIMESTAMPDIFF TIME_FORMAT TIME_TO_SEC TO_BASE64 TO_DAYS TO_SECONDS TRIM TRUNCATE UCASE UNCOMPRESS UNHEX
    UNIX_TIMESTAMP UPPER USER UTC_DATE UTC_TIME UTC_TIMESTAMP UUID VARIANCE VAR_POP VAR_SAMP VERSION WEEK WEEKDAY
    WEEKOFYEAR YEAR YEARWEEK
"""
#: Words that stand in front of a parenthesis and, being reserved, are no functions.
_NO_CALLS = """
    ALL ANALYZE AND AS BETWEEN BINARY BY CASE DECIMAL DESC DESCRIBE DISTINCT DIV ELSE EXISTS EXPLAIN FROM FULLTEXT
    HAVING IN INDEX INTERVAL IS JOIN KEY LIKE LIMIT MATCH NOT ON OR PARTITION REGEXP RLIKE SELECT SET THEN UNION UPDATE
    USING VALUES WHEN WHERE XOR
"""
_PURE = frozenset(_PURE_FUNCTIONS.split())
_IN_FRONT_OF_PARENTHESES = frozenset(_NO_CALLS.split())

#: Functions that do something. The sequences are those of MariaDB, elsewhere they may be emulated.
_CHANGING = frozenset({"GET_LOCK", "RELEASE_LOCK", "RELEASE_ALL_LOCKS", "NEXTVAL", "SETVAL"})
#: Functions that tell what an earlier statement on the same link has done.
_LOOKING_BACK = frozenset({"FOUND_ROWS", "ROW_COUNT", "LASTVAL", "CURRVAL"})
_VARIABLES_LOOKING_BACK = frozenset({"error_count", "warning_count", "last_gtid"})
#: All functions that surely are no stored ones, which may do anything to the session.
_NATIVE = _PURE | {"GET_LOCK", "IS_FREE_LOCK", "IS_USED_LOCK", "RELEASE_ALL_LOCKS", "RELEASE_LOCK"}
_NATIVE |= {"BENCHMARK", "FOUND_ROWS", "LAST_INSERT_ID", "ROW_COUNT", "SLEEP"}
#: How the names of functions begin that change a server and come with it, though some have to be loaded.
_ADMINISTRATIVE = (
    "asynchronous_connection_failover_",
    "audit_",
    "firewall_",
    "gen_dictionary_",
    "group_replication_",
    "keyring_",
    "load_rewrite_rules",
    "masking_dictionar",
    "mle_",
    "mysql_firewall_",
    "read_firewall_",
    "service_",
    "set_firewall_",
    "spider_",
    "sys_",
    "version_tokens_",
)

#: Clauses that decide whether the expressions of a SELECT are evaluated, and how often.
_CONDITIONS = frozenset(
    {"FROM", "WHERE", "HAVING", "LIMIT", "OFFSET", "FETCH", "UNION", "EXCEPT", "INTERSECT", "MINUS"}
)
_QUERY_WORDS = frozenset({"SELECT", "TABLE", "VALUES", "WITH"})
_SEQUENCE_WORDS = frozenset({"NEXT", "NEXTVAL", "PREVIOUS", "LASTVAL", "CURRVAL", "SETVAL"})
#: With these in it, the value of a SET is more than an expression.
_UNSETTABLE_WORDS = _QUERY_WORDS | _SEQUENCE_WORDS
#: A statement with none of these has nothing to be found by the scan.
_SCANNED = frozenset({"(", ":=", "@@", "INTO", "FOR", "LOCK"}) | _SEQUENCE_WORDS

_GLOBAL_SCOPES = frozenset({"global", "persist", "persist_only"})
_SCOPES = frozenset({"session", "local"}) | _GLOBAL_SCOPES
_ASSIGNS = ("=", ":=")
_DEPTHS = {"(": 1, ")": -1}

_CHARACTER_SETS = frozenset(
    {"character_set_client", "character_set_connection", "character_set_results", "collation_connection"}
)
#: Variables that change together, of which servers report but the one that was named.
_TOGETHER = {
    name: frozenset(pair)
    for pair in (
        ("character_set_connection", "collation_connection"),
        ("character_set_database", "collation_database"),
        ("character_set_server", "collation_server"),
    )
    for name in pair
}
#: Variables by which binary logs are replayed. What they read is not what they were set to.
_REPLAY_VARIABLES = frozenset(
    {"timestamp", "insert_id", "rand_seed1", "rand_seed2", "pseudo_thread_id", "gtid_next", "gtid_seq_no"}
)
#: Values, as their source is written in lower case, that give up what was set.
_RESETS = {"timestamp": (b"default", b"0"), "gtid_next": (b"default", b"'automatic'")}
_INSERT_IDS = frozenset({"last_insert_id", "identity"})

_TRANSACTION_WORDS = frozenset(
    {"TRANSACTION", "ISOLATION", "LEVEL", "READ", "COMMITTED", "UNCOMMITTED", "REPEATABLE", "SERIALIZABLE", "ONLY"}
    | {"WRITE", ","}
)
_START_WORDS = frozenset({"WITH", "CONSISTENT", "SNAPSHOT", "READ", "ONLY", "WRITE", ","})
#: How COMMIT and ROLLBACK may go on while the session goes on without a transaction.
_ENDINGS: tuple[list[str], ...] = (
    [],
    ["AND", "NO", "CHAIN"],
    ["NO", "RELEASE"],
    ["AND", "NO", "CHAIN", "NO", "RELEASE"],
)

#: Options of EXPLAIN, and how many tokens each consists of.
_EXPLAIN_OPTIONS = {"ANALYZE": 1, "EXTENDED": 1, "INTO": 2, "PARTITIONS": 1}

#: What stands behind the label of one of MariaDB's compound statements.
_LABELLED = ("BEGIN", "FOR", "LOOP", "REPEAT", "WHILE")
_WITH_BODIES = frozenset({"EVENT", "FUNCTION", "PACKAGE", "PROCEDURE", "TRIGGER"})
#: Beginnings of the statements of which an EXPLAIN tells whether they write.
_CHECKED_VERBS = _QUERY_WORDS | {"("}
#: Kinds of statements that change the session only where the scan finds it, unless they call a stored function.
_QUERY_KINDS = frozenset({Kind.READ, Kind.CHANGE, Kind.BEGIN, Kind.COMMIT, Kind.ROLLBACK})

#: Digits of the largest id of a thread.
_LONGEST_THREAD_ID = 20


class _Part:
    """One statement of a text, and what the scan has found in it."""

    def __init__(self, tokens: list[Token], *, escapes: bool) -> None:
        self.tokens = tokens
        self.keys = [token.key for token in tokens]
        self.words = frozenset(self.keys)
        self.escapes = escapes
        self.assigns = self.locks = self.changes = self.looks_back = False
        self.into_variables = False
        #: INTO with something else behind it.
        self.into_others = 0
        self.calls_administrative = self.calls_unknown = self.calls_impure = False
        #: Whether it explains a change of the session's state; None if its kind tells.
        self.explains: bool | None = None

    def key(self, index: int) -> str:
        """Give a token's key, empty outside of the statement."""
        return self.keys[index] if 0 <= index < len(self.keys) else ""

    def value(self, token: Token) -> bytes:
        """Give what a token means: a name without its quotes, a literal's value."""
        text = token.text[1:] if token.lexeme is Lexeme.USER else token.text
        return unquote(text, backslash_escapes=self.escapes)

    def variable(self, token: Token) -> bytes:
        """Give the name of a user variable, or of a statement PREPAREd in SQL: case does not matter there."""
        return self.value(token).lower()

    def lower_name(self, index: int) -> str:
        """Give a name of the server's own in lower case, empty if there is none."""
        if index < len(self.tokens) and _is_name(self.tokens[index]):
            name = self.value(self.tokens[index])
            return name.decode().lower() if name.isascii() else ""
        return ""

    def table(self, index: int) -> tuple[str, int]:
        """Read the name of a table, with or without its schema; return it and where it ends. Empty if there is none."""
        names: list[str] = []
        while index < len(self.tokens) and _is_name(self.tokens[index]) and len(names) < 2:
            names.append(self.value(self.tokens[index]).decode(errors="replace"))
            index += 1
            if self.key(index) != ".":
                break
            index += 1
        return (".".join(names) if all(names) else ""), index

    def user_variables(self) -> Iterator[bytes]:
        """List every user variable that is mentioned."""
        return (self.variable(token) for token in self.tokens if token.lexeme is Lexeme.USER)


class _Notes:
    """Collects the effects of a text's statements, one after the other."""

    def __init__(self, *, is_multiple: bool) -> None:
        self.is_multiple = is_multiple
        self.user_variables: set[bytes] = set()
        self.system_variables: set[str] = set()
        #: Variables set in a way that servers report correctly, unless there are other statements beside it.
        self.reported: set[str] = set()
        self.takes: list[Hold] = []
        self.releases: list[Hold] = []
        self.prepares: list[SqlPrepare] = []
        self.deallocates: list[bytes] = []
        self.executes: list[bytes] = []
        self.sets_role = self.sets_insert_id = self.share_locks = False
        #: A statement has changed how the server reads those behind it.
        self.sets_mode = False
        #: A statement defines something whose body cannot be told from the statements behind it.
        self.defines = False
        self.has_explained = self.has_unexplained = False

    def assign(self, names: Iterable[bytes]) -> None:
        """Note that user variables may be assigned to."""
        assigned = set(names)
        self.user_variables |= assigned
        if any(sql.variable in assigned and sql.name not in self.deallocates for sql in self.prepares):
            self.take(_UNEXPLAINED)  # the text of a statement is not in the variable any more

    def take(self, hold: Hold) -> None:
        """Note that a hold has come into being."""
        self.takes.append(hold)
        self.releases = [old for old in self.releases if old.kind is not hold.kind or old.name not in ("", hold.name)]

    def release(self, hold: Hold) -> None:
        """Note that a hold has ended."""
        self.releases.append(hold)

    def prepare(self, prepared: SqlPrepare) -> None:
        """Note a statement that is PREPAREd in SQL."""
        if prepared.name in self.executes:
            self.take(_UNEXPLAINED)  # what was executed was another statement of the same name
        self.prepares.append(prepared)
        self.deallocates = [name for name in self.deallocates if name != prepared.name]

    def effects(self) -> Effects | None:
        """Give what has been noted, None if that is nothing."""
        if self.is_multiple:
            self.system_variables |= self.reported
        is_silent = not (
            self.user_variables
            or self.system_variables
            or self.takes
            or self.releases
            or self.prepares
            or self.deallocates
            or self.executes
            or self.sets_role
            or self.sets_insert_id
            or self.share_locks
            or self.has_explained
        )
        if is_silent:
            return None
        return Effects(
            frozenset(self.user_variables),
            frozenset(self.system_variables),
            tuple(self.takes),
            tuple(self.releases),
            tuple(self.prepares),
            tuple(self.deallocates),
            tuple(self.executes),
            self.sets_role,
            self.sets_insert_id,
            not self.has_unexplained,
            self.share_locks,
            self.is_multiple,
        )


def _is_name(token: Token) -> bool:
    """Tell whether a token can be an identifier."""
    lexeme = token.lexeme
    return lexeme in (Lexeme.WORD, Lexeme.QUOTED, Lexeme.NAME) or (lexeme is Lexeme.STRING and token.text[:1] == b'"')


def _scan(part: _Part, notes: _Notes) -> None:
    """Look for what can stand anywhere in a statement."""
    if not part.words & _SCANNED:
        return
    depth = 0
    for index, key in enumerate(part.keys):
        if key == "(":
            if index:
                _scan_call(part, index, notes, is_nested=depth > 0)
            depth += 1
        elif key == ")":
            depth -= 1
        elif key == ":=":
            part.assigns = True
            if index and part.tokens[index - 1].lexeme is Lexeme.USER:
                notes.assign([part.variable(part.tokens[index - 1])])
        elif key == "INTO":
            _scan_into(part, index + 1, notes)
        elif key in _SCANNED:
            _scan_word(part, index, notes)


def _scan_word(part: _Part, index: int, notes: _Notes) -> None:
    """Look at a word that means something together with those behind it."""
    key, behind = part.key(index), part.key(index + 1)
    if key == "FOR":
        part.locks |= behind in ("UPDATE", "SHARE")
        notes.share_locks |= behind == "SHARE"
    elif key == "LOCK":
        is_share = behind == "IN" and part.key(index + 2) == "SHARE"
        part.locks |= is_share
        notes.share_locks |= is_share
    elif key == "@@":
        names = {part.lower_name(index + 1), part.lower_name(index + 3)}
        part.looks_back |= not names.isdisjoint(_VARIABLES_LOOKING_BACK)
    elif key in ("NEXT", "PREVIOUS"):
        part.changes |= behind == "VALUE"
        part.looks_back |= key == "PREVIOUS" and behind == "VALUE"
    else:
        part.changes = True
        part.looks_back |= key in _LOOKING_BACK


def _scan_into(part: _Part, index: int, notes: _Notes) -> None:
    """Look at what stands behind INTO."""
    tokens = part.tokens
    if index >= len(tokens) or tokens[index].lexeme is not Lexeme.USER:
        part.into_others += 1
        return
    part.into_variables = True
    while index < len(tokens) and tokens[index].lexeme is Lexeme.USER:
        notes.assign([part.variable(tokens[index])])
        index += 2 if part.key(index + 1) == "," else len(tokens)


def _scan_call(part: _Part, index: int, notes: _Notes, *, is_nested: bool) -> None:
    """Look at the parenthesis at ``index``, which may be that of a call."""
    before = part.tokens[index - 1]
    if before.lexeme in (Lexeme.MARK, Lexeme.ASSIGN) and before.key not in (")", "."):
        return
    if before.key in _IN_FRONT_OF_PARENTHESES:
        return
    name = (before.key or part.value(before).decode(errors="replace")).upper()
    # A name in quotes, or one with a space behind it, may be that of a stored function.
    is_native = bool(before.key) and before.stop == part.tokens[index].start and part.key(index - 2) != "."
    part.calls_unknown |= not is_native or name not in _NATIVE
    part.calls_impure |= not is_native or name not in _PURE
    part.calls_administrative |= name.lower().startswith(_ADMINISTRATIVE)
    part.changes |= name in _CHANGING
    part.looks_back |= name in _LOOKING_BACK
    if name == "LAST_INSERT_ID" and part.key(index + 1) != ")":
        part.changes = notes.sets_insert_id = True
    elif name == "GET_LOCK":
        notes.take(Hold(HoldKind.USER_LOCK, _lock_name(part, index + 1)))
    elif name in ("RELEASE_LOCK", "RELEASE_ALL_LOCKS") and not is_nested and _is_surely_called(part, index):
        is_all = name == "RELEASE_ALL_LOCKS"
        notes.release(_ALL_USER_LOCKS if is_all else Hold(HoldKind.USER_LOCK, _lock_name(part, index + 1)))


def _lock_name(part: _Part, index: int) -> str:
    """Give the name of a lock whose argument begins at ``index``; it is ``?`` unless that is a single literal."""
    if index + 1 < len(part.tokens) and part.key(index + 1) in (",", ")"):
        token = part.tokens[index]
        if token.lexeme is Lexeme.STRING:
            return part.value(token).decode(errors="replace") or "?"
    return "?"


def _is_surely_called(part: _Part, index: int) -> bool:
    """Tell whether the call with its parenthesis at ``index``, which is in no other, is an expression of its own."""
    is_listed = part.key(0) in ("SELECT", "DO") and part.key(index - 2) in ("SELECT", "DO", ",")
    if not is_listed or part.words & _CONDITIONS:
        return False
    depth = 0
    for stop in range(index, len(part.keys)):
        depth += _DEPTHS.get(part.keys[stop], 0)
        if not depth:
            return part.key(stop + 1) in ("", ",", "AS")
    return False


def _query(part: _Part, *, other_intos: int = 0) -> Kind:
    """Judge a statement that returns rows; ``other_intos`` is how many INTOs are no clause of a SELECT."""
    if part.calls_administrative or part.looks_back or part.into_others > other_intos:
        return Kind.OTHER
    if part.into_variables or part.assigns or part.locks or part.changes:
        return Kind.CHANGE
    return Kind.READ


def _select(part: _Part, _notes: _Notes) -> Kind:
    """Judge SELECT, VALUES, TABLE, and what begins with a parenthesis."""
    first = next((key for key in part.keys if key != "("), "")
    if first not in _QUERY_WORDS or "PROCEDURE" in part.words:
        return Kind.OTHER
    return _query(part) if first != "WITH" else Kind.OTHER


def _verb_behind_with(part: _Part, start: int) -> str:
    """Find the verb that the common table expressions of the WITH at ``start`` are for."""
    depth = 0
    for key in part.keys[start:]:
        depth += _DEPTHS.get(key, 0)
        if not depth and key in ("SELECT", "VALUES", "TABLE", "UPDATE", "DELETE", "INSERT", "REPLACE"):
            return key
    return ""


def _with(part: _Part, _notes: _Notes) -> Kind:
    verb = _verb_behind_with(part, 0)
    if verb in ("UPDATE", "DELETE"):
        return Kind.CHANGE
    return _query(part) if verb in _QUERY_WORDS and "PROCEDURE" not in part.words else Kind.OTHER


def _show(part: _Part, _notes: _Notes) -> Kind:
    # What went wrong, and how long it took, was on the old link.
    if part.key(1) in ("COUNT", "ERRORS", "PROFILE", "PROFILES", "WARNINGS"):
        return Kind.OTHER
    return _query(part)


def _help(part: _Part, _notes: _Notes) -> Kind:
    return Kind.READ if len(part.tokens) == 2 else Kind.OTHER


def _explain(part: _Part, _notes: _Notes) -> Kind:
    """Judge EXPLAIN, DESCRIBE, and MariaDB's ANALYZE of a statement, which carries it out."""
    index = 1
    is_carried_out = part.key(0) == "ANALYZE"
    while True:
        key = part.key(index)
        is_carried_out |= key == "ANALYZE"
        if (key, part.key(index + 1)) in (("FORMAT", "="), ("FOR", "DATABASE"), ("FOR", "SCHEMA")):
            index += 3
        elif key in _EXPLAIN_OPTIONS:
            index += _EXPLAIN_OPTIONS[key]
        else:
            break
    verb = _verb_behind_with(part, index) if key == "WITH" else key
    if verb in _QUERY_WORDS or verb == "(":
        is_query = "PROCEDURE" not in part.words and part.keys[:2] != ["ANALYZE", "TABLE"]
        return _query(part) if is_query else Kind.OTHER
    if is_carried_out:
        return Kind.OTHER
    if verb in ("INSERT", "REPLACE", "UPDATE", "DELETE"):
        return _query(part, other_intos=verb in ("INSERT", "REPLACE"))
    if part.keys[index : index + 2] == ["FOR", "CONNECTION"]:
        return Kind.READ
    _, stop = part.table(index)
    return Kind.READ if index < stop and len(part.tokens) - stop <= 1 else Kind.OTHER


def _change(part: _Part, _notes: _Notes) -> Kind:
    """Judge INSERT, REPLACE, UPDATE and DELETE."""
    return Kind.OTHER if "DELAYED" in part.keys[1:3] or part.key(1) == "HISTORY" else Kind.CHANGE


def _do(part: _Part, _notes: _Notes) -> Kind:
    return Kind.OTHER if part.calls_administrative else Kind.CHANGE


def _load(part: _Part, notes: _Notes) -> Kind:
    notes.assign(part.user_variables())
    return Kind.CHANGE if part.key(1) in ("DATA", "XML") and "ALGORITHM" not in part.words else Kind.OTHER


def _names_variables(part: _Part, notes: _Notes) -> Kind:
    """Judge CALL, FETCH and GET DIAGNOSTICS, which may assign to any variable that they name."""
    notes.assign(part.user_variables())
    return Kind.OTHER


def _end(kind: Kind) -> "_Rule":
    """Make the rule for COMMIT or ROLLBACK."""

    def rule(part: _Part, _notes: _Notes) -> Kind:
        rest = part.keys[2:] if part.key(1) == "WORK" else part.keys[1:]
        if rest in _ENDINGS:
            return kind
        is_partial = (
            kind is Kind.ROLLBACK and rest[:1] == ["TO"] and len(rest) == (3 if rest[1:2] == ["SAVEPOINT"] else 2)
        )
        return Kind.CHANGE if is_partial else Kind.OTHER

    return rule


def _savepoint(part: _Part, _notes: _Notes) -> Kind:
    """Judge SAVEPOINT and RELEASE SAVEPOINT."""
    return Kind.CHANGE if part.keys[-2:-1] == ["SAVEPOINT"] and len(part.tokens) <= 3 else Kind.OTHER


def _begin(part: _Part, notes: _Notes) -> Kind:
    if part.keys[1:] not in ([], ["WORK"]):
        return _compound(part, notes)
    notes.release(_TABLE_LOCKS)
    return Kind.BEGIN


def _start(part: _Part, notes: _Notes) -> Kind:
    if part.key(1) != "TRANSACTION" or not _START_WORDS.issuperset(part.keys[2:]):
        return Kind.OTHER
    notes.release(_TABLE_LOCKS)
    return Kind.BEGIN


def _compound(_part: _Part, notes: _Notes) -> Kind:
    """Judge what cannot be told apart: anything may have happened."""
    notes.take(_UNEXPLAINED)
    return Kind.OTHER


def _use(part: _Part, _notes: _Notes) -> Kind:
    part.explains = True
    return Kind.SESSION if len(part.tokens) == 2 else Kind.OTHER


def _prepare(part: _Part, notes: _Notes) -> Kind:
    if len(part.tokens) < 4 or not _is_name(part.tokens[1]) or part.key(2) != "FROM":
        return _compound(part, notes)
    part.explains = not part.calls_unknown
    name, source = part.variable(part.tokens[1]), part.tokens[3]
    if len(part.tokens) == 4 and source.lexeme is Lexeme.STRING:
        notes.prepare(SqlPrepare(name, source.text, None))
    elif len(part.tokens) == 4 and source.lexeme is Lexeme.USER:
        notes.prepare(SqlPrepare(name, None, part.variable(source)))
    else:
        # MariaDB takes any expression: there is a statement, but what it is stays unknown.
        notes.prepare(SqlPrepare(name, None, None))
        return _compound(part, notes)
    return Kind.SESSION


def _deallocate(part: _Part, notes: _Notes) -> Kind:
    part.explains = True
    if len(part.tokens) != 3 or part.key(1) != "PREPARE" or not _is_name(part.tokens[2]):
        return Kind.OTHER
    notes.deallocates.append(part.variable(part.tokens[2]))
    return Kind.SESSION


def _execute(part: _Part, notes: _Notes) -> Kind:
    if len(part.tokens) < 2 or not _is_name(part.tokens[1]) or (len(part.tokens) > 2 and part.key(2) != "USING"):
        return _compound(part, notes)  # MariaDB's EXECUTE IMMEDIATE
    notes.executes.append(part.variable(part.tokens[1]))
    return _names_variables(part, notes)


def _create(part: _Part, notes: _Notes) -> Kind:
    index = 3 if part.keys[1:3] == ["OR", "REPLACE"] else 1
    if part.key(index) == "TEMPORARY":
        index += 2
        index += 3 if part.keys[index : index + 3] == ["IF", "NOT", "EXISTS"] else 0
        part.explains = "SELECT" not in part.words or not part.calls_unknown
        name, _ = part.table(index)
        notes.take(Hold(HoldKind.TEMPORARY_TABLE, name) if name else _UNEXPLAINED)
    return Kind.OTHER


def _drop(part: _Part, notes: _Notes) -> Kind:
    index = 2 if part.key(1) == "TEMPORARY" else 1
    if part.key(index) == "PREPARE":
        return _deallocate(part, notes)
    if part.key(index) not in ("SEQUENCE", "TABLE", "TABLES"):
        return Kind.OTHER
    part.explains = True
    index += 3 if part.keys[index + 1 : index + 3] == ["IF", "EXISTS"] else 1
    while index < len(part.tokens):
        name, index = part.table(index)
        if name:
            notes.release(Hold(HoldKind.TEMPORARY_TABLE, name))
        if part.key(index) != ",":
            break
        index += 1
    return Kind.OTHER


def _alter(part: _Part, notes: _Notes) -> Kind:
    part.explains = True
    for index, key in enumerate(part.keys):
        if key == "RENAME" and part.key(index + 1) not in ("COLUMN", "INDEX", "KEY"):
            _take_renamed(part, index + (2 if part.key(index + 1) in ("TO", "AS", "=") else 1), notes)
    return Kind.OTHER


def _rename(part: _Part, notes: _Notes) -> Kind:
    if part.key(1) in ("TABLE", "TABLES"):
        part.explains = True
        for index, key in enumerate(part.keys):
            if key == "TO":
                _take_renamed(part, index + 1, notes)
    return Kind.OTHER


def _take_renamed(part: _Part, index: int, notes: _Notes) -> None:
    """Note that there is a table of a new name, which may well be a temporary one: the text does not tell."""
    name, _ = part.table(index)
    notes.take(Hold(HoldKind.TEMPORARY_TABLE, name) if name else _UNEXPLAINED)


def _lock(part: _Part, notes: _Notes) -> Kind:
    notes.take(_INSTANCE_LOCK if part.key(1) == "INSTANCE" else _TABLE_LOCKS)
    return Kind.OTHER


def _unlock(part: _Part, notes: _Notes) -> Kind:
    if part.key(1) == "INSTANCE":
        notes.release(_INSTANCE_LOCK)
    elif part.key(1) in ("TABLE", "TABLES"):
        notes.release(_TABLE_LOCKS)
        notes.release(_GLOBAL_READ_LOCK)
    return Kind.OTHER


def _flush(part: _Part, notes: _Notes) -> Kind:
    if part.words & {"EXPORT", "LOCK"}:
        notes.take(_GLOBAL_READ_LOCK)
    return Kind.OTHER


def _handler(part: _Part, notes: _Notes) -> Kind:
    table, index = part.table(1)
    if part.key(index) == "OPEN":
        alias, _ = part.table(index + (2 if part.key(index + 1) == "AS" else 1))
        notes.take(Hold(HoldKind.HANDLER, alias or table.rpartition(".")[2] or "?"))
    elif part.key(index) == "CLOSE" and table:
        notes.release(Hold(HoldKind.HANDLER, table))
    return Kind.OTHER


def _xa(part: _Part, notes: _Notes) -> Kind:
    if part.key(1) in ("START", "BEGIN"):
        notes.take(_XA)
    elif part.key(1) in ("COMMIT", "ROLLBACK"):
        notes.release(_XA)
    return Kind.OTHER


def _backup(part: _Part, notes: _Notes) -> Kind:
    """Judge MariaDB's BACKUP STAGE, BACKUP LOCK and BACKUP UNLOCK."""
    match part.keys[1:3]:
        case ["STAGE", "END"]:
            notes.release(_BACKUP_STAGE)
        case ["UNLOCK"]:
            notes.release(_BACKUP_TABLE)
        case ["LOCK", _]:
            notes.take(_BACKUP_TABLE)
        case _:
            notes.take(_BACKUP_STAGE)
    return Kind.OTHER


def _set(part: _Part, notes: _Notes) -> Kind:
    part.explains = not part.calls_unknown
    first, second = part.key(1), part.key(2)
    if (first == "PASSWORD" and second in ("=", "FOR", "TO")) or (first == "DEFAULT" and second == "ROLE"):
        return Kind.OTHER
    if first == "RESOURCE" and second == "GROUP":
        return _compound(part, notes)
    scope = first.lower()
    if first == "TRANSACTION" or (scope in _SCOPES and second == "TRANSACTION"):
        is_understood = _TRANSACTION_WORDS.issuperset(part.keys[2:])
        return Kind.SESSION if is_understood and scope not in _GLOBAL_SCOPES else Kind.OTHER
    kinds = {_set_item(part, start, stop, notes) for start, stop in _items(part, 1, len(part.keys))}
    if Kind.OTHER in kinds:
        return Kind.OTHER
    return Kind.AUTOCOMMIT if Kind.AUTOCOMMIT in kinds else Kind.SESSION


def _items(part: _Part, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Cut a list at the commas that are in no parentheses."""
    depth = 0
    for index in range(start, stop):
        key = part.keys[index]
        depth += _DEPTHS.get(key, 0)
        if key == "," and not depth:
            yield start, index
            start = index + 1
    yield start, stop


def _set_item(part: _Part, start: int, stop: int, notes: _Notes) -> Kind:
    """Judge one item of the list of a SET."""
    tokens = part.tokens[start:stop]
    first, second = part.key(start), part.key(start + 1)
    if len(tokens) >= 3 and tokens[0].lexeme is Lexeme.USER and second in _ASSIGNS:
        notes.assign([part.variable(tokens[0])])
        return Kind.SESSION if _is_harmless(part, start + 2, stop) else Kind.OTHER
    if second not in _ASSIGNS and len(tokens) >= 2:
        if first == "ROLE":
            notes.sets_role = True
            return Kind.SESSION if all(map(_is_account, tokens)) else Kind.OTHER
        width = 1 if first in ("NAMES", "CHARSET") else 2 if first in ("CHARACTER", "CHAR") and second == "SET" else 0
        if width:
            # The collation that goes with a character set goes with it on a new link as well; no other one is reported.
            if first != "NAMES" or len(tokens) > 2 or second == "DEFAULT":
                notes.system_variables |= _CHARACTER_SETS
            notes.sets_mode = True
            has_collation = len(tokens) == width + 3 and part.key(start + width + 1) == "COLLATE"
            is_understood = (has_collation or len(tokens) == width + 1) and all(map(_is_account, tokens))
            return Kind.SESSION if is_understood else Kind.OTHER
    if part.key(1) == "ROLE" and tokens and all(map(_is_account, tokens)):
        return Kind.SESSION  # one more in a list of roles
    return _set_variable(part, start, stop, notes)


def _is_account(token: Token) -> bool:
    """Tell whether a token can be a part of the name of a role, or the name of a character set."""
    return token.lexeme in (Lexeme.STRING, Lexeme.USER) or _is_name(token)


def _set_variable(part: _Part, start: int, stop: int, notes: _Notes) -> Kind:
    """Judge the assignment to a system variable."""
    is_direct = part.key(start) == "@@"
    index = start + is_direct
    scope = part.lower_name(index)
    if scope in _SCOPES and part.key(index + 1) not in _ASSIGNS:
        if is_direct != (part.key(index + 1) == "."):
            return _compound(part, notes)
        index += 1 + is_direct
    else:
        scope = ""
    name = part.lower_name(index)
    index += 1
    if part.key(index) == ".":
        component = part.lower_name(index + 1)
        name = f"{name}.{component}" if name and component else ""
        index += 2
    if not name or part.key(index) not in _ASSIGNS or index + 1 >= stop:
        return _compound(part, notes)
    if scope in _GLOBAL_SCOPES:
        return Kind.OTHER
    notes.sets_mode |= name in ("sql_mode", "character_set_client")
    if name in _INSERT_IDS:
        notes.sets_insert_id = True
    elif name in _REPLAY_VARIABLES:
        source = part.tokens[index + 1].text.lower() if index + 2 == stop else b""
        note = notes.release if source in _RESETS.get(name, (b"default",)) else notes.take
        note(Hold(HoldKind.REPLAY_VARIABLE, name))
    else:
        wanted = notes.system_variables if is_direct or name in _TOGETHER else notes.reported
        wanted |= _TOGETHER.get(name, {name})
    if not _is_harmless(part, index + 1, stop):
        return Kind.OTHER
    return Kind.AUTOCOMMIT if name == "autocommit" else Kind.SESSION


def _is_harmless(part: _Part, start: int, stop: int) -> bool:
    """Tell whether the value of a SET can be had again on another link, and does nothing when it is computed."""
    if part.calls_impure or part.looks_back or part.words & _UNSETTABLE_WORDS:
        return False
    for index in range(start, stop):
        lexeme, key, _, _ = part.tokens[index]
        if lexeme is Lexeme.NAME or (key == ":=" and part.tokens[index - 1].lexeme is not Lexeme.USER):
            return False
        if key == "." and "@@" not in (part.key(index - 2), part.key(index - 4)):
            return False
    return True


def _set_statement(part: _Part, notes: _Notes) -> Kind:
    """Judge MariaDB's SET STATEMENT, which sets variables for the one statement behind it."""
    depths = accumulate(_DEPTHS.get(key, 0) for key in part.keys)
    stop = next(
        (index for index, depth in enumerate(depths) if part.keys[index] == "FOR" and not depth), len(part.keys)
    )
    head = _Part(part.tokens[:stop], escapes=part.escapes)
    inner = _Part(part.tokens[stop + 1 :], escapes=part.escapes)
    names = [part.lower_name(start) for start, _ in _items(part, 2, stop)]
    if not all(names) or inner.key(0) in ("", "SET"):
        return _compound(part, notes)
    notes.system_variables.update(names)
    _scan(head, notes)
    part.explains = not head.calls_unknown
    _judge(inner, notes)
    return Kind.OTHER


_Rule: TypeAlias = Callable[[_Part, _Notes], Kind]

#: Rules for verbs that do nothing to the session beyond what the scan finds.
_SCANNED_RULES: dict[str, _Rule] = {
    "(": _select,
    "ANALYZE": _explain,
    "COMMIT": _end(Kind.COMMIT),
    "DELETE": _change,
    "DESC": _explain,
    "DESCRIBE": _explain,
    "DO": _do,
    "EXPLAIN": _explain,
    "HELP": _help,
    "INSERT": _change,
    "RELEASE": _savepoint,
    "REPLACE": _change,
    "ROLLBACK": _end(Kind.ROLLBACK),
    "SAVEPOINT": _savepoint,
    "SELECT": _select,
    "SHOW": _show,
    "TABLE": _select,
    "UPDATE": _change,
    "VALUES": _select,
    "WITH": _with,
}
_TELLING_RULES: dict[str, _Rule] = {
    "ALTER": _alter,
    "BACKUP": _backup,
    "BEGIN": _begin,
    "CALL": _names_variables,
    "CASE": _compound,
    "CREATE": _create,
    "DEALLOCATE": _deallocate,
    "DECLARE": _compound,
    "DROP": _drop,
    "EXECUTE": _execute,
    "FETCH": _names_variables,
    "FLUSH": _flush,
    "FOR": _compound,
    "GET": _names_variables,
    "HANDLER": _handler,
    "IF": _compound,
    "LOAD": _load,
    "LOCK": _lock,
    "LOOP": _compound,
    "PREPARE": _prepare,
    "RENAME": _rename,
    "REPEAT": _compound,
    "SET": _set,
    "START": _start,
    "UNLOCK": _unlock,
    "USE": _use,
    "WHILE": _compound,
    "XA": _xa,
}
_RULES = _SCANNED_RULES | _TELLING_RULES


def _judge(part: _Part, notes: _Notes) -> Kind:
    """Judge a statement, and note what it does to the session."""
    verb = part.key(0)
    kind = Kind.OTHER
    if verb == "SET" and part.key(1) == "STATEMENT":
        kind = _set_statement(part, notes)
    elif notes.is_multiple and ((part.key(1) == ":" and part.key(2) in _LABELLED) or part.keys[:2] == ["<", "<"]):
        kind = _compound(part, notes)  # a compound statement with a label; the statements in it end in semicolons
    elif _is_definition(part):
        # What is in it is not carried out now.
        notes.defines |= not part.words.isdisjoint(_WITH_BODIES)
    else:
        _scan(part, notes)
        if verb in _RULES:
            kind = _RULES[verb](part, notes)
    if kind is Kind.READ and part.calls_unknown and (notes.is_multiple or verb not in _CHECKED_VERBS):
        kind = Kind.CHANGE  # the function may be one that writes, and read_only_check() could not tell
    notes.has_explained |= part.explains is not None
    if not (kind in _QUERY_KINDS and not part.calls_unknown if part.explains is None else part.explains):
        notes.has_unexplained = True
    return kind


def _is_definition(part: _Part) -> bool:
    """Tell whether a statement creates or changes something that is not a table."""
    if part.key(0) == "CREATE":
        return part.key(3 if part.keys[1:3] == ["OR", "REPLACE"] else 1) not in ("SEQUENCE", "TABLE", "TEMPORARY")
    return part.key(0) == "ALTER" and "TABLE" not in part.keys[1:4]


def classify(text: bytes, *, backslash_escapes: bool = True) -> Statement:
    """Tell what a text of one or more statements is, and what it does to its session.

    ``backslash_escapes`` is False under sql_mode NO_BACKSLASH_ESCAPES. Any other sql_mode is possible.
    """
    statement = _classify(text, escapes=backslash_escapes, ansi_quotes=False)
    # Under sql_mode ANSI_QUOTES a backslash is nothing special between double quotes.
    if backslash_escapes and b'\\"' in text and statement != _classify(text, escapes=True, ansi_quotes=True):
        statement = None
    if statement is not None:
        return statement
    is_plain_text = is_plain(text, 0, len(text))
    return Statement(Kind.OTHER, None if is_plain_text else Effects(takes=(_UNEXPLAINED,), is_multiple=b";" in text))


def _classify(text: bytes, *, escapes: bool, ansi_quotes: bool) -> Statement | None:
    """Judge a text; None if it is not understood."""
    tokens = tokenize(text, backslash_escapes=escapes, ansi_quotes=ansi_quotes)
    if tokens is None:
        return None
    ends = [index for index, token in enumerate(tokens) if token.key == ";"]
    is_multiple = ends[:1] not in ([], [len(tokens) - 1])
    is_mode_sensitive = b"\\" in text or b'"' in text or not text.isascii()
    notes = _Notes(is_multiple=is_multiple)
    kinds = set()
    start = 0
    for end in [*ends, len(tokens)]:
        if start < end:
            if notes.sets_mode and is_mode_sensitive:
                return None
            kinds.add(_judge(_Part(tokens[start:end], escapes=escapes), notes))
        start = end + 1
    effects = notes.effects()
    if notes.defines and is_multiple and effects is not None:
        return None
    return Statement(_common_kind(kinds, is_multiple=is_multiple), effects)


def _common_kind(kinds: set[Kind], *, is_multiple: bool) -> Kind:
    """Tell the kind of a text from those of its statements."""
    if kinds == {Kind.READ, Kind.CHANGE}:
        return Kind.CHANGE
    if len(kinds) != 1:
        return Kind.OTHER
    (kind,) = kinds
    return kind if not is_multiple or kind in (Kind.READ, Kind.CHANGE, Kind.SESSION) else Kind.OTHER


#: How texts begin that do nothing to their session unless one of the needles below is in them.
_PLAIN_BEGINNINGS = frozenset(
    {"sele", "inse", "upda", "dele", "repl", "show", "comm", "roll", "save", "desc", "expl", "with"}
)
_ASKS_FOR_SHARE_LOCK = re.compile(r"(?:(?:for|in|\*/|!\d*+)\s*+|\n[^\S\n]*+)share", re.ASCII)
_INTO_VARIABLE = re.compile(r"into\s*+(?:@|/\*|\*/|--|#)", re.ASCII)
#: The beginning of another statement, which may do something to the session.
_TELLING_STATEMENT = re.compile(
    rf";[\s\x80-\xff]*+(?:/\*|\*/|--|#|<\s*<|(?:{'|'.join(_TELLING_RULES).lower()})(?![\w$]))", re.ASCII
)
_LABELLED_WORDS = "|".join(_LABELLED).lower()
_LABEL = re.compile(rf":\s*+(?:/\*|\*/|--|{_LABELLED_WORDS})", re.ASCII)
#: The same with comments behind the colon that end with their line.
_COMMENTED_LABEL = re.compile(r":\s*+#", re.ASCII)
_LABELLED_LINE = re.compile(rf"\n[^\S\n]*+(?:/\*|--|#|{_LABELLED_WORDS})", re.ASCII)


def is_plain(data: bytes, start: int, stop: int) -> bool:
    """Tell whether the statement in ``data[start:stop]`` surely does nothing to its session.

    Where it is in doubt it says no, and :func:`classify` tells more.
    """
    # Every query passes here. One character for each byte, because strings are searched faster than bytes.
    text = str(data[start:stop].lower(), "latin-1")
    if text[:4] not in _PLAIN_BEGINNINGS and text.lstrip()[:4] not in _PLAIN_BEGINNINGS:
        return False
    if ":=" in text or "_lock" in text or "last_insert_id" in text:
        return False
    if ("share" in text and _ASKS_FOR_SHARE_LOCK.search(text)) or ("@" in text and _INTO_VARIABLE.search(text)):
        return False
    return ";" not in text or not (
        _TELLING_STATEMENT.search(text)
        or _LABEL.search(text)
        or (_COMMENTED_LABEL.search(text) and _LABELLED_LINE.search(text))
    )


_MAY_KILL = re.compile(rb"\s*+(?:kill|/\*|--|#)", re.IGNORECASE)


def find_kill(text: bytes) -> Kill | None:
    """Find the thread's number in a KILL; None if the text is not a KILL of a number alone."""
    if not _MAY_KILL.match(text):
        return None
    tokens = tokenize(text) or []
    if tokens and tokens[-1].key == ";":
        tokens.pop()
    keys = [token.key for token in tokens]
    index = 1
    index += keys[index : index + 1] in (["HARD"], ["SOFT"])
    index += keys[index : index + 1] in (["CONNECTION"], ["QUERY"])
    if keys[:1] != ["KILL"] or len(tokens) != index + 1:
        return None
    number = tokens[index]
    if number.lexeme is not Lexeme.NUMBER or not number.text.isdigit() or len(number.text) > _LONGEST_THREAD_ID:
        return None
    return Kill(number.start, number.stop, int(number.text))


def read_only_check(text: bytes, *, backslash_escapes: bool = True) -> bytes | None:
    """Give a statement with which a server tells whether a SELECT would write, None if ``text`` is not one that reads.

    In a read-only transaction an EXPLAIN fails if the stored functions that the SELECT calls may write.
    """
    tokens = tokenize(text, backslash_escapes=backslash_escapes) or []
    keys = [token.key for token in tokens]
    if _CHECKED_VERBS.isdisjoint(keys[:1]) or ";" in keys[:-1]:
        return None
    is_read = classify(text, backslash_escapes=backslash_escapes).kind is Kind.READ
    return b"EXPLAIN " + text if is_read else None
