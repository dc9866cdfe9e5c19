"""The two login dialogues, as generators: with a client that logs in to us, and with a server that we log in to.

A generator yields what to do next: :class:`Say` a packet, :class:`Hear` one (whose payload is sent into the generator),
or :class:`Encrypt` the link. It knows nothing of sockets, and whoever drives it numbers the packets.

Towards the client we speak caching_sha2_password, whatever plugin the account has on the server, because it lets a
server ask for the password itself; towards the server we speak the plugin that it asks for. Sources: the manual's pages
"Connection Phase", "Caching SHA-2 Information" and "Protocol::AuthSwitchRequest".
"""

import secrets
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar

from protocol import auth
from protocol.constants import EOF_BYTE, ERR_BYTE, OK_BYTE, Capability, ErrorCode
from protocol.errors import MalformedPacket, OutOfSync, Refusal, ServerError
from protocol.handshake import AuthSwitch, ChangeUser, Greeting, LoginRequest
from protocol.packets import Err
from protocol.wire import Cursor

_MORE_DATA_BYTE = 0x01
_NEXT_FACTOR_BYTE = 0x02
_FAST_LOGIN = bytes((_MORE_DATA_BYTE, 0x03))
_FULL_LOGIN = bytes((_MORE_DATA_BYTE, 0x04))
_KEY_PLEASE = b"\x02"
_SHA256_KEY_PLEASE = b"\x01"

#: Compression would hide the packets from us. How the link to the server is encrypted is our own affair. As a plain
#: integer, since the complement of a flag has no bits above the highest one that has a name.
_FORWARDED = ~int(Capability.COMPRESS | Capability.ZSTD | Capability.SSL)
#: What our own dialogue with the server and the tracking of session state need, whatever the client asks for.
_NEEDED = Capability.PLUGIN_AUTH | Capability.PLUGIN_AUTH_LENENC_DATA | Capability.SECURE_CONNECTION
_WANTED = Capability.SESSION_TRACK


@dataclass(frozen=True)
class Say:
    """Send a packet with this payload, which may hold a password."""

    payload: bytes = field(repr=False)


class Hear:
    """Receive a packet."""


class Encrypt:
    """Do the TLS handshake, then go on."""


_T = TypeVar("_T")
Dialogue: TypeAlias = Generator[Say | Hear | Encrypt, bytes, _T]


@dataclass(frozen=True)
class Passwords:
    """What a login can be checked against. ``learns``: a password that is not ``known`` is asked of the client."""

    known: Callable[[bytes], bytes | None]
    learns: bool
    key: auth.PasswordKey


@dataclass(frozen=True)
class Proof:
    """A password to log in to the server with.

    Where the client failed to prove that it knows the right one, ``proven`` is False and ``password`` is one that the
    server will not accept, so that the refusal which the client gets is the server's own, word for word. Should the
    server accept it all the same (there are accounts without passwords), the client must still not get in.
    """

    password: bytes = field(repr=False)
    proven: bool


@dataclass(frozen=True)
class ClientLogin:
    """A client that has said who it is."""

    request: LoginRequest
    proof: Proof


def make_greeting(server: Greeting) -> Greeting:
    """Make the greeting for a client out of the server's: all but the scramble and what we do not offer is the same."""
    capabilities = server.capabilities & _FORWARDED | _NEEDED | Capability.SSL
    return replace(server, capabilities=capabilities, nonce=auth.make_nonce(), plugin=auth.CACHING_SHA2)


