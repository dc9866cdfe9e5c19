from collections import deque
from collections.abc import Generator
from contextlib import suppress
from dataclasses import replace
from typing import Any, Generic, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import auth
from protocol.constants import Capability
from protocol.dialogue import Encrypt, Hear, Say
from protocol.errors import MalformedPacket, OutOfSync, ProtocolError, Refusal, ServerError
from protocol.handshake import AuthSwitch, ChangeUser, Greeting, LoginRequest
from protocol.login import ClientLogin, Passwords, Proof, greet_client, make_greeting
from protocol.server_login import change_user, changed_login, log_in, upstream_request
from tests.protocol.transcripts import ERR, OK

SCRAMBLE = bytes(range(1, 21))
OTHER_SCRAMBLE = bytes(range(41, 61))
MODERN = (
    Capability.LONG_PASSWORD
    | Capability.PROTOCOL_41
    | Capability.SECURE_CONNECTION
    | Capability.PLUGIN_AUTH
    | Capability.PLUGIN_AUTH_LENENC_DATA
)
FAST = b"\x01\x03"
FULL = b"\x01\x04"
SERVER = Greeting(b"8.0.40", 7, SCRAMBLE, MODERN | Capability.SSL, 45, 2, auth.CACHING_SHA2)
REQUEST = LoginRequest(MODERN, 1 << 24, 45, bytes(19), b"app", b"", None, b"", None)
KEY = auth.PasswordKey()
_T = TypeVar("_T")


class Talk(Generic[_T]):
    """The other side of a dialogue: hears what it says and says what it hears, in the order that the test expects."""

    result: _T

    def __init__(self, dialogue: Generator[Say | Hear | Encrypt, bytes, _T]) -> None:
        self._dialogue = dialogue
        self._step: Say | Hear | Encrypt | None = None
        self._go_on(None)

    def _go_on(self, answer: bytes | None) -> None:
        self._step = None
        try:
            self._step = next(self._dialogue) if answer is None else self._dialogue.send(answer)
        except StopIteration as stop:
            self.result = stop.value

    @property
    def step(self) -> Say | Hear | Encrypt | None:
        return self._step

    def hear(self) -> bytes:
        assert isinstance(self._step, Say)
        payload = self._step.payload
        self._go_on(b"")
        return payload

    def say(self, payload: bytes) -> None:
        assert isinstance(self._step, Hear)
        self._go_on(payload)

    def encrypt(self) -> None:
        assert isinstance(self._step, Encrypt)
        self._go_on(b"")


def knowing(*, learns: bool = False, **known: str) -> Passwords:
    by_user = {user.encode(): password.encode() for user, password in known.items()}
    return Passwords(by_user.get, learns, relays=False, key=KEY)


def request_of(password: str, *, plugin: bytes = auth.CACHING_SHA2) -> bytes:
    response = {
        auth.CACHING_SHA2: auth.caching_sha2_response,
        auth.NATIVE: auth.native_response,
    }[plugin](password.encode(), SCRAMBLE)
    return REQUEST._replace(plugin=plugin, auth_response=response).build()


def proof_of(login: ClientLogin) -> Proof:
    assert login.proof is not None
    return login.proof


def greeted(passwords: Passwords, *, private: bool = False) -> Talk[ClientLogin]:
    talk = Talk(greet_client(SERVER, passwords, private=private, requires_tls=False))
    assert talk.hear() == SERVER.build()
    return talk


# The client's side


def test_a_known_password_takes_the_fast_path() -> None:
    talk = greeted(knowing(app="secret"))
    talk.say(request_of("secret"))
    assert talk.hear() == FAST
    assert proof_of(talk.result) == Proof(b"secret", proven=True)
    assert talk.result.request.user == b"app"


@pytest.mark.parametrize("learns", [True, False])
def test_a_known_empty_password_needs_no_more_words(*, learns: bool) -> None:
    talk = greeted(knowing(learns=learns, app=""))
    talk.say(request_of(""))
    assert proof_of(talk.result) == Proof(b"", proven=True)


