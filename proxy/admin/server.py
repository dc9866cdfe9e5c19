"""Serving the admin pages. Nothing that goes wrong here may reach the sessions."""

import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import structlog
import trio

from config import Admin, is_loopback
from proxy.errors import StartError
from proxy.listener import Reception, open_listeners
from proxy.shared import Shared

Serve: TypeAlias = Callable[[Sequence[socket.socket], Shared, Reception], Awaitable[None]]

log = structlog.stdlib.get_logger()


async def open_admin(admin: Admin) -> Sequence[socket.socket]:
    """Bind the address of the admin pages; none if there are to be none, or if the default is taken.

    Raises:
        StartError: an address that was chosen cannot be bound.
    """
    if admin.address is None:
        return ()
    try:
        listeners = await open_listeners(admin.address)
    except StartError as error:
        if admin.is_chosen:
            raise
        advice = "choose another address with admin.address or --admin, or write address: null"
        log.warning("no admin pages", reason=str(error), advice=advice)
        return ()
    if not is_loopback(admin.address.host) and admin.token is None:
        log.warning(
            "admin pages are open",
            address=str(admin.address),
            advice="everybody who can reach them can read them: set admin.token_file, or listen on 127.0.0.1",
        )
    return listeners


async def serve_admin(listeners: Sequence[socket.socket], shared: Shared, reception: Reception) -> None:
    """Serve the pages until cancelled; takes over the listeners."""
    try:
        await _wait_for_visitor(listeners)
        # In a thread, so that no session waits for it.
        serve = await trio.to_thread.run_sync(_load)
        await serve(listeners, shared, reception)
    except Exception:
        log.exception("admin pages have ended")
    finally:
        for listener in listeners:
            listener.close()


async def _wait_for_visitor(listeners: Sequence[socket.socket]) -> None:
    """Return as soon as somebody wants to be let in."""

    async def wait(listener: socket.socket) -> None:
        await trio.lowlevel.wait_readable(listener)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for listener in listeners:
            nursery.start_soon(wait, listener)


def _load() -> Serve:
    # Here, because it takes nine megabytes, for which a guard that nobody looks at has no use.
    from proxy.admin.serving import serve  # noqa: PLC0415

    return serve
