"""What a statement leaves behind for the next one to ask for, and which statements ask."""

import re
from enum import Flag, auto

from protocol.sql import tokenize


class Leftover(Flag):
    """What can be asked for behind a statement."""

    FOUND_ROWS = auto()
    ROW_COUNT = auto()
    WARNINGS = auto()
    #: What LAST_INSERT_ID() gives without an argument. It outlives other statements.
    INSERT_ID = auto()


_QUESTIONS = {
    Leftover.FOUND_ROWS: re.compile(rb"\bfound_rows\s*\(", re.IGNORECASE),
    Leftover.ROW_COUNT: re.compile(rb"\brow_count\s*\(", re.IGNORECASE),
    Leftover.WARNINGS: re.compile(
        rb"\bshow\s+(count\s*\(\s*\*\s*\)\s*)?(warnings|errors)|\bdiagnostics\b|@@\S*(warning|error)_count",
        re.IGNORECASE,
    ),
    Leftover.INSERT_ID: re.compile(
        rb"\blast_insert_id`?\s*\(\s*(\)|[-/#])|@@\S*(last_insert_id|identity)\b", re.IGNORECASE
    ),
}

_INSERTS = re.compile(rb"\s*(insert|replace)\b", re.IGNORECASE)


def asked_for(text: bytes) -> Leftover:
    """Tell what a text of one or more statements asks for of what was left behind in front of it."""
    first = _first_statement(text)
    # What the others ask for of these, the first one has left behind.
    answered = Leftover.ROW_COUNT
    if _INSERTS.match(first):
        answered |= Leftover.INSERT_ID
    asked = Leftover(0)
    for leftover, question in _QUESTIONS.items():
        if question.search(first if leftover in answered else text):
            asked |= leftover
    return asked


def _first_statement(text: bytes) -> bytes:
    """Cut off the statements behind the first one, if it is sure where that ends."""
    if b"\\" in text:  # what it escapes depends on the sql_mode
        return text
    ends = (token.start for token in tokenize(text) or () if token.key == ";")
    return text[: next(ends, len(text))]
