"""The file that a client sends for LOAD DATA LOCAL.

The server waits no longer than its net_read_timeout for the next piece, however slow the client is. So a part of the
file is always kept back, and while the client pauses, the server is given a byte of it from time to time. Where the
pieces end means nothing to it.
"""

import trio

from protocol.constants import MAX_FRAME_PAYLOAD
from protocol.framing import Renumbering, build_packet
from protocol.reply import Stage
from proxy.client_end import passing_on_end
from proxy.errors import LinkLost
from proxy.link import Link
from proxy.oversize import ArrivingPacket
from proxy.upstream import Upstream

#: The largest pieces that are handed on, if the server's limit allows.
_PIECE_BYTES = 64 * 1024
#: How much is kept back for pauses: at a byte for each of them it lasts for hours.
_RESERVE_BYTES = 16 * 1024
#: How often the server is given something, in parts of its patience.
_PARTS = 4


async def hand_on_local_file(client: Link, upstream: Upstream) -> None:
    """Hand on a local file in pieces that the server accepts, and see the command through to its end.

    The pieces have other sequence ids than the client's, so everything that the server says afterwards is renumbered
    for the client. The server gets the file's end from the client alone: if the client's link ends before, what was
    loaded is rolled back.

    Raises:
        LinkLost: one of the links ended.
        OutOfSync: the client broke the protocol.
    """
    tracker = upstream.tracker
    shift = 0  # the client's sequence ids less the server's
    while not tracker.idle:
        if tracker.stage is Stage.LOCAL_INFILE:
            sequence_id = await _hand_on_file(client, upstream, (tracker.sequence_id + shift) & 0xFF)
            shift = sequence_id - tracker.sequence_id
            renumber = Renumbering(shift)
        try:
            shown = upstream.take_replies()
            if not shown and not tracker.idle:
                await passing_on_end(client, upstream, upstream.link.must_receive)
        except LinkLost:
            tracker.sequence_id = (tracker.sequence_id + shift) & 0xFF  # what the client is told must fit its count
            raise
        if shown:
            upstream.traffic.bytes_from_server += len(shown)
            await client.send(renumber.apply(shown))


async def _hand_on_file(client: Link, upstream: Upstream, sequence_id: int) -> int:
    """Hand on one file, up to and with the empty packet that ends it; return the client's next sequence id.

    If the server's link ends before the file does, the client's stream is left at the file's end.
    """
    receiver = _Receiver(upstream)
    packet = ArrivingPacket(client, sequence_id)
    while True:
        with trio.move_on_at(receiver.due) as pause:
            piece = await packet.next_piece()
        if not pause.cancelled_caught and piece:
            await receiver.take(piece)
        elif not pause.cancelled_caught and not packet.size:
            break
        elif not pause.cancelled_caught:
            packet = ArrivingPacket(client, packet.sequence_id)
        await receiver.keep_waiting()
    await receiver.end()
    if receiver.lost is not None:
        end_id = (packet.sequence_id - 1) & 0xFF
        client.inbox = build_packet(b"", end_id) + client.inbox
        upstream.tracker.sequence_id = end_id
        raise receiver.lost
    upstream.tracker.local_file_sent()
    return packet.sequence_id


async def discard_file(client: Link, sequence_id: int) -> int:
    """Let the client send its file to the end; return the sequence id of the answer that it then expects."""
    while True:
        packet = ArrivingPacket(client, sequence_id)
        while await packet.next_piece():
            pass
        sequence_id = packet.sequence_id
        if not packet.size:
            return sequence_id


class _Receiver:
    """The server, as the one who is given a file."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._most = min(_PIECE_BYTES, upstream.reader.limit - 1, MAX_FRAME_PAYLOAD - 1)
        self._kept = b""
        self._interval = upstream.net_read_timeout / _PARTS
        self._given_at = trio.current_time()
        #: How its link ended, if it did. The client's file is of no use then, but has to be taken all the same.
        self.lost: LinkLost | None = None

    def __repr__(self) -> str:
        return f"<_Receiver of a local file, {len(self._kept)} bytes kept back>"

    @property
    def due(self) -> float:
        """When it has to be given something of what was kept back, in trio's time."""
        return self._given_at + self._interval if self._kept else float("inf")

    async def take(self, piece: bytes) -> None:
        """Give it what can be spared."""
        self._kept += piece
        while len(self._kept) > self._most + _RESERVE_BYTES:
            await self._give(self._most)

    async def keep_waiting(self) -> None:
        """Give it a byte if it has waited for long enough."""
        if trio.current_time() >= self.due:
            await self._give(1)

    async def end(self) -> None:
        """Give it all the rest, and the end."""
        while self._kept:
            await self._give(self._most)
        await self._give(0)

    async def _give(self, count: int) -> None:
        """Give it so many bytes, none of which is the end of the file unless ``count`` is 0."""
        self._given_at = trio.current_time()
        data, self._kept = self._kept[:count], self._kept[count:]
        if self.lost is not None:
            return
        upstream, tracker = self._upstream, self._upstream.tracker
        try:
            while upstream.link.peer_has_closed:
                upstream.take_replies()
                await upstream.link.must_receive()  # raises how it has ended
            await upstream.link.send(build_packet(data, tracker.sequence_id))
        except LinkLost as lost:
            self.lost = lost
        else:
            tracker.sequence_id = (tracker.sequence_id + 1) & 0xFF
            upstream.traffic.bytes_from_client += len(data)
