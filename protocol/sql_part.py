"""One statement of a text, as tokens, and what is noted of a text's statements one after the other."""

from collections.abc import Iterable, Iterator

from protocol.effects import Effects, SqlPrepare
from protocol.holds import Hold, HoldKind
from protocol.sql import Lexeme, Token, unquote

UNEXPLAINED = Hold(HoldKind.UNEXPLAINED)
DEPTHS = {"(": 1, ")": -1}


class Part:
    """One statement of a text, and what the scan has found in it."""

    def __init__(self, tokens: list[Token], *, escapes: bool) -> None:
        self.tokens = tokens
        self.keys = [token.key for token in tokens]
        self.words = frozenset(self.keys)
        self.escapes = escapes
        self.assigns = self.locks = self.changes = self.looks_back = False
        self.into_variables = False
        #: INTO with something else behind it.
        self.into_others = 0
        self.calls_administrative = self.calls_unknown = self.calls_impure = False
        #: Whether it explains a change of the session's state; None if its kind tells.
        self.explains: bool | None = None

    def key(self, index: int) -> str:
        """Give a token's key, empty outside of the statement."""
        return self.keys[index] if 0 <= index < len(self.keys) else ""

    def value(self, token: Token) -> bytes:
        """Give what a token means: a name without its quotes, a literal's value."""
        text = token.text[1:] if token.lexeme is Lexeme.USER else token.text
        return unquote(text, backslash_escapes=self.escapes)

    def variable(self, token: Token) -> bytes:
        """Give the name of a user variable, or of a statement PREPAREd in SQL: case does not matter there."""
        return self.value(token).lower()

    def lower_name(self, index: int) -> str:
        """Give a name of the server's own in lower case, empty if there is none."""
        if index < len(self.tokens) and is_name(self.tokens[index]):
            name = self.value(self.tokens[index])
            return name.decode().lower() if name.isascii() else ""
        return ""

    def table(self, index: int) -> tuple[str, int]:
        """Read the name of a table, with or without its schema; return it and where it ends. Empty if there is none."""
        names: list[str] = []
        while index < len(self.tokens) and is_name(self.tokens[index]) and len(names) < 2:
            names.append(self.value(self.tokens[index]).decode(errors="replace"))
            index += 1
            if self.key(index) != ".":
                break
            index += 1
        return (".".join(names) if all(names) else ""), index

    def user_variables(self) -> Iterator[bytes]:
        """List every user variable that is mentioned."""
        return (self.variable(token) for token in self.tokens if token.lexeme is Lexeme.USER)


class Notes:
    """Collects the effects of a text's statements, one after the other."""

    def __init__(self, *, is_multiple: bool) -> None:
        self.is_multiple = is_multiple
        self.user_variables: set[bytes] = set()
        self.system_variables: set[str] = set()
        #: Values of those of both kinds that are given by a literal, as it stands in the text.
        self.user_literals: dict[bytes, str] = {}
        self.system_literals: dict[str, str] = {}
        #: Variables set in a way that servers report correctly, unless there are other statements beside it.
        self.reported: set[str] = set()
        #: Values of the variables that say what is to be reported.
        self.reports: dict[str, str] = {}
        self.takes: list[Hold] = []
        self.releases: list[Hold] = []
        self.renames: list[tuple[str, str]] = []
        self.prepares: list[SqlPrepare] = []
        self.deallocates: list[bytes] = []
        self.executes: list[bytes] = []
        self.sets_role = self.sets_insert_id = self.share_locks = False
        self.counted = 0
        self.calls = False
        #: A statement has changed how the server reads those behind it.
        self.sets_mode = False
        #: A statement defines something whose body cannot be told from the statements behind it.
        self.defines = False
        self.has_explained = self.has_unexplained = False

    def assign(self, names: Iterable[bytes]) -> None:
        """Note that user variables may be assigned to."""
        assigned = set(names)
        self.user_variables |= assigned
        for name in assigned & self.user_literals.keys():
            del self.user_literals[name]
        if any(sql.variable in assigned and sql.name not in self.deallocates for sql in self.prepares):
            self.take(UNEXPLAINED)  # the text of a statement is not in the variable any more

    def take(self, hold: Hold) -> None:
        """Note that a hold has come into being."""
        self.takes.append(hold)
        self._take_again(hold)

    def _take_again(self, hold: Hold) -> None:
        """Forget that a hold has ended before it comes into being."""
        self.releases = [old for old in self.releases if old.kind is not hold.kind or old.name not in ("", hold.name)]

    def release(self, hold: Hold) -> None:
        """Note that a hold has ended."""
        self.releases.append(hold)

    def rename(self, old: str, new: str) -> None:
        """Note that a table gets another name; each is empty if it cannot be read."""
        if old and new:
            self.renames.append((old, new))
            self._take_again(Hold(HoldKind.TEMPORARY_TABLE, new))
        else:
            self.take(UNEXPLAINED)

    def prepare(self, prepared: SqlPrepare) -> None:
        """Note a statement that is PREPAREd in SQL."""
        if prepared.name in self.executes:
            self.take(UNEXPLAINED)  # what was executed was another statement of the same name
        self.prepares.append(prepared)
        self.deallocates = [name for name in self.deallocates if name != prepared.name]

    def effects(self) -> Effects | None:
        """Give what has been noted, None if that is nothing."""
        if self.is_multiple:
            self.system_variables |= self.reported
        is_silent = not (
            self.user_variables
            or self.system_variables
            or self.takes
            or self.releases
            or self.renames
            or self.prepares
            or self.deallocates
            or self.executes
            or self.sets_role
            or self.sets_insert_id
            or self.share_locks
            or self.counted
            or self.calls
            or self.has_explained
        )
        if is_silent:
            return None
        return Effects(
            frozenset(self.user_variables),
            frozenset(self.system_variables),
            () if self.is_multiple else tuple(self.user_literals.items()),
            () if self.is_multiple else tuple(self.system_literals.items()),
            tuple(self.takes),
            tuple(self.releases),
            tuple(self.renames),
            tuple(self.prepares),
            tuple(self.deallocates),
            tuple(self.executes),
            self.sets_role,
            self.sets_insert_id,
            not self.has_unexplained,
            self.share_locks,
            self.is_multiple,
            self.counted,
            self.calls,
            tuple(self.reports.items()),
        )


def is_name(token: Token) -> bool:
    """Tell whether a token can be an identifier."""
    lexeme = token.lexeme
    return lexeme in (Lexeme.WORD, Lexeme.QUOTED, Lexeme.NAME) or (lexeme is Lexeme.STRING and token.text[:1] == b'"')
