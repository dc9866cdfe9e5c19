"""Which relay is used: the pump where it was compiled, plain trio otherwise."""

import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import NamedTuple, TypeAlias

import structlog

from config import RelayKind
from proxy.errors import StartError
from proxy.link import Link
from proxy.relay import Relay, TrioRelay
from proxy.upstream import Upstream

MakeRelay: TypeAlias = Callable[[Link, Upstream], Relay]

#: What to do about a pump that is not there.
_ADVICE = "queries cost several times the CPU time; " + (
    "install a C compiler and Python's headers (Debian: gcc, python3-dev), then install stillhere anew"
    if sys.platform.startswith("linux")
    else "the pump needs Linux"
)

log = structlog.stdlib.get_logger()


class Relays(NamedTuple):
    """What moves the bytes: how a session gets its relay, and what there is to be said about it."""

    kind: RelayKind
    make: MakeRelay
    #: What has to run around all sessions.
    running: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
    workers: int = 1
    #: Gives the longest that a session had to wait in the pump for others since the last call, in seconds.
    take_lag: Callable[[], float] = float
    #: Why it is not the pump that was to be expected; empty if it is.
    lack: str = ""

    def announce(self) -> None:
        """Write in the log which relay it is."""
        if self.lack:
            log.warning("relay", kind=str(self.kind), reason=self.lack, advice=_ADVICE)
        else:
            log.info("relay", kind=str(self.kind), workers=self.workers)


def choose_relays(kind: RelayKind, workers: int) -> Relays:
    """Set up what moves the bytes.

    Raises:
        StartError: the pump is wanted, and it is not there.
    """
    if kind is RelayKind.TRIO:
        return Relays(kind, TrioRelay)
    try:
        # Compiled where there is a compiler, and where the system has epoll.
        from protocol.exchanges import Exchanges  # noqa: PLC0415
        from proxy.carrier import Carriers  # noqa: PLC0415
        from proxy.pump_relay import PumpRelay  # noqa: PLC0415
    except ImportError as error:
        lack = f"the pump is not to be had here ({error})"
        if kind is RelayKind.PUMP:
            raise StartError(f"relay: {lack}; write relay: auto") from error
        return Relays(RelayKind.TRIO, TrioRelay, lack=lack)
    carriers, exchanges = Carriers(workers), Exchanges()

    def make(client: Link, upstream: Upstream) -> Relay:
        return PumpRelay(client, upstream, carriers.next(), exchanges)

    return Relays(RelayKind.PUMP, make, carriers.running, workers, carriers.take_lag)
