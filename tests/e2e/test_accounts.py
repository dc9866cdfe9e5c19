"""Accounts of every kind: their plugins, their passwords and what becomes of a session when these change."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import mysql.connector
import pymysql
import pytest
from pymysql.constants import CLIENT

from protocol import auth
from protocol.constants import Capability
from protocol.framing import build_packet
from protocol.handshake import Greeting, LoginRequest
from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.e2e.guarded import Guarded
from tests.e2e.test_bad_clients import CAPABILITIES, dial, read_packet
from tests.guard import Guard
from tests.servers import Connection, MariaDB, Server, StartServer

PASSWORD = "pass, w'rd"
NEW_PASSWORD = "n3w"
PASSTHROUGH = {"mode": "passthrough"}


@pytest.fixture
def user(server: Server) -> Iterator[str]:
    """Give a user with PASSWORD, new to the server."""
    name = f"u{os.urandom(6).hex()}"
    server.execute(f"CREATE USER '{name}'@'%%' IDENTIFIED BY %s", (PASSWORD,))
    yield name
    server.execute(f"DROP USER IF EXISTS '{name}'@'%'")


def whoami(connection: Connection) -> str:
    ((name,),) = wire.query(connection, "SELECT CURRENT_USER()")
    return str(name)


def refusal(guard: Guard, *arguments: str, **options: Any) -> tuple[Any, ...]:
    with pytest.raises(pymysql.OperationalError) as error:
        guard.connect(*arguments, **options)
    return error.value.args


def lose(guard: Guard, server: Server, connection: Connection) -> None:
    """Have a session lose its link, and wait until it has another one. Call it once in a session."""
    server.execute(f"KILL CONNECTION {wire.thread_id(connection)}")
    guard.wait_for("link lost and restored")


# Passwords that change


@pytest.mark.parametrize("tls", ["disabled", "preferred"])
def test_a_server_that_has_forgotten_all_passwords(
    server: Server, start_guard: StartGuard, user: str, tls: str
) -> None:
    guard = start_guard(address(server), upstream={"tls": {"mode": tls}})
    with closing(guard.connect(user, PASSWORD)) as connection:
        whoami(connection)
        server.execute("FLUSH PRIVILEGES")
        lose(guard, server, connection)
        assert whoami(connection) == f"{user}@%"
        server.execute("FLUSH PRIVILEGES")
        with closing(guard.connect(user, PASSWORD, ssl_disabled=True)) as another:
            assert whoami(another) == f"{user}@%"


def test_a_password_changed_under_the_guard(server: Server, start_guard: StartGuard, user: str) -> None:
    guard = start_guard(address(server))
    with closing(guard.connect(user, PASSWORD)) as old:
        whoami(old)
        server.execute(f"ALTER USER '{user}'@'%%' IDENTIFIED BY %s", (NEW_PASSWORD,))
        with closing(guard.connect(user, NEW_PASSWORD)) as new:
            assert whoami(new) == f"{user}@%"
        lose(guard, server, old)
        assert whoami(old) == f"{user}@%"
        # The old one does not let anybody in any more.
        assert refusal(guard, user, PASSWORD)[0] == 1045
        with closing(guard.connect(user, NEW_PASSWORD)) as new:
            assert whoami(new) == f"{user}@%"


def test_sessions_with_a_password_that_is_no_more(own_server: StartServer, start_guard: StartGuard) -> None:
    """Each says so, and not each of them tries: there are accounts that are locked after some wrong passwords."""
    server = own_server()
    server.execute("CREATE USER app@'%%' IDENTIFIED BY %s", (PASSWORD,))
    guard = start_guard(address(server), reconnect={"concurrency": 1})
    with ExitStack() as stack:
        sessions = [stack.enter_context(closing(guard.connect("app", PASSWORD))) for _ in range(8)]
        for session in sessions:
            whoami(session)
        server.execute("ALTER USER app@'%%' IDENTIFIED BY %s", (NEW_PASSWORD,))
        counter = "SHOW GLOBAL STATUS LIKE 'Aborted_connects'"
        with closing(server.connect()) as root:
            ((_, before),) = wire.query(root, counter)
            for session in sessions:
                server.execute(f"KILL CONNECTION {wire.thread_id(session)}")
            for session in sessions:
                with pytest.raises(pymysql.OperationalError) as parting:
                    whoami(session)
                assert parting.value.args[0] == 4031
                assert "password" in parting.value.args[1] or "Access denied" in parting.value.args[1]
            ((_, after),) = wire.query(root, counter)
    assert int(after) - int(before) == 1
    with closing(guard.connect("app", NEW_PASSWORD)) as session:
        assert whoami(session) == "app@%"


def test_two_passwords_of_one_account(mysql: Server, start_guard: StartGuard) -> None:
    """MySQL lets an account keep its old password while it is replaced everywhere."""
    guard = start_guard(address(mysql))
    mysql.execute("CREATE USER doubled@'%%' IDENTIFIED BY %s", (PASSWORD,))
    try:
        with closing(guard.connect("doubled", PASSWORD)) as old:
            mysql.execute("ALTER USER doubled@'%%' IDENTIFIED BY %s RETAIN CURRENT PASSWORD", (NEW_PASSWORD,))
            for password in (NEW_PASSWORD, PASSWORD, NEW_PASSWORD):
                guard.connect("doubled", password).close()
            mysql.execute("ALTER USER doubled@'%' DISCARD OLD PASSWORD")
            lose(guard, mysql, old)
            assert whoami(old) == "doubled@%"
            assert refusal(guard, "doubled", PASSWORD)[0] == 1045
    finally:
        mysql.execute("DROP USER doubled@'%'")


def into_sandbox(guard: Guard, user: str) -> Connection:
    """Log in as a client that can bear to be asked for a new password, and begins with nothing else."""
    flag = CLIENT.HANDLE_EXPIRED_PASSWORDS
    connection = guard.connect(user, PASSWORD, client_flag=flag, autocommit=None, defer_connect=True)
    wire.private(connection).set_character_set = lambda *_: None
    connection.connect()
    return connection


def test_an_expired_password(server: Server, start_guard: StartGuard, user: str) -> None:
    server.execute(f"ALTER USER '{user}'@'%' PASSWORD EXPIRE")
    if server.name == "mariadb":  # which would let everybody into the sandbox
        server.execute("SET GLOBAL disconnect_on_expired_password = ON")
    guard = start_guard(address(server))
    with pytest.raises(pymysql.OperationalError) as expected:
        server.connect(user=user, password=PASSWORD)
    assert refusal(guard, user, PASSWORD) == expected.value.args
    assert expected.value.args[0] == 1862
    for _ in range(2):
        with closing(into_sandbox(guard, user)) as sandbox:
            for _ in range(2):
                with pytest.raises(pymysql.err.MySQLError) as refused:
                    wire.query(sandbox, "SELECT 1")
                assert refused.value.args[0] == 1820
    with closing(into_sandbox(guard, user)) as sandbox:
        if server.name == "mariadb":
            wire.query(sandbox, f"SET PASSWORD = PASSWORD('{NEW_PASSWORD}')")
        else:
            wire.query(sandbox, f"ALTER USER USER() IDENTIFIED BY '{NEW_PASSWORD}'")
        assert wire.query(sandbox, "SELECT 1") == ((1,),)
    with closing(guard.connect(user, NEW_PASSWORD)) as connection:
        assert whoami(connection) == f"{user}@%"
    if server.name == "mariadb":
        server.execute("SET GLOBAL disconnect_on_expired_password = OFF")


# Who is who


def test_users_with_different_passwords(guard: Guard, server: Server, user: str) -> None:
    server.execute("CREATE USER another@'%%' IDENTIFIED BY %s", (NEW_PASSWORD,))
    try:
        for name, right, wrong in ((user, PASSWORD, NEW_PASSWORD), ("another", NEW_PASSWORD, PASSWORD)) * 2:
            with closing(guard.connect(name, right)) as connection:
                assert whoami(connection) == f"{name}@%"
            assert refusal(guard, name, wrong)[0] == 1045
    finally:
        server.execute("DROP USER another@'%'")


def test_one_user_from_two_hosts(guard: Guard, server: Server, user: str) -> None:
    """The server sees the guard's host for both of them, and so they are the same account."""
    for host in ("127.0.0.1", "127.0.0.2"):
        with closing(guard.connect(user, PASSWORD, bind_address=host)) as connection:
            ((seen,),) = wire.query(connection, "SELECT USER()")
            assert seen.startswith(f"{user}@")
            assert not seen.endswith("127.0.0.2")


