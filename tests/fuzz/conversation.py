"""How a fuzzer's bytes are a conversation: whatever it changes in them, most packets keep a header that is right.

Capabilities, sizes of the chunks and then packets: a byte of flags, one of the length, and the payload.
"""

from collections.abc import Iterator

from protocol.constants import HEADER_LENGTH, Capability
from tests.protocol.conversations import Conversation, Packet, Turn
from tests.protocol.transcripts import frame

_CAPABILITIES = (
    Capability.DEPRECATE_EOF,
    Capability.OPTIONAL_METADATA,
    Capability.MARIADB_CACHE_METADATA,
    Capability.MARIADB_PROGRESS,
)
_LISTENS = 1 << len(_CAPABILITIES)

_BY_CLIENT, _HAS_OWN_SEQUENCE_ID, _HAS_OWN_LENGTH, _IS_LONG = 1, 2, 4, 8

#: Longer than what is passed on as it comes.
_LONG_BYTES = 66_000
_LIMIT = 1024


def decode(data: bytes) -> tuple[Conversation, list[int]]:
    """Make a conversation of any bytes, and the sizes of the chunks in which it comes."""
    flags, *sizes = data[:3].ljust(3, b"\0")
    turns: list[Turn] = []
    is_long = False
    for by_client, packet in _packets(data[3:]):
        is_long |= len(packet) > _LONG_BYTES
        sent = Packet(packet, packet)
        if turns and turns[-1].by_client == by_client:
            turns[-1] = Turn(by_client, (*turns[-1].packets, sent))
        else:
            turns.append(Turn(by_client, (sent,)))
    conversation = Conversation(
        scaled_down=False,
        limit=_LIMIT,
        capabilities=sum(each for index, each in enumerate(_CAPABILITIES) if flags >> index & 1),
        client_listens=bool(flags & _LISTENS),
        statements=((7, 7), (8, 9)),
        turns=tuple(turns),
        ends_idle=False,
    )
    scale = 1000 if is_long else 1
    return conversation, [(size or 1 << 20) * scale for size in sizes]


def _packets(data: bytes) -> Iterator[tuple[bool, bytes]]:
    sequence_id = 0
    place = 0
    while place + 2 <= len(data):
        flags, length = data[place : place + 2]
        place += 2
        by_client = bool(flags & _BY_CLIENT)
        if flags & _HAS_OWN_SEQUENCE_ID:
            sequence_id = data[place] if place < len(data) else 0
            place += 1
        elif by_client:
            sequence_id = 0
        header_length = length
        if flags & _HAS_OWN_LENGTH:
            header_length = int.from_bytes(data[place : place + 3], "little")
            place += 3
        payload = data[place : place + length]
        place += length
        if flags & _IS_LONG:
            payload = payload.ljust(_LONG_BYTES + length, b"x")
        packet = frame(payload, sequence_id)
        if flags & _HAS_OWN_LENGTH:
            packet = header_length.to_bytes(3, "little") + packet[3:]
        yield by_client, packet
        sequence_id = (sequence_id + 1) & 0xFF


def encode(conversation: Conversation, sizes: list[int]) -> bytes:
    """Write a conversation as bytes, from which :func:`decode` makes one of the same packets."""
    flags = sum(1 << index for index, each in enumerate(_CAPABILITIES) if conversation.capabilities & each)
    data = bytes((flags | _LISTENS * conversation.client_listens, sizes[0] & 0xFF, sizes[-1] & 0xFF))
    for turn in conversation.turns:
        for packet in turn.packets:
            payload = packet.sent[HEADER_LENGTH : HEADER_LENGTH + 0xFF]
            data += bytes((turn.by_client | _HAS_OWN_SEQUENCE_ID, len(payload), packet.sent[3])) + payload
    return data
