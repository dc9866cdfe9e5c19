"""What each option accepts, and what the options mean together."""

import os
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from pydantic import SecretStr, ValidationError

from config import AuthMode, Config, LogFormat, LogLevel, TcpAddress, TlsMode, UnixAddress, User
from tests.config.conftest import Load, Refuse

UPSTREAM = "upstream: {address: db}\n"


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    return path


def test_every_option_arrives_as_what_it_means(load_text: Load, ca_file: Path) -> None:
    config = load_text(f"""
        listen:
          - address: 0.0.0.0
          - address: "[::]:1"
          - address: unix:/run/s.sock
        upstream:
          address: db
          tls: {{mode: verify-ca, ca: {ca_file}}}
          connect_timeout: 500ms
        auth:
          mode: users
          users: [{{user: app, password: "0123"}}]
        guard: {{max_allowed_packet: 64M, oversize_sqlstate: 08S01}}
        keepalive: {{interval: 2m, probe_timeout: 1s, validate_after: 0s}}
        limits: {{sessions: 7, login_timeout: 1h, drain_timeout: 0s}}
        log: {{level: debug, format: json}}
    """)
    assert [listen.address for listen in config.listen] == [
        TcpAddress("0.0.0.0", 3307),  # noqa: S104 - nothing listens
        TcpAddress("::", 1),
        UnixAddress("/run/s.sock"),
    ]
    assert config.upstream.address == TcpAddress("db", 3306)
    assert (config.upstream.tls.mode, config.upstream.tls.ca) == (TlsMode.VERIFY_CA, ca_file)
    assert config.upstream.connect_timeout == 0.5
    assert config.auth.mode is AuthMode.USERS
    assert config.auth.users == (User(user="app", password=SecretStr("0123")),)
    assert (config.guard.max_allowed_packet, config.guard.oversize_sqlstate) == (64 << 20, "08S01")
    keepalive = config.keepalive
    assert (keepalive.interval, keepalive.probe_timeout, keepalive.validate_after) == (120, 1, 0)
    assert (config.limits.sessions, config.limits.login_timeout, config.limits.drain_timeout) == (7, 3600, 0)
    assert (config.log.level, config.log.format) == (LogLevel.DEBUG, LogFormat.JSON)


def test_auto_is_none(load_text: Load) -> None:
    config = load_text(UPSTREAM + "keepalive: {interval: auto}\nguard: {max_allowed_packet: auto}")
    assert config.keepalive.interval is None
    assert config.guard.max_allowed_packet is None


def test_a_bare_number_is_a_size_in_bytes(load_text: Load) -> None:
    assert load_text(UPSTREAM + "guard: {max_allowed_packet: 1048576}").guard.max_allowed_packet == 1 << 20


