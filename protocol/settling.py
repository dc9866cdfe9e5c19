"""Reading back from the server what its reports and the texts of statements leave open.

Two rounds of questions: what has to be read, and how large the user variables are; then the values of those that are
small enough to be kept. The questions are SELECTs, so they may only be asked where nobody can look back any more:
a SELECT makes ROW_COUNT() -1 and clears the warnings.
"""

import re
from collections.abc import Iterable

from protocol.errors import MalformedPacket, ServerError
from protocol.holds import Hold, HoldKind
from protocol.memory import SessionMemory
from protocol.resultset import ResultSet, Row

#: The most that is kept of all user variables of a session together, in bytes.
_VARIABLES_BYTES = 64 * 1024

#: Types of columns (``enum_field_types``) whose values are written without quotes.
_INTEGER_TYPES = frozenset({1, 2, 3, 8, 9, 13})
_DOUBLE_TYPES = frozenset({4, 5})
_DECIMAL_TYPES = frozenset({0, 246})
_NUMBER_TYPES = _INTEGER_TYPES | _DOUBLE_TYPES | _DECIMAL_TYPES

_DIGITS = re.compile(rb"[0-9]{1,20}")
_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2})*")
#: Columns of the answer for each user variable.
_COLUMNS = 3
#: How the names of the collations begin in which the bytes of a text are not those of its ASCII characters.
_WIDE_CHARSETS = (b"ucs2", b"utf16", b"utf32")

_PLAIN_NAME = re.compile(rb"[\x20-\x7e]+")


def quote_name(name: str) -> str:
    """Write a name as a quoted identifier."""
    return "`" + name.replace("`", "``") + "`"


def text_literal(value: bytes) -> str:
    """Write text in the client's own character set, whatever the quotes and escapes of the sql_mode."""
    return f"x'{value.hex()}'" if value else "''"


_NO_ROWS = "SELECT 1 FROM DUAL WHERE FALSE"
_ROWS = (
    "SELECT {option} 1 FROM JSON_TABLE(CONCAT('[0', REPEAT(',0', {more}), ']'), '$[*]' COLUMNS (a INT PATH '$')) AS a "
    "LIMIT {limit}"
)

#: What tells whether a view, a trigger or a stored function has done something to the session: a number, then names.
#: In one statement there is always a row, so that none counts in Empty_queries. The limit is not sql_select_limit.
SURVEY = (
    "SELECT SUM(variable_value) FROM information_schema.session_status "
    "WHERE variable_name IN ('COM_SET_OPTION', 'COM_CREATE_TEMPORARY_TABLE') "
    "UNION ALL SELECT variable_name FROM information_schema.user_variables LIMIT 18446744073709551615"
)


def find_rows(rows: int, *, is_mariadb: bool) -> str:
    """Write a statement that makes FOUND_ROWS() so many.

    In MariaDB's DO, which counts neither in Com_select nor in Empty_queries, it is that of the subquery. In MySQL's it
    is 1 (seen on 10.11 and 9.7). The limits are there because of sql_select_limit.
    """
    if is_mariadb:
        found = _ROWS.format(option="SQL_CALC_FOUND_ROWS", more=rows - 1, limit=1) if rows else _NO_ROWS
        return f"DO ({found})"
    return _ROWS.format(option="", more=rows - 1, limit=(1 << 64) - 1) if rows else _NO_ROWS


def take_survey(memory: SessionMemory, answer: ResultSet | ServerError) -> None:
    """Take the answer to :data:`SURVEY`."""
    values = [] if isinstance(answer, ServerError) else [row[0] or b"" for row in answer.rows]
    if values and _DIGITS.fullmatch(values[0]):
        memory.settle_change(int(values[0]), [name.lower() for name in values[1:]])
    else:
        memory.cannot_be_surveyed()


