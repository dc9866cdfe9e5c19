"""The packets of the connection phase, as values with ``parse`` and ``build``.

``parse`` raises :class:`~protocol.errors.MalformedPacket` and nothing else. What follows the fields that are named here
is kept where the packet is built again, so that what passes passes whole. Layouts: the manual's page "Connection Phase
Packets"; MariaDB's extended capabilities as in MariaDB's page "Connecting".
"""

from struct import Struct
from typing import NamedTuple, Self

from protocol.constants import EOF_BYTE, Capability, CommandCode
from protocol.errors import MalformedPacket
from protocol.wire import Cursor, lenenc_bytes

#: Length of a scramble without the NUL behind it.
NONCE_LENGTH = 20

_GREETING_VERSION = 10
_SSL_REQUEST_LENGTH = 32
_MARIADB_EXTENDED = 32  # MariaDB's extended capabilities are kept above the 32 bits that MySQL knows.
_LOW_32 = 0xFFFFFFFF


def _speaks_mariadb(capabilities: int) -> bool:
    """Tell whether the extended capability word counts: MariaDB clears bit 0, which every MySQL sets."""
    return not capabilities & Capability.LONG_PASSWORD


#: Behind the version: thread id, begin of the scramble, low capabilities, charset, status, high capabilities, length of
#: the scramble, MariaDB's extended capabilities.
_GREETING_FIELDS = Struct("<I8sxHBHHB6xI")
#: What a login request shares with an SSL request: capabilities, largest packet, charset, filler, MariaDB's extended
#: capabilities.
_CLIENT_HEADER = Struct("<IIB19sI")


class Greeting(NamedTuple):
    """The server's first packet (protocol 10)."""

    version: bytes
    thread_id: int
    nonce: bytes
    capabilities: int
    charset: int
    status: int
    plugin: bytes

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read a greeting; an ERR packet in its place is the caller's to recognise first."""
        cursor = Cursor(payload)
        if cursor.integer(1) != _GREETING_VERSION:
            raise MalformedPacket(f"a greeting of protocol version {payload[0]} cannot be understood")
        version = cursor.nul_bytes()
        thread_id, nonce, low, charset, status, high, nonce_length, extended = cursor.fields(_GREETING_FIELDS)
        capabilities = low | high << 16
        if _speaks_mariadb(capabilities):
            capabilities |= extended << _MARIADB_EXTENDED
        nonce += cursor.take(max(13, nonce_length - 8)).removesuffix(b"\0")
        plugin = cursor.take_rest().partition(b"\0")[0] if capabilities & Capability.PLUGIN_AUTH else b""
        if len(nonce) != NONCE_LENGTH:
            raise MalformedPacket(f"a greeting has a scramble of {len(nonce)} bytes, not {NONCE_LENGTH}")
        return cls(version, thread_id, nonce, capabilities, charset, status, plugin)

    def build(self) -> bytes:
        """Write the packet's payload."""
        capabilities = self.capabilities
        fields = _GREETING_FIELDS.pack(
            self.thread_id,
            self.nonce[:8],
            capabilities & 0xFFFF,
            self.charset,
            self.status,
            capabilities >> 16 & 0xFFFF,
            NONCE_LENGTH + 1,
            capabilities >> _MARIADB_EXTENDED,
        )
        begin = bytes((_GREETING_VERSION,)) + self.version + b"\0"
        return begin + fields + self.nonce[8:] + b"\0" + self.plugin + b"\0"


