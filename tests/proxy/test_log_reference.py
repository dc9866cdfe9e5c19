"""docs/logs.md has every event that the guard can log, and none that it cannot."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "exception"}


def logged(source: str) -> Iterator[str]:
    """Give the names of the events that a module logs."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and node.args):
            continue
        is_log = isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS
        if is_log or (isinstance(node.func, ast.Name) and node.func.id == "write"):
            event = node.args[0]
            # One of two, by a condition.
            choices = (event.body, event.orelse) if isinstance(event, ast.IfExp) else (event,)
            yield from (str(choice.value) for choice in choices if isinstance(choice, ast.Constant))


def test_the_log_reference_is_complete_and_true() -> None:
    events = {event for path in (ROOT / "proxy").rglob("*.py") for event in logged(path.read_text())}
    assert {"session begins", "session lost", "link lost and restored"} <= events
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "logs.md").read_text(), re.MULTILINE)
    listed = [name for row in rows for name in re.findall("`(.*?)`", row)]
    assert sorted(listed) == sorted(events)
