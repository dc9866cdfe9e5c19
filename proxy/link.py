"""One connection to a peer, encrypted or not.

A ``Link`` differs from a trio stream in three ways, all of them for the relay's sake. What has been received stays in
``inbox`` until it is taken, so that whoever holds the link next finds it. A send that is cancelled loses nothing: what
has not gone out yet goes out before the next send. And a send that fits into the kernel's buffer, or a receive that
finds bytes there, costs no turn of the scheduler.
"""

import socket
import ssl
from contextlib import suppress

import trio
from trio.lowlevel import notify_closing, wait_readable, wait_writable

from protocol.errors import OutOfSync
from proxy.errors import LinkLost

#: The most that is received at once, and so kept in memory for each direction of a session.
RECEIVE_BYTES = 64 * 1024

#: How long, and for how many bytes, a peer that is still sending may keep a link that has been hung up.
_LINGER_SECONDS = 2
_LINGER_BYTES = 64 * 1024 * 1024

# Find out about a vanished peer within two minutes, below the time after which middleboxes forget idle connections.
_KEEPALIVE_IDLE_SECONDS = 60
_KEEPALIVE_INTERVAL_SECONDS = 15
_KEEPALIVE_PROBES = 4

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError)


class Link:
    """A connected socket and what has been received on it."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over a connected socket, and with it the duty to close it."""
        sock.setblocking(False)
        self._sock = sock
        self._fd = sock.fileno()
        self._tls: ssl.SSLSocket | None = None
        self._unsent = memoryview(b"")
        #: Received and not yet taken.
        self.inbox = b""
        #: When something was last received, in trio's time.
        self.heard_at = trio.current_time()
        self.is_local = sock.family == socket.AF_UNIX
        if not self.is_local:
            _tune(sock)

    def __repr__(self) -> str:
        return f"<Link {self._fd}{' TLS' if self._tls else ''}, {len(self.inbox)} bytes in the inbox>"

    @property
    def is_private(self) -> bool:
        """Nobody else can read along: the link is encrypted or does not leave the machine."""
        return self.is_local or self._tls is not None

    @property
    def has_unsent(self) -> bool:
        """A part of what was given to :meth:`send` has not gone out."""
        return bool(self._unsent)

    def give_up_after(self, seconds: float) -> None:
        """Have the kernel end the link when the peer has not acknowledged what was sent for ``seconds``."""
        if not self.is_local and hasattr(socket, "TCP_USER_TIMEOUT"):
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))

    async def receive(self, at_most: int = RECEIVE_BYTES) -> bool:
        """Add what arrives, up to ``at_most`` bytes, to the inbox; False means that the peer has ended its side.

        Raises:
            LinkLost: the link broke.
        """
        if self._tls is None or not self._tls.pending():
            await wait_readable(self._fd)
        while True:
            try:
                data = self._sock.recv(at_most)
            except _NOT_NOW:
                await wait_readable(self._fd)
            except ssl.SSLWantWriteError:
                await wait_writable(self._fd)
            except OSError as error:
                raise LinkLost(self, _describe(error)) from error
            else:
                break
        if not data:
            return False
        self.inbox = self.inbox + data if self.inbox else data
        self.heard_at = trio.current_time()
        return True

    async def must_receive(self, at_most: int = RECEIVE_BYTES) -> None:
        """Add what arrives to the inbox, as :meth:`receive`. Raises LinkLost where nothing will arrive any more."""
        if not await self.receive(at_most):
            raise LinkLost(self, "closed by the peer")

    async def send(self, data: bytes) -> None:
        """Send all of ``data``, behind what an earlier, cancelled call has left.

        Raises:
            LinkLost: the link broke.
        """
        if self._unsent:
            data = bytes(self._unsent) + data
        try:
            sent = self._sock.send(data)
        except _NOT_NOW:
            sent = 0
        except ssl.SSLWantWriteError:
            sent = 0
        except OSError as error:
            raise LinkLost(self, _describe(error)) from error
        self._unsent = memoryview(data)[sent:]
        if self._unsent:
            await self.flush()

    async def flush(self) -> None:
        """Send what an earlier, cancelled call has left. Raises LinkLost where the link broke."""
        while self._unsent:
            await wait_writable(self._fd)
            try:
                sent = self._sock.send(self._unsent)
            except ssl.SSLWantReadError:
                await wait_readable(self._fd)
            except (BlockingIOError, ssl.SSLWantWriteError):
                continue
            except OSError as error:
                raise LinkLost(self, _describe(error)) from error
            else:
                self._unsent = self._unsent[sent:]

    def take(self, count: int) -> bytes:
        """Take the first ``count`` bytes out of the inbox."""
        taken = self.inbox[:count]  # no copy where it is all of it
        self.inbox = self.inbox[count:]
        return taken

    async def encrypt(self, context: ssl.SSLContext, *, server_side: bool, server_name: str | None = None) -> None:
        """Do the TLS handshake.

        Raises:
            OutOfSync: the peer has sent more before it; had it been kept, it would have passed for encrypted.
            LinkLost: the handshake failed.
        """
        if self.inbox:
            raise OutOfSync("unencrypted bytes follow the request to encrypt the link")
        tls = context.wrap_socket(
            self._sock, server_side=server_side, do_handshake_on_connect=False, server_hostname=server_name
        )
        self._sock = self._tls = tls
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await wait_readable(self._fd)
            except ssl.SSLWantWriteError:
                await wait_writable(self._fd)
            except (OSError, ValueError) as error:
                raise LinkLost(self, _describe(error)) from error
            else:
                return

    async def hang_up(self) -> None:
        """End our side, wait briefly for the peer to read what was sent last, and close.

        A close with bytes unread would have the kernel send a reset, which makes the peer lose what it has not read.
        """
        with trio.move_on_after(_LINGER_SECONDS), suppress(LinkLost, OSError):
            await self.flush()
            if self._tls is not None:
                with suppress(ssl.SSLError):
                    self._tls.unwrap()
            self._sock.shutdown(socket.SHUT_WR)
            received = 0
            while received < _LINGER_BYTES and await self.receive():
                received += len(self.inbox)
                self.inbox = b""
        self.close()

    def close(self) -> None:
        """Close the socket; more than once does no harm."""
        if self._sock.fileno() >= 0:
            notify_closing(self._fd)
            self._sock.close()


def _tune(sock: socket.socket) -> None:
    """Send small packets at once, and notice a peer that has vanished."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)


def _describe(error: Exception) -> str:
    """Say in words how a link ended."""
    if isinstance(error, ConnectionResetError):
        return "reset by the peer"
    if isinstance(error, BrokenPipeError):
        return "closed by the peer"
    if isinstance(error, TimeoutError):
        return "no answer from the peer's machine"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    return str(error)