def test_users_without_a_name(own_server: StartServer, start_guard: StartGuard) -> None:
    server = own_server()
    server.execute("CREATE USER ''@'%%' IDENTIFIED BY %s", (PASSWORD,))
    guard = start_guard(address(server))
    nameless = mysql.connector.connect(host=guard.host, port=guard.port, user="", password=PASSWORD)
    with closing(nameless), closing(nameless.cursor()) as cursor:
        cursor.execute("SELECT USER()")
        assert str(cursor.fetchall()).startswith("[('@")
    for name in ("whoever", "whoever", "someone"):
        with closing(guard.connect(name, PASSWORD)) as connection:
            assert whoami(connection) == "@%"
            ((claimed,),) = wire.query(connection, "SELECT USER()")
            assert claimed.partition("@")[0] == name
        assert refusal(guard, name, "wrong")[0] == 1045
    with closing(guard.connect("whoever", PASSWORD)) as connection:
        whoami(connection)
        lose(guard, server, connection)
        assert whoami(connection) == "@%"


def test_roles_at_login(guard: Guard, server: Server, user: str) -> None:
    role, other = f"r{user[:20]}", f"o{user[:20]}"
    host = "" if server.name == "mariadb" else "@'%'"
    for name in (role, other):
        server.execute(f"CREATE ROLE {name}")
        server.execute(f"GRANT {name} TO {user}@'%'")
    try:
        server.execute(f"SET DEFAULT ROLE {role} {'FOR' if server.name == 'mariadb' else 'TO'} {user}@'%'")
        with closing(Guarded(guard, user=user, password=PASSWORD)) as session:
            for change, expected in ((None, role), (f"SET ROLE {other}{host}", other), ("SET ROLE NONE", "NONE")):
                if change:
                    times = session.times_settled()
                    session.query(change)
                    session.wait_until_settled_again(times)
                ((before,),) = session.query("SELECT CURRENT_ROLE()")
                assert expected in (before or "NONE")
                server.execute(f"KILL CONNECTION {session.thread()}")
                session.wait_until_restored()
                assert session.query("SELECT CURRENT_ROLE()") == ((before,),)
    finally:
        server.execute(f"DROP ROLE {role}, {other}")


