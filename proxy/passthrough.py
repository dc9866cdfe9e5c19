"""Handing on what a client and a server say to each other in a login."""

from collections.abc import Awaitable, Callable
from functools import partial

import trio

from protocol.constants import ERR_BYTE, OK_BYTE, ErrorCode
from protocol.errors import ProtocolError, Refusal, ServerError
from protocol.packets import Err
from protocol.passthrough import PassedLogin
from proxy.dialogue import Conversation
from proxy.errors import LinkLost


async def pass_on(client: Conversation, server: Conversation, login: PassedLogin) -> bytes:
    """Carry a login on until the server says yes; return the payload of its OK packet, which the client has not seen.

    Who speaks when, the plugin knows; so both are listened to.

    Raises:
        ServerError: the server said no.
        Refusal: it has come to something that must not be handed on, or the client does not speak the protocol.
        LinkLost: one of the links ended.
        ProtocolError: the server does not speak the protocol.
    """
    return await _first_to_end(partial(_ask, client, server, login), partial(_answer, client, server))


async def _ask(client: Conversation, server: Conversation, login: PassedLogin) -> bytes:
    while True:
        payload = await server.hear()
        first = payload[0] if payload else None
        if first == OK_BYTE:
            return payload
        if first == ERR_BYTE:
            error = Err.parse(payload)
            raise ServerError(error.code, error.message, payload)
        login.check_question(payload)
        await client.say(payload)


async def _answer(client: Conversation, server: Conversation) -> bytes:
    while True:
        try:
            payload = await client.hear()
        except ProtocolError as error:
            raise Refusal(ErrorCode.HANDSHAKE_ERROR, "08S01", f"stillhere: bad handshake: {error}") from error
        await server.say(payload)


async def _first_to_end(*acts: Callable[[], Awaitable[bytes]]) -> bytes:
    """Do several things at once until one of them has returned or failed; do the same."""
    ends: list[bytes | Exception] = []

    async def run(act: Callable[[], Awaitable[bytes]], scope: trio.CancelScope) -> None:
        try:
            ends.append(await act())
        except (LinkLost, ProtocolError, Refusal, ServerError) as error:
            ends.append(error)
        scope.cancel()

    async with trio.open_nursery() as nursery:
        for act in acts:
            nursery.start_soon(run, act, nursery.cancel_scope)
    if isinstance(ends[0], Exception):
        raise ends[0]
    return ends[0]
