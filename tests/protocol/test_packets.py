import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import handshake, packets
from protocol.constants import Capability
from protocol.errors import MalformedPacket
from protocol.handshake import AuthSwitch, ChangeUser, Greeting, LoginRequest
from protocol.packets import Err, Ok, PrepareOk, ok_summary
from tests.protocol.transcripts import EOF, ERR, HIDDEN, OK, SCHEMA, ok_with_state

# Seen from the servers and from PyMySQL.
MARIADB_GREETING = (
    b"\n5.5.5-10.11.19-MariaDB-0+deb12u1\x00\x06\x00\x00\x00nv&WfwH>\x00\xfe\xf7\x08\x02\x00\xff\x81\x15"
    b"\x00\x00\x00\x00\x00\x00\x1d\x00\x00\x00=X%L/HYgzO]d\x00mysql_native_password\x00"
)
MYSQL_GREETING = (
    b"\n9.7.4-2\x00\x0b\x00\x00\x00\x03\x062\x01\x01\x17?x\x00\xff\xff\xff\x02\x00\xff\xdf\x15"
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00U\x19\x04h\x1a6\rQ!|v?\x00caching_sha2_password\x00"
)
LOGIN = (
    b"\r\xa2:\x00\xff\xff\xff\x00-" + bytes(23) + b"root\x00\x00test\x00mysql_native_password\x00"
    b"\x14\x0c_client_name\x06driver"
)
CHANGE_USER = b"\x11root\x00\x02ABtest\x00\x2d\x00mysql_native_password\x00\x14\x0c_client_name\x06driver"

Parse: TypeAlias = Callable[[bytes], object]


def test_greeting_of_mysql() -> None:
    greeting = Greeting.parse(MYSQL_GREETING)
    assert greeting.version == b"9.7.4-2"
    assert greeting.thread_id == 11
    assert greeting.nonce == b"\x03\x062\x01\x01\x17?xU\x19\x04h\x1a6\rQ!|v?"
    assert greeting.capabilities == 0xDFFFFFFF
    assert greeting.charset == 255
    assert greeting.status == 2
    assert greeting.plugin == b"caching_sha2_password"


def test_greeting_of_mariadb_has_extended_capabilities() -> None:
    greeting = Greeting.parse(MARIADB_GREETING)
    # The cleared bit 0 is what announces them.
    assert greeting.capabilities == 0x1D_81FFF7FE
    assert greeting.capabilities & Capability.MARIADB_PROGRESS
    assert greeting.capabilities & Capability.MARIADB_CACHE_METADATA
    # The same bytes have no meaning where bit 0 is set.
    ordinary = bytearray(MARIADB_GREETING)
    ordinary[MARIADB_GREETING.index(b"\xfe\xf7")] |= 1
    assert Greeting.parse(bytes(ordinary)).capabilities == 0x81FFF7FF


@pytest.mark.parametrize("payload", [MYSQL_GREETING, MARIADB_GREETING])
def test_greetings_are_built_as_servers_build_them(payload: bytes) -> None:
    assert Greeting.parse(payload).build() == payload


def test_greetings_of_older_servers() -> None:
    # They do not say how long the scramble is; without plugins, they do not name one either.
    silent = MYSQL_GREETING.replace(b"\xff\xdf\x15", b"\xff\xdf\x00")
    assert Greeting.parse(silent) == Greeting.parse(MYSQL_GREETING)
    without_plugins = MYSQL_GREETING.replace(b"\xff\xdf\x15", b"\xf7\xdf\x15")
    assert Greeting.parse(without_plugins).plugin == b""


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"\x09" + MYSQL_GREETING[1:], "protocol version 9"),
        (MYSQL_GREETING.replace(b"Q!|v?\x00", b"Q!|v?x"), "scramble of 21 bytes"),
        (MYSQL_GREETING.replace(b"\xff\xdf\x15", b"\xff\xdf\x17"), "scramble of"),
        (b"HTTP/1.1 400 Bad Request\r\n", "protocol version 72"),
        (b"", "ends"),
    ],
)
def test_what_is_not_a_greeting(payload: bytes, message: str) -> None:
    with pytest.raises(MalformedPacket, match=message):
        Greeting.parse(payload)


