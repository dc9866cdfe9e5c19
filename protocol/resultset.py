"""Statements of the guard's own, and the small results that they bring, in the text protocol."""

from collections.abc import Iterator

from protocol.constants import EOF_BYTE, ERR_BYTE, HEADER_LENGTH, OK_BYTE, Capability, CommandCode
from protocol.errors import MalformedPacket, ServerError
from protocol.framing import build_packet, first_packet
from protocol.packets import Err
from protocol.wire import Cursor

Row = tuple[bytes | None, ...]

_NULL_BYTE = 0xFB
#: Behind the command byte where query attributes were negotiated: no parameters, in one set.
_NO_ATTRIBUTES = b"\x00\x01"


def build_query(statement: str, capabilities: Capability) -> bytes:
    """Write a COM_QUERY packet for a link with ``capabilities``."""
    attributes = _NO_ATTRIBUTES if capabilities & Capability.QUERY_ATTRIBUTES else b""
    return build_packet(bytes((CommandCode.QUERY,)) + attributes + statement.encode(), 0)


def parse_results(replies: bytes, capabilities: Capability) -> Iterator[list[Row] | ServerError]:
    """Read the replies to statements that were sent one after the other: for each its rows, or the server's error.

    A statement without a result set has no rows. ``replies`` are whole, as the reply tracker saw to.

    Raises:
        MalformedPacket: they are not what the tracker takes them for.
    """
    packets = _payloads(replies)
    for payload in packets:
        if payload[:1] == bytes((ERR_BYTE,)):
            yield _error(payload)
        elif payload[:1] == bytes((OK_BYTE,)):
            yield []
        else:
            yield _result_set(payload, packets, capabilities)


def _payloads(replies: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(replies):
        sequence_id = replies[position + 3] if len(replies) >= position + HEADER_LENGTH else 0
        packet = first_packet(replies, sequence_id, len(replies), position)
        if packet is None:
            raise MalformedPacket("a reply ends in the middle of a packet")
        yield packet.payload
        position += packet.length


def _next(packets: Iterator[bytes]) -> bytes:
    payload = next(packets, None)
    if payload is None:
        raise MalformedPacket("a result set does not end before the replies do")
    return payload


def _error(payload: bytes) -> ServerError:
    error = Err.parse(payload)
    return ServerError(error.code, error.message, payload)


def _result_set(count: bytes, packets: Iterator[bytes], capabilities: Capability) -> list[Row] | ServerError:
    """Read a result set of which ``count`` is the first packet."""
    cursor = Cursor(count)
    columns = cursor.lenenc_integer()
    # Where metadata is optional, a byte behind the number says whether the definitions follow.
    definitions = 0 if cursor.remaining and not cursor.integer(1) else columns
    for _ in range(definitions + (not capabilities & Capability.DEPRECATE_EOF)):
        _next(packets)
    rows: list[Row] = []
    while True:
        payload = _next(packets)
        if payload[:1] == bytes((EOF_BYTE,)):
            return rows
        if payload[:1] == bytes((ERR_BYTE,)):
            return _error(payload)
        cursor = Cursor(payload)
        rows.append(tuple(_value(cursor) for _ in range(columns)))


def _value(cursor: Cursor) -> bytes | None:
    if cursor.integer(1) == _NULL_BYTE:
        return None
    cursor.position -= 1
    return cursor.lenenc_bytes()
