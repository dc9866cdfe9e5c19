"""The rules for statements that do something to the session: its transaction, its locks, its temporary tables."""

from collections.abc import Callable
from typing import TypeAlias

from protocol.effects import Kind, SqlPrepare
from protocol.holds import Hold, HoldKind
from protocol.sql import Lexeme
from protocol.sql_part import UNEXPLAINED, Notes, Part, is_name
from protocol.sql_queries import judge_variables

#: Judges a statement, and notes what it does to the session.
Rule: TypeAlias = Callable[[Part, Notes], Kind]

_TABLE_LOCKS = Hold(HoldKind.TABLE_LOCKS)
_GLOBAL_READ_LOCK = Hold(HoldKind.GLOBAL_READ_LOCK)
_XA = Hold(HoldKind.XA)
_INSTANCE_LOCK = Hold(HoldKind.BACKUP_LOCK, "INSTANCE")
_BACKUP_STAGE = Hold(HoldKind.BACKUP_LOCK, "STAGE")
_BACKUP_TABLE = Hold(HoldKind.BACKUP_LOCK, "TABLE")
_START_WORDS = frozenset({"WITH", "CONSISTENT", "SNAPSHOT", "READ", "ONLY", "WRITE", ","})

#: How COMMIT and ROLLBACK may go on while the session goes on without a transaction.
_ENDINGS: tuple[list[str], ...] = (
    [],
    ["AND", "NO", "CHAIN"],
    ["NO", "RELEASE"],
    ["AND", "NO", "CHAIN", "NO", "RELEASE"],
)


def ending_rule(kind: Kind) -> Rule:
    """Make the rule for COMMIT or ROLLBACK."""

    def rule(part: Part, _notes: Notes) -> Kind:
        rest = part.keys[2:] if part.key(1) == "WORK" else part.keys[1:]
        if rest in _ENDINGS:
            return kind
        is_partial = (
            kind is Kind.ROLLBACK and rest[:1] == ["TO"] and len(rest) == (3 if rest[1:2] == ["SAVEPOINT"] else 2)
        )
        return Kind.CHANGE if is_partial else Kind.OTHER

    return rule


def judge_savepoint(part: Part, _notes: Notes) -> Kind:
    """Judge SAVEPOINT and RELEASE SAVEPOINT."""
    return Kind.CHANGE if part.keys[-2:-1] == ["SAVEPOINT"] and len(part.tokens) <= 3 else Kind.OTHER


def judge_begin(part: Part, notes: Notes) -> Kind:
    """Judge BEGIN."""
    if part.keys[1:] not in ([], ["WORK"]):
        return judge_compound(part, notes)
    notes.release(_TABLE_LOCKS)
    return Kind.BEGIN


def judge_start(part: Part, notes: Notes) -> Kind:
    """Judge START."""
    if part.key(1) != "TRANSACTION" or not _START_WORDS.issuperset(part.keys[2:]):
        return Kind.OTHER
    notes.release(_TABLE_LOCKS)
    return Kind.BEGIN


def judge_compound(_part: Part, notes: Notes) -> Kind:
    """Judge what cannot be told apart: anything may have happened."""
    notes.take(UNEXPLAINED)
    return Kind.OTHER


def judge_use(part: Part, _notes: Notes) -> Kind:
    """Judge USE."""
    part.explains = True
    return Kind.SESSION if len(part.tokens) == 2 else Kind.OTHER


def judge_prepare(part: Part, notes: Notes) -> Kind:
    """Judge PREPARE."""
    if len(part.tokens) < 4 or not is_name(part.tokens[1]) or part.key(2) != "FROM":
        return judge_compound(part, notes)
    part.explains = not part.calls_unknown
    name, source = part.variable(part.tokens[1]), part.tokens[3]
    if len(part.tokens) == 4 and source.lexeme is Lexeme.STRING:
        notes.prepare(SqlPrepare(name, source.text, None))
    elif len(part.tokens) == 4 and source.lexeme is Lexeme.USER:
        notes.prepare(SqlPrepare(name, None, part.variable(source)))
    else:
        # MariaDB takes any expression: there is a statement, but what it is stays unknown.
        notes.prepare(SqlPrepare(name, None, None))
        return judge_compound(part, notes)
    return Kind.SESSION


def judge_deallocate(part: Part, notes: Notes) -> Kind:
    """Judge DEALLOCATE."""
    part.explains = True
    if len(part.tokens) != 3 or part.key(1) != "PREPARE" or not is_name(part.tokens[2]):
        return Kind.OTHER
    notes.deallocates.append(part.variable(part.tokens[2]))
    return Kind.SESSION


