"""The statements of a session that were PREPAREd in SQL: what a new link needs to have them as well.

The text of such a statement is in the PREPARE itself, or in a user variable: then it has to be read back from the
server before something else is assigned to that variable. A statement whose text cannot be had is lost: a new link
cannot have it.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any

from protocol.effects import Effects, SqlPrepare
from protocol.prepared import Dialect, settle_dialect
from protocol.statement import classify

#: What a backslash makes of the letter behind it, where it is not that letter itself; of % and _ it makes nothing.
_ESCAPES = {b"0": b"\0", b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"Z": b"\x1a", b"%": b"\\%", b"_": b"\\_"}
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)

_NOTHING = Effects()
#: One for all sessions: an empty set is as large as a full one.
_NO_NAMES: frozenset[Any] = frozenset()


@dataclass(frozen=True)
class SqlStatement:
    """A statement PREPAREd in SQL: the literal with its text as it was written, and how that was read.

    Where the text was in a user variable, it is ``text``, and ``literal`` is what such a variable is to be set to.
    """

    literal: bytes
    schema: bytes
    dialect: Dialect
    text: bytes | None = None


@dataclass(frozen=True)
class UnreadStatement:
    """One whose text is still to be read from a user variable."""

    variable: bytes
    schema: bytes
    dialect: Dialect


@dataclass(slots=True)
class SqlStatements:
    """Those of one session, by the names that the client has given them."""

    known: dict[bytes, SqlStatement] = field(default_factory=dict)
    unread: dict[bytes, UnreadStatement] = field(default_factory=dict)
    lost: frozenset[bytes] = _NO_NAMES

    @property
    def variables(self) -> set[bytes]:
        """The user variables that have to be read for their texts."""
        return {statement.variable for statement in self.unread.values()}

    def apply(self, effects: Effects, schema: bytes, dialect: Dialect, *, failed: bool) -> list[Effects | None]:
        """Take note of what a text has done to them.

        Returns what each of the statements that it EXECUTEd does to the session; None where that is not known.
        """
        for sql in effects.prepares:
            self._forget(sql.name)  # servers drop the old one first, even where they then do not take the new one
            if not failed:
                self._prepare(sql, schema, dialect)
            elif effects.is_multiple:
                self.lose(sql.name)  # there may be the new one: what has failed may be another statement
        # One that fails may have assigned something before; one that does not exist has not.
        executed = [self._effects_of(name) for name in effects.executes if not failed or self._exists(name)]
        if effects.is_multiple:
            # Which of them were carried out, and under which schema, is not known.
            self.lose(*(sql.name for sql in effects.prepares), *effects.deallocates)
        if not failed:
            for name in effects.deallocates:
                self._forget(name)
        fresh = {sql.name for sql in effects.prepares}
        overwritten = effects.user_variables.union(*(done.user_variables for done in executed if done is not None))
        self.lose(
            *(name for name, unread in self.unread.items() if unread.variable in overwritten and name not in fresh)
        )
        return executed

    def keep(self, variable: bytes, literal: bytes, text: bytes) -> None:
        """Take note of the text that was found in a variable; ``literal`` is what sets such a variable."""
        for name in self._unread_in(variable):
            unread = self.unread.pop(name)
            self.known[name] = SqlStatement(literal, unread.schema, unread.dialect, text)

    def give_up(self, variable: bytes) -> None:
        """Take note that a variable cannot be read."""
        self.lose(*self._unread_in(variable))

    def lose(self, *names: bytes) -> None:
        """Take note of statements whose texts cannot be had."""
        for name in names:
            self._forget(name)
            self.lost |= {name}

    def settle(self, mark: str, settled: Dialect) -> None:
        """Put the values that have been found in the place of those that were still to be read back."""
        for name, known in self.known.items():
            self.known[name] = replace(known, dialect=settle_dialect(known.dialect, mark, settled))
        for name, unread in self.unread.items():
            self.unread[name] = replace(unread, dialect=settle_dialect(unread.dialect, mark, settled))

    def _prepare(self, sql: SqlPrepare, schema: bytes, dialect: Dialect) -> None:
        if sql.literal is not None:
            self.known[sql.name] = SqlStatement(sql.literal, schema, dialect)
        elif sql.variable is not None:
            self.unread[sql.name] = UnreadStatement(sql.variable, schema, dialect)
        else:
            self.lose(sql.name)

    def _forget(self, name: bytes) -> None:
        self.known.pop(name, None)
        self.unread.pop(name, None)
        if name in self.lost:
            self.lost -= {name}

    def _exists(self, name: bytes) -> bool:
        return name in self.known or name in self.unread or name in self.lost

    def _unread_in(self, variable: bytes) -> list[bytes]:
        return [name for name, unread in self.unread.items() if unread.variable == variable]

    def _effects_of(self, name: bytes) -> Effects | None:
        known = self.known.get(name)
        if known is None:
            return None
        readings = _readings(known.literal) if known.text is None else {(known.text, True), (known.text, False)}
        found = {classify(text, backslash_escapes=escapes).effects or _NOTHING for text, escapes in readings}
        # Servers PREPARE nothing that PREPAREs or EXECUTEs. What chooses reports is noted before its OK packet is read.
        if len(found) != 1 or any(each.prepares or each.executes or each.reports for each in found):
            return None
        return found.pop()


def _readings(literal: bytes) -> set[tuple[bytes, bool]]:
    """Give the texts that a string literal can stand for, each with whether backslashes escape something in it."""
    quote, body = literal[:1], literal[1:-1]
    readings = set()
    if quote not in body.replace(quote * 2, b""):
        readings.add((body.replace(quote * 2, quote), False))
    pieces = _ESCAPED.split(body)
    pieces[0::2] = [piece.replace(quote * 2, quote) for piece in pieces[0::2]]
    pieces[1::2] = [_ESCAPES.get(letter, letter) for letter in pieces[1::2]]
    readings.add((b"".join(pieces), True))
    return readings