def greet_client(greeting: Greeting, passwords: Passwords, *, private: bool) -> Dialogue[ClientLogin]:
    """Greet a client and let it log in; ``private`` links (unix sockets) may carry a password unencrypted.

    Afterwards, the client waits for an OK or ERR packet.

    Raises:
        MalformedPacket: the client does not speak the protocol.
        Refusal: the client cannot log in to the guard; to be sent to it.
    """
    yield Say(greeting.build())
    payload = yield Hear()
    if LoginRequest.wants_tls(payload):
        yield Encrypt()
        private = True
        payload = yield Hear()
    request = LoginRequest.parse(payload)
    if request.capabilities & Capability.PLUGIN_AUTH:
        nonce = greeting.nonce if request.plugin == auth.CACHING_SHA2 else None
        proof = yield from prove_password(request.user, request.auth_response, nonce, passwords, private=private)
    else:
        proof = prove_password_natively(request.user, request.auth_response, greeting.nonce, passwords)
    return ClientLogin(request, proof)


def prove_password(
    user: bytes, response: bytes, nonce: bytes | None, passwords: Passwords, *, private: bool
) -> Dialogue[Proof]:
    """Let a client prove that it knows its password.

    ``response`` is what it has answered to ``nonce`` as caching_sha2_password; without a nonce it is asked anew.
    Raises MalformedPacket where the client's answers make no sense.
    """
    if nonce is None:
        nonce = auth.make_nonce()
        yield Say(AuthSwitch(auth.CACHING_SHA2, nonce).build())
        response = yield Hear()
    known = passwords.known(user)
    if known is not None and auth.is_caching_sha2_response(response, known, nonce):
        if known:
            yield Say(_FAST_LOGIN)
        return Proof(known, proven=True)
    if not passwords.learns or not response:
        return _unproven(response, passwords)
    yield Say(_FULL_LOGIN)
    answer = yield Hear()
    if answer == _KEY_PLEASE:
        yield Say(bytes((_MORE_DATA_BYTE,)) + passwords.key.public)
        return Proof(passwords.key.decrypt((yield Hear()), nonce), proven=True)
    if private:
        return Proof(answer.removesuffix(b"\0"), proven=True)
    # In clear text on a link that others can listen to: a server would not have it either.
    return _unproven(response, passwords)


def prove_password_natively(user: bytes, response: bytes, nonce: bytes, passwords: Passwords) -> Proof:
    """Check a client that is too old for authentication plugins; it has answered as mysql_native_password.

    Raises:
        Refusal: the password would have to be learned, which takes a plugin.
    """
    known = passwords.known(user)
    if known is not None and auth.is_native_response(response, known, nonce):
        return Proof(known, proven=True)
    if passwords.learns and response:
        raise Refusal(
            ErrorCode.NOT_SUPPORTED_AUTH_MODE,
            "08004",
            "stillhere: this client does not support authentication plugins, so the guard cannot learn its password. "
            "Use a newer client, or give the guard the password with auth.mode: users",
        )
    return _unproven(response, passwords)


def _unproven(response: bytes, passwords: Passwords) -> Proof:
    if not response:
        # The server itself judges whether an empty password will do, unless the passwords are ours to judge.
        return Proof(b"", proven=passwords.learns)
    return Proof(secrets.token_hex().encode(), proven=False)


def upstream_request(client: LoginRequest, server: Greeting) -> LoginRequest:
    """Make our own login request out of the client's: its capabilities, charset, schema and attributes."""
    ours = (_NEEDED | _WANTED) & server.capabilities
    capabilities = client.capabilities & _FORWARDED | ours
    return replace(client, capabilities=capabilities)


def changed_login(login: LoginRequest, change: ChangeUser) -> LoginRequest:
    """Make the login request with which one would be what COM_CHANGE_USER has made of a session."""
    charset = login.charset if change.charset is None else change.charset & 0xFF
    attributes = login.attributes
    if attributes is not None and change.rest:
        with suppress(MalformedPacket):  # what nobody can read is not worth a session
            attributes = Cursor(change.rest).lenenc_bytes()
    return replace(login, user=change.user, schema=change.schema or None, charset=charset, attributes=attributes)


