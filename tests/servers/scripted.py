"""A server that follows a script, for what no real server does on demand: nonsense, silence, half a packet."""

import contextlib
import re
import socket
import threading
from collections.abc import Callable
from typing import Self

from protocol.auth import NATIVE, make_nonce
from protocol.constants import Capability
from protocol.framing import build_packet
from protocol.handshake import Greeting
from protocol.packets import Ok

#: What a MySQL 8 offers, without TLS.
CAPABILITIES = 0x1FFF7FF & ~Capability.SSL & ~Capability.COMPRESS & ~Capability.DEPRECATE_EOF
OK = Ok(0, 0, 0, 2, 0, b"", b"").build()
EOF = b"\xfe\x00\x00\x02\x00"

COLUMN = b"\x03def\x00\x00\x00\x01c\x00\x0c\x3f\x00\x14\x00\x00\x00\x08\x81\x00\x00\x00\x00"

TIMEOUT_SECONDS = 20.0

_OK_PACKET = build_packet(OK, 1)
#: What a guard asks for on a new link, and what it is told.
VARIABLES = {
    b"max_allowed_packet": b"67108864",
    b"net_buffer_length": b"16384",
    b"wait_timeout": b"28800",
    b"net_read_timeout": b"30",
    b"net_write_timeout": b"60",
    b"session_track_system_variables": b"autocommit",
    b"session_track_schema": b"1",
    b"session_track_state_change": b"0",
    b"session_track_transaction_info": b"OFF",
    b"transaction_isolation": b"REPEATABLE-READ",
    b"init_connect": b"",
    b"hostname": b"scripted",
    b"port": b"3306",
    b"server_id": b"1",
    b"server_uuid": b"00000000-0000-0000-0000-000000000001",
}


def answer_own_question(command: bytes) -> bytes | None:
    """Give a server's answer to a command with which a guard begins a session; None if it is not one of these."""
    statement = command[1:]
    if statement.startswith(b"SET SESSION session_track"):
        return _OK_PACKET
    if statement.startswith(b"SELECT 1 FROM DUAL"):
        return packets(b"\x01", COLUMN, EOF, EOF)
    if statement.startswith(b"SELECT variable_name"):
        return packets(b"\x01", COLUMN, EOF, *map(_value, VARIABLES), EOF)
    if statement.startswith(b"SELECT @@SESSION.max_allowed_packet"):
        row = [VARIABLES[name] for name in re.findall(rb"@@(?:SESSION|GLOBAL)\.(\w+)", statement)]
        return packets(bytes((len(row),)), *[COLUMN] * len(row), EOF, b"".join(map(_value, row)), EOF)
    return None


def _value(value: bytes) -> bytes:
    return bytes((len(value),)) + value


def packets(*payloads: bytes) -> bytes:
    """Write a reply of several packets."""
    return b"".join(build_packet(payload, index & 0xFF) for index, payload in enumerate(payloads, 1))


class Peer:
    """The client of a scripted server, as the script sees it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._sock.sendall(data)

    def say(self, payload: bytes, sequence_id: int) -> None:
        """Send a packet."""
        self.send(build_packet(payload, sequence_id))

    def hear(self) -> bytes:
        """Receive a packet of one frame; empty at the end of the link."""
        header = self._exactly(4)
        return self._exactly(int.from_bytes(header[:3], "little")) if header else b""

    def wait_for_end(self) -> None:
        """Wait until the client hangs up."""
        while self._sock.recv(65536):
            pass

    def greet(self) -> None:
        """Send the greeting of an ordinary server."""
        greeting = Greeting(b"8.0.0-scripted", 7, make_nonce(), CAPABILITIES, 45, 2, NATIVE)
        self.say(greeting.build(), 0)

    def let_in(self) -> None:
        """Go through the login and through what the guard asks of a new session."""
        self.greet()
        self.hear()
        self.say(OK, 2)
        self.introduce()

    def introduce(self) -> None:
        """Answer what the guard asks on each new link."""
        while answer := answer_own_question(self.hear()):
            self.send(answer)
            if answer == _OK_PACKET:  # what it sets comes last
                return

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            received = self._sock.recv(count - len(data))
            if not received:
                return b""
            data += received
        return data


Script = Callable[[Peer], None]


class ScriptedServer:
    """Plays a script for every client, each in a thread, at a free port (`host`, `port`)."""

    host = "127.0.0.1"

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._play, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _play(self, sock: socket.socket) -> None:
        # A client that hangs up in the middle of the script is what many a test is about.
        with sock, contextlib.suppress(OSError):
            sock.settimeout(TIMEOUT_SECONDS)
            self._script(Peer(sock))