def test_login_request() -> None:
    request = LoginRequest.parse(LOGIN)
    assert request.capabilities == 0x3AA20D
    assert request.max_packet_size == 0xFFFFFF
    assert request.charset == 45
    assert (request.user, request.auth_response, request.schema) == (b"root", b"", b"test")
    assert request.plugin == b"mysql_native_password"
    assert request.attributes == b"\x0c_client_name\x06driver"
    assert request.build() == LOGIN


def test_login_request_of_mariadbs_clients_has_extended_capabilities() -> None:
    login = b"\x0c" + LOGIN[1:28] + b"\x1d\x00\x00\x00" + LOGIN[32:]
    request = LoginRequest.parse(login)
    assert request.capabilities == 0x1D_003AA20C
    assert request.build() == login
    # The same bytes have no meaning where bit 0 is set.
    assert LoginRequest.parse(b"\x0d" + login[1:]).capabilities == 0x3AA20D


def test_ssl_request_is_the_beginning_of_the_login_request_with_the_ssl_flag() -> None:
    request = LoginRequest.parse(LOGIN)
    ssl_request = request.build_ssl_request()
    assert ssl_request == b"\r\xaa:\x00" + LOGIN[4:32]
    assert LoginRequest.wants_tls(ssl_request)
    assert not LoginRequest.wants_tls(LOGIN[:32])
    encrypted = request._replace(capabilities=request.capabilities | Capability.SSL).build()
    assert encrypted.startswith(ssl_request)
    with pytest.raises(MalformedPacket, match="goes on without it"):
        LoginRequest.wants_tls(encrypted)


@pytest.mark.parametrize(
    ("flag", "written"),
    [
        (Capability.PLUGIN_AUTH_LENENC_DATA | Capability.SECURE_CONNECTION, b"\xfc\x2c\x01" + b"r" * 300),
        (Capability.SECURE_CONNECTION, b"\x03rrr"),
        (0, b"rrr\x00"),
    ],
)
def test_auth_response_has_three_forms(flag: int, written: bytes) -> None:
    login = int(Capability.PROTOCOL_41 | flag).to_bytes(4, "little") + bytes(28) + b"root\x00" + written
    request = LoginRequest.parse(login)
    assert set(request.auth_response) == {ord("r")}
    assert request.build() == login


@pytest.mark.parametrize(
    ("login", "fields"),
    [
        # Seen from drivers: a flag is set, and its field is missing.
        (LOGIN[: LOGIN.index(b"test")], (b"", b"", b"")),
        (LOGIN[: LOGIN.index(b"mysql_native")], (b"test", b"", b"")),
        (LOGIN[: LOGIN.index(b"\x14\x0c")], (b"test", b"mysql_native_password", b"")),
        # The NUL at the end of the packet is missing.
        (LOGIN[: LOGIN.index(b"\x00\x14\x0c")], (b"test", b"mysql_native_password", b"")),
    ],
)
def test_login_requests_may_end_early(login: bytes, fields: tuple[bytes, bytes, bytes]) -> None:
    request = LoginRequest.parse(login)
    assert (request.schema, request.plugin, request.attributes) == fields


def test_fields_without_their_flag_are_absent() -> None:
    login = b"\x00\x82\x00\x00" + LOGIN[4:32] + b"root\x00\x00test\x00"
    request = LoginRequest.parse(login)
    assert (request.schema, request.plugin, request.attributes) == (None, None, None)
    assert request.build() == login[: -len(b"test\x00")]


@pytest.mark.parametrize(
    ("login", "message"),
    [
        (b"\x0d\xa0" + LOGIN[2:], "MySQL 4.0"),
        (LOGIN[:20], "ends"),
        (LOGIN[:36], "NUL"),
        (LOGIN[:37], "ends"),
        (LOGIN[:-1], "ends"),
    ],
)
def test_what_is_not_a_login_request(login: bytes, message: str) -> None:
    with pytest.raises(MalformedPacket, match=message):
        LoginRequest.parse(login)


def test_secrets_are_not_in_the_repr() -> None:
    request = LoginRequest.parse(LOGIN)._replace(auth_response=b"s3cret")
    assert "s3cret" not in repr(request)
    change = ChangeUser.parse(CHANGE_USER.replace(b"\x02AB", b"\x06s3cret"), Capability.SECURE_CONNECTION)
    assert change.auth_response == b"s3cret"
    assert "s3cret" not in repr(change)