def log_in(request: LoginRequest, password: bytes, server: Greeting, *, tls: bool, private: bool) -> Dialogue[bytes]:
    """Log in to a server that has sent the greeting ``server``; return the payload of its OK packet.

    Raises:
        ServerError: the server said no.
        ProtocolError: the server does not speak the protocol.
        Refusal: the account needs something that the guard cannot do.
    """
    if tls:
        yield Say(request.build_ssl_request())
        yield Encrypt()
        request = replace(request, capabilities=request.capabilities | Capability.SSL)
    # The server's default plugin saves a round trip where the account uses it; otherwise the server switches.
    plugin = server.plugin if server.plugin in (auth.NATIVE, auth.CACHING_SHA2) else auth.NATIVE
    private = private or tls
    response = _first_response(plugin, password, server.nonce, private=private)
    yield Say(replace(request, plugin=plugin, auth_response=response).build())
    return (yield from _answer_challenges(plugin, server.nonce, password, private=private))


def change_user(request: ChangeUser, capabilities: Capability, password: bytes, *, private: bool) -> Dialogue[bytes]:
    """Log in anew on an open link; return the payload of the server's OK packet. Raises what :func:`log_in` raises.

    Servers answer with a new scramble whatever the first response is, so that is left empty.
    """
    yield Say(replace(request, auth_response=b"").build(capabilities))
    return (yield from _answer_challenges(b"", b"", password, private=private))


def _answer_challenges(plugin: bytes, nonce: bytes, password: bytes, *, private: bool) -> Dialogue[bytes]:
    """Answer what a server asks until it says yes or no."""
    while True:
        payload = yield Hear()
        first = payload[0] if payload else None
        if first == OK_BYTE:
            return payload
        if first == ERR_BYTE:
            error = Err.parse(payload)
            raise ServerError(error.code, error.message, payload)
        if first == EOF_BYTE:
            switch = AuthSwitch.parse(payload)
            plugin, nonce = switch.plugin, switch.nonce
            yield Say(_first_response(plugin, password, nonce, private=private))
        elif first == _MORE_DATA_BYTE:
            yield from _continue(plugin, nonce, password, payload, private=private)
        elif first == _NEXT_FACTOR_BYTE:
            raise _unsupported(b"multi-factor authentication")
        else:
            raise MalformedPacket("the server says something in the login that the protocol does not know")


def _first_response(plugin: bytes, password: bytes, nonce: bytes, *, private: bool) -> bytes:
    """Make what a plugin answers to a scramble."""
    if plugin == auth.NATIVE:
        return auth.native_response(password, nonce)
    if plugin == auth.CACHING_SHA2:
        return auth.caching_sha2_response(password, nonce)
    if plugin == auth.SHA256:
        # Also the plugin behind which MySQL hides that a user does not exist.
        return password + b"\0" if private or not password else _SHA256_KEY_PLEASE
    raise _unsupported(plugin)


def _continue(plugin: bytes, nonce: bytes, password: bytes, payload: bytes, *, private: bool) -> Dialogue[None]:
    """Answer what a plugin asks beyond its scramble: in the end always for the password itself."""
    if plugin == auth.CACHING_SHA2 and payload == _FAST_LOGIN:
        return
    if plugin == auth.CACHING_SHA2 and payload == _FULL_LOGIN:
        if private:
            yield Say(password + b"\0")
            return
        yield Say(_KEY_PLEASE)
        payload = yield Hear()
    elif plugin != auth.SHA256:
        raise MalformedPacket("the server continues the login in a way that its plugin does not have")
    if payload[:1] != bytes((_MORE_DATA_BYTE,)):
        raise OutOfSync("the server does not send its RSA public key when asked for it")
    yield Say(auth.encrypt_password(password, nonce, payload[1:]))


def _unsupported(plugin: bytes) -> Refusal:
    return Refusal(
        ErrorCode.NOT_SUPPORTED_AUTH_MODE,
        "08004",
        f"stillhere: the server asks for {plugin.decode(errors='replace')}, which the guard cannot do. "
        "Use an account with caching_sha2_password or mysql_native_password",
    )