def test_proxy_users(start_guard: StartGuard, own_server: StartServer) -> None:
    """MySQL lets a user act as another one whom it may stand for."""
    server = own_server()
    if server.name == "mariadb":
        pytest.skip("here, only PAM and GSSAPI can say for whom a user stands")
    server.execute("SET GLOBAL check_proxy_users = ON, sha256_password_proxy_users = ON")
    server.execute("CREATE USER stand_in@'%%' IDENTIFIED WITH sha256_password BY %s", (PASSWORD,))
    server.execute("CREATE USER star@'%' IDENTIFIED BY 'unknown'")
    with closing(pymysql.connect(unix_socket=str(server.socket_path), user="root")) as root:  # who alone may grant it
        wire.query(root, "GRANT PROXY ON star@'%' TO stand_in@'%'")
    guard = start_guard(address(server))
    with closing(guard.connect("stand_in", PASSWORD)) as connection:
        assert whoami(connection) == "star@%"
        lose(guard, server, connection)
        assert whoami(connection) == "star@%"
        assert wire.query(connection, "SELECT @@proxy_user") == (("'stand_in'@'%'",),)


# Plugins


def test_an_account_with_a_password_from_before_4_1(start_guard: StartGuard, own_server: StartServer) -> None:
    server = own_server()
    if server.name == "mysql":
        pytest.skip("it has no such accounts any more")
    server.execute("SET GLOBAL secure_auth = OFF")
    # What PASSWORD() made of `secret` on those servers.
    server.execute("CREATE USER ancient@'%' IDENTIFIED VIA mysql_old_password USING '428567f408994404'")
    for mode, users in (("learn", []), ("users", [{"user": "ancient", "password": "secret"}])):
        guard = start_guard(address(server), auth={"mode": mode, "users": users})
        code, message = refusal(guard, "ancient", "secret")
        assert code == 1251
        assert "the server asks for mysql_old_password" in message