FULL_CHANGE = Capability.SECURE_CONNECTION | Capability.PLUGIN_AUTH | Capability.CONNECT_ATTRS


@pytest.mark.parametrize(
    ("payload", "capabilities", "parsed"),
    [
        (
            CHANGE_USER,
            FULL_CHANGE,
            ChangeUser(b"root", b"AB", b"test", 45, b"mysql_native_password", b"\x14\x0c_client_name\x06driver"),
        ),
        (
            b"\x11root\x00\x02ABtest\x00\x2d\x00rest",
            Capability.SECURE_CONNECTION,
            ChangeUser(b"root", b"AB", b"test", 45, None, b"rest"),
        ),
        (b"\x11root\x00\x00\x00", FULL_CHANGE, ChangeUser(b"root", b"", b"", None, None, b"")),
        (b"\x11root\x00\x00\x00\x2d", FULL_CHANGE, ChangeUser(b"root", b"", b"", None, None, b"\x2d")),
        (b"\x11root\x00AB\x00test\x00", 0, ChangeUser(b"root", b"AB", b"test", None, None, b"")),
    ],
)
def test_change_user(payload: bytes, capabilities: int, parsed: ChangeUser) -> None:
    assert ChangeUser.parse(payload, capabilities) == parsed
    assert parsed.build(capabilities) == payload


def test_change_user_may_end_without_a_nul() -> None:
    assert ChangeUser.parse(b"\x11root\x00\x00test", FULL_CHANGE).schema == b"test"


def test_auth_switch() -> None:
    payload = b"\xfemysql_native_password\x00" + b"s" * 20 + b"\x00"
    switch = AuthSwitch(b"mysql_native_password", b"s" * 20)
    assert AuthSwitch.parse(payload) == switch
    assert switch.build() == payload
    assert AuthSwitch.parse(b"\xfedialog\x00") == AuthSwitch(b"dialog", b"")
    assert AuthSwitch.parse(b"\xfe") == AuthSwitch(b"mysql_old_password", b"")
    with pytest.raises(MalformedPacket):
        AuthSwitch.parse(b"\xfedialog")


def test_err() -> None:
    assert Err.parse(ERR) == Err(1045, "28000", "Access denied")
    assert Err(1045, "28000", "Access denied").build() == ERR


def test_err_before_the_greeting_has_no_sqlstate() -> None:
    payload = b"\xff\x10\x04Too many connections"
    assert Err.parse(payload) == Err(1040, "", "Too many connections")
    assert Err(1040, "08004", "Too many connections").without_sqlstate().build() == payload


def test_err_may_hold_any_bytes() -> None:
    assert Err.parse(b"\xff\x10\x04#42000caf\xe9") == Err(1040, "42000", "caf\N{REPLACEMENT CHARACTER}")
    assert Err.parse(b"\xff\x10\x04#4200") == Err(1040, "", "#4200")
    with pytest.raises(MalformedPacket):
        Err.parse(b"\xff\x10")


def test_ok() -> None:
    assert Ok.parse(OK) == Ok(0, 0, 0, 2, 0, b"", b"")
    # An UPDATE, with the info that servers send length-encoded in any case.
    payload = b"\x00\xfc\x2c\x01\x05\x03\x00\x07\x00\x04Rows"
    assert Ok.parse(payload) == Ok(0, 300, 5, 3, 7, b"Rows", b"")
    assert Ok.parse(payload).build() == payload


def test_ok_with_a_session_track_block() -> None:
    payload = ok_with_state(HIDDEN, SCHEMA, info=b"Rows")
    ok = Ok.parse(payload)
    assert (ok.status, ok.info, ok.state) == (0x4002, b"Rows", HIDDEN + SCHEMA)
    assert ok.build() == payload
    # Without the block, its flag goes; without info, its length goes as well.
    assert ok._replace(state=b"").build() == b"\x00\x00\x00\x02\x00\x00\x00\x04Rows"
    assert ok._replace(state=b"", info=b"").build() == OK


def test_what_looks_like_a_block_is_none_without_the_flag() -> None:
    assert Ok.parse(OK + b"\x00\x03\x01\x02\x03").state == b""


