"""Statements of the guard's own, and the small results that they bring, in the text protocol."""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from protocol.constants import EOF_BYTE, ERR_BYTE, HEADER_LENGTH, OK_BYTE, Capability, CommandCode
from protocol.errors import MalformedPacket, ServerError
from protocol.framing import build_packet, first_packet
from protocol.packets import Err
from protocol.wire import Cursor

Row = tuple[bytes | None, ...]


class ResultSet(NamedTuple):
    """The rows of a result, and the type of each column (``enum_field_types``); no types where none were sent."""

    types: list[int]
    rows: list[Row]
    #: The indexes of the columns whose numbers are unsigned.
    unsigned: frozenset[int] = frozenset()


_NULL_BYTE = 0xFB
_UNSIGNED_FLAG = 0x20
#: Behind the command byte where query attributes were negotiated: no parameters, in one set.
_NO_ATTRIBUTES = b"\x00\x01"


def query_payload(statement: str | bytes, capabilities: int) -> bytes:
    """Write the payload of a COM_QUERY for a link with ``capabilities``."""
    attributes = _NO_ATTRIBUTES if capabilities & Capability.QUERY_ATTRIBUTES else b""
    text = statement.encode() if isinstance(statement, str) else statement
    return bytes((CommandCode.QUERY,)) + attributes + text


def build_query(statement: str | bytes, capabilities: int) -> bytes:
    """Write a COM_QUERY packet for a link with ``capabilities``."""
    return build_packet(query_payload(statement, capabilities), 0)


@lru_cache(maxsize=64)  # new links are all asked the same
def build_queries(statements: tuple[str | bytes, ...], capabilities: int) -> bytes:
    """Write COM_QUERY packets, one behind the other, for a link with ``capabilities``."""
    return b"".join(build_query(statement, capabilities) for statement in statements)


def parse_results(replies: bytes, capabilities: int) -> Iterator[ResultSet | ServerError]:
    """Read the replies to statements that were sent one after the other: for each its rows, or the server's error.

    A statement without a result set has no rows. ``replies`` are whole, as the reply tracker saw to.

    Raises:
        MalformedPacket: they are not what the tracker takes them for.
    """
    packets = payloads(replies)
    for payload in packets:
        if payload[:1] == bytes((ERR_BYTE,)):
            yield _error(payload)
        elif payload[:1] == bytes((OK_BYTE,)):
            yield ResultSet([], [])
        else:
            yield _result_set(payload, packets, capabilities)


def payloads(replies: bytes) -> Iterator[bytes]:
    """Cut replies into the payloads of their packets. Raises MalformedPacket where the last one is not whole."""
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


def _result_set(count: bytes, packets: Iterator[bytes], capabilities: int) -> ResultSet | ServerError:
    """Read a result set of which ``count`` is the first packet."""
    cursor = Cursor(count)
    columns = cursor.lenenc_integer()
    # Where metadata is optional, a byte behind the number says whether the definitions follow.
    definitions = 0 if cursor.remaining and not cursor.integer(1) else columns
    kinds = [_kind(_next(packets), capabilities) for _ in range(definitions)]
    types = [kind for kind, _ in kinds]
    unsigned = frozenset(index for index, (_, flags) in enumerate(kinds) if flags & _UNSIGNED_FLAG)
    if not capabilities & Capability.DEPRECATE_EOF:
        _next(packets)
    rows: list[Row] = []
    while True:
        payload = _next(packets)
        if payload[:1] == bytes((EOF_BYTE,)):
            return ResultSet(types, rows, unsigned)
        if payload[:1] == bytes((ERR_BYTE,)):
            return _error(payload)
        cursor = Cursor(payload)
        rows.append(tuple(_value(cursor) for _ in range(columns)))


def _kind(definition: bytes, capabilities: int) -> tuple[int, int]:
    """Read a column's type and flags out of its definition (the manual's page "Protocol::ColumnDefinition41")."""
    cursor = Cursor(definition)
    for _ in range(6 + bool(capabilities & Capability.MARIADB_EXTENDED_METADATA)):
        cursor.lenenc_bytes()
    cursor.take(1 + 2 + 4)
    return cursor.integer(1), cursor.integer(2)


def _value(cursor: Cursor) -> bytes | None:
    if cursor.integer(1) == _NULL_BYTE:
        return None
    cursor.position -= 1
    return cursor.lenenc_bytes()