@pytest.mark.parametrize("passwords", [knowing(learns=True), knowing(learns=True, app=""), knowing(app="")])
@pytest.mark.parametrize("plugin", [auth.CACHING_SHA2, auth.NATIVE])
@pytest.mark.parametrize("no_password", [b"", b"\0"])
def test_no_password_is_said_with_nothing_or_with_a_zero_byte(
    passwords: Passwords, plugin: bytes, no_password: bytes
) -> None:
    talk = greeted(passwords)
    talk.say(REQUEST._replace(plugin=plugin, auth_response=no_password).build())
    if plugin != auth.CACHING_SHA2:
        assert AuthSwitch.parse(talk.hear()).plugin == auth.CACHING_SHA2
        talk.say(no_password)
    assert proof_of(talk.result) == Proof(b"", proven=True)


@pytest.mark.parametrize("response", ["wrong", ""])
def test_a_wrong_password_is_replaced_by_one_that_the_server_will_refuse(response: str) -> None:
    talk = greeted(knowing(app="secret"))
    talk.say(request_of(response))
    assert not proof_of(talk.result).proven
    assert proof_of(talk.result).password not in {b"secret", b"wrong"}
    # Without a password, the client gets what the server says to one without a password.
    assert bool(proof_of(talk.result).password) == bool(response)


def test_an_unknown_user_is_left_for_the_server_to_refuse() -> None:
    talk = greeted(knowing(other="secret"))
    talk.say(request_of("secret"))
    assert not proof_of(talk.result).proven
    assert proof_of(talk.result).password != b"secret"


def test_replaced_passwords_cannot_be_guessed() -> None:
    proofs = []
    for _ in range(2):
        talk = greeted(knowing())
        talk.say(request_of("x"))
        proofs.append(proof_of(talk.result).password)
    assert proofs[0] != proofs[1]
    assert min(map(len, proofs)) >= 32


def test_a_password_is_learned_on_a_private_link() -> None:
    talk = greeted(knowing(learns=True), private=True)
    talk.say(request_of("secret"))
    assert talk.hear() == FULL
    talk.say(b"secret\0")
    assert proof_of(talk.result) == Proof(b"secret", proven=True)


def test_a_password_is_learned_after_tls() -> None:
    talk = greeted(knowing(learns=True))
    talk.say(REQUEST.build_ssl_request())
    talk.encrypt()
    talk.say(request_of("secret"))
    assert talk.hear() == FULL
    talk.say(b"secret\0")
    assert proof_of(talk.result) == Proof(b"secret", proven=True)


def test_a_password_is_learned_through_our_key() -> None:
    talk = greeted(knowing(learns=True))
    talk.say(request_of("secret"))
    assert talk.hear() == FULL
    talk.say(b"\x02")
    answer = talk.hear()
    assert answer == b"\x01" + KEY.public
    talk.say(auth.encrypt_password(b"secret", SCRAMBLE, answer[1:]))
    assert proof_of(talk.result) == Proof(b"secret", proven=True)


def test_garbage_instead_of_an_encrypted_password() -> None:
    talk = greeted(knowing(learns=True))
    talk.say(request_of("secret"))
    talk.hear()
    talk.say(b"\x02")
    talk.hear()
    with pytest.raises(MalformedPacket):
        talk.say(b"secret\0")


def test_clear_text_on_an_open_link_is_not_taken() -> None:
    # connector-python does this where it wanted TLS and was not offered any.
    talk = greeted(knowing(learns=True))
    talk.say(request_of("secret"))
    assert talk.hear() == FULL
    with pytest.raises(Refusal, match=r"clear text.*Switch on TLS") as caught:
        talk.say(b"secret\0")
    assert (caught.value.code, caught.value.sqlstate) == (1045, "28000")


def test_a_learned_password_takes_the_fast_path_and_a_new_one_is_asked_for() -> None:
    talk = greeted(knowing(learns=True, app="old"), private=True)
    talk.say(request_of("old"))
    assert talk.hear() == FAST
    talk = greeted(knowing(learns=True, app="old"), private=True)
    talk.say(request_of("new"))
    assert talk.hear() == FULL
    talk.say(b"new\0")
    assert proof_of(talk.result) == Proof(b"new", proven=True)


def test_the_server_judges_an_empty_password_where_passwords_are_learned() -> None:
    talk = greeted(knowing(learns=True, app="secret"))
    talk.say(request_of(""))
    assert proof_of(talk.result) == Proof(b"", proven=True)


