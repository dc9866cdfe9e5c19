"""Logging in to the guard, and through it to the server."""

import os
import pwd
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import mysql.connector
import pymysql
import pytest

from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.guard import Guard
from tests.servers import Connection, MariaDB, Server, StartServer

PASSWORD = "pass, w'rd"
NO_TLS = {"tls": {"mode": "disabled"}}
PLUGINS = {
    "mariadb": {"mysql_native_password": "VIA mysql_native_password USING PASSWORD(%s)"},
    "mysql": {
        "caching_sha2_password": "WITH caching_sha2_password BY %s",
        "sha256_password": "WITH sha256_password BY %s",
    },
}


@pytest.fixture
def user(server: Server) -> Iterator[str]:
    """Give a user with PASSWORD, new to the server, so that no cache of its knows the password."""
    name = f"u{os.urandom(6).hex()}"
    server.execute(f"CREATE USER '{name}'@'%%' IDENTIFIED BY %s", (PASSWORD,))
    yield name
    server.execute(f"DROP USER IF EXISTS '{name}'@'%'")


@pytest.fixture
def rsa_encryptions(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Give the passwords that PyMySQL encrypts with a server's key, as it does so."""
    encrypted: list[bytes] = []
    encrypt = pymysql._auth.sha2_rsa_encrypt  # type: ignore[attr-defined]

    def record(password: bytes, salt: bytes, public_key: bytes) -> Any:
        encrypted.append(password)
        return encrypt(password, salt, public_key)

    monkeypatch.setattr("pymysql._auth.sha2_rsa_encrypt", record)
    return encrypted


def whoami(connection: Connection) -> str:
    ((name,),) = wire.query(connection, "SELECT CURRENT_USER()")
    return str(name)


def test_learns_by_rsa_once(guard: Guard, user: str, rsa_encryptions: list[bytes]) -> None:
    for expected in (1, 1, 1):
        with closing(guard.connect(user, PASSWORD, ssl_disabled=True)) as connection:
            assert whoami(connection) == f"{user}@%"
        assert len(rsa_encryptions) == expected


def test_learns_over_tls_and_unix_socket(guard: Guard, user: str, rsa_encryptions: list[bytes]) -> None:
    with closing(guard.connect(user, PASSWORD)) as connection:
        assert wire.private(connection)._secure
        assert whoami(connection) == f"{user}@%"
    assert rsa_encryptions == []
    with closing(guard.connect(user, PASSWORD, unix_socket=str(guard.socket_path), ssl_disabled=True)) as connection:
        assert whoami(connection) == f"{user}@%"


def test_learns_over_a_unix_socket_alone(guard: Guard, user: str, rsa_encryptions: list[bytes]) -> None:
    with closing(guard.connect(user, PASSWORD, unix_socket=str(guard.socket_path), ssl_disabled=True)) as connection:
        assert whoami(connection) == f"{user}@%"
    assert rsa_encryptions == []


def test_upstream_plugins_without_tls(server: Server, start_guard: StartGuard) -> None:
    """The server does not know the passwords by heart, and no TLS protects them: it must be its RSA key."""
    guard = start_guard(address(server), upstream=NO_TLS)
    for plugin in PLUGINS[server.name]:
        name = f"u{os.urandom(6).hex()}"
        server.execute(f"CREATE USER '{name}'@'%%' IDENTIFIED {PLUGINS[server.name][plugin]}", (PASSWORD,))
        for _ in range(2):
            with closing(guard.connect(name, PASSWORD)) as connection:
                assert whoami(connection) == f"{name}@%"
        server.execute(f"DROP USER '{name}'@'%'")


def test_empty_password(guard: Guard, server: Server) -> None:
    server.execute("CREATE USER 'nopass'@'%'")
    try:
        with closing(guard.connect("nopass", "", ssl_disabled=True)) as connection:
            assert whoami(connection) == "nopass@%"
    finally:
        server.execute("DROP USER 'nopass'@'%'")


def refusal(**arguments: Any) -> tuple[Any, ...]:
    with pytest.raises(pymysql.OperationalError) as error:
        pymysql.connect(**arguments)
    return error.value.args


MISTAKES = (
    {"password": "wrong"},
    {"password": ""},
    {"database": "no_such_schema"},
    # MySQL hides that a user does not exist behind a plugin that it makes up from the name.
    *({"user": name} for name in ("nobody", "stranger", "x", "someone else", "5")),
)


@pytest.mark.parametrize("mode", ["learn", "users"])
def test_refusals_are_the_servers_own(server: Server, start_guard: StartGuard, user: str, mode: str) -> None:
    users = [{"user": user, "password": PASSWORD}] if mode == "users" else []
    guard = start_guard(address(server), auth={"mode": mode, "users": users})
    for _ in range(2):
        for mistake in MISTAKES:
            arguments: dict[str, Any] = {"host": "127.0.0.1", "user": user, "password": PASSWORD, "ssl_disabled": True}
            expected = refusal(port=server.port, **arguments | mistake)
            assert expected[0] in (1045, 1049, 1044)
            assert refusal(port=guard.port, **arguments | mistake) == expected
        # Now the guard knows the password.
        guard.connect(user, PASSWORD).close()


def test_users_from_the_configuration(server: Server, start_guard: StartGuard, user: str, tmp_path: Any) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    guard = start_guard(address(server), auth={"mode": "users", "users": [{"user": user, "password_file": str(file)}]})
    with closing(guard.connect(user, PASSWORD, ssl_disabled=True)) as connection:
        assert whoami(connection) == f"{user}@%"


def test_passwords_are_not_logged(server: Server, start_guard: StartGuard, user: str) -> None:
    guard = start_guard(address(server))
    guard.connect(user, PASSWORD).close()
    guard.wait_for("session ends")
    assert refusal(host=guard.host, port=guard.port, user=user, password="Wr0ng-Secret")
    guard.wait_for("login failed")
    assert not [event for event in guard.events if PASSWORD in str(event) or "Wr0ng" in str(event)]


def test_a_changed_password_is_learned_anew(guard: Guard, server: Server, user: str) -> None:
    guard.connect(user, PASSWORD).close()
    server.execute(f"ALTER USER '{user}'@'%%' IDENTIFIED BY %s", ("new",))
    expected = refusal(host=server.host, port=server.port, user=user, password=PASSWORD)
    assert refusal(host=guard.host, port=guard.port, user=user, password=PASSWORD) == expected
    guard.connect(user, "new").close()
    assert refusal(host=guard.host, port=guard.port, user=user, password=PASSWORD) == expected
    guard.connect(user, "new").close()


def refusal_of_a_full(server: Server | Guard) -> tuple[Any, ...]:
    """Open connections until there are too many."""
    with ExitStack() as held:
        for _ in range(20):
            try:
                held.enter_context(closing(server.connect("limited", PASSWORD)))
            except pymysql.OperationalError as error:
                return error.args
    raise AssertionError("the server takes any number of connections")


def test_a_full_server_says_so_itself(own_server: StartServer, start_guard: StartGuard) -> None:
    server = own_server("--max-connections=10")
    server.execute("CREATE USER limited@'%%' IDENTIFIED BY %s", (PASSWORD,))
    guard = start_guard(address(server))
    guard.connect("limited", PASSWORD).close()
    expected = refusal_of_a_full(server)
    assert expected[0] == 1040
    assert refusal_of_a_full(guard) == expected


def test_the_guard_trusts_no_client_because_the_server_trusts_the_guard(start_guard: StartGuard) -> None:
    """An account without a password, which the server lets in because of who runs the guard."""
    name = pwd.getpwuid(os.getuid()).pw_name
    with MariaDB() as server:
        server.execute(f"CREATE OR REPLACE USER '{name}'@localhost IDENTIFIED VIA unix_socket")
        pymysql.connect(unix_socket=str(server.socket_path), user=name).close()
        guard = start_guard(
            f"unix:{server.socket_path}", auth={"mode": "users", "users": [{"user": name, "password": PASSWORD}]}
        )
        for guess in ("guess", ""):
            code, message = refusal(host=guard.host, port=guard.port, user=name, password=guess)
            assert code == 1045
            assert message.startswith("stillhere: access denied")
        guard.connect(name, PASSWORD).close()


def test_change_user(guard: Guard, server: Server, user: str, schema: str) -> None:
    server.execute(f"GRANT ALL ON {schema}.* TO '{user}'@'%'")
    connection = mysql.connector.connect(host=guard.host, port=guard.port, user="root", password="", use_pure=True)
    with closing(connection):
        cursor = connection.cursor()
        cursor.execute("SET @mine = 1")
        for _ in range(2):
            connection.cmd_change_user(user, PASSWORD, schema)
            cursor = connection.cursor()
            cursor.execute("SELECT CURRENT_USER(), DATABASE(), @mine")
            assert cursor.fetchall() == [(f"{user}@%", schema, None)]
        with pytest.raises(mysql.connector.Error) as wrong:
            connection.cmd_change_user(user, "wrong", schema)
        assert wrong.value.errno == 1045


def test_a_refused_change_of_user_ends_what_the_server_ends(guard: Guard, server: Server, user: str) -> None:
    goes_on = {}
    for at in (guard, server):
        connection = mysql.connector.connect(host=at.host, port=at.port, user="root", password="", use_pure=True)
        with pytest.raises(mysql.connector.Error) as wrong:
            connection.cmd_change_user(user, "wrong")
        assert wrong.value.errno == 1045
        try:
            with closing(connection.cursor()) as cursor:
                cursor.execute("SELECT CURRENT_USER()")
                goes_on[at] = cursor.fetchall()
        except mysql.connector.Error:
            goes_on[at] = []
        connection.close()
    assert goes_on[guard] == goes_on[server]
    assert bool(goes_on[guard]) == (server.name == "mariadb")


def test_reset_connection(guard: Guard) -> None:
    with closing(guard.connect()) as connection:
        wire.query(connection, "SET @mine = 1, wait_timeout = 77")
        assert wire.ask(connection, wire.COM_RESET_CONNECTION)[0] == 0
        assert wire.query(connection, "SELECT @mine, @@wait_timeout = 77") == ((None, 0),)
