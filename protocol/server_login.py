"""Logging in to a server: the dialogue that answers whatever plugin the server asks for.

Sources: the manual's pages "Connection Phase", "Caching SHA-2 Information" and "Protocol::AuthSwitchRequest"; for
dialog, MariaDB's ``plugin/auth_dialog/dialog.c``.
"""

from contextlib import suppress

from protocol import auth
from protocol.constants import EOF_BYTE, ERR_BYTE, OK_BYTE, Capability, ErrorCode
from protocol.dialogue import (
    FAST_LOGIN,
    FULL_LOGIN,
    KEY_PLEASE,
    MORE_DATA_BYTE,
    NEXT_FACTOR_BYTE,
    Dialogue,
    Encrypt,
    Hear,
    Say,
)
from protocol.errors import MalformedPacket, OutOfSync, Refusal, ServerError
from protocol.handshake import AuthSwitch, ChangeUser, Greeting, LoginRequest
from protocol.packets import Err
from protocol.wire import Cursor

_SHA256_KEY_PLEASE = b"\x01"

#: The first byte of a question of dialog: its lowest bit marks the last one, those above it tell the kind.
_QUESTION_KIND = 0xFE
_PASSWORD_QUESTION = 0x04

#: Compression would hide the packets from us. How the link to the server is encrypted is our own affair.
FORWARDED = ~int(Capability.COMPRESS | Capability.ZSTD | Capability.SSL)
#: What our own dialogue with the server and the tracking of session state need, whatever the client asks for.
NEEDED = Capability.PLUGIN_AUTH | Capability.PLUGIN_AUTH_LENENC_DATA | Capability.SECURE_CONNECTION
_WANTED = Capability.SESSION_TRACK


def upstream_request(client: LoginRequest, server: Greeting) -> LoginRequest:
    """Make our own login request out of the client's: its capabilities, charset, schema and attributes."""
    return client._replace(capabilities=upstream_capabilities(client, server))


def upstream_capabilities(client: LoginRequest, server: Greeting) -> int:
    """Tell what our own login request has of the capabilities."""
    ours = (NEEDED | _WANTED) & server.capabilities
    return client.capabilities & FORWARDED | ours


def changed_login(login: LoginRequest, change: ChangeUser) -> LoginRequest:
    """Make the login request with which one would be what COM_CHANGE_USER has made of a session."""
    charset = login.charset if change.charset is None else change.charset & 0xFF
    attributes = login.attributes
    if attributes is not None and change.rest:
        with suppress(MalformedPacket):  # what nobody can read is not worth a session
            attributes = Cursor(change.rest).lenenc_bytes()
    return login._replace(user=change.user, schema=change.schema or None, charset=charset, attributes=attributes)


def log_in(request: LoginRequest, password: bytes, server: Greeting, *, tls: bool, private: bool) -> Dialogue[bytes]:
    """Log in to a server that has sent the greeting ``server``; return the payload of its OK packet.

    Raises:
        ServerError: the server said no.
        ProtocolError: the server does not speak the protocol.
        Refusal: the account needs something that the guard cannot do.
    """
    if tls:
        request = yield from _encrypt(request)
    # The server's default plugin saves a round trip where the account uses it; otherwise the server switches.
    plugin = server.plugin if server.plugin in (auth.NATIVE, auth.CACHING_SHA2) else auth.NATIVE
    private = private or tls
    response = _first_response(plugin, password, server.nonce, private=private)
    yield Say(request._replace(plugin=plugin, auth_response=response).build())
    return (yield from _answer_challenges(plugin, server.nonce, password, private=private))


def hand_on(request: LoginRequest, *, tls: bool) -> Dialogue[None]:
    """Begin a login with a client's own answer to the server's scramble. What follows is between these two."""
    if tls:
        request = yield from _encrypt(request)
    # A client that knows no plugins speaks this one.
    plugin = auth.NATIVE if request.plugin is None else request.plugin
    yield Say(request._replace(plugin=plugin).build())


def _encrypt(request: LoginRequest) -> Dialogue[LoginRequest]:
    """Have the link encrypted; return the request as it goes over such a link."""
    yield Say(request.build_ssl_request())
    yield Encrypt()
    return request._replace(capabilities=request.capabilities | Capability.SSL)


def change_user(request: ChangeUser, capabilities: int, password: bytes, *, private: bool) -> Dialogue[bytes]:
    """Log in anew on an open link; return the payload of the server's OK packet. Raises what :func:`log_in` raises.

    Servers answer with a new scramble whatever the first response is, so that is left empty.
    """
    yield Say(request._replace(auth_response=b"").build(capabilities))
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
        elif first == NEXT_FACTOR_BYTE or plugin == auth.DIALOG:
            raise _unsupported(b"more than a password")
        elif first == MORE_DATA_BYTE:
            yield from _continue(plugin, nonce, password, payload, private=private)
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
    if plugin == auth.ED25519:
        return auth.ed25519_response(password, nonce)
    if plugin == auth.CLEAR or (plugin == auth.DIALOG and _asks_for_password(nonce)):
        return _in_clear_text(plugin, password, private=private)
    raise _unsupported(plugin)


def _asks_for_password(question: bytes) -> bool:
    """Tell whether dialog's first question is for the password; one that is not put into words always is."""
    return not question or question[0] & _QUESTION_KIND == _PASSWORD_QUESTION


def _in_clear_text(plugin: bytes, password: bytes, *, private: bool) -> bytes:
    if private:
        return password + b"\0"
    raise Refusal(
        ErrorCode.NOT_SUPPORTED_AUTH_MODE,
        "08004",
        f"stillhere: for {plugin.decode()}, the server asks for the password in clear text, and the guard's link to it "
        "is not encrypted. Set upstream.tls.mode to required or better, or use a unix socket",
    )


def _continue(plugin: bytes, nonce: bytes, password: bytes, payload: bytes, *, private: bool) -> Dialogue[None]:
    """Answer what a plugin asks beyond its scramble: in the end always for the password itself."""
    if plugin == auth.CACHING_SHA2 and payload == FAST_LOGIN:
        return
    if plugin == auth.CACHING_SHA2 and payload == FULL_LOGIN:
        if private:
            yield Say(password + b"\0")
            return
        yield Say(KEY_PLEASE)
        payload = yield Hear()
    elif plugin != auth.SHA256:
        raise MalformedPacket("the server continues the login in a way that its plugin does not have")
    if payload[:1] != bytes((MORE_DATA_BYTE,)):
        raise OutOfSync("the server does not send its RSA public key when asked for it")
    yield Say(auth.encrypt_password(password, nonce, payload[1:]))


def _unsupported(what: bytes) -> Refusal:
    return Refusal(
        ErrorCode.NOT_SUPPORTED_AUTH_MODE,
        "08004",
        f"stillhere: the server asks for {what.decode(errors='replace')}, which the guard cannot do by itself. "
        "Set auth.mode to passthrough, or use an account with another plugin",
    )