@pytest.mark.parametrize("plugin", [auth.NATIVE, b"client_ed25519", b"mysql_clear_password", b""])
def test_a_client_with_another_plugin_is_switched(plugin: bytes) -> None:
    talk = greeted(knowing(app="secret"))
    talk.say(REQUEST._replace(plugin=plugin, auth_response=b"whatever").build())
    switch = AuthSwitch.parse(talk.hear())
    assert switch.plugin == auth.CACHING_SHA2
    assert switch.nonce != SCRAMBLE
    # The answer to the old scramble would not do.
    talk.say(auth.caching_sha2_response(b"secret", switch.nonce))
    assert talk.hear() == FAST
    assert proof_of(talk.result) == Proof(b"secret", proven=True)


def old_request(password: bytes) -> bytes:
    capabilities = Capability.PROTOCOL_41 | Capability.SECURE_CONNECTION
    response = auth.native_response(password, SCRAMBLE)
    return REQUEST._replace(capabilities=capabilities, plugin=None, auth_response=response).build()


def test_a_client_without_plugins_can_use_what_is_known() -> None:
    talk = greeted(knowing(app="secret"))
    talk.say(old_request(b"secret"))
    assert proof_of(talk.result) == Proof(b"secret", proven=True)
    talk = greeted(knowing(app="secret"))
    talk.say(old_request(b"wrong"))
    assert not proof_of(talk.result).proven


def test_a_client_without_plugins_cannot_be_learned_from() -> None:
    talk = greeted(knowing(learns=True, app="old"))
    talk.say(old_request(b"secret"))
    assert talk.result.proof is None  # the server has to judge it
    talk = greeted(knowing(learns=True))
    talk.say(old_request(b""))
    assert proof_of(talk.result) == Proof(b"", proven=True)


def test_where_logins_are_relayed_nothing_is_asked() -> None:
    talk = greeted(replace(knowing(app="secret"), relays=True))
    talk.say(request_of("secret"))
    assert talk.result.proof is None
    assert talk.result.request.auth_response == auth.caching_sha2_response(b"secret", SCRAMBLE)


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_door_can_require_tls(*, is_encrypted: bool) -> None:
    talk = Talk(greet_client(SERVER, knowing(app="secret"), private=False, requires_tls=True))
    talk.hear()
    if is_encrypted:
        talk.say(REQUEST.build_ssl_request())
        talk.encrypt()
        talk.say(request_of("secret"))
        assert talk.hear() == FAST
    else:
        with pytest.raises(Refusal, match="TLS") as caught:
            talk.say(request_of("secret"))
        assert (caught.value.code, caught.value.sqlstate) == (3159, "HY000")


def test_a_client_that_asks_for_encryption_must_not_go_on_without() -> None:
    with pytest.raises(MalformedPacket, match="goes on without it"):
        greeted(knowing(app="secret")).say(
            REQUEST._replace(capabilities=REQUEST.capabilities | Capability.SSL, user=b"a user's name").build()
        )


@pytest.mark.parametrize("payload", [b"", b"\x01", b"GET / HTTP/1.1\r\n\r\n", bytes(40)])
def test_what_is_not_a_login(payload: bytes) -> None:
    with pytest.raises(MalformedPacket):
        greeted(knowing()).say(payload)


def test_a_second_ssl_request_is_not_a_login() -> None:
    talk = greeted(knowing())
    talk.say(REQUEST.build_ssl_request())
    talk.encrypt()
    with pytest.raises(MalformedPacket):
        talk.say(REQUEST.build_ssl_request())


def test_the_greeting_is_the_servers_but_for_what_is_ours() -> None:
    offered = 1 << 37 | Capability.COMPRESS | Capability.ZSTD | Capability.PROTOCOL_41 | Capability.MULTI_FACTOR
    server = SERVER._replace(capabilities=offered, plugin=auth.NATIVE)
    ours = make_greeting(server, thread_id=server.thread_id, relays=False)
    assert ours.capabilities == (
        1 << 37
        | Capability.PROTOCOL_41
        | Capability.MULTI_FACTOR
        | Capability.SSL
        | Capability.PLUGIN_AUTH
        | Capability.PLUGIN_AUTH_LENENC_DATA
        | Capability.SECURE_CONNECTION
    )
    assert ours._replace(capabilities=server.capabilities, plugin=server.plugin) == server
    assert ours.plugin == auth.CACHING_SHA2
    assert make_greeting(server, thread_id=server.thread_id, relays=True).plugin == auth.NATIVE


