"""A TCP relay that counts how many connections are being opened at the same time."""

import contextlib
import selectors
import socket
import threading
from dataclasses import dataclass, field
from typing import Self

CHUNK_BYTES = 65536
#: The first bytes of the packets in which a server says yes or no to a login.
_VERDICTS = (0x00, 0xFF)


class Turnstile:
    """Relays TCP from a free loopback port (`host`, `port`) to a server, without TLS, and watches the logins.

    A connection counts from when it is accepted until the server has answered its login with OK or ERR, or one of the
    two sides has gone. `most_at_once` is read, and set to 0, from any thread.
    """

    def __init__(self, server_host: str, server_port: int) -> None:
        self._server = (server_host, server_port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self.host, self.port = self._listener.getsockname()
        self._selector = selectors.DefaultSelector()
        self._waker, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._passages: set[_Passage] = set()
        self.connections = 0  # accepted since the start
        self.most_at_once = 0
        self._thread = threading.Thread(target=self._run, name="turnstile", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._waker.send(b"!")
        self._thread.join()
        self._waker.close()

    def _run(self) -> None:
        try:
            while True:
                for key, _ in self._selector.select():
                    if key.fileobj is self._woken:
                        return
                    if key.fileobj is self._listener:
                        self._accept()
                    else:
                        self._pass_on(key.data, key.fd)
        finally:
            for passage in list(self._passages):
                self._end(passage)
            for sock in (self._listener, self._woken):
                sock.close()
            self._selector.close()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        self.connections += 1
        # Who has gone and come again may be seen coming first.
        waiting = [passage for passage in self._passages if passage.is_entering and not passage.is_left()]
        self.most_at_once = max(self.most_at_once, len(waiting) + 1)
        try:
            server = socket.create_connection(self._server, timeout=5)
        except OSError:
            client.close()
            return
        passage = _Passage(client, server)
        self._passages.add(passage)
        for sock in (client, server):
            sock.setblocking(True)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(sock, selectors.EVENT_READ, passage)

    def _pass_on(self, passage: "_Passage", descriptor: int) -> None:
        if passage not in self._passages:
            return  # it has ended in this same round
        from_server = descriptor == passage.server.fileno()
        source, sink = (passage.server, passage.client) if from_server else (passage.client, passage.server)
        try:
            data = source.recv(CHUNK_BYTES)
            if from_server:
                passage.see(data)
            if data:
                sink.sendall(data)
                return
        except OSError:
            pass
        self._end(passage)

    def _end(self, passage: "_Passage") -> None:
        self._passages.discard(passage)
        for sock in (passage.client, passage.server):
            self._selector.unregister(sock)
            sock.close()


@dataclass(eq=False)
class _Passage:
    """One connection through the turnstile."""

    client: socket.socket
    server: socket.socket
    is_entering: bool = True
    _seen: bytearray = field(default_factory=bytearray)

    def see(self, data: bytes) -> None:
        """Look for the server's verdict on the login in what it sends."""
        if not self.is_entering:
            return
        self._seen += data
        while len(self._seen) > 4:
            length = int.from_bytes(self._seen[:3], "little")
            if len(self._seen) < 4 + length:
                return
            if self._seen[4] in _VERDICTS:
                self.is_entering = False
                return
            del self._seen[: 4 + length]

    def is_left(self) -> bool:
        """Tell whether the client has gone already."""
        with contextlib.suppress(BlockingIOError):
            try:
                return not self.client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except ConnectionError:
                return True
        return False
