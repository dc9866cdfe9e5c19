"""A TCP relay that misbehaves on demand, as firewalls, NAT tables and load balancers do."""

import contextlib
import queue
import selectors
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self, TypeVar

T = TypeVar("T")

CHUNK_BYTES = 65536
LINGER_ZERO = struct.pack("ii", 1, 0)  # close() then sends RST and throws away what was not sent


class BlackholeRelay:
    """Relays TCP from a free loopback port (`host`, `port`) to a server, until told to lose, cut or end connections.

    In the black hole (`swallow`) nothing is read and nothing is passed on, neither bytes nor FIN nor RST, and nothing
    is closed. The senders' kernels keep what was not taken, so after `restore` each byte arrives, as it does by
    retransmission when a real outage ends. One thing differs from lost packets: the relay's kernel still acknowledges,
    so TCP keepalive and TCP_USER_TIMEOUT do not fire until its buffers are full.

    All methods may be called from any thread; when they return, it has happened.
    """

    def __init__(self, server_host: str, server_port: int, *, source_host: str = "") -> None:
        """``source_host`` is the address from which the server is to see them come; empty: the kernel's choice."""
        self._server = (server_host, server_port)
        self._source = (source_host, 0) if source_host else None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self.host, self.port = self._listener.getsockname()
        self._selector = selectors.DefaultSelector()
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ, self._obey)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._pairs: set[_Pair] = set()
        self._closed = False
        self.connections = 0  # accepted since the start
        self.bytes_to_server = 0  # passed on since the start
        self.bytes_to_client = 0
        self._thread = threading.Thread(target=self._run, name="blackhole-relay", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def swallow(self, *, new_connections: bool = True) -> None:
        """Let all connections fall silent; new ones too (they connect but hear nothing), unless told otherwise."""

        def order() -> None:
            for pair in self._pairs:
                pair.swallowed = True
                self._watch(pair)
            if new_connections and self._listener in self._selector.get_map():
                self._selector.unregister(self._listener)

        self._call(order)

    def restore(self) -> None:
        """End the black hole: what was held back flows on, and connections are taken again."""

        def order() -> None:
            for pair in self._pairs:
                pair.swallowed = False
                self._watch(pair)
            if self._listener not in self._selector.get_map():
                self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

        self._call(order)

    def sever(self) -> None:
        """Cut all connections on both sides with RST; new ones are served."""
        self._call(lambda: self._drop_all(reset=True))

    def hang_up(self) -> None:
        """End all connections on both sides with FIN; new ones are served."""
        self._call(lambda: self._drop_all(reset=False))

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return self._call(lambda: len(self._pairs))

    def close(self) -> None:
        """Cut all connections and end the relay; idempotent."""
        if not self._closed:
            self._closed = True

            def order() -> None:
                self._drop_all(reset=True)
                self._selector.close()

            self._call(order)  # in one, so that no connection is taken in between
            self._thread.join()
            for sock in (self._listener, self._wake_reader, self._wake_writer):
                sock.close()

    def _call(self, work: Callable[[], T]) -> T:
        """Run `work` in the relay's thread, the only one that touches sockets, and return its result."""
        answer: queue.SimpleQueue[T] = queue.SimpleQueue()
        self._orders.put(lambda: answer.put(work()))
        self._wake_writer.send(b"!")
        return answer.get(timeout=30)

    def _obey(self) -> None:
        self._wake_reader.recv(CHUNK_BYTES)
        with contextlib.suppress(queue.Empty):
            while True:
                self._orders.get_nowait()()

    def _run(self) -> None:
        while (watched := self._selector.get_map()) is not None:
            for key, _ in self._selector.select():
                # An earlier event of this round may have closed this one's socket (or all, with the selector).
                current = watched.get(key.fd)
                if current is not None and current.fileobj is key.fileobj:
                    key.data()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except BlockingIOError:
            return  # it went away while it waited
        self.connections += 1
        try:
            server = socket.create_connection(self._server, timeout=5, source_address=self._source)
        except OSError:
            _reset(client)
            return
        pair = _Pair(client, server)
        self._pairs.add(pair)
        self._watch(pair)

    def _watch(self, pair: "_Pair") -> None:
        """Watch for what the pair can do next: a way with bytes in hand waits to write, one without waits to read."""
        for sock in (pair.client, pair.server):
            events = 0
            if not pair.swallowed:
                if pair.in_hand[sock]:
                    events |= selectors.EVENT_WRITE
                other = pair.other(sock)
                if not pair.in_hand[other] and sock not in pair.ended:
                    events |= selectors.EVENT_READ
            if sock in self._selector.get_map():
                self._selector.unregister(sock)
            if events:
                self._selector.register(sock, events, lambda sock=sock: self._move(pair, sock))

    def _move(self, pair: "_Pair", sock: socket.socket) -> None:
        """Do what `sock` is ready for: take bytes or the end from it, pass on what is in hand for it."""
        other = pair.other(sock)
        try:
            if pair.in_hand[sock]:
                self._send(pair, sock)
            if not pair.in_hand[other] and sock not in pair.ended:
                with contextlib.suppress(BlockingIOError):
                    pair.in_hand[other] = sock.recv(CHUNK_BYTES)
                    if pair.in_hand[other]:
                        self._send(pair, other)
                    else:
                        pair.ended.add(sock)
                        other.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(pair, reset=True)  # one side cut it: so does the other
            return
        if len(pair.ended) == 2 and not any(pair.in_hand.values()):
            self._drop(pair, reset=False)
        else:
            self._watch(pair)

    def _send(self, pair: "_Pair", sock: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            sent = sock.send(pair.in_hand[sock])
            pair.in_hand[sock] = pair.in_hand[sock][sent:]
            if sock is pair.server:
                self.bytes_to_server += sent
            else:
                self.bytes_to_client += sent

    def _drop_all(self, *, reset: bool) -> None:
        for pair in list(self._pairs):
            self._drop(pair, reset=reset)

    def _drop(self, pair: "_Pair", *, reset: bool) -> None:
        self._pairs.discard(pair)
        for sock in (pair.client, pair.server):
            if sock in self._selector.get_map():
                self._selector.unregister(sock)
            if reset:
                _reset(sock)
            else:
                _finish(sock)


class _Pair:
    """The two sockets of one connection and what is on its way between them."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.swallowed = False
        self.in_hand = {client: b"", server: b""}  # by the socket that is to get it
        self.ended: set[socket.socket] = set()  # those that have sent FIN
        for sock in (client, server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def other(self, sock: socket.socket) -> socket.socket:
        return self.server if sock is self.client else self.client


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
    sock.close()


def _finish(sock: socket.socket) -> None:
    """Close with FIN: what was not read must be thrown away first, or the kernel would send RST instead."""
    with contextlib.suppress(OSError):
        while sock.recv(CHUNK_BYTES):
            pass
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
    sock.close()
