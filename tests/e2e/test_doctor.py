"""``stillhere doctor`` in front of real servers: its report, its exit code, and logs that they have just written."""

import json
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest
import yaml
from click.testing import CliRunner, Result

from protocol.framing import build_packet
from proxy import cli
from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.e2e.guarded import wait_until
from tests.guard import Guard
from tests.servers import Connection, MariaDB, Server, StartServer
from tests.servers.process import free_port

SECRET = "correct horse"
#: A reset in the place of a FIN.
NO_LINGER = struct.pack("ii", 1, 0)


def doctor(*arguments: str | Path, password: str | None = "") -> Result:
    result = CliRunner().invoke(
        cli.main, ["doctor", *map(str, arguments)], env={"STILLHERE_PASSWORD": password}, catch_exceptions=False
    )
    assert SECRET not in result.output
    return result


def report(*arguments: str | Path, password: str = "") -> dict[str, Any]:
    result = doctor(*arguments, "--json", password=password)
    data: dict[str, Any] = json.loads(result.stdout)
    is_at_risk = any(cause["verdict"] == "at_risk" for cause in data["causes"])
    assert result.exit_code == int(is_at_risk), result.output
    return data


def verdicts(data: dict[str, Any]) -> dict[str, str]:
    return {cause["cause"]: cause["verdict"] for cause in data["causes"]}


def evidence(data: dict[str, Any], label: str) -> str:
    return next("\n".join(cause["evidence"]) for cause in data["causes"] if cause["cause"] == label)


@pytest.fixture
def account(server: Server) -> Iterator[str]:
    """Give an account without any right on `server`, whose password is SECRET."""
    server.execute("CREATE USER doctor_app@'127.0.0.1' IDENTIFIED BY %s", (SECRET,))
    yield "doctor_app"
    server.execute("DROP USER doctor_app@'127.0.0.1'")


def test_an_ordinary_account_without_a_guard(server: Server, account: str) -> None:
    data = report("--upstream", address(server), "--user", account, password=SECRET)
    ((limit, timeout),) = server.execute("SELECT @@max_allowed_packet, @@wait_timeout")
    assert data["server"]["version"].endswith(server.version)
    assert data["server"]["variables"]["max_allowed_packet"] == str(limit)
    assert data["server"]["variables"]["wait_timeout"] == str(timeout)
    assert not data["guarded"]
    assert 0 < data["path"]["round_trip"] <= data["path"]["longest_round_trip"] < data["path"]["connect_seconds"]
    found = verdicts(data)
    # The server has just been started, on this machine, with the usual wait_timeout.
    assert (found["idle_timeout"], found["restart"], found["network"]) == ("at_risk", "at_risk", "safe")
    assert found["packet_too_large"] == ("at_risk" if limit < 64 << 20 else "unknown")


def test_more_rights_show_more(server: Server, account: str) -> None:
    with closing(server.connect()):
        ordinary = report("--upstream", address(server), "--user", account, password=SECRET)
        privileged = report("--upstream", address(server), "--user", "root")
    assert any("GRANT PROCESS" in note for note in ordinary["not_seen"])
    assert not any("GRANT" in note for note in privileged["not_seen"])
    assert ordinary["server"]["sessions"]["visible"] == 1
    assert privileged["server"]["sessions"]["sleeping"] >= 1
    if server.name == "mysql":
        assert any("GRANT SELECT ON performance_schema" in note for note in ordinary["not_seen"])
        assert ordinary["server"]["errors"] is None
        assert privileged["server"]["errors"] is not None


def test_behind_a_guard_nothing_is_at_risk(server: Server, account: str, tmp_path: Path) -> None:
    file = tmp_path / "stillhere.yaml"
    users = [{"user": account, "password": SECRET}]
    file.write_text(
        yaml.safe_dump({"upstream": {"address": address(server)}, "auth": {"mode": "users", "users": users}})
    )
    # Whom to log in as, and with which password, is in the file.
    result = doctor(file, password=None)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "applications behind the guard" in result.stdout
    assert "at risk" not in result.stdout
    file.write_text(yaml.safe_dump({"upstream": {"address": address(server)}, "auth": {"mode": "passthrough"}}))
    assert verdicts(report(file, "--user", account, password=SECRET))["killed"] == "at_risk"


def test_something_between_here_and_the_server(server: Server, account: str, guard: Guard) -> None:
    data = report("--upstream", f"{guard.host}:{guard.port}", "--user", account, password=SECRET)
    assert "NAT or a proxy stands in between" in evidence(data, "network")
    assert verdicts(data)["network"] in ("at_risk", "unknown")


def test_a_report_for_people(server: Server, account: str) -> None:
    result = doctor("--upstream", address(server), "--user", account, password=SECRET)
    assert result.exit_code == 1
    for words in ("oversized packet", "at risk", "wait_timeout", "pool_recycle=21600", "CONN_MAX_AGE", "maxLifetime="):
        assert words in result.stdout
    # Settings are to be copied: they are not broken into lines.
    assert f"stillhere run --upstream {address(server)}    # keeps idle sessions alive" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "password", "words"),
    [
        (["--user", "doctor_app"], "wrong", "Access denied"),
        (["--user", "doctor_app"], None, "set STILLHERE_PASSWORD"),
        ([], SECRET, "--user is missing"),
    ],
)
def test_no_login(server: Server, account: str, arguments: list[str], password: str | None, words: str) -> None:
    result = doctor("--upstream", address(server), *arguments, password=password)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_no_server() -> None:
    for upstream, words in ((f"127.0.0.1:{free_port()}", "Connection refused"), ("1:2:3", "IPv6")):
        result = doctor("--upstream", upstream, "--user", "app")
        assert result.exit_code == 2
        assert words in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_a_server_that_is_not_to_be_trusted(mysql: Server, tmp_path: Path) -> None:
    file = tmp_path / "stillhere.yaml"
    upstream = {"address": address(mysql), "tls": {"mode": "verify-ca"}}
    file.write_text(yaml.safe_dump({"upstream": upstream}))
    result = doctor(file, "--user", "root")
    assert result.exit_code == 2
    assert "certificate verify failed" in result.stderr


