"""Taking leave of a client whose session on the server cannot go on: the truth, where it expects an answer."""

from protocol.command import reply_kind
from protocol.constants import HEADER_LENGTH, CommandCode
from protocol.framing import build_packet
from protocol.packets import Err
from protocol.reply import ReplyKind
from proxy.link import Link
from proxy.oversize import discard


async def part(client: Link, answer: Err, owed: int | None) -> None:
    """Tell the client why its session cannot go on, and hang up.

    ``owed`` is the sequence id of the answer that the client waits for. A client that waits for nothing is told when it
    sends its next command, since it would not listen before.

    Raises:
        LinkLost, ProtocolError: the client's link ended first, or the client broke the protocol.
    """
    sequence_id = owed if owed is not None else await _next_command(client)
    if sequence_id is not None:
        await client.send(build_packet(answer.build(), sequence_id))
        await client.hang_up()


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
