"""Whole replies, packet by packet: what a client really gets, before a driver makes something of it."""

import socket
from collections.abc import Sequence

from pymysql.constants import CLIENT

from protocol.command import reply_kind
from protocol.framing import build_packet
from protocol.memory import SessionMemory
from protocol.notes import Executing
from protocol.prepared import asks_for_cursor
from protocol.reply import Expected, ReplyTracker, Stage
from tests.e2e import wire
from tests.servers import Connection


class Talk:
    """A connection whose replies are received whole, as packets."""

    def __init__(self, connection: Connection, capabilities: int) -> None:
        self.connection = connection
        self._sock: socket.socket = wire.private(connection)._sock
        offered = wire.private(connection).server_capabilities
        flags = (capabilities | CLIENT.PROTOCOL_41) & offered
        memory = SessionMemory(client_listens=True, multi_statements=True, keeps_definitions=False)
        self._tracker = ReplyTracker(flags, memory)

    def ask(self, payload: bytes, *, file: bytes = b"") -> bytes:
        """Send a command and give all of its reply; a local file that the server asks for is ``file``."""
        return self.ask_all([payload], file=file)

    def ask_all(self, payloads: Sequence[bytes], *, file: bytes = b"") -> bytes:
        """Send commands in one go and give all of their replies."""
        self._sock.sendall(b"".join(build_packet(payload, 0) for payload in payloads))
        for payload in payloads:
            note = Executing(None, asks_for_cursor=True) if asks_for_cursor(payload) else None
            self._tracker.expect(Expected(payload[0], reply_kind(payload[0]), 1, note))
        return self._reply(file)

    @property
    def status(self) -> int:
        """Server status flags, as of the last packet that had them."""
        return self._tracker.status

    def send(self, payload: bytes) -> None:
        """Send a command that has no answer."""
        self._sock.sendall(build_packet(payload, 0))

    def assert_in_step(self) -> None:
        """See that nothing more has come than what the tracker has taken for the reply."""
        assert self.ask(b"\x0e")[4] == 0

    def _reply(self, file: bytes) -> bytes:
        reply = data = b""
        while not self._tracker.idle:
            received = self._sock.recv(1 << 20)
            assert received, f"the link ended in the middle of a reply: {reply + data!r}"
            data += received
            # What the tracker would show to a client is less than what has come.
            _, consumed = self._tracker.take(data)
            reply += data[:consumed]
            data = data[consumed:]
            if self._tracker.stage is Stage.LOCAL_INFILE:
                sequence_id = self._tracker.sequence_id
                pieces = [file, b""] if file else [b""]
                for piece in pieces:
                    self._sock.sendall(build_packet(piece, sequence_id))
                    sequence_id += 1
                self._tracker.sequence_id = sequence_id
                self._tracker.local_file_sent()
        assert data == b""
        return reply
