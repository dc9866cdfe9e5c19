"""``stillhere status``: what the admin page shows, in a terminal."""

import http.client
import json
import os
import time
from typing import Any

from pydantic import SecretStr
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from config import TcpAddress
from proxy.admin import words

_TOKEN_VARIABLE = "STILLHERE_ADMIN_TOKEN"  # noqa: S105 - a name
_TIMEOUT_SECONDS = 5.0
_WATCH_SECONDS = 1.0

#: Of each kind; there is more on the page.
_INCIDENTS = 5
_LARGE_COMMANDS = 5
_SESSIONS = 30

_STATE_STYLES = {"restorable": "green", "held": "yellow", "logging in": "dim"}
#: By the names of the outcomes: in which style, and in which words.
_OUTCOMES = {
    "saved": ("green", "saved"),
    "told": ("yellow", "told"),
    "closed": ("red", "lost"),
    "left": ("dim", "left"),
}


class NoAnswer(Exception):
    """The guard does not say how it is; the text says why."""


def show(address: TcpAddress, token: SecretStr | None, *, is_watching: bool) -> None:
    """Print the status of the guard whose admin pages are at ``address``; again and again if ``is_watching``.

    Raises:
        NoAnswer: the guard does not answer, or wants another token. While it is being watched, that is shown instead.
    """
    console = Console()
    if not is_watching:
        console.print(draw(fetch(address, token)))
        return
    with Live(draw(fetch(address, token)), console=console, screen=console.is_terminal, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(_WATCH_SECONDS)
                try:
                    live.update(draw(fetch(address, token)), refresh=True)
                except NoAnswer as error:
                    live.update(Text(str(error), "red"), refresh=True)
        except KeyboardInterrupt:
            return


def fetch(address: TcpAddress, token: SecretStr | None) -> dict[str, Any]:
    """Ask for the overview. Raises NoAnswer."""
    shown = token.get_secret_value() if token else os.environ.get(_TOKEN_VARIABLE)
    headers = {"Authorization": f"Bearer {shown}"} if shown else {}
    connection = http.client.HTTPConnection(address.host, address.port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/overview", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
    except ValueError:
        # The error itself repeats the token.
        raise NoAnswer("the token cannot be sent: it has a character that does not belong into one") from None
    except (OSError, http.client.HTTPException) as error:
        hint = "is a guard running there? See admin.address in its configuration, or give --admin"
        raise NoAnswer(f"no answer from http://{address}/: {str(error) or type(error).__name__} ({hint})") from error
    finally:
        connection.close()
    if answer.status == http.HTTPStatus.UNAUTHORIZED:
        raise NoAnswer(f"http://{address}/ wants a token: give the guard's configuration, or set {_TOKEN_VARIABLE}")
    try:
        overview = json.loads(body)
    except ValueError:
        overview = None
    if answer.status != http.HTTPStatus.OK or not isinstance(overview, dict) or "sessions_by_state" not in overview:
        raise NoAnswer(f"http://{address}/ answers, but not as a guard does (status {answer.status})")
    return overview


def draw(guard: dict[str, Any]) -> RenderableType:
    """Draw an overview."""
    parts: list[RenderableType] = [_heading(guard), "", _saves(guard)]
    if guard["episodes"]:
        parts += ["", _incidents(guard)]
    if guard["large_commands"]:
        parts += ["", _large_commands(guard)]
    if guard["sessions"]:
        parts += ["", _sessions(guard)]
    return Group(*parts)


def _heading(guard: dict[str, Any]) -> Text:
    text = Text.assemble(
        ("stillhere ", "bold"), f"{guard['version']}, {', '.join(guard['listen'])} -> {guard['upstream']}\n"
    )
    if guard["trouble"]:
        text.append(f"the server cannot be reached: {guard['trouble']}\n", "bold red")
    if guard["draining"]:
        text.append("draining: no new clients\n", "bold yellow")
    states = ", ".join(f"{number} {state}" for state, number in guard["sessions_by_state"].items() if number)
    text.append(f"sessions  {states or 'none'}; {guard['in_transaction']} in a transaction\n")
    text.append(
        f"traffic   {words.count(guard['commands'])} commands, {words.size(guard['bytes_from_client'])} in, "
        f"{words.size(guard['bytes_from_server'])} out\n"
    )
    text.append(
        f"latency   {words.span(guard['lag_median_seconds'])} added, "
        f"{words.span(guard['lag_most_seconds'])} at most in the last minute"
    )
    if guard["spooling"]:
        text.append(
            f"\nspool     {guard['spooling']} read slowly: {words.size(guard['spooled_memory_bytes'])} in memory, "
            f"{words.size(guard['spooled_disk_bytes'])} on disk"
        )
    return text


def _text(value: str) -> Text:
    """Show something that comes from clients: no markup, and nothing that a terminal obeys."""
    return Text("".join(character if character.isprintable() else "?" for character in value))


def _table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold", header_style="dim")
    return table


def _saves(guard: dict[str, Any]) -> RenderableType:
    if not guard["threats"]:
        return Text("nothing has threatened a session in the last 24 hours", "dim")
    table = _table("the last 24 hours", "threat", "saved", "told", "lost", right=("saved", "told", "lost"))
    for threat in guard["threats"]:
        numbers = ((threat["saved"], "green"), (threat["told"], "yellow"), (threat["lost"], "red"))
        table.add_row(
            threat["what"], *(Text(words.count(number), style if number else "dim") for number, style in numbers)
        )
    return table


def _incidents(guard: dict[str, Any]) -> Table:
    table = _table("incidents", "when", "cause", "sessions", "what to do")
    for episode in guard["episodes"][:_INCIDENTS]:
        outcomes = Text(", ").join(
            Text(f"{episode['outcomes'][name]} {word}", style)
            for name, (style, word) in _OUTCOMES.items()
            if episode["outcomes"][name]
        )
        ago = f"{words.span(max(0.0, guard['at'] - episode['ended_at']))} ago"
        table.add_row(ago, episode["cause"].replace("_", " "), outcomes, Text(episode["advice"]))
    return table


def _large_commands(guard: dict[str, Any]) -> Table:
    table = _table(
        "payloads close to the limit", "when", "user", "command", "size", "limit", "", right=("size", "limit")
    )
    for command in guard["large_commands"][:_LARGE_COMMANDS]:
        share = command["size_bytes"] / command["limit_bytes"]
        table.add_row(
            f"{words.span(max(0.0, guard['at'] - command['at']))} ago",
            _text(command["user"]),
            command["command"],
            words.size(command["size_bytes"]),
            words.size(command["limit_bytes"]),
            Text("refused", "red") if share > 1 else f"{share:.1%}",
        )
    return table


def _sessions(guard: dict[str, Any]) -> Table:
    numbers = ("age", "idle", "in", "out")
    table = _table("sessions", "id", "user", "client", "state", *numbers, right=numbers)
    for session in guard["sessions"][:_SESSIONS]:
        state = Text(session["state"], _STATE_STYLES.get(session["state"], "red"))
        if session["holds"]:
            state.append(": ").append(_text(", ".join(session["holds"])))
        if session["in_transaction"]:
            state.append(" (in transaction)", "dim")
        table.add_row(
            str(session["id"]),
            _text(session["user"]),
            _text(session["client"]),
            state,
            words.span(session["age_seconds"]),
            session["running"] or words.span(session["idle_seconds"]),
            words.size(session["bytes_from_client"]),
            words.size(session["bytes_from_server"]),
        )
    more = sum(guard["sessions_by_state"].values()) - len(guard["sessions"][:_SESSIONS])
    if more > 0:
        table.caption = f"and {words.count(more)} more"
    return table
