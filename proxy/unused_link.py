"""Leaving a server with which no session was begun, so that it does not take that for an error of the network.

A server may count who connects and leaves without having logged in, and in the end shut out the host (error 1129) that
all clients of the guard come from. A login that it refuses does not count. Source: ``max_connect_errors`` in the
manuals; MariaDB 10.11 does that, MySQL 9.7 does not.
"""

from contextlib import suppress

import trio

from protocol import auth
from protocol.constants import Capability, CommandCode
from protocol.errors import ProtocolError, Refusal, ServerError
from protocol.framing import build_packet
from protocol.handshake import Greeting, LoginRequest
from protocol.server_login import NEEDED, log_in
from proxy.dialogue import Conversation
from proxy.errors import LinkLost
from proxy.link import Link

#: The server's log can name it, so it says who it is. Nobody should have an account of this name.
_NOBODY = b"stillhere"
_PATIENCE_SECONDS = 2.0
_FILLER_BYTES = 19


async def leave(link: Link, greeting: Greeting) -> None:
    """Log in as nobody, and close the link."""
    request = LoginRequest(
        capabilities=int(NEEDED) & greeting.capabilities | Capability.PROTOCOL_41,
        max_packet_size=1 << 24,
        charset=greeting.charset,
        filler=bytes(_FILLER_BYTES),
        user=_NOBODY,
        auth_response=b"",
        schema=None,
        plugin=auth.NATIVE,
        attributes=None,
    )
    try:
        with trio.move_on_after(_PATIENCE_SECONDS), suppress(LinkLost, ProtocolError, Refusal, ServerError):
            dialogue = log_in(request, b"", greeting, tls=False, private=link.is_private)
            await Conversation(link, 1, reads_ahead=True).run(dialogue)
            await link.send(build_packet(bytes((CommandCode.QUIT,)), 0))  # there is an account for anybody
    finally:
        link.close()
