"""How the demo is told: short lines, each printed as soon as what it tells has happened."""

import sys
import textwrap
import time

import pymysql
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

_WIDTH = 96
_INDENT = "    "
_LEFT_COLUMN = 26
_MARK_COLUMN = 5
_MARK_STYLES = {"ok": "bold green", "ERROR": "bold red"}


class Story:
    """Prints to the terminal, or as plain text where there is none."""

    def __init__(self) -> None:
        self.is_live = sys.stdout.isatty()
        self._console = Console(highlight=False)
        self._console.width = min(self._console.width, _WIDTH) if self.is_live else _WIDTH

    def title(self, text: str) -> None:
        """Begin the story, or its end."""
        self._console.print(Text(text, "bold"))

    def scene(self, title: str, *what_it_is_about: str) -> None:
        """Begin a scene."""
        self._console.print()
        self._console.rule(Text(title, "bold"), align="left", characters="-", style="dim")
        for line in what_it_is_about:
            self._console.print(Text(line))

    def side(self, title: str) -> None:
        """Begin what happens on one of the two ways to the server."""
        self._console.print()
        self._console.print(Text(f"  {title}", "bold cyan"))

    def step(self, what: str, mark: str, result: str) -> None:
        """Tell one thing that was done, and what came of it; ``mark`` is ``ok`` or ``ERROR``."""
        self._row((what, _LEFT_COLUMN, ""), (mark, _MARK_COLUMN, _MARK_STYLES[mark]), text=result)

    def fact(self, name: str, *lines: str) -> None:
        """Tell something that is simply so."""
        for line in lines:
            self._row((name, _LEFT_COLUMN, ""), text=line)
            name = ""

    def upshot(self, text: str, *, is_good: bool) -> None:
        """Say in one line what it comes to."""
        self._row(text=f"=> {text}", style="green" if is_good else "red")

    def line(self, text: str = "", style: str = "") -> None:
        """Print a line as it is, even if it is wider than the screen: it may be meant to be copied."""
        self._console.print(Text(text, style), soft_wrap=True)

    def wait(self, what: str, seconds: float) -> None:
        """Let time pass, visibly."""
        if not self.is_live:
            self._row(text=f"... {what} ...")
            time.sleep(seconds)
            return
        columns = (TextColumn(_INDENT[:-1]), TextColumn("{task.description}"), BarColumn())
        left = TextColumn("{task.fields[left]:.1f} s left")
        ends = time.monotonic() + seconds
        with Progress(*columns, left, console=self._console) as progress:
            task = progress.add_task(what, total=seconds, left=seconds)
            while (remaining := ends - time.monotonic()) > 0:
                progress.update(task, completed=seconds - remaining, left=remaining)
                time.sleep(0.05)
            progress.update(task, completed=seconds, left=0)

    def _row(self, *columns: tuple[str, int, str], text: str, style: str = "") -> None:
        """Print columns (text, width, style), and a text that is wrapped behind them."""
        head = Text(_INDENT)
        for column, width, column_style in columns:
            head.append(column.ljust(width), column_style)
            head.append("  ")
        lines = textwrap.wrap(text, max(self._console.width - len(head), 20)) or [""]
        for line in lines:
            row = head + Text(line, style)
            row.rstrip()
            self._console.print(row)
            head = Text(" " * len(head))


def describe(error: Exception) -> str:
    """Write an error as the application sees it: its class, its code and its text."""
    match error.args:
        case (int(code), str(text)) if isinstance(error, pymysql.Error) and text:
            return f"{type(error).__name__} {code}: {text}"
        case _:
            return repr(error)


def name_code(error: Exception) -> str:
    """Write an error in a word or two."""
    code = error.args[0] if error.args else None
    return f"error {code}" if isinstance(code, int) and code else type(error).__name__
