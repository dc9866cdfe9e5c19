"""The programs that come with the servers: a dump and its restoration, and the binary log read from afar."""

import subprocess

import pytest

from tests.drivers.conftest import log_of, make_account
from tests.drivers.table import IN_MYSQLS_ROOT, Account
from tests.e2e.conftest import StartGuard, address
from tests.guard import Guard
from tests.servers import MySQL, Server, StartServer

CLIENTS = {"mysql": (*IN_MYSQLS_ROOT, "mysql"), "mariadb": ("mariadb",)}
# Without the option, MySQL's dump claims that its transactions are not yet part of the server to which it is restored.
DUMPS = {"mysql": (*IN_MYSQLS_ROOT, "mysqldump", "--set-gtid-purged=OFF"), "mariadb": ("mariadb-dump",)}
BINLOGS = {"mysql": (*IN_MYSQLS_ROOT, "mysqlbinlog"), "mariadb": ("mariadb-binlog",)}


def run(program: tuple[str, ...], account: Account, *options: str, stdin: bytes = b"") -> bytes:
    """Run a program with an account, and return what it prints. It must succeed."""
    login = [f"--{name}={value}" for name, value in account.login.items()]
    done = subprocess.run([*program, *login, *options], check=False, input=stdin, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


@pytest.mark.parametrize("maker", DUMPS)
def test_a_dump_is_restored(server: Server, guard: Guard, account: Account, schema: str, maker: str) -> None:
    if maker == "mysql" and (reason := MySQL.unavailable()):
        pytest.skip(reason)
    blobs = [(n, bytes(range(256)) * 64) for n in range(200)]
    with server.connect(database=schema) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE blobs (n INT PRIMARY KEY, data BLOB)")
        cursor.executemany("INSERT INTO blobs VALUES (%s, %s)", blobs)
        connection.commit()
    dump = run(DUMPS[maker], account, schema)
    run(CLIENTS[maker], account, account.user, stdin=dump)
    ((_, before), (_, after)) = server.execute(f"CHECKSUM TABLE {schema}.blobs, {account.user}.blobs")
    assert before == after != 0
    assert "session lost" not in log_of(guard, account.user)


@pytest.mark.parametrize("maker", CLIENTS)
def test_an_account_without_a_password(server: Server, guard: Guard, maker: str) -> None:
    if maker == "mysql" and (reason := MySQL.unavailable()):
        pytest.skip(reason)
    server.execute("CREATE USER nopass@'%'")
    login = ["--host=127.0.0.1", f"--port={guard.port}", "--user=nopass", "--skip-column-names"]
    try:
        for _ in range(2):
            asked = [*CLIENTS[maker], *login, "--execute=SELECT CURRENT_USER()"]
            done = subprocess.run(asked, check=False, capture_output=True, text=True, timeout=60)
            assert (done.stdout.strip(), done.stderr) == ("nopass@%", "")
    finally:
        server.execute("DROP USER nopass@'%'")


def test_the_binary_log_is_read(own_server: StartServer, start_guard: StartGuard) -> None:
    server = own_server("--log-bin=binlog", "--server-id=1")
    guard = start_guard(address(server))
    account = make_account(server, guard, "reader")
    server.execute("CREATE TABLE test.t (n INT)")
    server.execute("INSERT INTO test.t VALUES (123456789)")
    file = server.execute("SHOW BINARY LOGS")[-1][0]
    log = run(BINLOGS[server.name], account, "--read-from-remote-server", "--verbose", file)
    assert b"123456789" in log
    # The server hangs up behind the last event, by which nobody loses anything.
    assert "session lost" not in log_of(guard, account.user)
