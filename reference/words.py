"""The words of the example: what the comment above each option says, and the default that is written there."""

import re
from dataclasses import dataclass
from typing import Any

import yaml

_KEY = re.compile(r"(?P<indent> *)(?P<entry>- )?(?P<key>[a-z_]+):( |$)")
_COMMENT = re.compile(r" *# ?(?P<text>.*)")


@dataclass(frozen=True)
class Words:
    """What the example says of one option or section; the lines of ``comment`` are as they stand there."""

    comment: tuple[str, ...]
    default: Any


def read_words(example: str) -> dict[str, Words]:
    """Read the words by the dotted names of the options, in their order; the entries of a list have no index.

    A comment belongs to the key in the line below it.
    """
    written = yaml.safe_load(example)
    words: dict[str, Words] = {}
    comment: list[str] = []
    above: list[tuple[int, str]] = []
    for line in example.splitlines():
        if key := _KEY.match(line):
            depth = len(key["indent"]) + len(key["entry"] or "")
            above = [*(parent for parent in above if parent[0] < depth), (depth, key["key"])]
            names = [name for _, name in above]
            words[".".join(names)] = Words(tuple(comment), _value(written, names))
        note = _COMMENT.fullmatch(line)
        comment = [*comment, note["text"]] if note else []
    return words


def _value(written: Any, names: list[str]) -> Any:
    for name in names:
        written = (written[0] if isinstance(written, list) else written)[name]
    return written
