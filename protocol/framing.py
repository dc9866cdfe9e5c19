"""Frames and logical packets.

A frame is a 4-byte header (payload length, sequence id) and up to 0xFFFFFF bytes of payload. A logical packet is a run
of frames whose payloads are all 0xFFFFFF bytes long, except for the last one, which is shorter and may be empty.
Source: the manual's page "MySQL Packets".
"""

from typing import NamedTuple

from protocol.constants import HEADER_LENGTH, MAX_FRAME_PAYLOAD
from protocol.errors import MalformedPacket, OutOfSync


def build_packet(payload: bytes, sequence_id: int) -> bytes:
    """Put a logical packet into as many frames as it needs, the first numbered ``sequence_id`` (0-255)."""
    if len(payload) < MAX_FRAME_PAYLOAD:
        return len(payload).to_bytes(3, "little") + bytes((sequence_id,)) + payload
    frames = []
    # One step past the end where the length is a multiple of the maximum: the empty frame that ends the packet.
    for start in range(0, len(payload) + 1, MAX_FRAME_PAYLOAD):
        chunk = payload[start : start + MAX_FRAME_PAYLOAD]
        frames += [len(chunk).to_bytes(3, "little"), bytes((sequence_id,)), chunk]
        sequence_id = (sequence_id + 1) & 0xFF
    return b"".join(frames)


class Packet(NamedTuple):
    """A logical packet: its payload, the sequence id after its last frame's, and its length with all frame headers."""

    payload: bytes
    next_sequence_id: int
    length: int


def first_packet(data: bytes, sequence_id: int, limit: int, start: int = 0) -> Packet | None:
    """Cut the logical packet that begins at ``start`` out of ``data``, or give None if it is not whole yet.

    ``sequence_id`` is the one that its first frame must have; ``limit`` bounds its payload, in bytes, and thereby what
    a hostile peer can make the caller keep.

    Raises:
        MalformedPacket: the packet is larger than the limit, as seen from the first header that says so.
        OutOfSync: a frame's sequence id is not the next one.
    """
    total = 0
    position = start
    while len(data) >= position + HEADER_LENGTH:
        length = int.from_bytes(data[position : position + 3], "little")
        if data[position + 3] != sequence_id:
            raise OutOfSync(f"a packet has sequence id {data[position + 3]} where {sequence_id} was expected")
        total += length
        if total > limit:
            raise MalformedPacket(f"a packet of at least {total} bytes came where at most {limit} can be")
        position += HEADER_LENGTH + length
        sequence_id = (sequence_id + 1) & 0xFF
        if length < MAX_FRAME_PAYLOAD:
            if len(data) < position:
                return None
            return Packet(_payload(data, start, position), sequence_id, position - start)
    return None


def _payload(data: bytes, start: int, end: int) -> bytes:
    """Take the headers out of a packet's frames."""
    step = HEADER_LENGTH + MAX_FRAME_PAYLOAD
    if end - start < step:
        return data[start + HEADER_LENGTH : end]
    return b"".join(data[frame + HEADER_LENGTH : min(frame + step, end)] for frame in range(start, end, step))


class Renumbering:
    """Adds a number to the sequence id of every frame of a stream, modulo 256.

    The stream may be cut anywhere but inside a frame's header.
    """

    def __init__(self, shift: int) -> None:
        self._shift = shift
        self._body = 0  # bytes of the current frame that are still to come

    def apply(self, data: bytes) -> bytes:
        """Renumber the frames that begin in ``data``."""
        renumbered = bytearray(data)
        position = self._body
        while position < len(data):
            renumbered[position + 3] = (data[position + 3] + self._shift) & 0xFF
            position += HEADER_LENGTH + int.from_bytes(data[position : position + 3], "little")
        self._body = position - len(data)
        return bytes(renumbered)
