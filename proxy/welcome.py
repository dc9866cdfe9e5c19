"""What ``stillhere run`` says first to somebody who has started it by hand."""

import socket
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from config import Config, LogFormat
from proxy.listener import written


def welcome(config: Config, doors: Sequence[socket.socket], admin: Sequence[socket.socket]) -> None:
    """Say where the guard listens, what it protects and what to do next; nothing where nobody would read it."""
    if config.log.format is not LogFormat.CONSOLE or not sys.stderr.isatty():
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("protects", Text(str(config.upstream.address)))
    table.add_row("listens", Text(", ".join(map(written, doors))))
    table.add_row("point at it", Text(_how_to_connect(written(doors[0])), "bold"))
    if admin:
        pages = ", ".join(f"http://{written(listener)}/" for listener in admin)
        table.add_row("look at it", Text(f"{pages} or: stillhere status"))
    table.add_row("stop it", "Ctrl-C: sessions end at their next quiet point; once more ends them at once")
    console.print(Text("stillhere is there.", "bold green"), table, "", sep="\n")


def _how_to_connect(address: str) -> str:
    """Write the command that connects by hand, and with it what belongs into an application's settings."""
    if address.startswith("unix:"):
        return f"mysql --socket {address.removeprefix('unix:')} -u USER -p"
    host, _, port = address.rpartition(":")
    return f"mysql -h {host.strip('[]').replace('0.0.0.0', '127.0.0.1')} -P {port} -u USER -p"  # noqa: S104 - read, not bound
