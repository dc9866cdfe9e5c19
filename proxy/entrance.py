"""The doors at which clients come in, one for each entry of ``listen``; they can be changed while sessions run.

A change is prepared first, which can fail and changes nothing, and then made, which cannot fail.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog
import trio

from config import Address, Config, UnixAddress
from proxy.listener import Reception, open_listeners, written
from proxy.tls import ClientTls

log = structlog.stdlib.get_logger()


@dataclass(eq=False)
class Door:
    """Where clients come in by one entry of the configuration."""

    address: Address
    tls: ClientTls
    listeners: Sequence[trio.SocketListener]
    #: Is open as long as this is not cancelled, which closes the listeners.
    is_open: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def accept(self, reception: Reception, sessions: trio.Nursery) -> None:
        """Let clients in until the door is shut; their sessions run on."""

        async def receive(stream: trio.SocketStream) -> None:
            await reception.receive(self.tls, stream)

        with self.is_open:
            await trio.serve_listeners(receive, list(self.listeners), handler_nursery=sessions)

    def shut(self) -> None:
        """Let no more clients in, and leave no socket behind."""
        self.is_open.cancel()
        for listener in self.listeners:
            listener.socket.close()
        if isinstance(self.address, UnixAddress):
            Path(self.address.path).unlink(missing_ok=True)


@dataclass(frozen=True)
class Arrangement:
    """The doors that there are to be, each with its certificates; ``opened`` are those of them that are new."""

    doors: Sequence[tuple[Door, ClientTls]]
    opened: Sequence[Door]

    @property
    def listeners(self) -> list[trio.SocketListener]:
        """All that clients may come in by."""
        return [listener for door, _ in self.doors for listener in door.listeners]


class Entrance:
    """All doors."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._doors: list[Door] = []

    def __repr__(self) -> str:
        return f"<Entrance with {len(self._doors)} doors>"

    async def prepare(self, addresses: Sequence[Address], tls: Sequence[ClientTls]) -> Arrangement:
        """Bind what is not bound yet. Call :meth:`adopt` next.

        Raises:
            StartError: an address cannot be bound, and nothing has changed.
        """
        unused = list(self._doors)
        doors: list[tuple[Door, ClientTls]] = []
        opened: list[Door] = []
        try:
            for address, own_tls in zip(addresses, tls, strict=True):
                door = next((door for door in unused if door.address == address), None)
                if door is None:
                    door = Door(address, own_tls, await open_listeners(address))
                    opened.append(door)
                else:
                    unused.remove(door)
                doors.append((door, own_tls))
        except BaseException:
            for door in opened:
                door.shut()
            raise
        return Arrangement(doors, opened)

    def adopt(self, arrangement: Arrangement, accepting: trio.Nursery, sessions: trio.Nursery, config: Config) -> None:
        """Have exactly the doors of an arrangement. Nobody who has come in by another one is sent away."""
        doors = [door for door, _ in arrangement.doors]
        for door in self._doors:
            if door not in doors:
                door.shut()
                log.info("not listening any more", address=str(door.address))
        for door, tls in arrangement.doors:
            door.tls = tls
        for door in arrangement.opened:
            accepting.start_soon(door.accept, self._reception, sessions)
            for listener in door.listeners:
                log.info("listening", address=written(listener), upstream=str(config.upstream.address))
        self._doors = doors

    def shut(self) -> None:
        """Let no more clients in."""
        for door in self._doors:
            door.shut()
        self._doors = []
