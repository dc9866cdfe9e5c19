"""Reaching the server for a client that logs in. While it is away, the client waits for it, as statements do."""

import trio

from protocol.constants import ErrorCode
from protocol.errors import ServerError
from protocol.handshake import Greeting
from proxy.errors import LinkLost, UpstreamUnavailable
from proxy.link import RECEIVE_BYTES, Link
from proxy.shared import Shared
from proxy.upstream import Upstream


async def reach_server(client: Link, upstream: Upstream, shared: Shared) -> Greeting:
    """Connect to the server, and return its greeting; if it is away, try again for ``reconnect.login_wait`` seconds.

    A client waits for a greeting as for anything else, so it need not be told that there is none yet.

    Raises:
        ServerError: the server does not want another connection.
        UpstreamUnavailable: there is no server, or not one that speaks the protocol.
        LinkLost: the client has not waited.
    """
    deadline = trio.current_time() + shared.config.reconnect.login_wait
    try:
        return await _connect(upstream)
    except UpstreamUnavailable as unavailable:
        waiting = _Waiting(client, upstream)
        with trio.move_on_at(deadline):
            await waiting.run(shared)
        if waiting.client_lost is not None:
            raise waiting.client_lost from unavailable
        if waiting.refusal is not None:
            raise waiting.refusal from unavailable
        if waiting.greeting is None:
            raise
        return waiting.greeting


async def _connect(upstream: Upstream) -> Greeting:
    try:
        return await upstream.connect()
    except ServerError as error:
        if error.code == ErrorCode.SERVER_SHUTDOWN:
            raise UpstreamUnavailable(str(error)) from error
        raise


class _Waiting:
    """One client's wait for a greeting, or for a refusal in the server's own words."""

    def __init__(self, client: Link, upstream: Upstream) -> None:
        self.greeting: Greeting | None = None
        self.refusal: ServerError | None = None
        self.client_lost: LinkLost | None = None
        self._client = client
        self._upstream = upstream

    def __repr__(self) -> str:
        return f"<Waiting of {self._client}>"

    async def run(self, shared: Shared) -> None:
        """Wait until the server has said something, or the client has left."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_client, nursery.cancel_scope)
            await shared.reconnector.reconnect(self._attempt, is_waited_for=True)
            nursery.cancel_scope.cancel()

    async def _attempt(self) -> None:
        try:
            self.greeting = await _connect(self._upstream)
        except ServerError as refusal:
            self.refusal = refusal

    async def _watch_client(self, waiting: trio.CancelScope) -> None:
        try:
            while len(self._client.inbox) < RECEIVE_BYTES:
                await self._client.must_receive()
        except LinkLost as lost:
            self.client_lost = lost
            waiting.cancel()