def test_change_user_between_users_and_plugins(server: Server, start_guard: StartGuard, schema: str) -> None:
    guard = start_guard(address(server))
    plugins = {
        "mariadb": ["VIA mysql_native_password USING PASSWORD(%s)", "VIA ed25519 USING PASSWORD(%s)"],
        "mysql": ["WITH caching_sha2_password BY %s", "WITH sha256_password BY %s"],
    }[server.name]
    if server.name == "mariadb":
        server.execute("INSTALL SONAME 'auth_ed25519'")
    names = [f"c{os.urandom(6).hex()}" for _ in plugins]
    for number, (name, plugin) in enumerate(zip(names, plugins, strict=True)):
        server.execute(f"CREATE USER {name}@'%%' IDENTIFIED {plugin}", (f"{PASSWORD}{number}",))
        server.execute(f"GRANT ALL ON {schema}.* TO {name}@'%'")
    try:
        connection = mysql.connector.connect(host=guard.host, port=guard.port, user="root", password="", use_pure=True)
        with closing(connection):
            for number, name in [*enumerate(names)] * 2:
                connection.cmd_change_user(name, f"{PASSWORD}{number}", schema)
                cursor = connection.cursor()
                cursor.execute("SELECT CURRENT_USER(), DATABASE(), CONNECTION_ID()")
                ((current, database, thread),) = cursor.fetchall()
                assert (current, database) == (f"{name}@%", schema)
                guard.wait_for("settled")  # the driver has set what is to be read back
                server.execute("KILL CONNECTION %s", (thread,))
                guard.wait_for("link lost and restored")
                cursor.execute("SELECT CURRENT_USER(), DATABASE()")
                assert cursor.fetchall() == [(current, schema)]
        # And what was learned so is known at a login.
        guard.connect(names[1], f"{PASSWORD}1").close()
    finally:
        for name in names:
            server.execute(f"DROP USER {name}@'%'")
        if server.name == "mariadb":
            server.execute("UNINSTALL SONAME 'auth_ed25519'")


class PamMariaDB(MariaDB):
    """A MariaDB for which PAM takes PASSWORD from everybody, and nothing else."""

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(["--plugin-load-add=auth_pam", "--plugin-load-add=auth_ed25519", *options])
        check, self._services = directory / "check.sh", directory / "pam.d"
        check.write_text(f'#!/bin/sh\nread -r password\n[ "$password" = "{PASSWORD}" ]\n')
        check.chmod(0o755)
        self._services.mkdir()
        (self._services / "mysql").write_text(
            f"auth required pam_exec.so expose_authtok quiet {check}\naccount required pam_permit.so\n"
        )

    def _command(self) -> list[str]:
        bind = 'mount --bind "$0" /etc/pam.d && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", bind, str(self._services), *super()._command()]


@pytest.fixture
def pam_directory(tmp_path: Path) -> Path:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("only root can give a process PAM services of its own")
    return tmp_path