def judge_execute(part: Part, notes: Notes) -> Kind:
    """Judge EXECUTE."""
    if len(part.tokens) < 2 or not is_name(part.tokens[1]) or (len(part.tokens) > 2 and part.key(2) != "USING"):
        return judge_compound(part, notes)
    notes.executes.append(part.variable(part.tokens[1]))
    return judge_variables(part, notes)


def judge_create(part: Part, notes: Notes) -> Kind:
    """Judge CREATE."""
    index = 3 if part.keys[1:3] == ["OR", "REPLACE"] else 1
    if part.key(index) == "TEMPORARY":
        notes.counted += 1
        index += 2
        index += 3 if part.keys[index : index + 3] == ["IF", "NOT", "EXISTS"] else 0
        part.explains = "SELECT" not in part.words or not part.calls_unknown
        name, _ = part.table(index)
        notes.take(Hold(HoldKind.TEMPORARY_TABLE, name) if name else UNEXPLAINED)
    elif "INDEX" in part.keys[index : index + 2]:
        part.explains = True  # servers report it of a temporary table, which is a hold already
    return Kind.OTHER


def judge_drop(part: Part, notes: Notes) -> Kind:
    """Judge DROP."""
    index = 2 if part.key(1) == "TEMPORARY" else 1
    if part.key(index) == "PREPARE":
        return judge_deallocate(part, notes)
    part.explains = part.key(1) == "INDEX" or None
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


def judge_alter(part: Part, notes: Notes) -> Kind:
    """Judge ALTER."""
    part.explains = True
    old, index = _table_behind(part, part.keys.index("TABLE"))
    for place, key in enumerate(part.keys[index:], index):
        if key == "RENAME" and part.key(place + 1) not in ("COLUMN", "INDEX", "KEY"):
            new, _ = part.table(place + (2 if part.key(place + 1) in ("TO", "AS", "=") else 1))
            notes.rename(old, new)
            notes.release(Hold(HoldKind.TEMPORARY_TABLE, old))
    return Kind.OTHER


def judge_rename(part: Part, notes: Notes) -> Kind:
    """Judge RENAME. On MySQL it leaves temporary tables alone, so that one of the old name may still be there."""
    if part.key(1) in ("TABLE", "TABLES"):
        part.explains = True
        old, _ = _table_behind(part, 1)
        for index, key in enumerate(part.keys):
            if key == "TO":
                new, stop = part.table(index + 1)
                notes.rename(old, new)
                old, _ = part.table(stop + 1)  # behind the comma
    return Kind.OTHER


def _table_behind(part: Part, index: int) -> tuple[str, int]:
    """Read the name of a table behind the word TABLE, with or without IF EXISTS; return it and where it ends."""
    return part.table(index + (3 if part.keys[index + 1 : index + 3] == ["IF", "EXISTS"] else 1))


def judge_lock(part: Part, notes: Notes) -> Kind:
    """Judge LOCK."""
    notes.take(_INSTANCE_LOCK if part.key(1) == "INSTANCE" else _TABLE_LOCKS)
    return Kind.OTHER


def judge_unlock(part: Part, notes: Notes) -> Kind:
    """Judge UNLOCK."""
    if part.key(1) == "INSTANCE":
        notes.release(_INSTANCE_LOCK)
    elif part.key(1) in ("TABLE", "TABLES"):
        notes.release(_TABLE_LOCKS)
        notes.release(_GLOBAL_READ_LOCK)
    return Kind.OTHER


def judge_flush(part: Part, notes: Notes) -> Kind:
    """Judge FLUSH."""
    if part.words & {"EXPORT", "LOCK"}:
        notes.take(_GLOBAL_READ_LOCK)
    return Kind.OTHER


def judge_handler(part: Part, notes: Notes) -> Kind:
    """Judge HANDLER."""
    table, index = part.table(1)
    if part.key(index) == "OPEN":
        alias, _ = part.table(index + (2 if part.key(index + 1) == "AS" else 1))
        notes.take(Hold(HoldKind.HANDLER, alias or table.rpartition(".")[2] or "?"))
    elif part.key(index) == "CLOSE" and table:
        notes.release(Hold(HoldKind.HANDLER, table))
    return Kind.OTHER


def judge_xa(part: Part, notes: Notes) -> Kind:
    """Judge XA."""
    if part.key(1) in ("START", "BEGIN"):
        notes.take(_XA)
    elif part.key(1) in ("COMMIT", "ROLLBACK"):
        notes.release(_XA)
    return Kind.OTHER


def judge_backup(part: Part, notes: Notes) -> Kind:
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
