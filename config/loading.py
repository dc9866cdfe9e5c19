"""A configuration out of a file and of the command line's flags."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config.diagnostics import ConfigError, InvalidKey, Location, Problem, dotted
from config.schema import Config
from config.tree import SyntaxProblem, Tree, parse_yaml

MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Override:
    """A flag's value in place of the file's at ``key``, such as ``upstream.address``. Problems name the ``flag``.

    The value is what the file would hold there: text, or a list of ``{"address": text}`` for ``listen``.
    """

    flag: str
    key: str
    value: Any

    @property
    def location(self) -> Location:
        """Give the key as the location of what it replaces."""
        return tuple(self.key.split("."))


def load(path: Path | None = None, overrides: Iterable[Override] = ()) -> Config:
    """Read a file, if there is one, put the flags over it, and check all of it at once.

    Raises:
        ConfigError: the file cannot be read or the configuration cannot be used; it lists all problems.
    """
    file = None if path is None else str(path)
    overrides = tuple(overrides)
    try:
        tree = Tree() if path is None else parse_yaml(_read(path))
    except SyntaxProblem as error:
        raise ConfigError([error.problem], file) from None
    for override in overrides:
        _put(tree.data, override)
    problems = list(tree.problems)
    try:
        config = Config.model_validate(tree.data)
    except ValidationError as error:
        # A value that is refused as YAML needs no second opinion.
        marks = {(problem.line, problem.column) for problem in problems}
        found = (_locate(details["loc"], details["ctx"]["error"], tree, overrides) for details in error.errors())
        problems += [
            problem for problem in found if problem.line is None or (problem.line, problem.column) not in marks
        ]
    else:
        if not problems:
            return config
    # Outside of the except block: pydantic's error holds the values.
    raise ConfigError(problems, file)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SyntaxProblem(Problem("", f"cannot be read: {error.strerror}")) from None
    if len(content) > MAX_FILE_BYTES:
        raise SyntaxProblem(Problem("", f"is larger than {MAX_FILE_BYTES >> 20} MiB"))
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise SyntaxProblem(Problem("", "is not valid UTF-8", line, column)) from None


def _put(data: dict[str, Any], override: Override) -> None:
    """Put a flag's value into the file's data, unless the file has no mapping there, which is a problem anyway."""
    *sections, key = override.key.split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            return
    data[key] = override.value


def _locate(location: Location, fault: Exception, tree: Tree, overrides: tuple[Override, ...]) -> Problem:
    hint = getattr(fault, "hint", None)
    for override in overrides:
        if location[: len(override.location)] == override.location:
            return Problem(override.flag, str(fault), hint=hint)
    mark = tree.key_mark(location) if isinstance(fault, InvalidKey) else tree.mark(location)
    line, column = mark or (None, None)
    return Problem(dotted(location), str(fault), line, column, hint)
