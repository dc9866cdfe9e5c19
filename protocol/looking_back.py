"""What a statement leaves behind for the next one to ask for, and which statements ask."""

import re
from collections.abc import Sequence
from enum import Flag, auto
from itertools import pairwise

from protocol.sql import Token, tokenize
from protocol.sql_part import DEPTHS, is_name
from protocol.statement import runs_others


class Leftover(Flag):
    """What can be asked for behind a statement."""

    FOUND_ROWS = auto()
    ROW_COUNT = auto()
    WARNINGS = auto()
    #: What LAST_INSERT_ID() gives without an argument. It outlives other statements.
    INSERT_ID = auto()


_QUESTIONS = {
    Leftover.FOUND_ROWS: re.compile(rb"\bfound_rows\s*\(", re.IGNORECASE),
    Leftover.ROW_COUNT: re.compile(rb"\brow_count\s*\(|\bdiagnostics\b", re.IGNORECASE),
    Leftover.WARNINGS: re.compile(
        rb"\bshow\s+(count\s*\(\s*\*\s*\)\s*)?(warnings|errors)|\bdiagnostics\b|@@\S*(warning|error)_count",
        re.IGNORECASE,
    ),
    Leftover.INSERT_ID: re.compile(
        rb"\blast_insert_id`?\s*\(\s*(\)|[-/#])|@@\S*(last_insert_id|identity)\b", re.IGNORECASE
    ),
}

#: In bytes, with some room for spaces; one that is longer is not found where it lies across two pieces.
_LONGEST_QUESTION = 256

_CHANGING = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE"})

_INSERTS = re.compile(rb"\s*(insert|replace)\b", re.IGNORECASE)


def asked_for(text: bytes) -> Leftover:
    """Tell what a text of one or more statements asks for of what was left behind in front of it."""
    first = _first_statement(text)
    # What the others ask for of these, the first one has left behind.
    answered = Leftover.ROW_COUNT
    if _INSERTS.match(first):
        answered |= Leftover.INSERT_ID
    return _mentioned(first) & answered | _mentioned(text) & ~answered


def covers(text: bytes, *, has_warnings: bool) -> bool:
    """Tell whether a statement looks back at nothing, and leaves nothing to be looked back at of what was before it.

    LAST_INSERT_ID() is another matter. ``has_warnings``: what was before it has left some; on MariaDB they stay until a
    statement uses a table (``opt_clear_warning_info()`` in ``mysql_execute_command()``, ``sql/sql_parse.cc``).
    """
    if _mentioned(text) & ~Leftover.INSERT_ID or runs_others(text):
        return False
    tokens = tokenize(text) or []
    if not tokens:
        return False
    return not has_warnings or tokens[0].key in _CHANGING or _selects_from_table(tokens)


def _selects_from_table(tokens: Sequence[Token]) -> bool:
    """Tell whether there is a FROM with a table behind it that is in no parentheses."""
    depth = 0
    for token, following in pairwise(tokens):
        depth += DEPTHS.get(token.key, 0)
        if token.key == "FROM" and not depth:
            return tokens[0].key == "SELECT" and is_name(following) and following.key != "DUAL"
    return False


class Asking:
    """What a large text asks for, of which the pieces are shown one after the other: whatever it mentions anywhere."""

    def __init__(self) -> None:
        self.asked = Leftover(0)
        self._tail = b""

    def __repr__(self) -> str:
        return f"<Asking {self.asked}>"

    def look_through(self, piece: bytes) -> None:
        """Look at the next piece."""
        text = self._tail + piece
        self.asked |= _mentioned(text)
        self._tail = text[-_LONGEST_QUESTION:]


def _mentioned(text: bytes) -> Leftover:
    """Tell for what there are questions in a text."""
    mentioned = Leftover(0)
    for leftover, question in _QUESTIONS.items():
        if question.search(text):
            mentioned |= leftover
    return mentioned


def _first_statement(text: bytes) -> bytes:
    """Cut off the statements behind the first one, if it is sure where that ends."""
    if b"\\" in text:  # what it escapes depends on the sql_mode
        return text
    ends = (token.start for token in tokenize(text) or () if token.key == ";")
    return text[: next(ends, len(text))]