class Settling:
    """One attempt to settle a session; what could not be read becomes a hold that stays."""

    def __init__(self, memory: SessionMemory) -> None:
        self._memory = memory
        self._names = sorted(memory.doubtful_variables | memory.sql_statements.variables)
        self._system = sorted(memory.unsettled_system_variables)
        self._locks = memory.user_locks
        self._asks_for_role = memory.is_role_unsettled

    def first_questions(self) -> list[str]:
        """Give the statements of the first round."""
        questions = ["SELECT CURRENT_ROLE()"] if self._asks_for_role else []
        if self._system:
            questions.append("SELECT " + ", ".join(f"@@SESSION.{quote_name(name)}" for name in self._system))
        if self._locks:
            locks = (f"IS_USED_LOCK({text_literal(lock.name.encode())}) = CONNECTION_ID()" for lock in self._locks)
            questions.append("SELECT " + ", ".join(locks))
        for name in [name for name in self._names if not _PLAIN_NAME.fullmatch(name)]:
            # In which character set the client has written it, is not known for sure any more.
            self._give_up(name)
        if self._names:
            questions.append("SELECT " + ", ".join(f"COALESCE(LENGTH({_variable(name)}), 0)" for name in self._names))
        return questions

    def second_questions(self, answers: Iterable[ResultSet | ServerError]) -> list[str]:
        """Take the answers of the first round; give the statements of the second one, which may be none.

        Raises:
            MalformedPacket: where there should be a number, the server has put something else.
        """
        remaining = iter(answers)
        if self._asks_for_role:
            self._take_role(next(remaining))
        if self._system:
            self._take_system(next(remaining))
        if self._locks:
            self._take_locks(next(remaining))
        if not self._names:
            return []
        lengths = _only_row(next(remaining), len(self._names))
        room = _VARIABLES_BYTES - sum(map(len, self._memory.user_variables.values()))
        for name, length in zip(list(self._names), lengths or [None] * len(self._names), strict=True):
            room -= _number(length)
            if length is None or room < 0:
                self._give_up(name)
        if not self._names:
            return []
        # A text comes in the character set of results, so its own bytes are asked for as well. The collation of what
        # is no text is that of numbers, and is not used.
        columns = ("{0}, COLLATION({0}), HEX({0})".format(_variable(name)) for name in self._names)
        return ["SELECT " + ", ".join(columns)]

    def finish(self, answers: Iterable[ResultSet | ServerError]) -> None:
        """Take the answers of the second round."""
        memory = self._memory
        for answer in answers:
            row = _only_row(answer, _COLUMNS * len(self._names))
            if row is None or isinstance(answer, ServerError) or len(answer.types) != len(row):
                for name in list(self._names):
                    self._give_up(name)
                return
            columns = range(0, len(row), _COLUMNS)
            for column, name in zip(columns, list(self._names), strict=True):
                value, collation, digits = row[column : column + _COLUMNS]
                if digits is None and value is not None:
                    self._give_up(name)  # twice its size is more than the server puts into a value
                    continue
                literal = _literal(
                    answer.types[column],
                    value,
                    collation or b"binary",
                    digits or b"",
                    is_unsigned=column in answer.unsigned,
                )
                memory.settle_variable(name, literal)
                if name in memory.sql_statements.variables:
                    self._keep_text(name, literal, collation or b"binary", digits or b"")

    def _keep_text(self, name: bytes, literal: str, collation: bytes, digits: bytes) -> None:
        """Keep the text of the statements that were PREPAREd from a variable."""
        statements = self._memory.sql_statements
        if collation.startswith(_WIDE_CHARSETS) or not _HEX.fullmatch(digits):
            # What such a statement does when it is executed cannot be read out of its bytes.
            statements.give_up(name)
        else:
            statements.keep(name, literal.encode(), bytes.fromhex(digits.decode()))

    def _take_role(self, answer: ResultSet | ServerError) -> None:
        memory = self._memory
        row = _only_row(answer, 1)
        if row is None:
            memory.hold(Hold(HoldKind.UNSETTLED, "SET ROLE"))
        else:
            memory.role = (row[0] or b"NONE").decode(errors="replace")
        memory.is_role_unsettled = False

    def _take_system(self, answer: ResultSet | ServerError) -> None:
        row = _only_row(answer, len(self._system))
        if row is None:
            for name in self._system:
                self._memory.hold(Hold(HoldKind.UNSETTLED, f"@@{name}"))
            row = ()
        values = ("" if value is None else value.decode(errors="replace") for value in row)
        self._memory.settle_system_variables(dict(zip(self._system, values, strict=False)))

    def _take_locks(self, answer: ResultSet | ServerError) -> None:
        row = _only_row(answer, len(self._locks))
        for lock, is_ours in zip(self._locks, row or (), strict=False):
            if is_ours != b"1":
                self._memory.release(lock)
        self._memory.are_locks_unsettled = False

    def _give_up(self, name: bytes) -> None:
        """Hold what cannot be read back."""
        self._names.remove(name)
        self._memory.give_up_variable(name)


def _variable(name: bytes) -> str:
    return "@" + quote_name(name.decode())


def _only_row(answer: ResultSet | ServerError, width: int) -> Row | None:
    """Give the one row of so many columns that an answer has; None if it is something else."""
    if isinstance(answer, ServerError) or len(answer.rows) != 1 or len(answer.rows[0]) != width:
        return None
    return answer.rows[0]


def _number(value: bytes | None) -> int:
    """Read a number that is not negative; NULL is 0."""
    if value is None:
        return 0
    if not _DIGITS.fullmatch(value):
        raise MalformedPacket("what should be a number is none")
    return int(value)


def _literal(kind: int, value: bytes | None, collation: bytes, digits: bytes, *, is_unsigned: bool) -> str:
    """Write a user variable's value so that the variable has the same type when it is set to it.

    ``digits`` are those of a text's own bytes.
    """
    name = collation.decode(errors="replace")
    charset = name.partition("_")[0]
    if value is None:
        if charset == "binary" and kind not in _NUMBER_TYPES:
            return "NULL"
        # NULL of this type.
        one = _literal(kind, b"1", collation, b"", is_unsigned=is_unsigned)
        return f"NULLIF({one}, {one})"
    text = value.decode(errors="replace")
    if kind in _INTEGER_TYPES:
        return f"CAST({text} AS UNSIGNED)" if is_unsigned else text
    if kind in _DECIMAL_TYPES:
        return text if "." in text else f"CAST({text} AS DECIMAL(65))"
    if kind in _DOUBLE_TYPES:
        return text if "e" in text else f"{text}e0"
    literal = f"x'{digits.decode(errors='replace')}'" if digits else "''"
    return f"_{charset} {literal}" if charset == "binary" else f"_{charset} {literal} COLLATE {name}"
