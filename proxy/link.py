"""One connection to a peer, encrypted or not.

A ``Link`` differs from a trio stream in three ways, all of them for the relay's sake. What has been received stays in
``inbox`` until it is taken, so that whoever holds the link next finds it. A send that is cancelled loses nothing: what
has not gone out yet goes out before the next send. And a send that fits into the kernel's buffer, or a receive that
finds bytes there, costs no turn of the scheduler.
"""

import fcntl
import select
import socket
import ssl
import sys
import termios
from collections.abc import Callable
from contextlib import suppress

import trio
from trio.lowlevel import notify_closing, wait_readable, wait_writable

from protocol.errors import OutOfSync
from proxy.errors import LinkEnd, LinkLost
from proxy.spool import Spool

#: The most that is received at once, and so kept in memory for each direction of a session.
RECEIVE_BYTES = 64 * 1024

#: The most that is in the inbox of a peer that sends much at once, and does not wait for answers.
MOST_AT_ONCE_BYTES = 1 << 20

#: A peer that has sent nothing for so long waits for an answer.
_PAUSE_SECONDS = 0.02

#: How long, and for how many bytes, a peer that is still sending may keep a link that has been hung up.
_LINGER_SECONDS = 2
_LINGER_BYTES = 64 * 1024 * 1024

# Find out about a vanished peer within two minutes, below the time after which middleboxes forget idle connections.
_KEEPALIVE_IDLE_SECONDS = 60
_KEEPALIVE_INTERVAL_SECONDS = 15
_KEEPALIVE_PROBES = 4

#: How OpenSSL 3 calls a link that ends in good order but for the TLS farewell. A reset has no name there.
_ENDED_WITHOUT_FAREWELL = "UNEXPECTED_EOF_WHILE_READING"

#: The most that TLS sends by itself when a link ends: an alert, of 24 bytes in TLS 1.3. In TLS 1.2 it depends on the
#: cipher; with CBC and SHA-384 it has 85.
_ALERT_BYTES = {"TLSv1.3": 24}
_LONGEST_ALERT_BYTES = 96

#: One for all, since most of the time nothing is left to be sent.
_NOTHING = memoryview(b"")

#: More follows at once; nothing of the kind on other systems than Linux.
_MORE = getattr(socket, "MSG_MORE", 0)

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError)


