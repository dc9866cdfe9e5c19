"""The admin pages over HTTP, with all that this needs."""

import socket
from collections.abc import Sequence
from typing import Any

from hypercorn.config import Config as HypercornConfig
from hypercorn.trio import serve as serve_http

from config import is_loopback
from proxy.admin.gate import Gate
from proxy.admin.pages import Pages
from proxy.listener import Reception
from proxy.shared import Shared


async def serve(listeners: Sequence[socket.socket], shared: Shared, reception: Reception) -> None:
    """Serve the pages until cancelled; takes over the listeners."""
    admin = shared.config.admin
    only_loopback = admin.address is not None and is_loopback(admin.address.host)
    token = None if admin.token is None else admin.token.get_secret_value()
    # Any: what starlette and hypercorn call an ASGI application is the same, but for its types.
    gate: Any = Gate(Pages(shared, reception).application(), token, only_loopback=only_loopback)
    settings = HypercornConfig()
    settings.bind = [f"fd://{listener.detach()}" for listener in listeners]
    settings.errorlog = None
    settings.include_server_header = False
    await serve_http(gate, settings)
