"""Taking leave of a client whose session on the server has ended: the truth, where it expects an answer."""

from protocol.command import reply_kind
from protocol.constants import HEADER_LENGTH, CommandCode
from protocol.framing import build_packet
from protocol.reply import ReplyKind, Stage
from proxy import answers
from proxy.link import Link
from proxy.oversize import ArrivingPacket, discard
from proxy.upstream import Upstream

_UNKNOWN = "The outcome of this command is unknown: it may or may not have been carried out."
_NOT_SENT = "This command was not sent."
_ROLLED_BACK = "The open transaction was rolled back."
_ROLLED_BACK_UNLESS = "The open transaction was rolled back, unless this was the command that ended it."


async def part(client: Link, upstream: Upstream, reason: str, owed: int | None) -> bool:
    """Tell the client why its session cannot go on, and hang up.

    ``owed`` is the sequence id of an answer that the client waits for and the reply tracker does not know of. A client
    that waits for nothing is told when it sends its next command, since it would not listen before.

    Returns whether the client could be told: where it is in the middle of a packet, only the end of the link is left.

    Raises:
        LinkLost, ProtocolError: the client's link ended first, or the client broke the protocol.
    """
    tracker = upstream.tracker
    if tracker.inside_packet:
        return False
    await _skip(client, upstream.reader.unsent)
    if tracker.idle:
        fate = _NOT_SENT if not upstream.in_transaction else f"{_NOT_SENT} {_ROLLED_BACK}"
        sequence_id = owed if owed is not None else await _next_command(client)
        if sequence_id is None:
            return True
    else:
        fate = _UNKNOWN if not upstream.in_transaction else f"{_UNKNOWN} {_ROLLED_BACK_UNLESS}"
        sequence_id = tracker.sequence_id
        if tracker.stage is Stage.LOCAL_INFILE:
            sequence_id = await _discard_file(client, sequence_id)
    answer = answers.parting(str(upstream.address), reason, fate)
    await client.send(build_packet(answer.build(), sequence_id))
    await client.hang_up()
    return True


async def _skip(client: Link, count: int) -> None:
    """Discard the rest of a packet of which the beginning has gone to the server."""
    while count:
        if not client.inbox:
            await client.must_receive()
        count -= len(client.take(count))


async def _next_command(client: Link) -> int | None:
    """Wait for a command that has an answer, and return that answer's sequence id; None if the client says goodbye."""
    while True:
        while len(client.inbox) <= HEADER_LENGTH:
            await client.must_receive()
        code = client.inbox[HEADER_LENGTH]
        packet = await discard(client)
        if code == CommandCode.QUIT:
            return None
        if reply_kind(code) is not ReplyKind.NONE:
            return packet.sequence_id


async def _discard_file(client: Link, sequence_id: int) -> int:
    """Let the client send its file to the end; return the sequence id of the answer that it then expects."""
    while True:
        packet = ArrivingPacket(client, sequence_id)
        while await packet.next_piece():
            pass
        sequence_id = packet.sequence_id
        if not packet.size:
            return sequence_id
