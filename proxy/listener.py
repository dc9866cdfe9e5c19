"""Where clients come in: TCP and unix sockets, and the limit on how many."""

import itertools
import socket
from collections.abc import Collection, Sequence
from pathlib import Path

import structlog
import trio

from config import Address, UnixAddress
from protocol.framing import build_packet
from proxy import answers
from proxy.errors import LinkLost, StartError
from proxy.link import Link, tune
from proxy.relays import MakeRelay
from proxy.session import Session
from proxy.shared import Shared
from proxy.spool import Spool
from proxy.tls import ClientTls

#: How many connections the kernel keeps for us while we are busy: a pool that starts anew connects all at once.
_BACKLOG = 1024

log = structlog.stdlib.get_logger()


async def open_listeners(address: Address) -> Sequence[socket.socket]:
    """Bind an address; a host name with several addresses gives several listeners, which never block.

    Raises:
        StartError: it cannot be bound.
    """
    try:
        if isinstance(address, UnixAddress):
            return [_open_unix_listener(Path(address.path))]
        opened = await trio.open_tcp_listeners(address.port, host=address.host, backlog=_BACKLOG)
    except OSError as error:
        raise StartError(f"cannot listen on {address}: {(error.strerror or str(error)).lower()}") from error
    return [_without_trio(listener.socket) for listener in opened]


def _without_trio(sock: trio.socket.SocketType) -> socket.socket:
    plain = socket.socket(fileno=sock.detach())
    plain.setblocking(False)
    tune(plain)
    return plain


def _open_unix_listener(path: Path) -> socket.socket:
    if _is_stale(path):
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        sock.bind(str(path))
        # Everybody on the machine may knock, as at the server's own socket; the login decides who gets in.
        path.chmod(0o777)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _is_stale(path: Path) -> bool:
    """Tell whether a socket was left behind by a process that is gone: nobody listens at it."""
    if not path.is_socket():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knocking:
        try:
            knocking.connect(str(path))
        except ConnectionRefusedError:
            return True
    return False


def written(listener: socket.socket) -> str:
    """Write the address that was bound."""
    name = listener.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host, port, *_ = name
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Reception:
    """Gives each client that comes in a session, and turns away those that are too many."""

    def __init__(self, shared: Shared, make_relay: MakeRelay) -> None:
        self._shared = shared
        self._make_relay = make_relay
        self._sessions: set[Session] = set()
        self._ids = itertools.count(1)
        self._draining = False

    def __repr__(self) -> str:
        return f"<Reception with {len(self._sessions)} sessions>"

    @property
    def sessions(self) -> Collection[Session]:
        """The sessions that there are, those that have not logged in yet among them."""
        return self._sessions

    @property
    def is_draining(self) -> bool:
        """No client is taken any more."""
        return self._draining

    async def receive(self, tls: ClientTls, sock: socket.socket) -> None:
        """Serve one client from its first byte to its last."""
        session_id = next(self._ids)

        def make_spool() -> Spool:
            return Spool(self._shared.spool_space, log.bind(session=session_id))

        client = Link(sock, make_spool)
        limit = self._shared.config.limits.sessions
        if len(self._sessions) >= limit:
            log.warning("too many sessions", limit=limit, client=client.peer)
            self._shared.tally.note_turned_away()
            await _turn_away(client, limit)
            return
        session = Session(client, tls, session_id, self._shared, self._make_relay)
        self._sessions.add(session)
        if self._draining:
            session.drain()
        try:
            await session.run()
        except Exception:
            # A mistake of ours. It must not hurt the other sessions, and it must not pass unseen.
            log.exception("session failed", session=session_id)
        finally:
            self._sessions.remove(session)
            self._shared.tally.ended.add(session.traffic)

    def drain(self) -> None:
        """Have every session end at its next quiet point."""
        self._draining = True
        for session in self._sessions:
            session.drain()


async def _turn_away(client: Link, limit: int) -> None:
    try:
        await client.send(build_packet(answers.too_many_sessions(limit).without_sqlstate().build(), 0))
    except LinkLost:
        client.close()
    else:
        await client.hang_up()