def test_a_configuration_cannot_be_changed(load_text: Load) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_text(UPSTREAM).limits.sessions = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("listen: []", "listen", "at least one"),
        ("listen: {address: a:1}", "listen", "must be a list, not a mapping"),
        (
            "listen: [{address: a:1}, {address: bad address}, {address: a:1}]",
            "listen[2].address",
            "already in the list",
        ),
        ('listen: [{address: "[::1]:1"}, {address: "[0:0::1]:1"}]', "listen[1].address", "already in the list"),
        ("listen: [{address: a}, {address: a:3307}]", "listen[1].address", "already in the list"),
        ("listen: [{}]", "listen[0].address", "missing"),
        ("listen: [a:1]", "listen[0]", "must be a mapping of keys to values, not text"),
        ("auth: {users: [{user: a, password: p}]}", "auth.users", "no effect with mode learn"),
        (
            "auth: {mode: passthrough, users: [{user: a, password: p}]}",
            "auth.users",
            "no effect with mode passthrough",
        ),
        ("listen: [{address: a, tls: {require: maybe}}]", "listen[0].tls.require", "valid boolean"),
        ("listen: [{address: unix:/s, tls: {require: true}}]", "listen[0].tls.require", "TCP only"),
        ("listen: [{address: a, tls: {cert: /no/such}}]", "listen[0].tls.cert", "cannot be read"),
        ("listen: [{address: a, tls: {cert: /}}]", "listen[0].tls.cert", "not a regular file"),
        ("listen: [{address: a, tls: {key: /no/such}}]", "listen[0].tls.key", "key to no certificate"),
        ("auth: {mode: users}", "auth.mode", "at least one entry"),
        ("auth: {mode: users, users: []}", "auth.mode", "at least one entry"),
        ("auth: {mode: users, users: [{user: a}]}", "auth.users[0]", "no password"),
        ("auth: {mode: users, users: [{user: a, password: null}]}", "auth.users[0]", "no password"),
        ("auth: {mode: users, users: [{password: p}]}", "auth.users[0].user", "missing"),
        (
            "auth: {mode: users, users: [{user: a, password: p, password_env: HOME}]}",
            "auth.users[0].password_env",
            "second password",
        ),
        (
            "auth: {mode: users, users: [{user: a, password: p}, {user: b}, {user: a, password: q}]}",
            "auth.users[2].user",
            "already in the list",
        ),
        (r'auth: {mode: users, users: [{user: a, password: "\ud800"}]}', "auth.users[0].password", "valid UTF-8"),
        (r'auth: {mode: users, users: [{user: "\0", password: a}]}', "auth.users[0].user", "NUL"),
        ("guard: {max_allowed_packet: 1023}", "guard.max_allowed_packet", "between 1KiB and 1GiB"),
        ("guard: {max_allowed_packet: 2GiB}", "guard.max_allowed_packet", "between 1KiB and 1GiB"),
        ("guard: {oversize_sqlstate: 42000}", "guard.oversize_sqlstate", "YAML reads this as a number"),
        ("guard: {oversize_sqlstate: 08s01}", "guard.oversize_sqlstate", "five characters"),
        ("guard: {oversize_sqlstate: HY00}", "guard.oversize_sqlstate", "five characters"),
        ("keepalive: {interval: 0s}", "keepalive.interval", "more than zero"),
        ("keepalive: {interval: null}", "keepalive.interval", "must be text, not nothing"),
        ("keepalive: {interval: 5}", "keepalive.interval", "needs a unit"),
        ("keepalive: {probe_timeout: 0s}", "keepalive.probe_timeout", "more than zero"),
        ("keepalive: {validate_after: 1.5}", "keepalive.validate_after", "needs a unit"),
        ("keepalive:", "keepalive", "must be a mapping of keys to values, not nothing"),
        ("limits: {sessions: 0}", "limits.sessions", "greater than or equal to 1"),
        ("limits: {sessions: many}", "limits.sessions", "valid integer"),
        ("limits: {sessions: yes}", "limits.sessions", "valid integer"),
        ("limits: {sessions: 0100}", "limits.sessions", "valid integer"),
        ("log: {level: off}", "log.level", "must be one of debug, info, warning, error, not true or false"),
    ],
)
def test_what_an_option_does_not_accept(text: str, path: str, message: str, refuse: Refuse) -> None:
    assert any(problem.path == path and message in problem.message for problem in refuse(UPSTREAM + text))


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("{}", "upstream.address", "missing"),
        ("{address: db:0}", "upstream.address", "1 to 65535"),
        ("{address: 3306}", "upstream.address", "YAML reads this as a number"),
        ("{address: unix:/s, tls: {mode: verify-ca}}", "upstream.tls.mode", "no effect on a unix socket"),
        ("{address: unix:/s, tls: {mode: verify-identity}}", "upstream.tls.mode", "no effect on a unix socket"),
        ("{address: db, tls: {ca: /nowhere/ca.pem, mode: verify-ca}}", "upstream.tls.ca", "No such file"),
        ("{address: db, tls: {ca: /, mode: verify-ca}}", "upstream.tls.ca", "not a regular file"),
        ("{address: db, tls: {ca: /etc/passwd, mode: verify-ca}}", "upstream.tls.ca", "no certificate"),
        ("{address: db, tls: {ca: /etc/passwd}}", "upstream.tls.ca", "no effect with mode preferred"),
        ("{address: db, connect_timeout: 0ms}", "upstream.connect_timeout", "more than zero"),
    ],
)
def test_what_an_upstream_does_not_accept(text: str, path: str, message: str, refuse: Refuse) -> None:
    assert any(problem.path == path and message in problem.message for problem in refuse(f"upstream: {text}"))


