"""KILL, and where in its text the thread is named."""

import re
from dataclasses import dataclass

from protocol.sql import Lexeme, tokenize


@dataclass(frozen=True)
class Kill:
    """A KILL, and where in its text the thread's number stands."""

    start: int
    stop: int
    thread_id: int


#: Digits of the largest id of a thread.
_LONGEST_THREAD_ID = 20
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
