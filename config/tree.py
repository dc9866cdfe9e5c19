"""YAML text into plain data that remembers where each value stands.

The file is a small subset of YAML: mappings, lists and scalars. Tags, anchors and aliases, which no option needs, are
problems; so nothing is ever constructed, expanded or referred to twice. Depth and number of values are limited while
the text is read, which bounds time and memory together with the limit on the file's size.
"""

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml
from yaml.reader import ReaderError

from config.diagnostics import Location, Problem, dotted, shown
from config.fields import Misread

MAX_DEPTH = 16
MAX_VALUES = 50_000

_TAG = "tag:yaml.org,2002:"
_KINDS = {"int": "a number", "float": "a number", "timestamp": "a date"}
_TRUE = ("true", "yes", "on")


class Mark(NamedTuple):
    """A place in the file, counted from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Tree:
    """The file's data: dicts, lists, str, int, bool, None and Misread. Keys that occur twice keep their first value."""

    data: Any = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    keys: dict[Location, Mark] = field(default_factory=dict)
    values: dict[Location, Mark] = field(default_factory=dict)

    def key_mark(self, location: Location) -> Mark | None:
        """Find the key at a location, or where a list's entry begins."""
        return self.keys.get(location) or self.values.get(location)

    def mark(self, location: Location) -> Mark | None:
        """Find the value at a location; if it is missing, the nearest key above it."""
        if location in self.values:
            return self.values[location]
        parents = (location[:length] for length in range(len(location) - 1, -1, -1))
        return next(filter(None, map(self.key_mark, parents)), None)


class SyntaxProblem(Exception):
    """The text cannot be read to its end."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def parse_yaml(text: str) -> Tree:
    """Read a document into a tree, which lists the problems that do not end the reading.

    Raises:
        SyntaxProblem: it is not YAML, is too deep or too large, or holds no mapping.
    """
    tree = Tree()
    try:
        loader = _Composer(text, tree.problems)
        root = loader.get_single_node()
    except ReaderError as error:
        column = error.position - (text.rfind("\n", 0, error.position) + 1)
        mark = Mark(text.count("\n", 0, error.position) + 1, column + 1)
        raise SyntaxProblem(Problem("", "holds a control character", *mark)) from None
    except yaml.MarkedYAMLError as error:
        raise SyntaxProblem(_syntax_problem(error)) from None
    except (ValueError, OverflowError):
        # PyYAML hands the digits of "\U..." and %YAML to chr() and int(), which have limits of their own.
        mark = _mark(loader.get_mark())
        raise SyntaxProblem(Problem("", "this stands for no character or number", *mark)) from None
    match root:
        case None:
            raise SyntaxProblem(Problem("", "holds no settings"))
        case yaml.MappingNode():
            tree.data = _convert(tree, root, ())
            return tree
        case _:
            mark = _mark(root.start_mark)
            raise SyntaxProblem(Problem("", "must hold a mapping: lines of the form key: value", *mark))


class _Composer(yaml.SafeLoader):
    """PyYAML's composer, which stops at its limits and reports what no option needs."""

    def __init__(self, text: str, problems: list[Problem]) -> None:
        super().__init__(text)
        self._problems = problems
        self._depth = 0
        self._values = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        self._values += 1
        if self._values > MAX_VALUES:
            raise yaml.MarkedYAMLError(problem=f"has more than {MAX_VALUES} values", problem_mark=mark)
        if isinstance(event, yaml.AliasEvent):
            self._report("aliases (*) are not supported", "text that begins with * must be in quotes", mark)
            self.get_event()  # type: ignore[no-untyped-call]
            return yaml.ScalarNode(f"{_TAG}null", "", mark, mark)
        if event.anchor is not None:
            self._report("anchors (&) are not supported", "text that begins with & must be in quotes", mark)
            event.anchor = None
        if event.tag is not None:
            self._report("tags (!) are not supported", "text that begins with ! must be in quotes", mark)
            event.tag = None
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="is nested too deeply", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _report(self, message: str, hint: str, mark: yaml.Mark) -> None:
        self._problems.append(Problem("", message, *_mark(mark), hint))


def _mark(mark: yaml.Mark) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


def _convert(tree: Tree, node: yaml.Node, location: Location) -> Any:
    tree.values[location] = _mark(node.start_mark)
    match node:
        case yaml.MappingNode():
            return _mapping(tree, node, location)
        case yaml.SequenceNode():
            return [_convert(tree, entry, (*location, index)) for index, entry in enumerate(node.value)]
        case _:
            return _scalar(node.tag.removeprefix(_TAG), node.value)


def _mapping(tree: Tree, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in node.value:
        mark = _mark(key.start_mark)
        if not isinstance(key, yaml.ScalarNode):
            tree.problems.append(Problem(dotted(location), "a key must be a plain word", *mark))
            continue
        below = (*location, key.value)
        if key.value in data:
            message = f"key {shown(key.value)} is already in line {tree.keys[below].line}"
            tree.problems.append(Problem(dotted(below), message, *mark))
            continue
        tree.keys[below] = mark
        data[key.value] = _convert(tree, value, below)
    return data


def _scalar(kind: str, text: str) -> Any:
    match kind:
        case "str":
            return text
        case "null":
            return None
        case "bool":
            return text.lower() in _TRUE
        case "int" if re.fullmatch(r"0|-?[1-9][0-9]{0,17}", text):
            return int(text)
        case _:
            return Misread(_KINDS.get(kind, "a word with a meaning of its own"))


def _syntax_problem(error: yaml.MarkedYAMLError) -> Problem:
    """Put PyYAML's error into one line. Its picture of the line is left out, and so are words of the file in it."""
    problem = re.sub(r"'[^']*'", _without_words, error.problem or "cannot be read as YAML")
    context = f", {error.context}" if error.context and "'" not in error.context else ""
    hint = next((hint for part, hint in _HINTS.items() if part in problem), None)
    mark = error.problem_mark or error.context_mark
    line, column = _mark(mark) if mark else (None, None)
    return Problem("", problem + context, line, column, hint)


def _without_words(quoted: re.Match[str]) -> str:
    return quoted[0] if re.fullmatch(r"'(<[a-z ]+>|\\?.)'", quoted[0]) else "'...'"


_HINTS = {
    r"'\t'": "indent with spaces, not with tabs",
    "mapping values are not allowed": "a value that contains ': ' must be in quotes",
    "cannot start any token": "a value that begins with a special character must be in quotes",
    "single document": "one file holds one configuration",
}