def test_neither_say_nor_proof_show_what_is_in_them() -> None:
    assert "secret" not in repr(Say(b"secret"))
    assert "secret" not in repr(Proof(b"secret", proven=True))


# The server's side


def logging_in(password: bytes = b"secret", *, plugin: bytes = auth.CACHING_SHA2, private: bool = False) -> Talk[bytes]:
    return Talk(log_in(REQUEST, password, SERVER._replace(plugin=plugin), tls=False, private=private))


def test_the_server_says_yes_at_once() -> None:
    talk = logging_in(plugin=auth.NATIVE)
    request = LoginRequest.parse(talk.hear())
    assert request.plugin == auth.NATIVE
    assert request.auth_response == auth.native_response(b"secret", SCRAMBLE)
    talk.say(OK)
    assert talk.result == OK


def test_the_server_says_no() -> None:
    talk = logging_in()
    talk.hear()
    with pytest.raises(ServerError, match="Access denied") as caught:
        talk.say(ERR)
    assert (caught.value.code, caught.value.packet) == (1045, ERR)


def test_the_server_has_the_password_in_its_cache() -> None:
    talk = logging_in()
    request = LoginRequest.parse(talk.hear())
    assert request.auth_response == auth.caching_sha2_response(b"secret", SCRAMBLE)
    talk.say(FAST)
    talk.say(OK)
    assert talk.result == OK


def test_the_server_asks_for_the_password_on_a_private_link() -> None:
    talk = logging_in(private=True)
    talk.hear()
    talk.say(FULL)
    assert talk.hear() == b"secret\0"
    talk.say(OK)
    assert talk.result == OK


def test_the_server_asks_for_the_password_and_has_a_key() -> None:
    talk = logging_in()
    talk.hear()
    talk.say(FULL)
    assert talk.hear() == b"\x02"
    talk.say(b"\x01" + KEY.public)
    assert KEY.decrypt(talk.hear(), SCRAMBLE) == b"secret"
    talk.say(OK)
    assert talk.result == OK


def test_the_server_has_no_key_to_offer() -> None:
    talk = logging_in()
    talk.hear()
    talk.say(FULL)
    talk.hear()
    with pytest.raises(OutOfSync, match="RSA public key"):
        talk.say(OK)


def test_tls_comes_before_the_password() -> None:
    talk = Talk(log_in(REQUEST, b"secret", SERVER, tls=True, private=False))
    assert LoginRequest.wants_tls(talk.hear())
    talk.encrypt()
    request = LoginRequest.parse(talk.hear())
    assert request.capabilities & Capability.SSL
    talk.say(FULL)
    assert talk.hear() == b"secret\0"
    talk.say(OK)
    assert talk.result == OK


@pytest.mark.parametrize(
    ("plugin", "respond"), [(auth.NATIVE, auth.native_response), (auth.CACHING_SHA2, auth.caching_sha2_response)]
)
def test_the_server_switches(plugin: bytes, respond: Any) -> None:
    talk = logging_in(plugin=b"client_ed25519")
    # What the server's default asks for cannot be done; it will say what this account needs.
    assert LoginRequest.parse(talk.hear()).plugin == auth.NATIVE
    talk.say(AuthSwitch(plugin, OTHER_SCRAMBLE).build())
    assert talk.hear() == respond(b"secret", OTHER_SCRAMBLE)
    talk.say(OK)
    assert talk.result == OK


def test_the_key_belongs_to_the_scramble_of_the_switch() -> None:
    talk = logging_in(plugin=auth.NATIVE)
    talk.hear()
    talk.say(AuthSwitch(auth.CACHING_SHA2, OTHER_SCRAMBLE).build())
    talk.hear()
    talk.say(FULL)
    talk.hear()
    talk.say(b"\x01" + KEY.public)
    assert KEY.decrypt(talk.hear(), OTHER_SCRAMBLE) == b"secret"


@pytest.mark.parametrize(("password", "private"), [(b"secret", True), (b"", True), (b"", False)])
def test_sha256_in_clear_text(password: bytes, *, private: bool) -> None:
    talk = logging_in(password, private=private)
    talk.hear()
    talk.say(AuthSwitch(auth.SHA256, OTHER_SCRAMBLE).build())
    assert talk.hear() == password + b"\0"
    talk.say(OK)
    assert talk.result == OK


