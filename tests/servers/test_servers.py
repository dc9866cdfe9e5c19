import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pymysql
import pytest

from tests.servers import MariaDB, MySQL, Server, ServerError, StartServer, base
from tests.servers.instance import InstanceDirectory
from tests.servers.process import free_port


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < deadline, f"{pid} still runs"
        time.sleep(0.02)


def test_a_life_with_crash_restart_stop_and_pause(own_server: StartServer) -> None:
    server = own_server("--wait-timeout=1234")
    directory, port, first_pid = server.directory, server.port, server.pid
    assert server.execute("SELECT @@global.wait_timeout, @@port, CURRENT_USER()") == [(1234, port, "root@127.0.0.1")]
    assert (server.name == "mysql") == server.version.startswith("9.")
    assert ("test",) in server.execute("SHOW DATABASES")
    assert server.execute("SELECT COUNT(*) FROM mysql.user WHERE user = ''") == [(0,)]

    server.execute("CREATE TABLE kept (id INT PRIMARY KEY) ENGINE=InnoDB", database="test")
    with closing(server.connect(database="test")) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO kept VALUES (%s)", (1,))
        connection.commit()
        cursor.execute("INSERT INTO kept VALUES (%s)", (2,))  # never committed
        server.crash()
        assert not is_alive(first_pid)
        with pytest.raises(pymysql.err.OperationalError, match="Lost connection"):
            cursor.execute("SELECT 1")
    with pytest.raises(pymysql.err.OperationalError, match="refused"):
        server.connect()

    server.restart()
    assert server.port == port
    assert server.execute("SELECT id FROM kept", database="test") == [(1,)]
    server.options = ("--wait-timeout=4321",)
    server.restart()
    assert server.execute("SELECT @@global.wait_timeout") == [(4321,)]

    with closing(server.connect(read_timeout=0.3)) as connection, connection.cursor() as cursor:
        server.pause()
        with pytest.raises(pymysql.err.OperationalError, match="timed out"):
            cursor.execute("SELECT 1")
    server.resume()
    assert server.execute("SELECT id FROM kept", database="test") == [(1,)]

    with closing(pymysql.connect(unix_socket=str(server.socket_path), user="root")) as connection:
        assert connection.open

    server.pause()
    pid = server.pid
    server.close()
    assert not is_alive(pid)
    assert not directory.exists()
    server.close()


def test_stop_ends_a_paused_server_cleanly() -> None:
    with MariaDB() as server:
        server.pause()
        server.stop()
        assert "Shutdown complete" in server.error_log.read_text()
        with pytest.raises(ServerError, match="does not run"):
            server.crash()


@pytest.mark.parametrize("kind", [MariaDB, MySQL])
def test_a_failing_start_says_why_and_leaves_nothing(kind: type[Server]) -> None:
    if kind is MySQL and (reason := MySQL.unavailable()):
        pytest.skip(reason)
    server = kind(["--no-such-option=1"])
    with pytest.raises(ServerError, match="no-such-option"):
        server.start()
    assert repr(server).endswith("not running>")
    with pytest.raises(ServerError, match="closed"):
        _ = server.directory
    with kind() as other:  # its start may remove orphans, so what is left is ours alone
        for log in other.directory.parent.glob("*/error.log"):
            with suppress(FileNotFoundError):  # of another test's server, which has ended meanwhile
                assert "no-such-option" not in log.read_text()


def test_an_interrupted_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    directories: list[Path] = []
    pids: list[int] = []

    def interrupted(self: Server, *_args: object) -> None:
        directories.append(self.directory)
        pids.append(self.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "_wait_until_up", interrupted)
    with pytest.raises(KeyboardInterrupt):
        MariaDB().start()
    assert not is_alive(pids[0])
    assert not directories[0].exists()


def test_a_port_lost_in_the_race_is_replaced(mariadb: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    free = free_port()
    ports = iter([mariadb.port, free])
    monkeypatch.setattr(base, "free_port", lambda: next(ports))
    with MariaDB() as server:
        assert server.port == free


def test_a_fixed_port_is_not_replaced(mariadb: Server) -> None:
    with pytest.raises(ServerError, match="Address already in use"):
        MariaDB(port=mariadb.port).start()


def test_a_server_outlives_the_thread_that_started_it() -> None:
    # The parent-death signal belongs to the thread that forked; worker threads come and go.
    server = MariaDB()
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    with server:
        time.sleep(0.1)
        assert server.execute("SELECT 1") == [(1,)]


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
@pytest.mark.parametrize("kind", [MariaDB, MySQL])
def test_servers_die_with_the_test_process(kind: type[Server]) -> None:
    if kind is MySQL and (reason := MySQL.unavailable()):
        pytest.skip(reason)
    program = (
        f"from tests.servers import {kind.__name__} as Kind\n"
        "import os, signal\n"
        "server = Kind()\n"
        "server.start()\n"
        "print(server.pid, server.directory, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, check=False, stdout=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL
    pid, directory = done.stdout.split()
    wait_until_gone(int(pid))
    # What the killed process could not remove, the next one does.
    InstanceDirectory(Path(directory).parent).remove()
    assert not Path(directory).exists()


def test_the_directory_of_a_living_owner_is_not_an_orphan(tmp_path: Path) -> None:
    living = InstanceDirectory(tmp_path)
    InstanceDirectory(tmp_path).remove()
    assert living.path.exists()
    living.remove()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_schema_is_an_empty_database(server: Server, schema: str) -> None:
    assert server.execute("SHOW TABLES", database=schema) == []
    server.execute("CREATE TABLE t (id INT)", database=schema)