class Link:
    """A connected socket and what has been received on it."""

    def __init__(self, sock: socket.socket, make_backlog: Callable[[], Spool] | None = None) -> None:
        """Take over a connected socket, and with it the duty to close it.

        ``make_backlog`` gives, once it is needed, where :meth:`post` keeps what the peer does not take at once.
        """
        sock.setblocking(False)
        self._sock = sock
        self._fd = sock.fileno()
        self._tls: ssl.SSLSocket | None = None
        self._peer = ""
        self._unsent = _NOTHING
        self._make_backlog = make_backlog
        self._backlog: Spool | None = None
        # Made when they are needed, which for most sessions is never.
        self._flushing: trio.Lock | None = None
        self._left: trio.Event | None = None
        self._failure: Exception | None = None
        #: The peer has ended its side, and that was received: with TLS, nothing would tell a second time.
        self._peer_has_ended = False
        #: Received and not yet taken.
        self.inbox = b""
        #: How many bytes have been received, not counting those that somebody has received to whom it was lent.
        self.received = 0
        #: When something was last received, in trio's time.
        self.heard_at = trio.current_time()
        #: Bytes that the peer had not acknowledged when it closed its side; None where the system cannot tell.
        self.unacknowledged: int | None = None
        self.is_local = sock.family == socket.AF_UNIX
        #: Our side has ended, and nothing can be sent any more.
        self.has_ended_sending = False

    def __repr__(self) -> str:
        return f"<Link {self._fd}{' TLS' if self._tls else ''}, {len(self.inbox)} bytes in the inbox>"

    @property
    def peer(self) -> str:
        """The peer's address, for people. Where it matters, ask as long as the peer is there."""
        if not self._peer:
            self._peer = _peer(self._sock)
        return self._peer

    @property
    def is_private(self) -> bool:
        """Nobody else can read along: the link is encrypted or does not leave the machine."""
        return self.is_local or self._tls is not None

    @property
    def peer_has_closed(self) -> bool:
        """The peer has ended its side, and that has arrived. What is sent now would still seem to go out."""
        return self._failure is not None or _has_hung_up(self._fd)

    @property
    def is_encrypted(self) -> bool:
        """What goes out is not what was given to :meth:`send`."""
        return self._tls is not None

    @property
    def alert_bytes(self) -> int:
        """How many bytes of :attr:`unacknowledged` may be of TLS's own making: its answer to the peer's end."""
        return 0 if self._tls is None else _ALERT_BYTES.get(self._tls.version() or "", _LONGEST_ALERT_BYTES)

    @property
    def unsent(self) -> int:
        """How many bytes of what was given to :meth:`send` have not gone out."""
        return len(self._unsent)

    @property
    def has_unsent(self) -> bool:
        """A part of what was given to :meth:`send` or :meth:`post` has not gone out."""
        return bool(self._unsent or self._backlog)

    @property
    def held_up(self) -> float:
        """How long others had to wait for the peer to read, in seconds, since it last had read all."""
        return 0.0 if self._backlog is None else self._backlog.stalled_seconds

    @property
    def backlog_bytes(self) -> int:
        """How many bytes of what was given to :meth:`post` are kept for the peer."""
        return 0 if self._backlog is None else len(self._backlog)

    def give_up_after(self, seconds: float) -> None:
        """Have the kernel end the link when the peer has not acknowledged what was sent for ``seconds``."""
        if not self.is_local and hasattr(socket, "TCP_USER_TIMEOUT"):
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))

    def _working_socket(self) -> socket.socket:
        """Give the socket; raises what a call on it has failed with while it was lent."""
        if self._failure is not None:
            raise self._failure
        return self._sock

    async def receive(self, at_most: int = RECEIVE_BYTES, *, is_there: bool = False) -> bool:
        """Add what arrives, up to ``at_most`` bytes, to the inbox; False means that the peer has ended its side.

        Where it ``is_there`` already, as the rest of a short packet most often is, that costs no turn of the scheduler.

        Raises:
            LinkLost: the link broke.
        """
        if self._peer_has_ended:
            return False
        if not is_there and self._failure is None and (self._tls is None or not self._tls.pending()):
            await wait_readable(self._fd)
        while True:
            try:
                data = self._working_socket().recv(at_most)
            except _NOT_NOW:
                await wait_readable(self._fd)
            except ssl.SSLWantWriteError:
                await wait_writable(self._fd)
            except ssl.SSLEOFError as error:
                if error.reason != _ENDED_WITHOUT_FAREWELL:
                    raise _lost(self, error) from error
                data = b""
                break
            except OSError as error:
                raise _lost(self, error) from error
            else:
                break
        self._keep(data)
        return bool(data)

    def _keep(self, data: bytes) -> None:
        """Add what was received to the inbox; if that is nothing, the peer has ended its side."""
        if not data:
            self._peer_has_ended = True
            self.unacknowledged = self._count_unacknowledged()
            return
        self.inbox = self.inbox + data if self.inbox else data
        self.received += len(data)
        self.heard_at = trio.current_time()

    def receive_what_is_there(self) -> None:
        """Add what has arrived already to the inbox, until that has :data:`MOST_AT_ONCE_BYTES`.

        How the link ends is left for :meth:`receive` to tell.
        """
        try:
            while len(self.inbox) < MOST_AT_ONCE_BYTES and not self._peer_has_ended:
                self._keep(self._working_socket().recv(RECEIVE_BYTES))
        except (*_NOT_NOW, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            self._failure = error  # the next call would not tell

    async def hear_out(self) -> bool:
        """Add what arrives to the inbox until the peer pauses, or ends its side.

        Returns whether it has, before there was :data:`MOST_AT_ONCE_BYTES`.

        Raises:
            LinkLost: the link broke.
        """
        while len(self.inbox) < MOST_AT_ONCE_BYTES:
            with trio.move_on_after(_PAUSE_SECONDS) as pause:
                if not await self.receive():
                    return True
            if pause.cancelled_caught:
                return True
        return False

    async def must_receive(self, at_most: int = RECEIVE_BYTES, *, is_there: bool = False) -> None:
        """Add what arrives to the inbox, as :meth:`receive`. Raises LinkLost where nothing will arrive any more."""
        if not await self.receive(at_most, is_there=is_there):
            raise LinkLost(self, "closed by the peer", LinkEnd.CLOSED)

    async def send(self, data: bytes) -> None:
        """Send all of ``data``, behind what an earlier, cancelled call has left.

        Raises:
            LinkLost: the link broke.
        """
        if self._backlog:
            self._backlog.put(data)
        else:
            self._unsent = self._send_now(bytes(self._unsent) + data if self._unsent else data)
        if self.has_unsent:
            await self.flush()

    async def post(self, data: bytes) -> None:
        """Send what the peer takes at once, and keep the rest in the backlog, for :meth:`flush`.

        Waits only where there is no room in the backlog. If it is cancelled meanwhile, nothing is lost.

        Raises:
            LinkLost: the link broke.
        """
        if self._make_backlog is None:
            await self.send(data)
        elif self.has_unsent:
            if self._backlog is None:
                self._backlog = self._make_backlog()
            self._backlog.put(data)
            await self.wait_room()
        else:
            self._unsent = self._send_now(data)
            self._tell_of_unsent()

    async def wait_room(self) -> None:
        """Wait until there is room in the backlog for what is posted next, where a post was cancelled before that."""
        if self._backlog:
            await self._backlog.make_room()

    async def wait_unsent(self) -> None:
        """Wait until :meth:`post` has left something for :meth:`flush`."""
        if not self.has_unsent:
            self._left = trio.Event()
            try:
                await self._left.wait()
            finally:
                self._left = None

    def _tell_of_unsent(self) -> None:
        if self._unsent and self._left is not None:
            self._left.set()

    def send_last(self, data: bytes) -> None:
        """Send what is the last that the peer is to hear; where it does not take it at once, it does not hear it.

        It waits for :meth:`close`, to go out together with the end of our side. Raises LinkLost where the link broke.
        """
        self._send_now(data, _MORE if self._tls is None else 0)

    def _send_now(self, data: bytes, flags: int = 0) -> memoryview:
        """Send what the peer takes at once; return the rest. Raises LinkLost where the link broke."""
        try:
            sent = self._working_socket().send(data, flags)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            sent = 0
        except OSError as error:
            raise _lost(self, error) from error
        return memoryview(data)[sent:] if sent < len(data) else _NOTHING

    async def flush(self) -> None:
        """Send what has not gone out yet. Raises LinkLost where the link broke."""
        if not self.has_unsent:
            return
        if self._flushing is None:
            self._flushing = trio.Lock()
        async with self._flushing:
            while self.has_unsent:
                try:
                    if not self._unsent and self._backlog:
                        self._unsent = memoryview(await self._backlog.take())
                    sent = self._working_socket().send(self._unsent)
                except ssl.SSLWantReadError:
                    await wait_readable(self._fd)
                except (BlockingIOError, ssl.SSLWantWriteError):
                    await wait_writable(self._fd)
                except OSError as error:
                    raise _lost(self, error) from error
                else:
                    self._unsent = self._unsent[sent:] or _NOTHING

    def give_up(self) -> None:
        """Have whoever uses the link from now on find that the peer does not answer, even if it should do so late."""
        self._failure = TimeoutError()

    @property
    def can_be_lent(self) -> bool:
        """All that was given to it has gone out, and all that has arrived and is not in the inbox, the kernel has."""
        return not (self.has_unsent or self._failure) and (self._tls is None or not self._tls.pending())

    def lend(self) -> socket.socket:
        """Give the socket to somebody else for a while; nothing may be done with the link until :meth:`take_back`."""
        return self._sock

    def take_back(self, received: bytes, unsent: bytes, failure: Exception | None) -> None:
        """Go on where somebody else has stopped.

        ``unsent`` is the rest of what was to be sent, and ``failure`` what a call on the socket has failed with: the
        next one would not tell.
        """
        self.inbox += received
        self._unsent = memoryview(unsent) if unsent else _NOTHING
        self._tell_of_unsent()
        self._failure = failure

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
            self._sock,
            server_side=server_side,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,  # for Python, a reset is one of them
            server_hostname=server_name,
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
                raise _lost(self, error) from error
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

    def _count_unacknowledged(self) -> int | None:
        """Count the bytes that were sent and not acknowledged.

        The segment in which the peer ends its side acknowledges all that its machine had received (RFC 9293, 3.8), so
        what is still open when it has come never reached the peer; a reset that comes behind it, as the answer to what
        did not arrive in time, changes nothing in that. Without that segment the number means nothing: a reset by
        itself acknowledges nothing. For other sockets than TCP's the number means something else.
        """
        if self.is_local or not sys.platform.startswith("linux"):
            return None
        count = fcntl.ioctl(self._fd, termios.TIOCOUTQ, bytes(4))
        return int.from_bytes(count, sys.byteorder)

    def end_sending(self) -> None:
        """End our side: the peer sees what it sees of one that has left, and may still answer.

        TLS says no farewell: to a server that looks whether its client is still there, it would be something to read.
        """
        self.has_ended_sending = True
        with suppress(OSError):  # which whoever receives next will find out as well
            # Not that of SSLSocket, which would have what is still to come taken for unencrypted.
            socket.socket.shutdown(self._sock, socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket; more than once does no harm."""
        if self._sock.fileno() >= 0:
            notify_closing(self._fd)
            self._sock.close()
        self._make_backlog = None
        if self._backlog is not None:
            self._backlog.close()


def _has_hung_up(fd: int) -> bool:
    """Tell whether a socket's peer has ended its side."""
    poll = select.poll()
    poll.register(fd, getattr(select, "POLLRDHUP", 0))
    return bool(poll.poll(0))


def _peer(sock: socket.socket) -> str:
    """Write the peer's address; there is none on a unix socket, nor where the peer has left already."""
    if sock.family == socket.AF_UNIX:
        return "unix"
    try:
        host, port, *_ = sock.getpeername()
    except OSError:
        return "gone"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tune(sock: socket.socket) -> None:
    """Have a TCP socket send small packets at once, and notice a peer that has vanished.

    What a listening socket accepts is like itself in that.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)


#: How links end, by the exception that says so; the first one that fits.
_ENDS: tuple[tuple[type[Exception], str, LinkEnd], ...] = (
    (ConnectionResetError, "reset by the peer", LinkEnd.RESET),
    (BrokenPipeError, "closed by the peer", LinkEnd.RESET),
    (ssl.SSLEOFError, "reset by the peer", LinkEnd.RESET),
    (TimeoutError, "no answer from the peer's machine", LinkEnd.SILENCE),
)


def _lost(link: Link, error: Exception) -> LinkLost:
    """Say in words how a link ended."""
    for kind, words, end in _ENDS:
        if isinstance(error, kind):
            return LinkLost(link, words, end)
    if isinstance(error, ssl.SSLCertVerificationError):
        return LinkLost(link, f"certificate not accepted: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        return LinkLost(link, f"TLS failed: {error.reason or error}")
    return LinkLost(link, str(error))