def test_sha256_through_the_servers_key() -> None:
    talk = logging_in()
    talk.hear()
    talk.say(AuthSwitch(auth.SHA256, OTHER_SCRAMBLE).build())
    assert talk.hear() == b"\x01"
    talk.say(b"\x01" + KEY.public)
    assert KEY.decrypt(talk.hear(), OTHER_SCRAMBLE) == b"secret"
    talk.say(OK)
    assert talk.result == OK


@pytest.mark.parametrize("plugin", [b"auth_gssapi_client", b"parsec", b"authentication_webauthn_client"])
def test_plugins_that_the_guard_does_not_have_are_named(plugin: bytes) -> None:
    talk = logging_in()
    talk.hear()
    with pytest.raises(Refusal, match=plugin.decode()) as caught:
        talk.say(AuthSwitch(plugin, OTHER_SCRAMBLE).build())
    assert caught.value.code == 1251


def test_more_factors_are_refused() -> None:
    talk = logging_in()
    talk.hear()
    with pytest.raises(Refusal, match=r"more than a password.*passthrough"):
        talk.say(b"\x02webauthn\x00challenge")


def test_a_signature_is_one_of_the_whole_scramble() -> None:
    # Seen: 32 bytes without a NUL behind them, and the last one may be any.
    scramble = bytes(range(31)) + b"\0"
    talk = logging_in(plugin=auth.NATIVE)
    talk.hear()
    talk.say(b"\xfeclient_ed25519\0" + scramble)
    assert talk.hear() == auth.ed25519_response(b"secret", scramble)
    talk.say(OK)
    assert talk.result == OK


#: What a server may say first for plugins that want the password itself. dialog begins with nothing, or a question.
CLEAR_TEXT = [
    b"mysql_clear_password\0" + SCRAMBLE + b"\0",
    b"dialog\0",
    b"dialog\0\x04Password: ",
    b"dialog\0\x05PIN: ",
]


@pytest.mark.parametrize("switch", CLEAR_TEXT)
def test_the_password_in_clear_text_is_for_private_links(switch: bytes) -> None:
    talk = logging_in(private=True)
    talk.hear()
    talk.say(b"\xfe" + switch)
    assert talk.hear() == b"secret\0"
    talk.say(OK)
    assert talk.result == OK
    talk = logging_in()
    talk.hear()
    with pytest.raises(Refusal, match=r"clear text.*upstream\.tls\.mode"):
        talk.say(b"\xfe" + switch)


def test_what_else_pam_may_ask_only_a_client_can_answer() -> None:
    talk = logging_in(private=True)
    talk.hear()
    with pytest.raises(Refusal, match="passthrough"):
        talk.say(b"\xfedialog\0\x02Name: ")


@pytest.mark.parametrize("question", [b"\x05Code: ", b"\x01\x05Code: "])
def test_the_password_answers_one_question_only(question: bytes) -> None:
    talk = logging_in(private=True)
    talk.hear()
    talk.say(b"\xfedialog\0")
    assert talk.hear() == b"secret\0"
    with pytest.raises(Refusal, match="passthrough"):
        talk.say(question)


@pytest.mark.parametrize("switch", [b"\xfe", b"\xfemysql_old_password\0"])
def test_a_password_from_before_4_1_is_named(switch: bytes) -> None:
    talk = logging_in()
    talk.hear()
    with pytest.raises(Refusal, match="asks for mysql_old_password"):
        talk.say(switch)


@pytest.mark.parametrize("payload", [b"", b"\x03", b"\xfedialog", b"\xff", b"\x01", b"\x01\x05"])
def test_what_servers_do_not_say_in_a_login(payload: bytes) -> None:
    talk = logging_in()
    talk.hear()
    with pytest.raises(MalformedPacket):
        talk.say(payload)


def test_native_has_nothing_to_continue_with() -> None:
    talk = logging_in(plugin=auth.NATIVE)
    talk.hear()
    with pytest.raises(MalformedPacket, match="continues"):
        talk.say(FULL)


def test_a_key_without_a_scramble_gets_no_password() -> None:
    talk = logging_in()
    talk.hear()
    talk.say(AuthSwitch(auth.SHA256, b"").build())
    talk.hear()
    with pytest.raises(MalformedPacket, match="scramble"):
        talk.say(b"\x01" + KEY.public)


