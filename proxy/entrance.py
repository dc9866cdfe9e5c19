"""The doors at which clients come in, one for each entry of ``listen``; they can be changed while sessions run.

A change is prepared first, which can fail and changes nothing, and then made, which cannot fail.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog
import trio

from config import Address, Config, UnixAddress
from proxy.listener import Reception, open_listeners, written
from proxy.tls import ClientTls

#: So many clients are let in before others have their turn.
_IN_A_ROW = 16
_PAUSE_SECONDS = 0.1

log = structlog.stdlib.get_logger()


@dataclass(eq=False)
class Door:
    """Where clients come in by one entry of the configuration."""

    address: Address
    tls: ClientTls
    listeners: Sequence[socket.socket]
    #: Is open as long as this is not cancelled, which closes the listeners.
    is_open: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def accept(self, reception: Reception, sessions: trio.Nursery) -> None:
        """Let clients in until the door is shut; their sessions run on."""
        with self.is_open:
            async with trio.open_nursery() as nursery:
                for listener in self.listeners:
                    nursery.start_soon(self._accept_at, listener, reception, sessions)

    async def _accept_at(self, listener: socket.socket, reception: Reception, sessions: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            for _ in range(_IN_A_ROW):
                try:
                    sock, _ = listener.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    # Most often there are no file descriptors left, which only time can mend.
                    log.warning("cannot accept", address=str(self.address), reason=error.strerror)
                    await trio.sleep(_PAUSE_SECONDS)
                    break
                sessions.start_soon(reception.receive, self.tls, sock)

    def shut(self) -> None:
        """Let no more clients in, and leave no socket behind."""
        self.is_open.cancel()
        for listener in self.listeners:
            trio.lowlevel.notify_closing(listener)
            listener.close()
        if isinstance(self.address, UnixAddress):
            Path(self.address.path).unlink(missing_ok=True)


@dataclass(frozen=True)
class Arrangement:
    """The doors that there are to be, each with its certificates; ``opened`` are those of them that are new."""

    doors: Sequence[tuple[Door, ClientTls]]
    opened: Sequence[Door]

    @property
    def listeners(self) -> list[socket.socket]:
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
