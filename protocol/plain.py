"""The short cut for the many statements that do nothing to their session.

It reads bytes, not tokens, so that it holds whatever the quotes and the character set mean to the server.
"""

import re

from protocol.sql_rules import LABELLED, TELLING_RULES

#: How texts begin that do nothing to their session unless one of the needles below is in them.
_PLAIN_BEGINNINGS = frozenset(
    {"sele", "inse", "upda", "dele", "repl", "show", "comm", "roll", "save", "desc", "expl", "with"}
)
_ASKS_FOR_SHARE_LOCK = re.compile(r"(?:(?:for|in|\*/|!\d*+)\s*+|\n[^\S\n]*+)share", re.ASCII)
_INTO_VARIABLE = re.compile(r"into[\s\x80-\xff]*+(?:@|/\*|\*/|--|#)", re.ASCII)

#: The beginning of another statement, which may do something to the session.
TELLING_STATEMENT = re.compile(
    rf";[\s\x80-\xff]*+(?:/\*|\*/|--|#|<\s*<|(?:{'|'.join(TELLING_RULES).lower()})(?![\w$]))", re.ASCII
)
_LABELLED_WORDS = "|".join(LABELLED).lower()
_LABEL = re.compile(rf":\s*+(?:/\*|\*/|--|{_LABELLED_WORDS})", re.ASCII)

#: The same with comments behind the colon that end with their line.
_COMMENTED_LABEL = re.compile(r":\s*+#", re.ASCII)
_LABELLED_LINE = re.compile(rf"\n[^\S\n]*+(?:/\*|--|#|{_LABELLED_WORDS})", re.ASCII)


def is_plain(data: bytes, start: int, stop: int) -> bool:
    """Tell whether the statement in ``data[start:stop]`` surely does nothing to its session.

    Where it is in doubt it says no, and :func:`protocol.statement.classify` tells more.
    """
    # Every query passes here. One character for each byte, because strings are searched faster than bytes.
    text = str(data[start:stop].lower(), "latin-1")
    if text[:4] not in _PLAIN_BEGINNINGS and text.lstrip()[:4] not in _PLAIN_BEGINNINGS:
        return False
    if ":=" in text or "_lock" in text or "last_insert_id" in text or "returning" in text:
        return False
    if ("share" in text and _ASKS_FOR_SHARE_LOCK.search(text)) or ("@" in text and _INTO_VARIABLE.search(text)):
        return False
    return ";" not in text or not (
        TELLING_STATEMENT.search(text)
        or _LABEL.search(text)
        or (_COMMENTED_LABEL.search(text) and _LABELLED_LINE.search(text))
    )
