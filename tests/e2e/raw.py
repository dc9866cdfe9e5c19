"""A client that says what it is told to, packet by packet, with whatever capabilities.

It reads replies by rules of its own, which are not the guard's: whoever is wrong about where a reply ends gets out of
step with the other.
"""

import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from protocol.constants import MAX_FRAME_PAYLOAD, Capability, CommandCode
from protocol.framing import build_packet
from protocol.handshake import AuthSwitch, ChangeUser, Greeting, LoginRequest
from protocol.wire import Cursor, lenenc_bytes

#: What every client has that is not older than the servers here.
BASE = Capability.PROTOCOL_41 | Capability.SECURE_CONNECTION | Capability.PLUGIN_AUTH | 1 << 2 | 1 << 13  # LONG_FLAG

RECEIVE_BYTES = 1 << 20
SECONDS = 20.0

_MORE_RESULTS = 0x0008
_CURSOR_EXISTS = 0x0040
_OUT_PARAMS = 0x1000
_PROGRESS_REPORT = b"\xff\xff\xff"
#: Commands whose answer is a chain of results.
_CHAINS = frozenset({0x03, 0x0A, 0x17, 0xFA})
_SILENT = frozenset({0x18, 0x19})
_FETCH, _FIELD_LIST, _PREPARE = 0x1C, 0x04, 0x16


@dataclass(frozen=True)
class Packet:
    """A logical packet: the sequence id of its first frame, and its payload.

    ``is_ok``: where it stands, it is an OK packet, under either header byte.
    """

    sequence_id: int
    payload: bytes
    is_ok: bool = False

    def __repr__(self) -> str:
        shown = self.payload if len(self.payload) < 300 else self.payload[:150] + b" ... " + self.payload[-150:]
        return f"[{self.sequence_id} {len(self.payload)}{' OK' if self.is_ok else ''} {shown!r}]"


def pieces_of(data: bytes, cuts: Iterable[int]) -> Iterator[bytes]:
    """Cut bytes at these places, which are counted from the piece before; the rest is the last piece."""
    for cut in cuts:
        if cut >= len(data):
            break
        yield data[:cut]
        data = data[cut:]
    yield data