def send_oversized(server: Server) -> None:
    with pytest.raises(pymysql.OperationalError), closing(server.connect(ssl_disabled=True)) as connection:
        wire.query(connection, "SELECT '" + "x" * (2 << 20) + "'")


def be_idle(connection: Connection) -> None:
    wire.query(connection, "SET wait_timeout = 1")


def read_nothing(connection: Connection) -> None:
    wire.query(connection, "SET net_write_timeout = 1")
    rows = "SELECT REPEAT('x', 60000) FROM information_schema.columns LIMIT 3000"
    wire.socket_of(connection).sendall(build_packet(bytes((wire.COM_QUERY,)) + rows.encode(), 0))


def send_no_file(connection: Connection) -> None:
    wire.query(connection, "SET net_read_timeout = 1")
    load = "LOAD DATA LOCAL INFILE 'x' INTO TABLE test.t"
    wire.socket_of(connection).sendall(build_packet(bytes((wire.COM_QUERY,)) + load.encode(), 0))


def vanish_with_a_reset(connection: Connection) -> None:
    wire.socket_of(connection).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    wire.vanish(connection)


def drops(data: dict[str, Any]) -> dict[str, int]:
    """Count what was found in the log, by its cause."""
    counted: Counter[str] = Counter()
    for kind in data["drops"]:
        counted[kind["cause"]] += kind["count"]
    return dict(counted)


def aborted(server: Server) -> int:
    """Tell how many sessions have ended without a goodbye."""
    ((_, number),) = server.execute("SHOW GLOBAL STATUS LIKE 'Aborted_clients'")
    return int(number)


def test_what_a_log_says_of_past_drops(own_server: StartServer) -> None:
    # Each of the two has one of these options, and ignores the other one.
    server = own_server("--max-allowed-packet=1M", "--loose-log-warnings=4", "--loose-log-error-verbosity=3")
    server.execute("CREATE TABLE t (n INT)", database="test")
    acts: list[Callable[[Connection], None]] = [be_idle, read_nothing, send_no_file, vanish_with_a_reset]
    connections = [server.connect(ssl_disabled=True, local_infile=True) for _ in acts]
    for act, connection in zip(acts, connections, strict=True):
        act(connection)
    killed = server.connect()
    server.execute(f"KILL {wire.thread_id(killed)}")
    send_oversized(server)
    wait_until(lambda: aborted(server) == len(acts) + 2, "the end of all sessions")
    for connection in (*connections, killed):
        wire.vanish(connection)
    ended = {"packet_too_large": 1, "idle_timeout": 1, "slow_application": 2, "network": 1}
    if isinstance(server, MariaDB):
        ended["killed"] = 1
    else:
        # Whoever may read it at the server needs no file.
        privileged = report("--upstream", address(server), "--user", "root")
        assert drops(privileged) == ended
        assert "error 1153" in evidence(privileged, "packet_too_large")
        assert "error 4031" in evidence(privileged, "idle_timeout")
    server.restart()
    server.crash()
    server.restart()
    found = report("--upstream", address(server), "--user", "root", "--error-log", server.error_log)
    assert drops(found) == ended | {"restart": 2}
    assert {kind["what"] for kind in found["drops"] if kind["cause"] == "restart"} == {
        "the server was shut down",
        "the server crashed",
    }
    assert all(kind["clients"] == {"root@127.0.0.1": 1} for kind in found["drops"] if kind["cause"] != "restart")
    assert verdicts(found)["slow_application"] == "at_risk"
    assert (
        "What the server's log has"
        in doctor("--upstream", address(server), "--user", "root", "--error-log", server.error_log).stdout
    )


def test_the_query_cache_is_given_up(start_guard: StartGuard) -> None:
    with MariaDB(("--query-cache-type=ON", "--query-cache-size=1M")) as server:
        server.execute("CREATE TABLE test.t AS SELECT 1 AS n")
        guard = start_guard(address(server))
        for connect, is_served in ((guard.connect, False), (server.connect, True)):
            before = hits(server)
            with closing(connect(database="test", autocommit=None)) as connection:
                for _ in range(3):
                    assert wire.query(connection, "SELECT n FROM t") == ((1,),)
            assert (hits(server) > before) is is_served
        data = report("--upstream", address(server), "--user", "root")
        assert "query cache of 1 MiB" in data["given_up"][0]
        assert (
            "What is given up behind the guard\n  the query cache of 1 MiB"
            in doctor("--upstream", address(server), "--user", "root").stdout
        )


def hits(server: Server) -> int:
    ((_, value),) = server.execute("SHOW GLOBAL STATUS LIKE 'Qcache_hits'")
    return int(value)
