"""The rules for statements that read and write data."""

from protocol.effects import Kind
from protocol.sql_part import DEPTHS, Notes, Part
from protocol.sql_scan import QUERY_WORDS

#: Options of EXPLAIN, and how many tokens each consists of.
_EXPLAIN_OPTIONS = {"ANALYZE": 1, "EXTENDED": 1, "INTO": 2, "PARTITIONS": 1}

#: Beginnings of the statements of which an EXPLAIN tells whether they write.
CHECKED_VERBS = QUERY_WORDS | {"("}


def _query(part: Part, *, other_intos: int = 0) -> Kind:
    """Judge a statement that returns rows; ``other_intos`` is how many INTOs are no clause of a SELECT."""
    if part.calls_administrative or part.looks_back or part.into_others > other_intos:
        return Kind.OTHER
    if part.into_variables or part.assigns or part.locks or part.changes:
        return Kind.CHANGE
    return Kind.READ


def judge_select(part: Part, _notes: Notes) -> Kind:
    """Judge SELECT, VALUES, TABLE, and what begins with a parenthesis."""
    first = next((key for key in part.keys if key != "("), "")
    if first not in QUERY_WORDS or "PROCEDURE" in part.words:
        return Kind.OTHER
    return _query(part) if first != "WITH" else Kind.OTHER


def _verb_behind_with(part: Part, start: int) -> str:
    """Find the verb that the common table expressions of the WITH at ``start`` are for."""
    depth = 0
    for key in part.keys[start:]:
        depth += DEPTHS.get(key, 0)
        if not depth and key in ("SELECT", "VALUES", "TABLE", "UPDATE", "DELETE", "INSERT", "REPLACE"):
            return key
    return ""


def judge_with(part: Part, _notes: Notes) -> Kind:
    """Judge WITH."""
    verb = _verb_behind_with(part, 0)
    if verb in ("UPDATE", "DELETE"):
        return Kind.CHANGE
    return _query(part) if verb in QUERY_WORDS and "PROCEDURE" not in part.words else Kind.OTHER


def judge_show(part: Part, _notes: Notes) -> Kind:
    """Judge SHOW."""
    # What went wrong, and how long it took, was on the old link.
    if part.key(1) in ("COUNT", "ERRORS", "PROFILE", "PROFILES", "WARNINGS"):
        return Kind.OTHER
    return _query(part)


def judge_help(part: Part, _notes: Notes) -> Kind:
    """Judge HELP."""
    return Kind.READ if len(part.tokens) == 2 else Kind.OTHER


def judge_explain(part: Part, _notes: Notes) -> Kind:
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
    if verb in QUERY_WORDS or verb == "(":
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


def judge_change(part: Part, _notes: Notes) -> Kind:
    """Judge INSERT, REPLACE, UPDATE and DELETE."""
    return Kind.OTHER if "DELAYED" in part.keys[1:3] or part.key(1) == "HISTORY" else Kind.CHANGE


def judge_insert(part: Part, notes: Notes) -> Kind:
    """Judge INSERT and REPLACE. With RETURNING, the answer is a result set, which has no insert id."""
    notes.sets_insert_id |= "RETURNING" in part.words
    return judge_change(part, notes)


def judge_do(part: Part, _notes: Notes) -> Kind:
    """Judge DO."""
    return Kind.OTHER if part.calls_administrative else Kind.CHANGE


def judge_load(part: Part, notes: Notes) -> Kind:
    """Judge LOAD."""
    notes.sets_insert_id = True  # its OK packet has none
    notes.assign(part.user_variables())
    return Kind.CHANGE if part.key(1) in ("DATA", "XML") and "ALGORITHM" not in part.words else Kind.OTHER


def judge_call(part: Part, notes: Notes) -> Kind:
    """Judge CALL."""
    notes.calls = True
    return judge_variables(part, notes)


def judge_variables(part: Part, notes: Notes) -> Kind:
    """Judge what, as CALL, FETCH and GET DIAGNOSTICS, may assign to any variable that they name."""
    notes.assign(part.user_variables())
    return Kind.OTHER
