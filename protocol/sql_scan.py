"""What can stand anywhere in a statement: functions that do something, assignments, clauses that lock."""

from protocol.holds import Hold, HoldKind
from protocol.sql import Lexeme
from protocol.sql_part import DEPTHS, Notes, Part

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
QUERY_WORDS = frozenset({"SELECT", "TABLE", "VALUES", "WITH"})
_SEQUENCE_WORDS = frozenset({"NEXT", "NEXTVAL", "PREVIOUS", "LASTVAL", "CURRVAL", "SETVAL"})

#: With these in it, the value of a SET is more than an expression.
UNSETTABLE_WORDS = QUERY_WORDS | _SEQUENCE_WORDS

#: A statement with none of these has nothing to be found by the scan.
_SCANNED = frozenset({"(", ":=", "@@", "INTO", "FOR", "LOCK"}) | _SEQUENCE_WORDS


def scan(part: Part, notes: Notes) -> None:
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


def _scan_word(part: Part, index: int, notes: Notes) -> None:
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


def _scan_into(part: Part, index: int, notes: Notes) -> None:
    """Look at what stands behind INTO."""
    tokens = part.tokens
    if index >= len(tokens) or tokens[index].lexeme is not Lexeme.USER:
        part.into_others += 1
        return
    part.into_variables = True
    while index < len(tokens) and tokens[index].lexeme is Lexeme.USER:
        notes.assign([part.variable(tokens[index])])
        index += 2 if part.key(index + 1) == "," else len(tokens)


def _scan_call(part: Part, index: int, notes: Notes, *, is_nested: bool) -> None:
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
    elif name in ("RELEASE_LOCK", "RELEASE_ALL_LOCKS"):
        lock = _ALL_USER_LOCKS if name == "RELEASE_ALL_LOCKS" else Hold(HoldKind.USER_LOCK, _lock_name(part, index + 1))
        # Of a lock with a name, the server will be asked.
        if lock.name not in ("", "?") or (not is_nested and _is_surely_called(part, index)):
            notes.release(lock)


def _lock_name(part: Part, index: int) -> str:
    """Give the name of a lock whose argument begins at ``index``; it is ``?`` unless that is a single ASCII literal."""
    if index + 1 < len(part.tokens) and part.key(index + 1) in (",", ")"):
        token = part.tokens[index]
        if token.lexeme is Lexeme.STRING and token.text.isascii():
            return part.value(token).decode() or "?"
    return "?"


def _is_surely_called(part: Part, index: int) -> bool:
    """Tell whether the call with its parenthesis at ``index``, which is in no other, is an expression of its own."""
    is_listed = part.key(0) in ("SELECT", "DO") and part.key(index - 2) in ("SELECT", "DO", ",")
    if not is_listed or part.words & _CONDITIONS:
        return False
    depth = 0
    for stop in range(index, len(part.keys)):
        depth += DEPTHS.get(part.keys[stop], 0)
        if not depth:
            return part.key(stop + 1) in ("", ",", "AS")
    return False
