"""Reading and writing the protocol's basic types, never beyond the end of a packet.

Types are those of the manual's page "MySQL Protocol Basic Data Types": fixed-length little-endian integers,
length-encoded ("lenenc") integers and strings, NUL-terminated strings.
"""

from struct import Struct
from typing import Any

from protocol.errors import MalformedPacket

#: Bytes in a length-encoded integer behind the byte that it begins with.
_LENENC_WIDTHS = {0xFC: 2, 0xFD: 3, 0xFE: 8}


class Cursor:
    """Reads a packet's payload from left to right.

    Every method raises :class:`MalformedPacket` where the payload ends too early, and then has moved nothing.
    """

    __slots__ = ("_data", "_end", "position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data = data
        self._end = len(data)
        self.position = position

    @property
    def remaining(self) -> int:
        """Bytes that have not been read yet."""
        return self._end - self.position

    def take(self, count: int) -> bytes:
        """Read exactly ``count`` bytes."""
        stop = self.position + count
        if stop > self._end:
            raise MalformedPacket(f"a packet ends {stop - self._end} bytes before a field of {count} bytes does")
        taken = self._data[self.position : stop]
        self.position = stop
        return taken

    def take_rest(self) -> bytes:
        """Read all that is left, which may be nothing."""
        return self.take(self.remaining)

    def fields(self, layout: Struct) -> tuple[Any, ...]:
        """Read fields of fixed lengths, all of them or none."""
        return layout.unpack(self.take(layout.size))

    def integer(self, width: int) -> int:
        """Read an unsigned integer of ``width`` bytes."""
        return int.from_bytes(self.take(width), "little")

    def lenenc_integer(self) -> int:
        """Read a length-encoded integer (1, 3, 4 or 9 bytes)."""
        start = self.position
        first = self.integer(1)
        if first < 0xFB:
            return first
        width = _LENENC_WIDTHS.get(first)
        if width is None or self.remaining < width:
            self.position = start
            raise MalformedPacket(f"0x{first:02x} does not begin a length-encoded integer here")
        return self.integer(width)

    def lenenc_bytes(self) -> bytes:
        """Read a length-encoded string."""
        start = self.position
        try:
            return self.take(self.lenenc_integer())
        except MalformedPacket:
            self.position = start
            raise

    def nul_bytes(self) -> bytes:
        """Read up to a NUL and past it."""
        stop = self._data.find(b"\0", self.position)
        if stop < 0:
            raise MalformedPacket("a NUL-terminated string does not end before its packet does")
        taken = self._data[self.position : stop]
        self.position = stop + 1
        return taken


def lenenc_integer(value: int) -> bytes:
    """Write a length-encoded integer; ``value`` is below 2**64."""
    if value < 0xFB:
        return value.to_bytes(1, "little")
    if value < 1 << 16:
        return b"\xfc" + value.to_bytes(2, "little")
    if value < 1 << 24:
        return b"\xfd" + value.to_bytes(3, "little")
    return b"\xfe" + value.to_bytes(8, "little")


def lenenc_bytes(value: bytes) -> bytes:
    """Write a length-encoded string."""
    return lenenc_integer(len(value)) + value
