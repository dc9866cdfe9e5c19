"""A client that ends its side while the server works for it: the server learns of it, as it would without the guard.

Servers look whether their client is still there while they wait for nothing but time or a lock by GET_LOCK, and stop if
it is not. They see only that it has ended its side, which a client may have done that still waits for its answer. So
that is what is passed on, and whatever the server answers still goes to the client. If the server ends the link then,
no session is lost.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import NoReturn, TypeVar

from proxy.errors import LinkEnd, LinkLost
from proxy.link import RECEIVE_BYTES, Link
from proxy.meanwhile import meanwhile
from proxy.upstream import Upstream

_T = TypeVar("_T")


async def passing_on_end(client: Link, upstream: Upstream, act: Callable[[], Awaitable[_T]]) -> _T:
    """Do ``act``, in which the server works for the client; return what it returns, or raise what it raises."""
    return await meanwhile(partial(_pass_on_end, client, upstream), act)


async def _pass_on_end(client: Link, upstream: Upstream) -> None:
    try:
        while len(client.inbox) < RECEIVE_BYTES:
            await client.must_receive()
    except LinkLost:
        upstream.link.end_sending()


async def see_off(client: Link) -> NoReturn:
    """Give a client that has ended its side the rest of what there is for it. Raises LinkLost: nothing follows."""
    await client.flush()
    raise LinkLost(client, "closed by the peer", LinkEnd.CLOSED)
