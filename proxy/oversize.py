"""Packets that cannot simply pass: too large ones, and those of which only the whole shows whether they are.

Each function takes over at a packet's first header, with the packet in front of the client's stream, and gives back the
session behind it. Nothing here keeps more than a piece in memory.
"""

from typing import IO

import trio

from protocol.command import HELD_BEGINNING
from protocol.constants import HEADER_LENGTH, MAX_FRAME_PAYLOAD
from protocol.errors import OutOfSync
from protocol.framing import Renumbering, build_packet
from protocol.reply import Stage
from proxy.errors import CannotHold, LinkLost
from proxy.link import RECEIVE_BYTES, Link
from proxy.upstream import Upstream

#: The pieces in which a packet is taken, and in which a local file is handed on if the server's limit allows.
_PIECE_BYTES = 64 * 1024


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


async def hold(client: Link, limit: int, file: IO[bytes]) -> ArrivingPacket:
    """Take a command of several frames out of the client's stream and put its payload into ``file``.

    From ``limit`` bytes on, the rest is forgotten: the server would not have it.

    Raises:
        LinkLost, OutOfSync: the client's link ended, or the client broke the protocol.
        CannotHold: the file could not be written; the command has been taken all the same.
    """
    packet = ArrivingPacket(client, 0)
    failure: OSError | None = None
    while piece := await packet.next_piece():
        if packet.size < limit and failure is None:
            try:
                await trio.to_thread.run_sync(file.write, piece)
            except OSError as error:
                failure = error
    if failure is not None and packet.size < limit:
        raise CannotHold(packet.size, packet.sequence_id, failure.strerror or str(failure)) from failure
    return packet


async def send_held(upstream: Upstream, file: IO[bytes], packet: ArrivingPacket, code: int) -> None:
    """Send a command that was held, and expect its reply. Raises LinkLost for the server's link."""
    reader = upstream.reader
    await trio.to_thread.run_sync(file.seek, 0)
    beginning = await trio.to_thread.run_sync(file.read, HELD_BEGINNING)
    piece = reader.expect_held(code, beginning, packet.sequence_id)
    size = packet.size + len(piece) - len(beginning)
    sequence_id = 0
    # One step past the end where the size is a multiple of the maximum: the empty frame that ends the packet.
    for start in range(0, size + 1, MAX_FRAME_PAYLOAD):
        length = min(MAX_FRAME_PAYLOAD, size - start)
        await upstream.link.send(length.to_bytes(3, "little") + bytes((sequence_id,)))
        sequence_id = (sequence_id + 1) & 0xFF
        while length:
            if not piece:
                piece = await trio.to_thread.run_sync(file.read, RECEIVE_BYTES)
                reader.look_through(piece)
            sent, piece = piece[:length], piece[length:]
            await upstream.link.send(sent)
            length -= len(sent)


async def cut_local_file(client: Link, upstream: Upstream) -> None:
    """Hand on a local file in pieces that the server accepts, and see the command through to its end.

    More pieces have more sequence ids, so everything that the server says afterwards is renumbered for the client. The
    server gets the file's end from the client alone: if the client's link ends before, what was loaded is rolled back.

    Raises:
        LinkLost: one of the links ended.
        OutOfSync: the client broke the protocol.
    """
    tracker = upstream.tracker
    shift = 0  # the client's sequence ids less the server's
    while not tracker.idle:
        if tracker.stage is Stage.LOCAL_INFILE:
            sequence_id = await _cut_file(client, upstream, (tracker.sequence_id + shift) & 0xFF)
            shift = sequence_id - tracker.sequence_id
            renumber = Renumbering(shift)
        try:
            shown = upstream.take_replies()
            if not shown and not tracker.idle:
                await upstream.link.must_receive()
        except LinkLost:
            tracker.sequence_id = (tracker.sequence_id + shift) & 0xFF  # what the client is told must fit its count
            raise
        if shown:
            await client.send(renumber.apply(shown))


async def _cut_file(client: Link, upstream: Upstream, sequence_id: int) -> int:
    """Hand on one file, up to and with the empty packet that ends it; return the client's next sequence id.

    If the server's link ends before the file does, the client's stream is left at the file's end.
    """
    tracker, link = upstream.tracker, upstream.link
    most = min(_PIECE_BYTES, upstream.reader.limit - 1)
    lost: LinkLost | None = None

    async def hand_on(payload: bytes) -> None:
        nonlocal lost
        if lost is None:
            try:
                await link.send(build_packet(payload, tracker.sequence_id))
                tracker.sequence_id = (tracker.sequence_id + 1) & 0xFF
            except LinkLost as error:
                lost = error

    is_end = False
    while not is_end:
        packet = ArrivingPacket(client, sequence_id)
        while piece := await packet.next_piece():
            for start in range(0, len(piece), most):
                await hand_on(piece[start : start + most])
        is_end = packet.size == 0
        if is_end:
            await hand_on(b"")
        if is_end and lost is not None:
            client.inbox = build_packet(b"", sequence_id) + client.inbox
            tracker.sequence_id = sequence_id
            raise lost
        sequence_id = packet.sequence_id
    tracker.local_file_sent()
    return sequence_id


async def discard_file(client: Link, sequence_id: int) -> int:
    """Let the client send its file to the end; return the sequence id of the answer that it then expects."""
    while True:
        packet = ArrivingPacket(client, sequence_id)
        while await packet.next_piece():
            pass
        sequence_id = packet.sequence_id
        if not packet.size:
            return sequence_id
