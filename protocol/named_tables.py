"""Which tables a statement may be about: questions for the server, where its text alone does not tell."""

from collections.abc import Iterator, Sequence

from protocol.errors import ServerError
from protocol.resultset import ResultSet
from protocol.settling import text_literal
from protocol.sql import Token, tokenize, unquote
from protocol.sql_part import is_name

_ENGINE_OF = (
    "SELECT t.table_type, e.transactions "
    "FROM information_schema.tables t LEFT JOIN information_schema.engines e ON e.engine = t.engine"
)
#: A statement that mentions more names than this is not asked about.
_MOST_NAMES = 64


def engine_questions(text: bytes, schema: bytes) -> list[str]:
    """Ask for the engines of the tables that a statement may mean; none where it has too many names or none.

    Each name in it may be that of a table in ``schema``, the session's own, or in the schema that is named in front.
    """
    tokens = tokenize(text) or []
    tables = dict.fromkeys(_names(tokens, schema))
    if len(tables) > _MOST_NAMES:
        return []
    return [
        f"{_ENGINE_OF} WHERE t.table_schema = {text_literal(where)} AND t.table_name = {text_literal(name)}"
        for where, name in tables
    ]


def can_be_rolled_back(answers: Sequence[ResultSet | ServerError]) -> bool:
    """Return whether all that a statement writes is undone by a rollback, by the answers to :func:`engine_questions`.

    One table at least has to be known, and none of them may be a view: what is behind it, nobody has asked.
    """
    rows = [row for answer in answers if isinstance(answer, ResultSet) for row in answer.rows]
    has_failed = any(isinstance(answer, ServerError) for answer in answers)
    return bool(rows) and not has_failed and all(kind != b"VIEW" and undoes == b"YES" for kind, undoes in rows)


def _names(tokens: Sequence[Token], schema: bytes) -> Iterator[tuple[bytes, bytes]]:
    for index, token in enumerate(tokens):
        if not is_name(token):
            continue
        name = unquote(token.text, backslash_escapes=False)
        is_qualified = index > 1 and tokens[index - 1].key == "." and is_name(tokens[index - 2])
        yield (unquote(tokens[index - 2].text, backslash_escapes=False) if is_qualified else schema), name
