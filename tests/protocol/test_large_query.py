"""A large statement is doubted at least as much as the same one when it is small."""

from collections.abc import Iterator

import pytest

from protocol.large_query import HOLD_ABOVE
from protocol.sql import Lexeme, tokenize
from tests.protocol.test_statement import CASES, EFFECTS
from tests.protocol.transcripts import OK, Wire, ask, frames

PADDING = b"x" * (HOLD_ABOVE + 5_000)


def doubts(text: bytes) -> set[str]:
    """Run a statement; list what the memory of the session has to doubt, or to read back, or to hold."""
    wire = Wire()
    wire.memory.multi_statements = True
    wire.client_says(ask(b"\x03" + text))
    found = {"a transaction"} if wire.memory.may_have_begun else set()
    if wire.tracker.expected:
        wire.server_says(frames(OK))
    memory = wire.memory
    found |= {"share locks"} if memory.has_share_locks else set()
    found |= {"the id"} if memory.is_insert_id_unsettled else set()
    if memory.holds or memory.is_unsettled or memory.sql_statements.known:
        found |= {"the session"}
    return found


#: The corpus, and statements that say something behind a value.
TEXTS = sorted(
    {text for text, _ in CASES}
    | {text for text, _ in EFFECTS}
    | {
        b"INSERT INTO t VALUES ('x') RETURNING id",
        b"REPLACE t SET a = 'x' returning LAST_INSERT_ID()",
        b"DELETE FROM t WHERE a = 'x' RETURNING a",
        b"SELECT 'x' /*!50000 INTO*/ @a",
        b"SELECT 'x' /*!INTO */@a FROM t",
        b"SELECT 'x' /*! INTO @a */ FROM t",
        b"SELECT 'x' INTO/**/@a",
        b"SELECT a FROM t WHERE a = 'x' /*!80000 FOR SHARE */",
        b"SELECT a FROM t WHERE a = 'x' LOCK IN /**/ SHARE MODE",
        b"INSERT INTO t VALUES ('x') ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id)",
    }
)


def with_values(text: bytes, value: bytes) -> Iterator[bytes]:
    """Put a value in the place of each literal of a statement."""
    for token in tokenize(text) or ():
        if token.lexeme in (Lexeme.STRING, Lexeme.NUMBER):
            yield text[: token.start] + value + text[token.stop :]


@pytest.mark.parametrize("text", TEXTS)
def test_size_takes_away_no_doubt(text: bytes) -> None:
    values = zip(with_values(text, b"'x'"), with_values(text, b"'" + PADDING + b"'"), strict=True)
    comments = (b"/* x */ " + text, b"/* " + PADDING + b" */ " + text)
    for small, large in (*values, comments):
        assert doubts(small) <= doubts(large), small