@pytest.mark.parametrize("plugin", ["dialog", "mysql_clear_password"])
def test_pam(plugin: str, pam_directory: Path, start_guard: StartGuard) -> None:
    options = ["--pam-use-cleartext-plugin"] if plugin == "mysql_clear_password" else []
    with PamMariaDB(pam_directory, *options) as server:
        server.execute("CREATE USER person@'%' IDENTIFIED VIA pam USING 'mysql'")
        server.execute("CREATE USER person@localhost IDENTIFIED VIA pam USING 'mysql'")
        # No password in clear text where others can read it.
        code, message = refusal(start_guard(address(server)), "person", PASSWORD)
        assert code == 1251
        assert f"for {plugin}, the server asks for the password in clear text" in message
        guard = start_guard(f"unix:{server.socket_path}")
        with closing(guard.connect("person", PASSWORD)) as connection:
            assert whoami(connection) == "person@localhost"
            lose(guard, server, connection)
            assert whoami(connection) == "person@localhost"
        assert refusal(guard, "person", "wrong")[0] == 1045
        # Where the server itself talks to the client.
        passing = start_guard(f"unix:{server.socket_path}", auth=PASSTHROUGH)
        done = subprocess.run(
            [
                "mariadb",
                "--no-defaults",
                f"--socket={passing.socket_path}",
                "--user=person",
                f"--password={PASSWORD}",
                "--skip-column-names",
                "--execute=SELECT CURRENT_USER()",
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stdout == "person@localhost\n"


# Logins between the client and the server


def test_a_login_that_is_passed_through(server: Server, start_guard: StartGuard, user: str) -> None:
    guard = start_guard(address(server), auth=PASSTHROUGH)
    for options in ({"ssl_disabled": True}, {}):
        if server.name == "mysql":
            server.execute("FLUSH PRIVILEGES")  # so that it has to be given the password
        for _ in range(2):
            with closing(guard.connect(user, PASSWORD, **options)) as connection:
                assert whoami(connection) == f"{user}@%"
        with pytest.raises(pymysql.OperationalError) as expected:
            server.connect(user=user, password="wrong", **options)
        assert refusal(guard, user, "wrong", **options) == expected.value.args


def test_a_session_that_was_passed_through_cannot_come_back(server: Server, start_guard: StartGuard, user: str) -> None:
    guard = start_guard(address(server), auth=PASSTHROUGH)
    with closing(guard.connect(user, PASSWORD)) as connection:
        whoami(connection)
        assert wire.ask(connection, wire.COM_RESET_CONNECTION)[0] == 0  # it stays what it is
        server.execute(f"KILL CONNECTION {wire.thread_id(connection)}")
        with pytest.raises(pymysql.OperationalError) as parting:
            whoami(connection)
        assert parting.value.args[0] == 4031
        assert "a login whose password the guard does not know" in parting.value.args[1]


def test_change_user_that_is_passed_through(server: Server, start_guard: StartGuard, user: str) -> None:
    guard = start_guard(address(server), auth=PASSTHROUGH)
    connection = mysql.connector.connect(host=guard.host, port=guard.port, user="root", password="", use_pure=True)
    with closing(connection):
        for _ in range(2):
            connection.cmd_change_user(user, PASSWORD)
            cursor = connection.cursor()
            cursor.execute("SELECT CURRENT_USER()")
            assert cursor.fetchall() == [(f"{user}@%",)]
        with pytest.raises(mysql.connector.Error) as wrong:
            connection.cmd_change_user(user, "wrong")
        assert wrong.value.errno == 1045


def test_links_that_are_not_equally_private(mysql: Server, start_guard: StartGuard) -> None:
    mysql.execute("CREATE USER cold@'%%' IDENTIFIED BY %s", (PASSWORD,))
    try:
        for mode, options in (("required", {"ssl_disabled": True}), ("disabled", {})):
            guard = start_guard(address(mysql), auth=PASSTHROUGH, upstream={"tls": {"mode": mode}})
            mysql.execute("FLUSH PRIVILEGES")
            code, message = refusal(guard, "cold", PASSWORD, **options)
            assert code == 1251
            assert "Encrypt both, or neither" in message
            # Known to the server, the password itself is not needed.
            mysql.connect(user="cold", password=PASSWORD).close()
            guard.connect("cold", PASSWORD, **options).close()
    finally:
        mysql.execute("DROP USER cold@'%'")


def test_a_client_without_plugins(mariadb: Server, start_guard: StartGuard) -> None:
    """Its password cannot be learned, but what it has answered to the server's scramble is good for one login."""
    mariadb.execute("CREATE USER old@'%%' IDENTIFIED BY %s", (PASSWORD,))
    try:
        guard = start_guard(address(mariadb))
        capabilities = CAPABILITIES & ~Capability.PLUGIN_AUTH
        for password, code in ((PASSWORD, 0x00), ("wrong", 0xFF)):
            with dial(guard) as sock:
                greeting = Greeting.parse(read_packet(sock)[1])
                response = auth.native_response(password.encode(), greeting.nonce)
                request = LoginRequest(capabilities, 1 << 24, 45, bytes(19), b"old", response, None, None, None)
                sock.sendall(build_packet(request.build(), 1))
                sequence_id, answer = read_packet(sock)
                assert (sequence_id, answer[0]) == (2, code)
                if code:
                    assert wire.error(answer)[0] == 1045
                    continue
                assert "does not support authentication plugins" in guard.wait_for("password not learned")["reason"]
                mariadb.execute(f"KILL CONNECTION {greeting.thread_id}")
                sock.sendall(build_packet(b"\x0e", 0))
                parting, _, message = wire.error(read_packet(sock)[1])
                assert parting == 4031
                assert "a login whose password the guard does not know" in message
    finally:
        mariadb.execute("DROP USER old@'%'")
