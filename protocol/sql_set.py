"""The rules for SET in all its forms."""

import re
from collections.abc import Iterator, Sequence

from protocol.effects import Kind
from protocol.holds import Hold, HoldKind
from protocol.sql import Lexeme, Token
from protocol.sql_part import DEPTHS, Notes, Part, is_name
from protocol.sql_scan import UNSETTABLE_WORDS
from protocol.sql_session import judge_compound

_GLOBAL_SCOPES = frozenset({"global", "persist", "persist_only"})
_SCOPES = frozenset({"session", "local"}) | _GLOBAL_SCOPES
_ASSIGNS = ("=", ":=")
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

#: With @@ and without a scope, these are set for the next transaction only.
_ONE_SHOT = frozenset({"transaction_isolation", "transaction_read_only", "tx_isolation", "tx_read_only"})

#: Variables by which binary logs are replayed. What they read is not what they were set to.
_REPLAY_VARIABLES = frozenset(
    {"timestamp", "insert_id", "rand_seed1", "rand_seed2", "pseudo_thread_id", "gtid_next", "gtid_seq_no"}
)

#: Values, as their source is written in lower case, that give up what was set.
_RESETS = {"timestamp": (b"default", b"0"), "gtid_next": (b"default", b"'automatic'")}
_LITERALS = frozenset({Lexeme.WORD, Lexeme.NUMBER, Lexeme.STRING})
#: How the names of those begin that say what is to be reported.
_REPORT_PREFIX = "session_track_"

_PLAIN_LITERAL = re.compile(
    r"-?[0-9]{1,18}(\.[0-9]{1,18})?|NULL|TRUE|FALSE|'[ !#-&(-\[\]-~]*'", re.ASCII | re.IGNORECASE
)
#: What is a setting beside those, as servers write it.
_PLAIN_WORDS = frozenset({"ON", "OFF"})

_INSERT_IDS = frozenset({"last_insert_id", "identity"})
_TRANSACTION_WORDS = frozenset(
    {"TRANSACTION", "ISOLATION", "LEVEL", "READ", "COMMITTED", "UNCOMMITTED", "REPEATABLE", "SERIALIZABLE", "ONLY"}
    | {"WRITE", ","}
)


def judge_set(part: Part, notes: Notes) -> Kind:
    """Judge SET."""
    notes.counted += 1
    part.explains = not part.calls_unknown
    first, second = part.key(1), part.key(2)
    if (first == "PASSWORD" and second in ("=", "FOR", "TO")) or (first == "DEFAULT" and second == "ROLE"):
        return Kind.OTHER
    if first == "RESOURCE" and second == "GROUP":
        return judge_compound(part, notes)
    scope = first.lower()
    if first == "TRANSACTION" or (scope in _SCOPES and second == "TRANSACTION"):
        is_understood = _TRANSACTION_WORDS.issuperset(part.keys[2:])
        return Kind.SESSION if is_understood and scope not in _GLOBAL_SCOPES else Kind.OTHER
    kinds = {_set_item(part, start, stop, notes) for start, stop in list_items(part, 1, len(part.keys))}
    if Kind.OTHER in kinds:
        return Kind.OTHER
    return Kind.AUTOCOMMIT if Kind.AUTOCOMMIT in kinds else Kind.SESSION


def list_items(part: Part, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Cut a list at the commas that are in no parentheses."""
    depth = 0
    for index in range(start, stop):
        key = part.keys[index]
        depth += DEPTHS.get(key, 0)
        if key == "," and not depth:
            yield start, index
            start = index + 1
    yield start, stop


def _set_item(part: Part, start: int, stop: int, notes: Notes) -> Kind:
    """Judge one item of the list of a SET."""
    tokens = part.tokens[start:stop]
    first, second = part.key(start), part.key(start + 1)
    if len(tokens) >= 3 and tokens[0].lexeme is Lexeme.USER and second in _ASSIGNS:
        name = part.variable(tokens[0])
        notes.assign([name])
        # How another name is to be read depends on the character set.
        if (literal := _literal(tokens[2:])) and name.isascii() and name.decode().isprintable():
            notes.user_literals[name] = literal
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
    return token.lexeme in (Lexeme.STRING, Lexeme.USER) or is_name(token)


def _set_variable(part: Part, start: int, stop: int, notes: Notes) -> Kind:
    """Judge the assignment to a system variable."""
    is_direct = part.key(start) == "@@"
    index = start + is_direct
    scope = part.lower_name(index)
    if scope in _SCOPES and part.key(index + 1) not in _ASSIGNS:
        if is_direct != (part.key(index + 1) == "."):
            return judge_compound(part, notes)
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
        return judge_compound(part, notes)
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
        notes.system_literals.pop(name, None)
        value = _setting(part.tokens[index + 1 : stop])
        if is_direct and value and not (name in _TOGETHER or (name in _ONE_SHOT and not scope)):
            notes.system_literals[name] = value
        _note_report(name, part.tokens[index + 1 : stop], notes)
    if not _is_harmless(part, index + 1, stop):
        return Kind.OTHER
    return Kind.AUTOCOMMIT if name == "autocommit" else Kind.SESSION


def _literal(tokens: Sequence[Token]) -> str:
    """Give the text of a literal that means the same whatever the sql_mode; empty if it is something else."""
    text = b"".join(token.text for token in tokens).decode(errors="replace")
    return text if len(tokens) <= 2 and _PLAIN_LITERAL.fullmatch(text) else ""


def _setting(tokens: Sequence[Token]) -> str:
    """Give the value that a variable is set to, as servers report it, where that is a literal; else nothing."""
    if len(tokens) == 1 and tokens[0].key in _PLAIN_WORDS:
        return tokens[0].key
    literal = _literal(tokens)
    return literal.strip("'") if literal[:1] in ("", "'", "-") or literal[:1].isdigit() else ""


def _note_report(name: str, value: Sequence[Token], notes: Notes) -> None:
    """Note what a client wants to be told from now on, if it is that and plainly said."""
    if name.startswith(_REPORT_PREFIX) and len(value) == 1 and value[0].lexeme in _LITERALS:
        notes.reports[name] = value[0].text.strip(b"'\"").decode(errors="replace")


def _is_harmless(part: Part, start: int, stop: int) -> bool:
    """Tell whether the value of a SET can be had again on another link, and does nothing when it is computed."""
    if part.calls_impure or part.looks_back or part.words & UNSETTABLE_WORDS:
        return False
    for index in range(start, stop):
        lexeme, key, _, _ = part.tokens[index]
        if lexeme is Lexeme.NAME or (key == ":=" and part.tokens[index - 1].lexeme is not Lexeme.USER):
            return False
        if key == "." and "@@" not in (part.key(index - 2), part.key(index - 4)):
            return False
    return True
