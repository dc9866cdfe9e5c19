"""Which relay is used: the pump where it was compiled, plain trio otherwise."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import structlog

from config import RelayKind
from proxy.errors import StartError
from proxy.link import Link
from proxy.relay import Relay, TrioRelay
from proxy.upstream import Upstream

MakeRelay: TypeAlias = Callable[[Link, Upstream], Relay]

log = structlog.stdlib.get_logger()


@asynccontextmanager
async def open_relays(kind: RelayKind, workers: int) -> AsyncIterator[MakeRelay]:
    """Set up what moves the bytes, for as long as there are sessions; gives what makes the relay of a session.

    Raises:
        StartError: the pump is wanted, and it is not there.
    """
    if kind is RelayKind.TRIO:
        log.info("relay", kind="trio", reason="configured")
        yield TrioRelay
        return
    try:
        # Compiled where there is a compiler, and where the system has epoll.
        from proxy.carrier import Carriers  # noqa: PLC0415
        from proxy.pump_relay import PumpRelay  # noqa: PLC0415
    except ImportError as error:
        if kind is RelayKind.PUMP:
            raise StartError(f"relay: pump is not to be had here ({error}); write relay: auto") from error
        log.warning("relay", kind="trio", reason=f"the pump is not to be had here ({error}), so queries cost more")
        yield TrioRelay
        return
    carriers = Carriers(workers)
    log.info("relay", kind="pump", workers=workers)
    async with carriers.running():
        yield lambda client, upstream: PumpRelay(client, upstream, carriers.next())
