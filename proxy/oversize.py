"""Commands that cannot simply pass: too large ones, and those that must not go out before they are whole.

Each function takes over at a packet's first header, with the packet in front of the client's stream, and gives back the
session behind it. Nothing here keeps more than a piece in memory.
"""

from protocol.command import HELD_BEGINNING
from protocol.constants import HEADER_LENGTH, MAX_FRAME_PAYLOAD
from protocol.errors import OutOfSync
from protocol.looking_back import Asking, Leftover
from proxy.errors import CannotHold
from proxy.holding import Holding
from proxy.link import Link
from proxy.upstream import Upstream

#: The pieces in which a packet is taken.
_PIECE_BYTES = 512 * 1024


class ArrivingPacket:
    """A logical packet that is taken from a link piece by piece."""

    def __init__(self, link: Link, sequence_id: int) -> None:
        """``sequence_id`` is the one that the packet's first frame must have."""
        self.sequence_id = sequence_id
        #: Bytes of payload taken so far.
        self.size = 0
        self._link = link
        self._frame = 0  # bytes of the current frame that are still to come
        self._is_last_frame = False

    async def next_piece(self) -> bytes:
        """Take the next piece of payload; nothing at the end of the packet.

        Then :attr:`sequence_id` is that of the next packet.

        Raises:
            LinkLost: the link ended before the packet did.
            OutOfSync: a frame's sequence id is not the next one.
        """
        while not self._frame:
            if self._is_last_frame:
                return b""
            await self._begin_frame()
        if not self._link.inbox:
            await self._link.must_receive(_PIECE_BYTES)
        piece = self._link.take(self._frame)
        self._frame -= len(piece)
        self.size += len(piece)
        return piece

    async def _begin_frame(self) -> None:
        while len(self._link.inbox) < HEADER_LENGTH:
            await self._link.must_receive()
        header = self._link.take(HEADER_LENGTH)
        if header[3] != self.sequence_id:
            raise OutOfSync(f"a packet has sequence id {header[3]} where {self.sequence_id} was expected")
        self.sequence_id = (self.sequence_id + 1) & 0xFF
        self._frame = int.from_bytes(header[:3], "little")
        self._is_last_frame = self._frame < MAX_FRAME_PAYLOAD


async def discard(client: Link) -> ArrivingPacket:
    """Take a command out of the client's stream and forget it.

    Raises:
        LinkLost, OutOfSync: the client's link ended, or the client broke the protocol.
    """
    packet = ArrivingPacket(client, 0)
    while await packet.next_piece():
        pass
    return packet


async def hold(client: Link, limit: int, holding: Holding) -> ArrivingPacket:
    """Take a large command out of the client's stream and put its payload into ``holding``.

    From ``limit`` bytes on, the rest is forgotten: the server would not have it.

    Raises:
        LinkLost, OutOfSync: the client's link ended, or the client broke the protocol.
        CannotHold: there was no room for it; the command has been taken all the same.
    """
    packet = ArrivingPacket(client, 0)
    failure: OSError | None = None
    is_end = False
    while not is_end:
        piece = await packet.next_piece()
        is_end = not piece
        if packet.size < limit and failure is None:
            try:
                await (holding.complete() if is_end else holding.append(piece))
            except OSError as error:
                failure = error
    if failure is not None and packet.size < limit:
        raise CannotHold(packet.size, packet.sequence_id, failure.strerror or str(failure)) from failure
    return packet


async def asked_for(holding: Holding) -> Leftover:
    """Tell what a command that was held asks for of what was left behind in front of it."""
    asking, position = Asking(), 0
    while piece := await holding.read(position):
        asking.look_through(piece)
        position += len(piece)
    return asking.asked


async def send_held(upstream: Upstream, holding: Holding, packet: ArrivingPacket, code: int) -> None:
    """Send a command that was held, and expect its reply. Raises LinkLost for the server's link."""
    reader = upstream.reader
    beginning = b""
    while len(beginning) < HELD_BEGINNING and (piece := await holding.read(len(beginning))):
        beginning += piece
    position = len(beginning)
    piece = reader.expect_held(code, beginning, packet.sequence_id)
    size = packet.size + len(piece) - len(beginning)
    upstream.traffic.commands += 1
    upstream.traffic.bytes_from_client += size
    sequence_id = 0
    # One step past the end where the size is a multiple of the maximum: the empty frame that ends the packet.
    for start in range(0, size + 1, MAX_FRAME_PAYLOAD):
        length = min(MAX_FRAME_PAYLOAD, size - start)
        await upstream.link.send(length.to_bytes(3, "little") + bytes((sequence_id,)))
        sequence_id = (sequence_id + 1) & 0xFF
        while length:
            if not piece:
                piece = await holding.read(position)
                position += len(piece)
                reader.look_through(piece)
            sent, piece = piece[:length], piece[length:]
            await upstream.link.send(sent)
            length -= len(sent)