@pytest.mark.parametrize("payload", [b"\x00", OK[:-1], b"\x00\xfb\x00\x02\x00\x00\x00", OK + b"\x05ab"])
def test_what_is_not_an_ok(payload: bytes) -> None:
    with pytest.raises(MalformedPacket):
        Ok.parse(payload)


@pytest.mark.parametrize(
    "payload", [b"\x00\x00\x00\x02\x00\x00", b"\x00\xfc\x00\x00\x00\x00\x02", b"\x00\x00\xfb\x00\x02\x00\x00\x00"]
)
def test_the_summary_of_what_is_not_an_ok(payload: bytes) -> None:
    with pytest.raises(MalformedPacket):
        ok_summary(payload)


@pytest.mark.parametrize(
    ("payload", "parsed"),
    [
        (b"\x00\x01\x00\x00\x00\x02\x00\x03\x00\x00\x00\x00", PrepareOk(1, 2, 3, sends_metadata=True)),
        (b"\x00\x01\x00\x00\x00\x02\x00\x03\x00\x00\x00\x00\x01", PrepareOk(1, 2, 3, sends_metadata=True)),
        (b"\x00\x01\x00\x00\x00\x02\x00\x03\x00\x00\x00\x00\x00", PrepareOk(1, 2, 3, sends_metadata=False)),
    ],
)
def test_prepare_ok(payload: bytes, parsed: PrepareOk) -> None:
    assert PrepareOk.parse(payload) == parsed


@pytest.mark.parametrize("payload", [EOF, OK, b"\x01" + bytes(11), b""])
def test_what_is_not_a_prepare_ok(payload: bytes) -> None:
    with pytest.raises(MalformedPacket):
        PrepareOk.parse(payload)


# Whatever can be built can be read, and whatever comes is read or refused.

NO_NUL = st.binary(max_size=20).filter(lambda value: b"\0" not in value)
# Bit 0 would say that the upper half is not there.
CAPABILITIES = st.integers(0, 2**64 - 1).map(lambda flags: flags & ~1) | st.integers(0, 2**32 - 1).map(
    lambda flags: flags | 1
)
BYTE = st.integers(0, 0xFF)
SHORT = st.integers(0, 0xFFFF)
WORD = st.integers(0, 0xFFFFFFFF)
LENENC = st.integers(0, 2**64 - 1)


@st.composite
def greetings(draw: st.DrawFn) -> Greeting:
    capabilities = draw(CAPABILITIES) | Capability.PLUGIN_AUTH
    nonce = draw(st.binary(min_size=20, max_size=20).filter(lambda nonce: not nonce.endswith(b"\0")))
    return Greeting(draw(NO_NUL), draw(WORD), nonce, capabilities, draw(BYTE), draw(SHORT), draw(NO_NUL))


@st.composite
def login_requests(draw: st.DrawFn) -> LoginRequest:
    capabilities = draw(CAPABILITIES) | Capability.PROTOCOL_41
    if capabilities & Capability.PLUGIN_AUTH_LENENC_DATA:
        auth_response = draw(st.binary(max_size=300))
    elif capabilities & Capability.SECURE_CONNECTION:
        auth_response = draw(st.binary(max_size=255))
    else:
        auth_response = draw(NO_NUL)
    return LoginRequest(
        capabilities,
        draw(WORD),
        draw(BYTE),
        draw(st.binary(min_size=19, max_size=19)),
        draw(NO_NUL),
        auth_response,
        draw(NO_NUL) if capabilities & Capability.CONNECT_WITH_DB else None,
        draw(NO_NUL) if capabilities & Capability.PLUGIN_AUTH else None,
        draw(st.binary(max_size=300)) if capabilities & Capability.CONNECT_ATTRS else None,
    )


@st.composite
def change_users(draw: st.DrawFn) -> tuple[ChangeUser, int]:
    capabilities = draw(CAPABILITIES)
    auth_response = draw(st.binary(max_size=255) if capabilities & Capability.SECURE_CONNECTION else NO_NUL)
    charset = draw(st.none() | SHORT)
    plugin = rest = None
    if charset is not None:
        rest = draw(st.binary(max_size=20))
        if capabilities & Capability.PLUGIN_AUTH:
            plugin = draw(NO_NUL)
    return ChangeUser(draw(NO_NUL), auth_response, draw(NO_NUL), charset, plugin, rest or b""), capabilities