def test_our_request_is_the_clients_but_for_what_is_ours() -> None:
    client = REQUEST._replace(
        capabilities=Capability.PROTOCOL_41
        | Capability.SSL
        | Capability.COMPRESS
        | Capability.CONNECT_WITH_DB
        | 1 << 37,
        schema=b"shop",
    )
    offers_all = SERVER._replace(capabilities=2**64 - 1)
    ours = upstream_request(client, offers_all)
    assert ours.capabilities == (
        MODERN & ~Capability.LONG_PASSWORD | Capability.CONNECT_WITH_DB | Capability.SESSION_TRACK | 1 << 37
    )
    assert ours._replace(capabilities=client.capabilities) == client
    # What the server does not have is not asked of it.
    old = upstream_request(client, SERVER._replace(capabilities=Capability.PROTOCOL_41))
    assert not old.capabilities & (Capability.SESSION_TRACK | Capability.PLUGIN_AUTH_LENENC_DATA)


def test_change_user_answers_the_servers_switch() -> None:
    request = ChangeUser(b"other", b"old response", b"shop", 45, auth.CACHING_SHA2, b"")
    talk = Talk(change_user(request, MODERN, b"secret", private=False))
    sent = ChangeUser.parse(talk.hear(), MODERN)
    assert sent == request._replace(auth_response=b"")
    talk.say(AuthSwitch(auth.NATIVE, OTHER_SCRAMBLE).build())
    assert talk.hear() == auth.native_response(b"secret", OTHER_SCRAMBLE)
    talk.say(OK)
    assert talk.result == OK


def test_change_user_can_be_refused() -> None:
    talk = Talk(change_user(ChangeUser(b"x", b"", b"", None, None, b""), MODERN, b"secret", private=False))
    talk.hear()
    with pytest.raises(ServerError):
        talk.say(ERR)


# Both sides


def converse(client: Talk[bytes], server: Talk[ClientLogin]) -> Proof:
    """Let our own client's and our own server's dialogue talk to each other; afterwards the server says OK."""
    server.hear()  # the greeting, which the client knows already
    for _ in range(20):
        if isinstance(client.step, Say):
            server.say(client.hear())
        elif isinstance(client.step, Encrypt):
            client.encrypt()
            server.encrypt()
        elif isinstance(server.step, Say):
            client.say(server.hear())
        else:
            break
    assert server.step is None
    client.say(OK)
    assert client.result == OK
    return proof_of(server.result)


PASSWORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


@given(
    password=PASSWORDS,
    known=st.none() | PASSWORDS,
    plugin=st.sampled_from([auth.NATIVE, auth.CACHING_SHA2]),
    tls=st.booleans(),
    private=st.booleans(),
)
def test_our_two_dialogues_understand_each_other(
    *, password: str, known: str | None, plugin: bytes, tls: bool, private: bool
) -> None:
    secret = password.encode()
    greeting = SERVER._replace(plugin=plugin)
    passwords = knowing(learns=True) if known is None else knowing(learns=True, app=known)
    client = Talk(log_in(REQUEST, secret, greeting, tls=tls, private=private))
    server = Talk(greet_client(greeting, passwords, private=private, requires_tls=False))
    assert converse(client, server) == Proof(secret, proven=True)


@given(PASSWORDS, PASSWORDS, st.sampled_from([auth.NATIVE, auth.CACHING_SHA2]))
def test_without_learning_only_the_known_password_is_proven(password: str, known: str, plugin: bytes) -> None:
    greeting = SERVER._replace(plugin=plugin)
    client = Talk(log_in(REQUEST, password.encode(), greeting, tls=False, private=False))
    server = Talk(greet_client(greeting, knowing(app=known), private=False, requires_tls=False))
    proof = converse(client, server)
    assert proof.proven == (password == known)
    assert (proof.password == known.encode()) == (password == known)


SERVER_SAYS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([FAST, FULL, OK, ERR, b"\x01" + KEY.public, b"\x02"]),
    st.builds(
        lambda plugin, nonce: AuthSwitch(plugin, nonce).build(),
        st.sampled_from([auth.NATIVE, auth.CACHING_SHA2, auth.SHA256, b"dialog", b""]),
        st.binary(max_size=21),
    ),
)
CLIENT_SAYS = st.one_of(
    st.binary(max_size=80),
    st.sampled_from([b"\x02", b"secret\0", b"", REQUEST.build_ssl_request(), old_request(b"secret")]),
    st.builds(
        lambda plugin, response: REQUEST._replace(plugin=plugin, auth_response=response).build(),
        st.sampled_from([auth.NATIVE, auth.CACHING_SHA2]),
        st.binary(max_size=40) | st.just(auth.caching_sha2_response(b"secret", SCRAMBLE)),
    ),
    st.just(auth.encrypt_password(b"secret", SCRAMBLE, KEY.public)),
)