def test_two_listeners_on_any_free_port_do_not_collide(load_text: Load) -> None:
    assert len(load_text(UPSTREAM + "listen: [{address: a:0}, {address: a:0}]").listen) == 2


@pytest.mark.parametrize("mode", ["disabled", "preferred", "required"])
def test_a_unix_upstream_needs_no_change_of_the_tls_mode(mode: str, load_text: Load) -> None:
    assert load_text(f"upstream: {{address: unix:/s, tls: {{mode: {mode}}}}}").upstream.tls.mode == mode


def test_the_certificates_of_the_system_verify_too(load_text: Load) -> None:
    assert load_text("upstream: {address: db, tls: {mode: verify-identity, ca: null}}").upstream.tls.ca is None


def test_a_password_comes_from_the_environment(load_text: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_DB_PASSWORD", " kept as it is ")
    config = load_text(UPSTREAM + "auth: {mode: users, users: [{user: app, password_env: APP_DB_PASSWORD}]}")
    assert config.auth.users[0].password.get_secret_value() == " kept as it is "


@pytest.mark.parametrize(
    ("content", "password"), [(b"pw\n", "pw"), (b"pw\r\n", "pw"), (b"pw", "pw"), (b" p\nw \n\n", " p\nw \n")]
)
def test_a_password_comes_from_a_file(content: bytes, password: str, load_text: Load, tmp_path: Path) -> None:
    (tmp_path / "pw").write_bytes(content)
    config = load_text(UPSTREAM + f"auth: {{mode: users, users: [{{user: app, password_file: {tmp_path}/pw}}]}}")
    assert config.auth.users[0].password.get_secret_value() == password


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\n", "empty"), (b"\xff", "UTF-8"), (b"a\0b", "NUL"), (b"x" * 65537, "larger than 64 KiB")],
)
def test_a_file_that_holds_no_password(content: bytes, message: str, refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "pw").write_bytes(content)
    (problem,) = refuse(UPSTREAM + f"auth: {{mode: users, users: [{{user: app, password_file: {tmp_path}/pw}}]}}")
    assert problem.path == "auth.users[0].password_file"
    assert message in problem.message


