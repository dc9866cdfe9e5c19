"""Letting a client log in to the guard.

We speak caching_sha2_password, whatever plugin the account has on the server, because it lets a server ask for the
password itself, which is what a later login needs. Where the server has to judge the client's own answers, only the
client's request is heard here, and what follows is handed on. Sources: the manual's pages "Connection Phase" and
"Caching SHA-2 Information".
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from protocol import auth
from protocol.constants import Capability, ErrorCode
from protocol.dialogue import FAST_LOGIN, FULL_LOGIN, KEY_PLEASE, MORE_DATA_BYTE, Dialogue, Encrypt, Hear, Say
from protocol.errors import Refusal
from protocol.handshake import AuthSwitch, Greeting, LoginRequest
from protocol.server_login import FORWARDED, NEEDED

#: What libmysqlclient answers to a scramble of caching_sha2_password when it has no password; other clients answer with
#: nothing. Source: ``caching_sha2_password_auth_client()`` in ``sql-common/sha2_password_client_auth*``.
_NO_PASSWORD = b"\0"


@dataclass(frozen=True)
class Passwords:
    """What a login can be checked against.

    ``learns``: a password that is not ``known`` is asked of the client. ``relays``: no password is, the server itself
    is to judge what clients say.
    """

    known: Callable[[bytes], bytes | None]
    learns: bool
    relays: bool
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
    """A client that has said who it is. ``proof`` None: the server has to judge what its request says."""

    request: LoginRequest
    proof: Proof | None


def make_greeting(server: Greeting, *, thread_id: int, relays: bool) -> Greeting:
    """Make the greeting for a client out of the server's: all but the plugin and what we do not offer is the same.

    ``thread_id`` is the one by which the client is to know its session. The scramble is the server's, so that what a
    client makes of it can be handed on.
    """
    capabilities = server.capabilities & FORWARDED | NEEDED | Capability.SSL
    plugin = server.plugin if relays else auth.CACHING_SHA2
    return server._replace(thread_id=thread_id, capabilities=capabilities, plugin=plugin)


def greet_client(
    greeting: Greeting, passwords: Passwords, *, private: bool, requires_tls: bool
) -> Dialogue[ClientLogin]:
    """Greet a client and let it log in; ``private`` links (unix sockets) may carry a password unencrypted.

    Afterwards, the client waits for an OK or ERR packet, or for what the server has to say.

    Raises:
        ProtocolError: the client does not speak the protocol.
        Refusal: the client cannot log in to the guard; to be sent to it.
    """
    yield Say(greeting.build())
    payload = yield Hear()
    if LoginRequest.wants_tls(payload):
        yield Encrypt()
        private = True
        payload = yield Hear()
    request = LoginRequest.parse(payload)
    if requires_tls and not private:
        raise Refusal(
            ErrorCode.SECURE_TRANSPORT_REQUIRED,
            "HY000",
            "stillhere: connections without TLS are not accepted at this address. Switch on TLS in the client",
        )
    proof: Proof | None = None
    if passwords.relays:
        pass
    elif request.capabilities & Capability.PLUGIN_AUTH:
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

    Raises:
        MalformedPacket: the client's answers make no sense.
        Refusal: the client gives its password away.
    """
    if nonce is None:
        nonce = auth.make_nonce()
        yield Say(AuthSwitch(auth.CACHING_SHA2, nonce).build())
        response = yield Hear()
    if response == _NO_PASSWORD:
        response = b""
    known = passwords.known(user)
    if known is not None and auth.is_caching_sha2_response(response, known, nonce):
        if known:
            yield Say(FAST_LOGIN)
        return Proof(known, proven=True)
    if not passwords.learns or not response:
        return _unproven(response, passwords)
    yield Say(FULL_LOGIN)
    answer = yield Hear()
    if answer == KEY_PLEASE:
        yield Say(bytes((MORE_DATA_BYTE,)) + passwords.key.public)
        return Proof(passwords.key.decrypt((yield Hear()), nonce), proven=True)
    if private:
        return Proof(answer.removesuffix(b"\0"), proven=True)
    # A server would not have it either.
    raise Refusal(
        ErrorCode.ACCESS_DENIED,
        "28000",
        f"stillhere: access denied for user '{user.decode(errors='replace')}': the client has sent its password in "
        "clear text over a link that is not encrypted, and it was not read. Switch on TLS in the client, or use a unix "
        "socket",
    )


def prove_password_natively(user: bytes, response: bytes, nonce: bytes, passwords: Passwords) -> Proof | None:
    """Check a client that is too old for authentication plugins; it has answered as mysql_native_password.

    None means that the password would have to be learned, which takes a plugin.
    """
    known = passwords.known(user)
    if known is not None and auth.is_native_response(response, known, nonce):
        return Proof(known, proven=True)
    if passwords.learns and response:
        return None
    return _unproven(response, passwords)


def _unproven(response: bytes, passwords: Passwords) -> Proof:
    if not response:
        # The server itself judges whether an empty password will do, unless the passwords are ours to judge.
        return Proof(b"", proven=passwords.learns)
    return Proof(secrets.token_hex().encode(), proven=False)