def listen_to(talk: Talk[Any], sayings: list[bytes]) -> None:
    """Play a peer that says whatever it likes, until the dialogue ends or the peer has nothing more to say."""
    left = deque(sayings)
    while talk.step is not None:
        if isinstance(talk.step, Say):
            talk.hear()
        elif isinstance(talk.step, Encrypt):
            talk.encrypt()
        elif left:
            talk.say(left.popleft())
        else:
            return


@given(
    sayings=st.lists(SERVER_SAYS, max_size=8),
    password=st.sampled_from([b"", b"secret"]),
    tls=st.booleans(),
    private=st.booleans(),
)
def test_whatever_a_server_says_is_an_answer_or_a_documented_error(
    *, sayings: list[bytes], password: bytes, tls: bool, private: bool
) -> None:
    with suppress(ProtocolError, ServerError, Refusal):
        listen_to(Talk(log_in(REQUEST, password, SERVER, tls=tls, private=private)), sayings)
    request = ChangeUser(b"x", b"", b"", None, None, b"")
    with suppress(ProtocolError, ServerError, Refusal):
        listen_to(Talk(change_user(request, MODERN, password, private=private)), sayings)


@given(sayings=st.lists(CLIENT_SAYS, max_size=6), learns=st.booleans(), private=st.booleans())
def test_whatever_a_client_says_it_gets_in_only_with_the_password(
    *, sayings: list[bytes], learns: bool, private: bool
) -> None:
    talk = Talk(greet_client(SERVER, knowing(learns=learns, app="secret"), private=private, requires_tls=False))
    with suppress(MalformedPacket, Refusal):
        listen_to(talk, sayings)
        if talk.step is None and not learns:
            assert proof_of(talk.result).proven == (proof_of(talk.result).password == b"secret")


def test_capabilities_that_have_no_name_yet_are_handed_on_both_ways() -> None:
    unnamed = 1 << 1 | 1 << 40  # FOUND_ROWS, and one of MariaDB's to come
    server = Greeting(b"11.8", 1, bytes(range(1, 21)), Capability.SECURE_CONNECTION | unnamed, 45, 2, auth.NATIVE)
    assert int(make_greeting(server, thread_id=server.thread_id, relays=False).capabilities) & unnamed == unnamed
    client = LoginRequest(unnamed, 0, 45, bytes(19), b"u", b"", None, None, None)
    assert int(upstream_request(client, server).capabilities) & unnamed == unnamed


# The login of a session that has changed its user


def a_change(charset: int | None = 33, rest: bytes = b"") -> ChangeUser:
    return ChangeUser(b"other", b"", b"t", charset, auth.NATIVE, rest)


def test_a_session_that_has_changed_its_user_logs_in_as_that_one() -> None:
    login = REQUEST._replace(attributes=b"\x01a\x01b")
    changed = changed_login(login, a_change(rest=b"\x04\x01c\x01d"))
    assert changed == login._replace(user=b"other", schema=b"t", charset=33, attributes=b"\x01c\x01d")


def test_what_the_change_does_not_mention_stays() -> None:
    login = REQUEST._replace(attributes=b"\x01a\x01b", schema=b"before")
    changed = changed_login(login, a_change(charset=None)._replace(schema=b""))
    assert (changed.charset, changed.attributes) == (login.charset, login.attributes)
    assert changed.schema is None  # which is what a change without one means


def test_the_login_has_one_byte_for_a_character_set() -> None:
    assert changed_login(REQUEST, a_change(charset=0x1FF)).charset == 0xFF


@pytest.mark.parametrize("rest", [b"\x05\x01", b"\xfc", b"\xff"])
def test_attributes_that_nobody_can_read_are_no_matter(rest: bytes) -> None:
    login = REQUEST._replace(attributes=b"\x01a\x01b")
    assert changed_login(login, a_change(rest=rest)).attributes == login.attributes
    assert changed_login(REQUEST, a_change(rest=b"\x02\x01c")).attributes is None