def test_a_variable_that_is_not_utf_8(refuse: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATIN_1", os.fsdecode(b"caf\xe9"))
    (problem,) = refuse(UPSTREAM + "auth: {mode: users, users: [{user: app, password_env: LATIN_1}]}")
    assert (problem.path, problem.message) == ("auth.users[0].password_env", "is not valid UTF-8")


def test_an_empty_variable_is_a_mistake_and_an_empty_password_is_not(
    load_text: Load, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMPTY", "")
    (problem,) = refuse(UPSTREAM + "auth: {mode: users, users: [{user: app, password_env: EMPTY}]}")
    assert "empty" in problem.message
    config = load_text(UPSTREAM + 'auth: {mode: users, users: [{user: app, password: ""}]}')
    assert not config.auth.users[0].password.get_secret_value()


def test_the_schema_can_be_used_without_a_file() -> None:
    user = User(user="app", password=SecretStr("pw"))
    config = Config.model_validate({"upstream": {"address": "db:1"}, "auth": {"mode": "users", "users": [user]}})
    assert config.auth.users == (user,)


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, Path]:
    """Give the files of a certificate, of its key, of both, of another key, and of the key with a password."""
    ca = trustme.CA()
    issued, other = ca.issue_cert("db"), ca.issue_cert("db")
    files = {name: tmp_path / f"{name}.pem" for name in ("cert", "key", "both", "other", "locked")}
    issued.cert_chain_pems[0].write_to_path(files["cert"])
    issued.private_key_pem.write_to_path(files["key"])
    issued.private_key_and_cert_chain_pem.write_to_path(files["both"])
    other.private_key_pem.write_to_path(files["other"])
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    files["locked"].write_bytes(locked)
    return files


SECTIONS = {
    "upstream.tls": "upstream: {{address: db, tls: {{{}}}}}",
    "listen[0].tls": UPSTREAM.replace("{", "{{").replace("}", "}}") + "listen: [{{address: a, tls: {{{}}}}}]",
}


@pytest.mark.parametrize("section", sorted(SECTIONS))
def test_certificates_with_their_keys(section: str, pair: dict[str, Path], load_text: Load, refuse: Refuse) -> None:
    for written in ("cert: {cert}, key: {key}", "cert: {both}"):
        load_text(SECTIONS[section].format(written.format(**pair)))
    for written, key, message in (
        ("cert: {cert}, key: {other}", "key", "not the key to this certificate"),
        ("cert: {cert}", "cert", "holds no certificate and key"),
        ("cert: {key}, key: {key}", "cert", "holds no certificate and key"),
        ("cert: {cert}, key: {locked}", "key", "has a password"),
        ("cert: {cert}, key: {cert}", "cert", "holds no certificate and key"),
    ):
        (problem,) = refuse(SECTIONS[section].format(written.format(**pair)))
        assert problem.path == f"{section}.{key}"
        assert message in problem.message


def test_a_check_of_certificates_that_clients_could_go_around(ca_file: Path, refuse: Refuse) -> None:
    (problem,) = refuse(UPSTREAM + f"listen: [{{address: a, tls: {{ca: {ca_file}}}}}]")
    assert problem.path == "listen[0].tls.ca"
    assert "require: true" in str(problem.hint)


def test_a_certificate_that_nobody_would_see(pair: dict[str, Path], refuse: Refuse) -> None:
    (problem,) = refuse(f"upstream: {{address: db, tls: {{mode: disabled, cert: {pair['both']}}}}}")
    assert (problem.path, problem.message) == ("upstream.tls.cert", "has no effect with mode disabled")


def test_the_admin_pages_are_on_loopback_unless_told_otherwise(load_text: Load) -> None:
    default = load_text("upstream: {address: db}").admin
    assert (str(default.address), default.token, default.is_chosen) == ("127.0.0.1:8307", None, False)
    assert load_text("upstream: {address: db}\nadmin: {address: null}").admin.address is None
    chosen = load_text("upstream: {address: db}\nadmin: {address: 127.0.0.1}").admin
    assert (str(chosen.address), chosen.is_chosen) == ("127.0.0.1:8307", True)


@pytest.mark.parametrize("key", ["token_env", "token_file"])
def test_the_token_comes_from_elsewhere_and_is_not_shown(
    key: str, load_text: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", "hunter2secret")
    (tmp_path / "token").write_text("hunter2secret\n")
    source = "ADMIN_TOKEN" if key == "token_env" else tmp_path / "token"
    config = load_text(f"upstream: {{address: db}}\nadmin: {{{key}: {source}}}")
    assert config.admin.token is not None
    assert config.admin.token.get_secret_value() == "hunter2secret"
    assert "hunter2secret" not in f"{config} {config!r} {config.model_dump_json()}"


@pytest.mark.parametrize("token", ["two words", "with\nnewline", "gr\u00fcn", "\x7f"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_repeated(
    token: str, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", token)
    (problem,) = refuse("upstream: {address: db}\nadmin: {token_env: ADMIN_TOKEN}")
    assert problem.path == "admin.token_env"
    assert "visible ASCII" in problem.message
    assert token not in str(problem)
