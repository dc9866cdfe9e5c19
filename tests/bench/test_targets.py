import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pymysql
import pytest

from bench import load, targets
from bench.place import certificate_options
from bench.targets import LINEUPS, STARTERS, AbsentError, Target, peer, rotated
from tests.servers import MariaDB, MySQL, Server
from tests.servers.process import free_port


def make_user(server: Server) -> None:
    server.execute(f"CREATE DATABASE {load.DATABASE}")
    server.execute(f"CREATE USER {load.USER}@'127.0.0.1' IDENTIFIED BY '{load.PASSWORD}'")
    server.execute(f"GRANT ALL ON {load.DATABASE}.* TO {load.USER}@'127.0.0.1'")


@pytest.fixture
def bench_server(mariadb: Server) -> Iterator[Server]:
    make_user(mariadb)
    yield mariadb
    mariadb.execute(f"DROP USER {load.USER}@'127.0.0.1'")
    mariadb.execute(f"DROP DATABASE {load.DATABASE}")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("name", ["HAProxy", "nginx stream", "MySQL Router"])
def test_a_proxy_serves_and_ends(name: str, bench_server: Server, tmp_path: Path) -> None:
    starter = STARTERS[name](bench_server.port, tmp_path)
    try:
        target = starter.__enter__()
    except AbsentError as error:
        if "not installed" not in str(error) and not MySQL.unavailable():
            raise  # it is our fault
        pytest.skip(f"{name}: {error}")
    try:
        assert target.pid is not None
        assert target.version
        connection = pymysql.connect(
            host=target.host, port=target.port, user=load.USER, password=load.PASSWORD, read_timeout=10
        )
        with closing(connection), connection.cursor() as cursor:
            cursor.execute("SELECT @@port")
            assert cursor.fetchall() == ((bench_server.port,),)
    finally:
        starter.__exit__(None, None, None)
    assert not is_alive(target.pid)


def test_tls_is_between_proxy_and_server_alone(tmp_path: Path) -> None:
    with MariaDB(tuple(certificate_options(tmp_path))) as server:
        make_user(server)
        for name, starter in LINEUPS["tls"].items():
            if name == "MySQL Router" and MySQL.unavailable():
                continue
            directory = tmp_path / name
            directory.mkdir()
            with starter(server.port, directory) as target:
                connection = pymysql.connect(
                    host=target.host, port=target.port, user=load.USER, password=load.PASSWORD, ssl_disabled=True
                )
                with closing(connection), connection.cursor() as cursor:
                    cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
                    assert cursor.fetchall()[0][1], f"{name} is not encrypted"


def test_a_guard_at_a_unix_socket(bench_server: Server, tmp_path: Path) -> None:
    with LINEUPS["unix"]["stillhere, unix"](bench_server.port, tmp_path) as target:
        connection = pymysql.connect(unix_socket=target.socket, user=load.USER, password=load.PASSWORD)
        with closing(connection), connection.cursor() as cursor:
            cursor.execute("SELECT @@port")
            assert cursor.fetchall() == ((bench_server.port,),)


def test_each_target_is_the_first_in_turn() -> None:
    targets = [Target(name, 1, "") for name in "abc"]
    assert ["".join(target.name for target in rotated(targets, number)) for number in (-1, 0, 1, 3)] == [
        "cab",
        "abc",
        "bca",
        "abc",
    ]


def test_a_program_that_does_not_start(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", "raise SystemExit('no such luck')"]
    with pytest.raises(AbsentError, match=r"status 1 .*no such luck"), targets._running(command, log, free_port()):
        pytest.fail("it does not run")


def test_a_program_that_never_serves_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "READY_SECONDS", 0.3)
    monkeypatch.setattr(targets, "END_SECONDS", 0.1)
    pid_file = tmp_path / "pid"
    program = (
        "import os, pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(pid_file)]
    with pytest.raises(AbsentError, match="does not serve"), targets._running(command, tmp_path / "log", free_port()):
        pytest.fail("it does not serve")
    assert not is_alive(int(pid_file.read_text()))


def test_a_missing_program_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "find_program", lambda _name: None)
    for name in ("HAProxy", "nginx stream"):
        with pytest.raises(AbsentError, match="not installed"), STARTERS[name](1, tmp_path):
            pytest.fail("it is not there")


def test_peer(bench_server: Server) -> None:
    assert peer("other", "127.0.0.1", bench_server.port) == Target("other", bench_server.port, "")


def test_peer_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "READY_SECONDS", 0.2)
    with pytest.raises(AbsentError, match="does not serve"):
        peer("other", "127.0.0.1", free_port())
