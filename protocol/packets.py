"""The answers that every command can get, as values with ``parse`` and ``build``.

``parse`` raises :class:`~protocol.errors.MalformedPacket` and nothing else. Layouts: the manual's pages "Generic
Response Packets" and "COM_STMT_PREPARE Response".
"""

from struct import Struct
from typing import NamedTuple, Self

from protocol.constants import ERR_BYTE, OK_BYTE, Status
from protocol.errors import MalformedPacket
from protocol.wire import Cursor, lenenc_bytes, lenenc_integer

_SHORTEST_OK = 7  # header, two integers of one byte, status, warnings

#: Status flags and the number of warnings.
_OK_FIELDS = Struct("<HH")
#: Statement id, columns, parameters, and what is left of the fixed part.
_PREPARE_OK_FIELDS = Struct("<IHH3x")


class Err(NamedTuple):
    """An ERR packet. ``sqlstate`` is empty before the capabilities are known, and then not on the wire at all."""

    code: int
    sqlstate: str
    message: str

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read a packet that begins with 0xFF. Bytes of the message that are not UTF-8 become U+FFFD."""
        cursor = Cursor(payload, 1)
        code = cursor.integer(2)
        text = cursor.take_rest().decode(errors="replace")
        if text.startswith("#") and len(text) >= 6:
            return cls(code, text[1:6], text[6:])
        return cls(code, "", text)

    def build(self) -> bytes:
        """Write the packet's payload."""
        marker = f"#{self.sqlstate}" if self.sqlstate else ""
        return bytes((ERR_BYTE,)) + self.code.to_bytes(2, "little") + f"{marker}{self.message}".encode()

    def without_sqlstate(self) -> Self:
        """Give the form for a client that has not been greeted yet."""
        return self._replace(sqlstate="")


class Ok(NamedTuple):
    """An OK packet, under either header byte. ``state`` is the session-track block, empty where there is none."""

    header: int
    affected_rows: int
    last_insert_id: int
    status: int
    warnings: int
    info: bytes
    state: bytes

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read a packet that begins with 0x00, or with 0xFE where EOF packets are deprecated.

        ``info`` is length-encoded with and without session tracking: what servers send, unlike what the manual says.
        """
        cursor = Cursor(payload)
        header = cursor.integer(1)
        affected_rows = cursor.lenenc_integer()
        last_insert_id = cursor.lenenc_integer()
        status, warnings = cursor.fields(_OK_FIELDS)
        info = cursor.lenenc_bytes() if cursor.remaining else b""
        state = b""
        if status & Status.SESSION_STATE_CHANGED and cursor.remaining:
            state = cursor.lenenc_bytes()
        return cls(header, affected_rows, last_insert_id, status, warnings, info, state)

    def build(self) -> bytes:
        """Write the packet's payload; the status flag for a session-track block follows :attr:`state`."""
        status = self.status & ~Status.SESSION_STATE_CHANGED
        if self.state:
            status |= Status.SESSION_STATE_CHANGED
        parts = [
            bytes((self.header,)),
            lenenc_integer(self.affected_rows),
            lenenc_integer(self.last_insert_id),
            _OK_FIELDS.pack(status, self.warnings),
        ]
        if self.info or self.state:
            parts.append(lenenc_bytes(self.info))
        if self.state:
            parts.append(lenenc_bytes(self.state))
        return b"".join(parts)


def ok_summary(payload: bytes) -> tuple[int, int, int, int]:
    """Read affected rows, last insert id, status flags and warnings of an OK packet, faster than the whole of it."""
    if len(payload) >= _SHORTEST_OK and payload[1] < 0xFB and payload[2] < 0xFB:
        return payload[1], payload[2], payload[3] | payload[4] << 8, payload[5] | payload[6] << 8
    ok = Ok.parse(payload)
    return ok.affected_rows, ok.last_insert_id, ok.status, ok.warnings


class PrepareOk(NamedTuple):
    """The first packet of the answer to ``COM_STMT_PREPARE``.

    ``sends_metadata`` is False where a client with OPTIONAL_METADATA was told to do without column definitions.
    """

    statement_id: int
    columns: int
    parameters: int
    sends_metadata: bool

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read a packet that begins with 0x00."""
        cursor = Cursor(payload)
        if cursor.integer(1) != OK_BYTE:
            raise MalformedPacket(f"0x{payload[0]:02x} does not begin the answer to a prepare")
        statement_id, columns, parameters = cursor.fields(_PREPARE_OK_FIELDS)
        return cls(statement_id, columns, parameters, not cursor.remaining or cursor.integer(1) != 0)