class LoginRequest(NamedTuple):
    """The client's answer to the greeting (``HandshakeResponse41``).

    ``filler`` are the 19 bytes that nobody has given a meaning yet. ``schema``, ``plugin`` and ``attributes`` are None
    where the capabilities say that they are absent; ``attributes`` is the block as it came, lengths and all.
    """

    capabilities: int
    max_packet_size: int
    charset: int
    filler: bytes
    user: bytes
    auth_response: bytes  # with some plugins, the password itself
    schema: bytes | None
    plugin: bytes | None
    attributes: bytes | None

    def __repr__(self) -> str:
        return f"<LoginRequest of {self.user!r}>"

    @staticmethod
    def wants_tls(payload: bytes) -> bool:
        """Tell an SSL request, the first 32 bytes of a login request and the SSL flag, from a login request.

        Raises:
            MalformedPacket: it has the flag, and goes on unencrypted.
        """
        if not int.from_bytes(payload[:4], "little") & Capability.SSL:
            return False
        if len(payload) > _SSL_REQUEST_LENGTH:
            raise MalformedPacket("the client asks for encryption and goes on without it")
        return len(payload) == _SSL_REQUEST_LENGTH

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read a login request."""
        if not int.from_bytes(payload[:4], "little") & Capability.PROTOCOL_41:
            raise MalformedPacket("the client speaks the protocol of MySQL 4.0 or older")
        cursor = Cursor(payload)
        capabilities, max_packet_size, charset, filler, extended = cursor.fields(_CLIENT_HEADER)
        if _speaks_mariadb(capabilities):
            capabilities |= extended << _MARIADB_EXTENDED
        user = cursor.nul_bytes()
        if capabilities & Capability.PLUGIN_AUTH_LENENC_DATA:
            auth_response = cursor.lenenc_bytes()
        elif capabilities & Capability.SECURE_CONNECTION:
            auth_response = cursor.take(cursor.integer(1))
        else:
            auth_response = cursor.nul_bytes()
        # Some clients set a flag and end before its field; servers read that as empty, and so must a proxy.
        schema = plugin = attributes = None
        if capabilities & Capability.CONNECT_WITH_DB:
            schema = _nul_or_end(cursor)
        if capabilities & Capability.PLUGIN_AUTH:
            plugin = _nul_or_end(cursor)
        if capabilities & Capability.CONNECT_ATTRS:
            attributes = cursor.lenenc_bytes() if cursor.remaining else b""
        return cls(capabilities, max_packet_size, charset, filler, user, auth_response, schema, plugin, attributes)

    def build_ssl_request(self) -> bytes:
        """Write the SSL request that precedes this login request on an encrypted link."""
        return self._header(self.capabilities | Capability.SSL)

    def _header(self, capabilities: int) -> bytes:
        low, extended = capabilities & _LOW_32, capabilities >> _MARIADB_EXTENDED
        return _CLIENT_HEADER.pack(low, self.max_packet_size, self.charset, self.filler, extended)

    def build(self) -> bytes:
        """Write the packet's payload."""
        capabilities = self.capabilities
        if capabilities & Capability.PLUGIN_AUTH_LENENC_DATA:
            auth_response = lenenc_bytes(self.auth_response)
        elif capabilities & Capability.SECURE_CONNECTION:
            auth_response = bytes((len(self.auth_response),)) + self.auth_response
        else:
            auth_response = self.auth_response + b"\0"
        parts = [
            self._header(capabilities),
            self.user + b"\0",
            auth_response,
        ]
        if capabilities & Capability.CONNECT_WITH_DB:
            parts.append((self.schema or b"") + b"\0")
        if capabilities & Capability.PLUGIN_AUTH:
            parts.append((self.plugin or b"") + b"\0")
        if capabilities & Capability.CONNECT_ATTRS:
            parts.append(lenenc_bytes(self.attributes or b""))
        return b"".join(parts)


def _nul_or_end(cursor: Cursor) -> bytes:
    """Read a NUL-terminated string whose NUL may be missing at the end of the packet."""
    rest = cursor.take_rest()
    text, _, behind = rest.partition(b"\0")
    cursor.position -= len(behind)
    return text


class ChangeUser(NamedTuple):
    """``COM_CHANGE_USER``: log in anew on an open link. ``rest`` is what follows the plugin's name (the attributes)."""

    user: bytes
    auth_response: bytes  # with some plugins, the password itself
    schema: bytes
    charset: int | None
    plugin: bytes | None
    rest: bytes

    def __repr__(self) -> str:
        return f"<ChangeUser to {self.user!r}>"

    @classmethod
    def parse(cls, payload: bytes, capabilities: int) -> Self:
        """Read the command of a client that has logged in with ``capabilities``."""
        cursor = Cursor(payload, 1)
        user = cursor.nul_bytes()
        if capabilities & Capability.SECURE_CONNECTION:
            auth_response = cursor.take(cursor.integer(1))
        else:
            auth_response = cursor.nul_bytes()
        schema = _nul_or_end(cursor)
        charset = cursor.integer(2) if cursor.remaining >= 2 else None
        plugin = _nul_or_end(cursor) if charset is not None and capabilities & Capability.PLUGIN_AUTH else None
        return cls(user, auth_response, schema, charset, plugin, cursor.take_rest())

    def build(self, capabilities: int) -> bytes:
        """Write the command's payload for a link that has logged in with ``capabilities``."""
        parts = [bytes((CommandCode.CHANGE_USER,)), self.user + b"\0"]
        if capabilities & Capability.SECURE_CONNECTION:
            parts.append(bytes((len(self.auth_response),)) + self.auth_response)
        else:
            parts.append(self.auth_response + b"\0")
        parts.append(self.schema + b"\0")
        if self.charset is not None:
            parts.append(self.charset.to_bytes(2, "little"))
        if self.plugin is not None:
            parts.append(self.plugin + b"\0")
        return b"".join((*parts, self.rest))


#: The plugin of servers before 4.1.
OLD_PASSWORD = b"mysql_old_password"


class AuthSwitch(NamedTuple):
    """``AuthSwitchRequest``: the server wants another authentication plugin, with a scramble of its own.

    A request of one byte (``OldAuthSwitchRequest``) asks for the method of servers before 4.1.

    ``nonce`` is whatever the plugin begins with; only the scrambles of MySQL's own plugins have a NUL behind them.
    """

    plugin: bytes
    nonce: bytes

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read a packet that begins with 0xFE."""
        if len(payload) == 1:
            return cls(OLD_PASSWORD, b"")
        cursor = Cursor(payload, 1)
        plugin, nonce = cursor.nul_bytes(), cursor.take_rest()
        return cls(plugin, nonce[:NONCE_LENGTH] if nonce[NONCE_LENGTH:] == b"\0" else nonce)

    def build(self) -> bytes:
        """Write the packet's payload."""
        end = b"\0" if len(self.nonce) == NONCE_LENGTH else b""
        return bytes((EOF_BYTE,)) + self.plugin + b"\0" + self.nonce + end
