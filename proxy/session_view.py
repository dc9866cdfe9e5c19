"""A session as an onlooker sees it: numbers and names, no statements."""

from dataclasses import dataclass
from enum import StrEnum

import trio

from protocol.constants import CommandCode
from protocol.holds import Hold
from proxy.link import Link
from proxy.upstream import Upstream


class SessionState(StrEnum):
    """What would become of a session if it lost its link now."""

    LOGGING_IN = "logging in"
    RESTORABLE = "restorable"
    HELD = "held"
    WITHOUT_LINK = "without a link"


@dataclass(frozen=True)
class SessionView:
    """A session at one moment."""

    id: int
    user: str
    client: str
    state: SessionState
    holds: tuple[Hold, ...]
    #: The command that the server has not answered yet; empty between commands.
    running: str
    in_transaction: bool
    #: The id of the server's thread as the client knows it, and the one that it has now.
    known_thread: int
    server_thread: int
    age_seconds: float
    idle_seconds: float
    commands: int
    bytes_from_client: int
    bytes_from_server: int
    #: Bytes that the client has not read yet, and how long the server has waited for that.
    spooled_bytes: int
    stalled_seconds: float
    #: How often it has lost its link.
    losses: int


def view(upstream: Upstream, client: Link, began_at: float, running: int | None, *, is_logged_in: bool) -> SessionView:
    """Look at a session that began at ``began_at``, in trio's time; ``running`` is the code of a command."""
    now = trio.current_time()
    traffic = upstream.traffic
    holds = tuple(upstream.memory.holds) if is_logged_in else ()
    return SessionView(
        id=upstream.session_id,
        user=upstream.identity.user if is_logged_in else "",
        client=client.peer,
        state=_state(upstream, holds, is_logged_in=is_logged_in),
        holds=holds,
        running="" if running is None else name_command(running),
        in_transaction=is_logged_in and upstream.in_transaction,
        known_thread=upstream.known_thread,
        server_thread=upstream.greeting.thread_id if is_logged_in else 0,
        age_seconds=round(now - began_at, 3),
        idle_seconds=0.0 if running is not None else round(now - max(client.heard_at, upstream.active_at), 3),
        commands=traffic.commands,
        bytes_from_client=traffic.bytes_from_client,
        bytes_from_server=traffic.bytes_from_server,
        spooled_bytes=client.backlog_bytes,
        stalled_seconds=round(client.held_up, 3),
        losses=upstream.losses,
    )


def _state(upstream: Upstream, holds: tuple[Hold, ...], *, is_logged_in: bool) -> SessionState:
    if not is_logged_in:
        return SessionState.LOGGING_IN
    if not upstream.has_link:
        return SessionState.WITHOUT_LINK
    return SessionState.HELD if holds else SessionState.RESTORABLE


def name_command(code: int) -> str:
    """Name a command as the manual does."""
    return f"COM_{CommandCode(code).name}" if code in CommandCode.__members__.values() else f"0x{code:02x}"
