"""What the text of a statement tells about what it does to its session, and whether it may be run again.

Theory of operation
-------------------
:func:`classify` cuts the text into tokens and these into statements. Each statement is scanned for what can stand
anywhere in it (assignments, calls of functions that do something, locking clauses), then looked at by the rule for its
verb. What no rule knows is OTHER, and what looks as if it changed the session in a way that cannot be told is a hold.

All rules err on one side: a statement may be taken for more harmful than it is, never for less. A function that is not
the server's own may do anything, which a text cannot show; see :func:`read_only_check`.

The rooms: :mod:`protocol.effects` has the words in which the answer is given, :mod:`protocol.sql` the tokens,
:mod:`protocol.sql_part` one statement, :mod:`protocol.sql_scan` what can stand anywhere in it, and
:mod:`protocol.sql_rules` the table of rules, which are in ``sql_queries``, ``sql_session`` and ``sql_set``.
"""

from functools import lru_cache

from protocol.effects import Effects, Kind, Statement
from protocol.plain import is_plain
from protocol.sql import tokenize
from protocol.sql_part import UNEXPLAINED, Notes, Part
from protocol.sql_queries import CHECKED_VERBS
from protocol.sql_rules import judge_statement

#: Statements of up to so many bytes are remembered.
_SHORT = 128


def classify(text: bytes, *, backslash_escapes: bool = True) -> Statement:
    """Tell what a text of one or more statements is, and what it does to its session.

    ``backslash_escapes`` is False under sql_mode NO_BACKSLASH_ESCAPES. Any other sql_mode is possible.
    """
    if len(text) <= _SHORT:
        return _classify_short(text, backslash_escapes=backslash_escapes)
    return _classify_any(text, backslash_escapes=backslash_escapes)


def _classify_any(text: bytes, *, backslash_escapes: bool) -> Statement:
    statement = _classify(text, escapes=backslash_escapes, ansi_quotes=False)
    # Under sql_mode ANSI_QUOTES a backslash is nothing special between double quotes.
    if backslash_escapes and b'\\"' in text and statement != _classify(text, escapes=True, ansi_quotes=True):
        statement = None
    if statement is not None:
        return statement
    is_plain_text = is_plain(text, 0, len(text))
    return Statement(Kind.OTHER, None if is_plain_text else Effects(takes=(UNEXPLAINED,), is_multiple=b";" in text))


#: What every session begins with is always the same, and short.
_classify_short = lru_cache(maxsize=1024)(_classify_any)


def _classify(text: bytes, *, escapes: bool, ansi_quotes: bool) -> Statement | None:
    """Judge a text; None if it is not understood."""
    tokens = tokenize(text, backslash_escapes=escapes, ansi_quotes=ansi_quotes)
    if tokens is None:
        return None
    ends = [index for index, token in enumerate(tokens) if token.key == ";"]
    is_multiple = ends[:1] not in ([], [len(tokens) - 1])
    is_mode_sensitive = b"\\" in text or b'"' in text or not text.isascii()
    notes = Notes(is_multiple=is_multiple)
    kinds = set()
    start = 0
    for end in [*ends, len(tokens)]:
        if start < end:
            if notes.sets_mode and is_mode_sensitive:
                return None
            kinds.add(judge_statement(Part(tokens[start:end], escapes=escapes), notes))
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


def read_only_check(text: bytes, *, backslash_escapes: bool = True) -> bytes | None:
    """Give a statement with which a server tells whether a SELECT would write, None if ``text`` is not one that reads.

    In a read-only transaction an EXPLAIN fails if the stored functions that the SELECT calls may write.
    """
    tokens = tokenize(text, backslash_escapes=backslash_escapes) or []
    keys = [token.key for token in tokens]
    if CHECKED_VERBS.isdisjoint(keys[:1]) or ";" in keys[:-1]:
        return None
    is_read = classify(text, backslash_escapes=backslash_escapes).kind is Kind.READ
    return b"EXPLAIN " + text if is_read else None


#: What runs statements of which the text does not tell, or the beginning of several.
_RUNNING = frozenset({"CALL", "EXECUTE", "BEGIN", "CASE", "DECLARE", "FOR", "IF", "LOOP", "REPEAT", "WHILE"})


def runs_others(text: bytes) -> bool:
    """Tell whether a statement runs others, in which nobody has looked, or may be the beginning of several.

    So it may open a transaction with something in it, and then fail and leave it open.
    """
    tokens = tokenize(text)
    return tokens is None or any(token.key in _RUNNING for token in tokens)
