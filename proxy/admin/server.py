"""Serving the admin pages. Nothing that goes wrong here may reach the sessions."""

import socket
from collections.abc import Sequence
from typing import Any

import structlog

from config import Admin
from proxy.admin.gate import Gate, is_loopback
from proxy.errors import StartError
from proxy.listener import Reception, open_listeners
from proxy.shared import Shared

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
    # Here, because they take ten megabytes, for which a guard without pages has no use.
    from hypercorn.config import Config as HypercornConfig  # noqa: PLC0415
    from hypercorn.trio import serve as serve_http  # noqa: PLC0415

    from proxy.admin.pages import Pages  # noqa: PLC0415

    admin = shared.config.admin
    only_loopback = admin.address is not None and is_loopback(admin.address.host)
    token = None if admin.token is None else admin.token.get_secret_value()
    # Any: what starlette and hypercorn call an ASGI application is the same, but for its types.
    gate: Any = Gate(Pages(shared, reception).application(), token, only_loopback=only_loopback)
    settings = HypercornConfig()
    settings.bind = [f"fd://{listener.detach()}" for listener in listeners]
    settings.errorlog = None
    settings.include_server_header = False
    try:
        await serve_http(gate, settings)
    except Exception:
        log.exception("admin pages have ended")
