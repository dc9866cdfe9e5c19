"""Drives the login dialogues (:mod:`protocol.dialogue`) over a link."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

from protocol.constants import HEADER_LENGTH
from protocol.dialogue import Dialogue, Encrypt, Hear, Say
from protocol.errors import OutOfSync
from protocol.framing import build_packet, first_packet
from proxy.link import RECEIVE_BYTES, Link

#: The largest packet of a login, in bytes of payload: attributes may have 64 KiB, all else is small.
LOGIN_PACKET_BYTES = 128 * 1024

_T = TypeVar("_T")


#: Does the TLS handshake on a link when a dialogue asks for it.
Encryptor: TypeAlias = Callable[[Link], Awaitable[None]]


async def _no_encryption(link: Link) -> None:
    raise OutOfSync(f"encryption was asked for on {link}, where it was not offered")


class Conversation:
    """A link and the sequence id of the next packet on it, whichever side sends it."""

    def __init__(
        self, link: Link, sequence_id: int, *, encrypt: Encryptor = _no_encryption, reads_ahead: bool = False
    ) -> None:
        """``reads_ahead``: the peer says nothing before it is asked, so all that comes can be received at once."""
        self.sequence_id = sequence_id
        #: What goes out together with what is said next, unless an answer is waited for before.
        self._unsaid = b""
        self._link = link
        self._encrypt = encrypt
        self._reads_ahead = reads_ahead

    @property
    def is_private(self) -> bool:
        """Nobody else can read along."""
        return self._link.is_private

    async def run(self, dialogue: Dialogue[_T]) -> _T:
        """Carry a dialogue through and return what it returns; what is said last goes out with what follows it.

        Raises:
            LinkLost: the link ended or broke.
            ProtocolError: the peer broke the protocol.
            Exception: what the dialogue itself raises.
        """
        try:
            step = next(dialogue)
            while True:
                match step:
                    case Say(payload):
                        self._put(payload)
                        answer = b""
                    case Hear():
                        answer = await self.hear()
                    case Encrypt():
                        await self._send()
                        await self._encrypt(self._link)
                        answer = b""
                step = dialogue.send(answer)
        except StopIteration as stop:
            result: _T = stop.value
            return result

    async def say(self, payload: bytes) -> None:
        """Send a packet. Raises LinkLost where the link broke."""
        self._put(payload)
        await self._send()

    def _put(self, payload: bytes) -> None:
        self._unsaid += build_packet(payload, self.sequence_id)
        self.sequence_id = (self.sequence_id + 1) & 0xFF

    async def _send(self) -> None:
        if self._unsaid:
            unsaid, self._unsaid = self._unsaid, b""
            await self._link.send(unsaid)

    async def hear(self) -> bytes:
        """Receive a packet and return its payload.

        Raises:
            LinkLost: the link ended or broke.
            ProtocolError: this is no packet, or not the next one, or larger than any that a login needs.
        """
        await self._send()
        link = self._link
        while len(link.inbox) < HEADER_LENGTH:
            # Not a byte more than the packet: what follows a client's request to encrypt the link belongs to the TLS
            # handshake.
            await link.must_receive(RECEIVE_BYTES if self._reads_ahead else HEADER_LENGTH - len(link.inbox))
        while (packet := first_packet(link.inbox, self.sequence_id, LOGIN_PACKET_BYTES)) is None:
            rest = HEADER_LENGTH + int.from_bytes(link.inbox[:3], "little") - len(link.inbox)
            await link.must_receive(rest, is_there=True)
        link.take(packet.length)
        self.sequence_id = packet.next_sequence_id
        return packet.payload
