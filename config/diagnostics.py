"""Problems of a configuration: what is wrong, where, and what to write instead.

No text made here repeats a value that could be a secret, or a whole line of the file: a password pasted into the wrong
place must not end up in a log. Keys are shown as far as they look like keys, see ``shown``.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# More than anybody corrects in one go; it bounds what a hostile file can make us say.
MAX_PROBLEMS = 100

# Where a problem is: the keys and list indexes from the top of the file down.
Location = tuple[str | int, ...]


class InvalidValue(ValueError):
    """A value cannot be used; the text says why, ``hint`` what to write instead."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class InvalidKey(InvalidValue):
    """A key should not be there, whatever its value is: the diagnosis points at the key."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to correct.

    ``path`` is like ``listen[1].address``, or the flag (``--listen``), or empty for the file as such.
    ``line`` and ``column`` count from 1 and are None where the file has no such place.
    """

    path: str
    message: str
    line: int | None = None
    column: int | None = None
    hint: str | None = None

    def place(self, file: str | None) -> str:
        """Give ``FILE:LINE:COLUMN``, as much of it as there is: nothing for a problem outside the file."""
        if file is not None and self.line is not None:
            return f"{file}:{self.line}:{self.column}"
        return file if file is not None and not self.path else ""

    def render(self, file: str | None) -> str:
        """Put all of it into one line of plain text."""
        parts = [self.place(file), self.path, f"{self.message} ({self.hint})" if self.hint else self.message]
        return ": ".join(part for part in parts if part)


class ConfigError(Exception):
    """A configuration cannot be used; the text lists the problems, one a line, in the order of the file."""

    def __init__(self, problems: Iterable[Problem], file: str | None = None) -> None:
        ordered = sorted(problems, key=lambda problem: (problem.line or 0, problem.column or 0))
        if len(ordered) > MAX_PROBLEMS:
            ordered[MAX_PROBLEMS:] = [Problem("", f"has more than these {MAX_PROBLEMS} problems")]
        self.problems = tuple(ordered)
        self.file = file
        super().__init__("\n".join(problem.render(file) for problem in self.problems))


def shown(text: str) -> str:
    """Quote a key or a choice for a message: only its beginning, up to what does not look like a part of a name.

    ``{password:hunter2}``, with the space after the colon forgotten, is a key to YAML and must not be repeated.
    """
    name = re.match(r"[A-Za-z0-9_.-]{0,40}", text)
    beginning = name[0] if name else ""
    return f"'{beginning}'" if beginning == text else f"'{beginning}...'"


def suggest(text: str, choices: Sequence[str]) -> str | None:
    """Give the hint that names the choice most like ``text``, or None if none is near."""
    # Here, because it is of use only where something is wrong.
    import difflib  # noqa: PLC0415

    # A far longer text cannot be near, and the comparison's time grows with the length.
    near = difflib.get_close_matches(text.lower(), choices, n=1) if len(text) <= 64 else []
    return f"did you mean '{near[0]}'?" if near else None


def dotted(location: Location) -> str:
    """Write a location as ``listen[1].address``."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{shown(step)[1:-1]}"
    return text.removeprefix(".")
