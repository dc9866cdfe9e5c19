"""Which rule judges which statement, by its verb."""

from itertools import accumulate

from protocol.effects import Kind
from protocol.sql import Lexeme, tokenize
from protocol.sql_part import DEPTHS, Notes, Part
from protocol.sql_queries import (
    CHECKED_VERBS,
    judge_call,
    judge_change,
    judge_do,
    judge_explain,
    judge_help,
    judge_insert,
    judge_load,
    judge_select,
    judge_show,
    judge_variables,
    judge_with,
)
from protocol.sql_scan import scan
from protocol.sql_session import (
    Rule,
    ending_rule,
    judge_alter,
    judge_backup,
    judge_begin,
    judge_compound,
    judge_create,
    judge_deallocate,
    judge_drop,
    judge_execute,
    judge_flush,
    judge_handler,
    judge_lock,
    judge_prepare,
    judge_rename,
    judge_savepoint,
    judge_start,
    judge_unlock,
    judge_use,
    judge_xa,
)
from protocol.sql_set import judge_set, list_items

#: What stands behind the label of one of MariaDB's compound statements.
LABELLED = ("BEGIN", "FOR", "LOOP", "REPEAT", "WHILE")
_WITH_BODIES = frozenset({"EVENT", "FUNCTION", "PACKAGE", "PROCEDURE", "TRIGGER"})

#: Kinds of statements that change the session only where the scan finds it, unless they call a stored function.
_QUERY_KINDS = frozenset({Kind.READ, Kind.CHANGE, Kind.BEGIN, Kind.COMMIT, Kind.ROLLBACK})


def _set_statement(part: Part, notes: Notes) -> Kind:
    """Judge MariaDB's SET STATEMENT, which sets variables for the one statement behind it."""
    depths = accumulate(DEPTHS.get(key, 0) for key in part.keys)
    stop = next(
        (index for index, depth in enumerate(depths) if part.keys[index] == "FOR" and not depth), len(part.keys)
    )
    head = Part(part.tokens[:stop], escapes=part.escapes)
    inner = Part(part.tokens[stop + 1 :], escapes=part.escapes)
    names = [part.lower_name(start) for start, _ in list_items(part, 2, stop)]
    if not all(names) or inner.key(0) in ("", "SET", "PREPARE"):
        return judge_compound(part, notes)
    notes.system_variables.update(names)
    scan(head, notes)
    part.explains = not head.calls_unknown
    judge_statement(inner, notes)
    return Kind.OTHER


def _execute_immediate(part: Part, notes: Notes) -> Kind:
    """Judge MariaDB's EXECUTE IMMEDIATE, which carries out the statement in a literal, or in any other expression."""
    text = part.value(part.tokens[2]) if part.key(3) in ("", "USING") and len(part.tokens) > 2 else b""
    is_literal = bool(text) and part.tokens[2].lexeme is Lexeme.STRING
    # Between other quotes, or with an escape in it, it would depend on the sql_mode what the statement is.
    tokens = tokenize(text) if is_literal and not {*b'\\"'} & {*part.tokens[2].text} else None
    inner = Part(tokens or [], escapes=part.escapes)
    if not inner.tokens or ";" in inner.keys or inner.key(0) in ("EXECUTE", "PREPARE"):
        return judge_compound(part, notes)
    scan(part, notes)
    judge_statement(inner, notes)
    notes.assign(part.user_variables())
    part.explains = inner.explains
    return Kind.OTHER


#: Rules for verbs that do nothing to the session beyond what the scan finds.
_SCANNED_RULES: dict[str, Rule] = {
    "(": judge_select,
    "ANALYZE": judge_explain,
    "COMMIT": ending_rule(Kind.COMMIT),
    "DELETE": judge_change,
    "DESC": judge_explain,
    "DESCRIBE": judge_explain,
    "DO": judge_do,
    "EXPLAIN": judge_explain,
    "HELP": judge_help,
    "INSERT": judge_insert,
    "RELEASE": judge_savepoint,
    "REPLACE": judge_insert,
    "ROLLBACK": ending_rule(Kind.ROLLBACK),
    "SAVEPOINT": judge_savepoint,
    "SELECT": judge_select,
    "SHOW": judge_show,
    "TABLE": judge_select,
    "UPDATE": judge_change,
    "VALUES": judge_select,
    "WITH": judge_with,
}
TELLING_RULES: dict[str, Rule] = {
    "ALTER": judge_alter,
    "BACKUP": judge_backup,
    "BEGIN": judge_begin,
    "CALL": judge_call,
    "CASE": judge_compound,
    "CREATE": judge_create,
    "DEALLOCATE": judge_deallocate,
    "DECLARE": judge_compound,
    "DROP": judge_drop,
    "EXECUTE": judge_execute,
    "FETCH": judge_variables,
    "FLUSH": judge_flush,
    "FOR": judge_compound,
    "GET": judge_variables,
    "HANDLER": judge_handler,
    "IF": judge_compound,
    "LOAD": judge_load,
    "LOCK": judge_lock,
    "LOOP": judge_compound,
    "PREPARE": judge_prepare,
    "RENAME": judge_rename,
    "REPEAT": judge_compound,
    "SET": judge_set,
    "START": judge_start,
    "UNLOCK": judge_unlock,
    "USE": judge_use,
    "WHILE": judge_compound,
    "XA": judge_xa,
}
_RULES = _SCANNED_RULES | TELLING_RULES


def judge_statement(part: Part, notes: Notes) -> Kind:
    """Judge a statement, and note what it does to the session."""
    verb = part.key(0)
    kind = Kind.OTHER
    if verb == "SET" and part.key(1) == "STATEMENT":
        kind = _set_statement(part, notes)
    elif part.keys[:2] == ["EXECUTE", "IMMEDIATE"]:
        kind = _execute_immediate(part, notes)
    elif notes.is_multiple and ((part.key(1) == ":" and part.key(2) in LABELLED) or part.keys[:2] == ["<", "<"]):
        kind = judge_compound(part, notes)  # a compound statement with a label; the statements in it end in semicolons
    elif _is_definition(part):
        # What is in it is not carried out now.
        notes.defines |= not part.words.isdisjoint(_WITH_BODIES)
    else:
        scan(part, notes)
        if verb in _RULES:
            kind = _RULES[verb](part, notes)
    if kind is Kind.READ and part.calls_unknown and (notes.is_multiple or verb not in CHECKED_VERBS):
        kind = Kind.CHANGE  # the function may be one that writes, and read_only_check() could not tell
    notes.has_explained |= part.explains is not None
    if not (kind in _QUERY_KINDS and not part.calls_unknown if part.explains is None else part.explains):
        notes.has_unexplained = True
    return kind


def _is_definition(part: Part) -> bool:
    """Tell whether a statement creates or changes something that is not a table."""
    if part.key(0) == "CREATE":
        index = 3 if part.keys[1:3] == ["OR", "REPLACE"] else 1
        return not {"INDEX", "SEQUENCE", "TABLE", "TEMPORARY"} & set(part.keys[index : index + 2])
    return part.key(0) == "ALTER" and "TABLE" not in part.keys[1:4]
