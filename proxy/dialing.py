"""Opening a link to the server, up to its greeting."""

import os
import socket
from contextlib import suppress
from functools import lru_cache
from typing import Any

import trio

from config import Address, UnixAddress
from protocol.constants import ERR_BYTE
from protocol.errors import MalformedPacket, ProtocolError, ServerError
from protocol.handshake import Greeting
from protocol.packets import Err
from proxy.dialogue import Conversation
from proxy.errors import LinkLost, UpstreamUnavailable
from proxy.link import Link, tune

#: While a statement runs, the kernel gives up on a server whose machine has acknowledged nothing for this long.
_UNACKNOWLEDGED_SECONDS = 30.0


async def dial(address: Address, timeout: float) -> tuple[Link, Greeting]:  # noqa: ASYNC109  it is in the error's text
    """Connect within ``timeout`` seconds; return the link and the server's greeting.

    Raises:
        ServerError: the server does not want another connection.
        UpstreamUnavailable: there is no server, or not one that speaks the protocol.
    """
    link: Link | None = None
    try:
        with trio.move_on_after(timeout):
            link = Link(await _open_socket(address))
            greeting = await _hear_greeting(link)
            link.give_up_after(_UNACKNOWLEDGED_SECONDS)
            dialled, link = link, None
            return dialled, greeting
    except OSError as error:
        raise UpstreamUnavailable(_describe(error)) from error
    finally:
        if link is not None:
            link.close()
    raise UpstreamUnavailable(f"no answer within {timeout:g} s")


async def _open_socket(address: Address) -> socket.socket:
    if isinstance(address, UnixAddress):
        stream = await trio.open_unix_socket(address.path)
        return socket.socket(fileno=stream.socket.detach())
    # A name is resolved anew each time: behind it may be another machine by now.
    places = _numeric_places(address.host, address.port) or await trio.socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM
    )
    if len(places) == 1:
        sock = await _connect(*places[0])
    else:
        stream = await trio.open_tcp_stream(address.host, address.port)
        sock = socket.socket(fileno=stream.socket.detach())
    tune(sock)
    return sock


@lru_cache(maxsize=16)
def _numeric_places(host: str, port: int) -> list[Any]:
    """Give what ``getaddrinfo`` gives for a host that is written as a number; nothing for a name."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return []


async def _connect(family: int, kind: int, protocol: int, _: str, place: tuple[Any, ...]) -> socket.socket:
    """Connect to the only place that there is: for several, trio tries them side by side, which costs much more."""
    sock = socket.socket(family, kind, protocol)
    sock.setblocking(False)
    try:
        with suppress(BlockingIOError):
            sock.connect(place)
        await _wait_for_first_word(sock)
    except BaseException:
        sock.close()
        raise
    return sock


async def _wait_for_first_word(sock: socket.socket) -> None:
    # The server speaks first. To wait for the connection alone would be one wait more.
    await trio.lowlevel.wait_readable(sock)
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))


async def _hear_greeting(link: Link) -> Greeting:
    try:
        payload = await Conversation(link, 0, reads_ahead=True).hear()
    except (LinkLost, ProtocolError) as error:
        raise UpstreamUnavailable(f"{error} before the server's greeting") from error
    if payload[:1] == bytes((ERR_BYTE,)):
        refusal = Err.parse(payload)
        raise ServerError(refusal.code, refusal.message, payload)
    try:
        return Greeting.parse(payload)
    except MalformedPacket as error:
        raise UpstreamUnavailable(f"{error}: is this a MySQL server?") from error


def _describe(error: OSError) -> str:
    """Say in words why there is no connection; trio wraps the reasons of several attempts."""
    if isinstance(error.__cause__, BaseExceptionGroup):
        return "; ".join(
            sorted({_describe(cause) for cause in error.__cause__.exceptions if isinstance(cause, OSError)})
        )
    if error.errno is None or isinstance(error, socket.gaierror):
        return (error.strerror or str(error)).lower()
    return os.strerror(error.errno).lower()  # trio's own text begins with the address, written as Python does