OKS = st.builds(Ok, st.sampled_from([0, 0xFE]), LENENC, LENENC, SHORT, SHORT, st.binary(max_size=300), st.just(b""))
OKS_WITH_STATE = st.builds(
    lambda ok, state: ok._replace(state=state, status=ok.status | 0x4000), OKS, st.binary(min_size=1, max_size=300)
)
ERRS = st.builds(Err, SHORT, st.sampled_from(["42000", "HY000"]), st.text(max_size=20)) | st.builds(
    Err, SHORT, st.just(""), st.text(max_size=20).filter(lambda text: not text.startswith("#"))
)
SWITCHES = st.builds(AuthSwitch, NO_NUL, st.binary(max_size=30).filter(lambda nonce: not nonce.endswith(b"\0")))


@given(greetings())
def test_greetings_round_trip(greeting: Greeting) -> None:
    assert Greeting.parse(greeting.build()) == greeting


@given(login_requests())
def test_login_requests_round_trip(request: LoginRequest) -> None:
    assert LoginRequest.parse(request.build()) == request


@given(change_users())
def test_change_users_round_trip(case: tuple[ChangeUser, int]) -> None:
    request, capabilities = case
    assert ChangeUser.parse(request.build(capabilities), capabilities) == request


@given(OKS.map(lambda ok: ok._replace(status=ok.status & ~0x4000)) | OKS_WITH_STATE)
def test_oks_round_trip(ok: Ok) -> None:
    payload = ok.build()
    assert Ok.parse(payload) == ok
    assert ok_summary(payload) == (ok.affected_rows, ok.last_insert_id, ok.status, ok.warnings)


@given(ERRS)
def test_errs_round_trip(err: Err) -> None:
    assert Err.parse(err.build()) == err


@given(SWITCHES)
def test_auth_switches_round_trip(switch: AuthSwitch) -> None:
    assert AuthSwitch.parse(switch.build()) == switch


PARSERS: list[Parse] = [
    Greeting.parse,
    LoginRequest.wants_tls,
    LoginRequest.parse,
    AuthSwitch.parse,
    Err.parse,
    Ok.parse,
    ok_summary,
    PrepareOk.parse,
    lambda payload: ChangeUser.parse(payload, 0),
    lambda payload: ChangeUser.parse(payload, FULL_CHANGE),
]
GOOD = st.one_of(
    st.binary(),
    greetings().map(Greeting.build),
    login_requests().map(LoginRequest.build),
    change_users().map(lambda case: case[0].build(case[1])),
    OKS_WITH_STATE.map(Ok.build),
    ERRS.map(Err.build),
    SWITCHES.map(AuthSwitch.build),
    st.sampled_from([MYSQL_GREETING, MARIADB_GREETING, LOGIN, CHANGE_USER]),
)
MUTATIONS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), st.binary(max_size=3)), max_size=4)


@given(GOOD, MUTATIONS)
def test_whatever_comes_is_read_or_refused(payload: bytes, mutations: list[tuple[int, int, bytes]]) -> None:
    for position, removed, inserted in mutations:
        payload = payload[:position] + inserted + payload[position + removed :]
    for parse in PARSERS:
        with suppress(MalformedPacket):
            parse(payload)


@given(OKS_WITH_STATE.map(Ok.build), MUTATIONS)
def test_the_summary_agrees_with_the_whole(payload: bytes, mutations: list[tuple[int, int, bytes]]) -> None:
    for position, removed, inserted in mutations:
        payload = payload[:position] + inserted + payload[position + removed :]
    try:
        ok = Ok.parse(payload)
    except MalformedPacket:
        return
    assert ok_summary(payload) == (ok.affected_rows, ok.last_insert_id, ok.status, ok.warnings)


def test_every_packet_has_a_parser_under_test() -> None:
    classes = vars(handshake) | vars(packets)
    with_parse = {name for name, value in classes.items() if inspect.isclass(value) and hasattr(value, "parse")}
    assert with_parse == {"Greeting", "LoginRequest", "ChangeUser", "AuthSwitch", "Err", "Ok", "PrepareOk"}
