"""Logins that the server and the client carry out between them: what must not pass from one to the other."""

from protocol import auth
from protocol.constants import EOF_BYTE, ErrorCode
from protocol.dialogue import FULL_LOGIN
from protocol.errors import Refusal
from protocol.handshake import AuthSwitch, LoginRequest


class PassedLogin:
    """The rules for one login.

    How the password itself is given away (in clear text, or encrypted for the server), both sides decide by whether
    their own link is private. Where only one of the two is, they would misunderstand each other, or put the password in
    clear text on a link that others can listen to.
    """

    def __init__(self, *, knows_plugins: bool, client_private: bool, server_private: bool) -> None:
        """``knows_plugins``: the client can be asked to use another plugin than the one that it has begun with."""
        self._knows_plugins = knows_plugins
        self._are_alike = client_private == server_private

    def __repr__(self) -> str:
        return f"<PassedLogin over links that are {'' if self._are_alike else 'not '}alike>"

    def check_request(self, request: LoginRequest) -> None:
        """Judge the client's request. Raises Refusal."""
        if request.auth_response:
            self._check_plugin(request.plugin)

    def check_question(self, payload: bytes) -> None:
        """Judge what the server says. Raises MalformedPacket where it is no packet, Refusal where it must not pass."""
        if payload[:1] == bytes((EOF_BYTE,)):
            if not self._knows_plugins:
                raise _refusal(
                    "this client does not support authentication plugins, and its account needs one. Use a newer "
                    "client, or give the guard the password with auth.mode: users"
                )
            self._check_plugin(AuthSwitch.parse(payload).plugin)
        elif payload == FULL_LOGIN:
            self._check_plugin(auth.SHA256)

    def _check_plugin(self, plugin: bytes | None) -> None:
        if plugin in auth.GIVEN_AWAY and not self._are_alike:
            raise _refusal(
                "the server asks for the password itself, and of the client's link and the server's only one is "
                "encrypted. Encrypt both, or neither: TLS in the client, and upstream.tls.mode"
            )


def _refusal(why: str) -> Refusal:
    return Refusal(ErrorCode.NOT_SUPPORTED_AUTH_MODE, "08004", f"stillhere: this login cannot be passed on: {why}")
