"""What the login dialogues are made of.

A dialogue is a generator. It yields what to do next: :class:`Say` a packet, :class:`Hear` one (whose payload is sent
into the generator), or :class:`Encrypt` the link. It knows nothing of sockets, and whoever drives it numbers the
packets.
"""

from collections.abc import Generator
from typing import NamedTuple, TypeAlias, TypeVar

#: First bytes of what either side says in a login, beside OK, ERR and the request to switch the plugin.
MORE_DATA_BYTE = 0x01
NEXT_FACTOR_BYTE = 0x02

#: What caching_sha2_password says when it knows the password already, and when it wants to be given it.
FAST_LOGIN = bytes((MORE_DATA_BYTE, 0x03))
FULL_LOGIN = bytes((MORE_DATA_BYTE, 0x04))
#: What it is asked for its RSA public key with.
KEY_PLEASE = b"\x02"


class Say(NamedTuple):
    """Send a packet with this payload, which may hold a password."""

    payload: bytes

    def __repr__(self) -> str:
        return f"<Say {len(self.payload)} bytes>"


class Hear:
    """Receive a packet."""


class Encrypt:
    """Do the TLS handshake, then go on."""


_T = TypeVar("_T")
Dialogue: TypeAlias = Generator[Say | Hear | Encrypt, bytes, _T]