class RawClient:
    """A session of its own, on plain TCP, of a user without a password."""

    def __init__(
        self,
        host: str,
        port: int,
        capabilities: int,
        *,
        schema: str = "",
        user: str = "root",
        charset: int = 45,
        attributes: bytes = b"",
    ) -> None:
        self._socket = socket.create_connection((host, port), SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        try:
            self.greeting = Greeting.parse(self.receive().payload)
            self.capabilities = capabilities & self.greeting.capabilities
            request = LoginRequest(
                self.capabilities,
                0x1000000,
                charset,
                bytes(19),
                user.encode(),
                b"",
                schema.encode(),
                self.greeting.plugin,
                attributes,
            )
            self.send(request.build(), sequence_id=1)
            #: The server's last word on the login.
            self.login = self._finish_login()
        except BaseException:
            self.close()
            raise
        #: The pieces of the file that a server gets that asks for one.
        self.file: Sequence[bytes] = ()
        self._asks_for_cursor = False
        self._reply: list[Packet] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Say goodbye and close the socket."""
        with suppress(OSError):
            self.send(bytes((CommandCode.QUIT,)))
        self._socket.close()

    @property
    def deprecates_eof(self) -> bool:
        """Whether OK packets end results."""
        return bool(self.capabilities & Capability.DEPRECATE_EOF)

    def send(self, payload: bytes, *, sequence_id: int = 0) -> None:
        """Send a packet."""
        self._socket.sendall(build_packet(payload, sequence_id))

    def send_bytes(self, data: bytes, cuts: Iterable[int] = ()) -> None:
        """Send bytes as they are, in pieces."""
        for piece in pieces_of(data, cuts):
            self._socket.sendall(piece)

    def receive(self) -> Packet:
        """Receive a logical packet."""
        parts = []
        first = self._frame_header()
        length, sequence_id = first
        while True:
            parts.append(self._take(length))
            if length < MAX_FRAME_PAYLOAD:
                return Packet(first[1], b"".join(parts))
            length, following = self._frame_header()
            assert following == (sequence_id + 1) & 0xFF, "the frames of a packet are not numbered one after the other"
            sequence_id = following

    def _frame_header(self) -> tuple[int, int]:
        header = self._take(4)
        return int.from_bytes(header[:3], "little"), header[3]

    def _take(self, count: int) -> bytes:
        if len(self._received) < count:
            parts, have = [self._received], len(self._received)
            while have < count:
                part = self._socket.recv(RECEIVE_BYTES)
                if not part:
                    raise EOFError(f"the link ended behind {b''.join(parts)[-200:]!r}")
                parts.append(part)
                have += len(part)
            self._received = b"".join(parts)
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    def _finish_login(self) -> Packet:
        while True:
            packet = self.receive()
            if packet.payload[0] == 0xFE:
                assert AuthSwitch.parse(packet.payload).nonce
                self.send(b"", sequence_id=packet.sequence_id + 1)
            elif packet.payload[0] != 0x01:
                return Packet(packet.sequence_id, packet.payload, is_ok=packet.payload[0] == 0)

    def change_user(self, user: str, schema: str, attributes: bytes, *, charset: int = 45) -> Packet:
        """Log in anew; give the server's last word."""
        has_attributes = self.capabilities & Capability.CONNECT_ATTRS
        rest = lenenc_bytes(attributes) if has_attributes else b""
        has_plugin = self.capabilities & Capability.PLUGIN_AUTH
        plugin = self.greeting.plugin if has_plugin else None
        self.send(ChangeUser(user.encode(), b"", schema.encode(), charset, plugin, rest).build(self.capabilities))
        return self._finish_login()

    def reply(self, code: int | None, *, asks_for_cursor: bool = False) -> list[Packet]:
        """Receive all that a command with this code, or with none, is answered with."""
        self._reply = []
        self._asks_for_cursor = asks_for_cursor
        if code in _CHAINS:
            while self._read_result():
                pass
        elif code == _PREPARE:
            self._read_prepared()
        elif code in {_FETCH, _FIELD_LIST}:
            self._read_rows()
        elif code not in _SILENT:
            self._read()
        return self._reply

    def _read(self, *, may_be_ok: bool = True) -> bytes:
        """Read the next packet of a reply, and reports of progress in front of it."""
        while True:
            packet = self.receive()
            payload = packet.payload
            is_ok = may_be_ok and (payload[0] == 0 or (payload[0] == 0xFE and len(payload) != 5))
            self._reply.append(Packet(packet.sequence_id, payload, is_ok))
            if not payload.startswith(_PROGRESS_REPORT):
                return payload

    def _read_result(self) -> bool:
        """Read one result of a chain; tell whether another one follows."""
        payload = self._read()
        if payload[0] == 0xFF:
            return False
        if payload[0] == 0:
            return bool(_ok_status(payload) & _MORE_RESULTS)
        if payload[0] == 0xFB:
            sequence_id = self._reply[-1].sequence_id + 1
            for piece in (*self.file, b""):
                self.send(piece, sequence_id=sequence_id & 0xFF)
                sequence_id += len(piece) // MAX_FRAME_PAYLOAD + 1
            return True
        self._reply[-1] = Packet(self._reply[-1].sequence_id, payload)
        count = Cursor(payload)
        columns = count.lenenc_integer()
        for _ in range(columns if not count.remaining or count.integer(1) else 0):
            self._read(may_be_ok=False)
        announced = 0
        if not self.deprecates_eof:
            announced = _eof_status(self._read(may_be_ok=False))
            if self._asks_for_cursor and announced & (_CURSOR_EXISTS | _MORE_RESULTS) == _CURSOR_EXISTS:
                return False
        status = self._read_rows()
        if announced & _OUT_PARAMS:
            status |= announced
        return bool(status & _MORE_RESULTS)

    def _read_rows(self) -> int:
        """Read rows, and what ends them; give the status flags in that, and none for an error."""
        while True:
            payload = self._read(may_be_ok=False)
            if payload[0] == 0xFF:
                return 0
            if payload[0] == 0xFE and not self.deprecates_eof and len(payload) < 9:
                return _eof_status(payload)
            if payload[0] == 0xFE and self.deprecates_eof and len(payload) < MAX_FRAME_PAYLOAD:
                self._reply[-1] = Packet(self._reply[-1].sequence_id, payload, is_ok=True)
                return _ok_status(payload)

    def _read_prepared(self) -> None:
        payload = self._read(may_be_ok=False)
        if payload[0] == 0xFF:
            return
        head = Cursor(payload, 5)
        columns, parameters = head.integer(2), head.integer(2)
        head.take(3)
        has_definitions = not head.remaining or bool(head.integer(1))
        for count in (parameters, columns):
            for _ in range(count if has_definitions else 0):
                self._read(may_be_ok=False)
            if count and not self.deprecates_eof:
                self._read(may_be_ok=False)


def _eof_status(payload: bytes) -> int:
    assert payload[0] == 0xFE, payload
    assert len(payload) == 5, payload
    return int.from_bytes(payload[3:], "little")


def _ok_status(payload: bytes) -> int:
    cursor = Cursor(payload, 1)
    cursor.lenenc_integer()
    cursor.lenenc_integer()
    return cursor.integer(2)
