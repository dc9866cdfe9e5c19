"""What must not be handed on in a login between a client and a server."""

import pytest

from protocol import auth
from protocol.constants import Capability
from protocol.errors import MalformedPacket, Refusal
from protocol.handshake import AuthSwitch, LoginRequest
from protocol.passthrough import PassedLogin

SCRAMBLE = bytes(range(1, 21))
FULL = b"\x01\x04"
REQUEST = LoginRequest(Capability.PROTOCOL_41, 1 << 24, 45, bytes(19), b"app", b"answer", None, auth.NATIVE, None)
GIVING_AWAY = [auth.SHA256, auth.CLEAR, auth.DIALOG]
KEEPING = [auth.NATIVE, auth.CACHING_SHA2, auth.ED25519, b"parsec", b"auth_gssapi_client"]


def login(*, client: bool, server: bool, knows_plugins: bool = True) -> PassedLogin:
    return PassedLogin(knows_plugins=knows_plugins, client_private=client, server_private=server)


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("plugin", GIVING_AWAY + KEEPING)
def test_links_that_are_alike_are_as_one(plugin: bytes, *, private: bool) -> None:
    alike = login(client=private, server=private)
    alike.check_request(REQUEST._replace(plugin=plugin))
    alike.check_question(AuthSwitch(plugin, SCRAMBLE).build())
    alike.check_question(FULL)


@pytest.mark.parametrize(("client", "server"), [(False, True), (True, False)])
def test_no_password_goes_from_one_kind_of_link_to_the_other(*, client: bool, server: bool) -> None:
    unlike = login(client=client, server=server)
    for plugin in GIVING_AWAY:
        with pytest.raises(Refusal, match="Encrypt both, or neither"):
            unlike.check_request(REQUEST._replace(plugin=plugin))
        with pytest.raises(Refusal, match="Encrypt both, or neither"):
            unlike.check_question(AuthSwitch(plugin, SCRAMBLE).build())
    with pytest.raises(Refusal, match="Encrypt both, or neither"):
        unlike.check_question(FULL)


@pytest.mark.parametrize("plugin", KEEPING)
def test_what_is_no_password_may_pass(plugin: bytes) -> None:
    unlike = login(client=True, server=False)
    unlike.check_request(REQUEST._replace(plugin=plugin))
    unlike.check_question(AuthSwitch(plugin, SCRAMBLE).build())
    unlike.check_question(b"\x01\x03")
    unlike.check_question(b"")
    # Empty, there is nothing in it to be read.
    unlike.check_request(REQUEST._replace(plugin=auth.CLEAR, auth_response=b""))


def test_a_client_without_plugins_is_not_asked_for_another_one() -> None:
    old = login(client=False, server=False, knows_plugins=False)
    old.check_request(REQUEST._replace(plugin=None))
    with pytest.raises(Refusal, match=r"auth\.mode: users"):
        old.check_question(AuthSwitch(auth.NATIVE, SCRAMBLE).build())


def test_a_switch_that_does_not_end_is_malformed() -> None:
    with pytest.raises(MalformedPacket):
        login(client=False, server=False).check_question(b"\xfedialog")
