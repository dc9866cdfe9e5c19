"""What a statement leaves behind for the next one to ask for, and which statements ask."""

import re
from enum import Flag, auto


class Leftover(Flag):
    """What can be asked for behind a statement."""

    FOUND_ROWS = auto()
    ROW_COUNT = auto()
    WARNINGS = auto()


_QUESTIONS = {
    Leftover.FOUND_ROWS: re.compile(rb"\bfound_rows\s*\(", re.IGNORECASE),
    Leftover.ROW_COUNT: re.compile(rb"\brow_count\s*\(", re.IGNORECASE),
    Leftover.WARNINGS: re.compile(
        rb"\bshow\s+(count\s*\(\s*\*\s*\)\s*)?(warnings|errors)|\bdiagnostics\b|@@\S*(warning|error)_count",
        re.IGNORECASE,
    ),
}


def asked_for(text: bytes) -> Leftover:
    """Tell what a statement asks for of what was left behind."""
    asked = Leftover(0)
    for leftover, question in _QUESTIONS.items():
        if question.search(text):
            asked |= leftover
    return asked
