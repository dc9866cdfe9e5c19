"""Why the link went away: the log names the true cause, once, and says so where nobody can know."""

from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import pymysql
import pytest

from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.e2e.guarded import Guarded, in_background, wait_for_statement, wait_until_gone
from tests.guard import Guard
from tests.servers import BlackholeRelay, Server, StartServer

#: Notices silence soon.
WATCHFUL = {"interval": "500ms", "probe_timeout": "500ms", "validate_after": "500ms"}

Relayed = tuple[Guarded, BlackholeRelay]


def only_incident(session: Guarded) -> dict[str, Any]:
    """Wait for the incident of a session that goes on; it must be the only one."""
    session.wait_until_restored()
    assert session.query("SELECT 1") == ((1,),)
    (incident,) = session.incidents()
    assert incident["what"]
    assert incident["advice"]
    assert incident["outcome"]
    return incident


def test_killed(guard: Guard, server: Server) -> None:
    with closing(Guarded(guard)) as session:
        server.execute(f"KILL CONNECTION {session.known}")
        incident = only_incident(session)
        assert incident["cause"] == "killed"
        assert "something in between" in incident["what"]


def test_killed_while_a_statement_runs(guard: Guard, server: Server) -> None:
    with closing(Guarded(guard)) as session:
        with in_background(session.query, "SELECT SLEEP(1)") as sleeping:
            server.execute(f"KILL CONNECTION {wait_for_statement(server, 'SLEEP(1)')}")
            assert sleeping.result(20) == ((0,),)
        incident = only_incident(session)
        assert (incident["cause"], incident["in_flight"]) == ("killed", True)


def test_idle_for_too_long(guard: Guard, server: Server) -> None:
    with closing(Guarded(guard)) as session:
        session.query("SET wait_timeout = 1")  # so it is not kept alive
        wait_until_gone(server, session.known)
        session.query("SELECT 'needed again'")
        incident = only_incident(session)
        assert incident["cause"] == "idle_timeout"
        assert incident["idle_seconds"] >= 0.7


@pytest.mark.parametrize("end", [Server.stop, Server.crash], ids=["stop", "crash"])
def test_restarted(own_server: StartServer, start_guard: StartGuard, end: Callable[[Server], None]) -> None:
    server = own_server()
    guard = start_guard(address(server))
    with closing(Guarded(guard)) as session:
        end(server)
        guard.wait_for("server is away")
        server.restart()
        incident = only_incident(session)
        # MySQL says goodbye to idle sessions where it has the time.
        assert incident["cause"] in (("restart", "shutdown") if end is Server.stop else ("restart",))
        assert "refused" in incident["met"] or incident["cause"] == "shutdown"


def test_out_of_connections_on_the_way_back(own_server: StartServer, start_guard: StartGuard) -> None:
    server = own_server("--max-connections=3")
    guard = start_guard(address(server))
    with closing(Guarded(guard)) as session:
        server.execute("CREATE USER other@'127.0.0.1'")
        others = [server.connect(user="other")]
        try:
            with closing(server.connect()) as admin, admin.cursor() as cursor:
                # It takes the place at once, before the guard can.
                cursor.execute(f"KILL CONNECTION {session.known}")
                for _ in range(200):
                    try:
                        others.append(server.connect(user="other"))
                    except Exception as error:  # noqa: BLE001  whatever the driver makes of a full server
                        if "Too many" in str(error):
                            break
                for other in others:
                    other.close()
            incident = only_incident(session)
            assert incident["cause"] in ("killed", "unknown")
        finally:
            for other in others:
                if other.open:
                    other.close()


@pytest.mark.parametrize("fault", [BlackholeRelay.sever, BlackholeRelay.swallow], ids=["reset", "black hole"])
def test_network(server: Server, start_guard: StartGuard, fault: Callable[[BlackholeRelay], None]) -> None:
    with BlackholeRelay(server.host, server.port) as relay:
        guard = start_guard(f"{relay.host}:{relay.port}", keepalive=WATCHFUL, upstream={"connect_timeout": "500ms"})
        with closing(Guarded(guard)) as session:
            session.query("DO 0")
            fault(relay)
            if fault is BlackholeRelay.swallow:
                guard.wait_for("server is away")
                relay.restore()
            assert only_incident(session)["cause"] == "network"


def test_a_shutdown_that_is_announced(start_guard: StartGuard, own_server: StartServer) -> None:
    server = own_server()
    if server.name != "mysql":
        pytest.skip("MariaDB ends links without a word")
    guard = start_guard(address(server))

    def stop_and_start() -> None:
        server.stop()
        server.restart()

    with closing(Guarded(guard)) as session:
        with in_background(stop_and_start) as cycle:
            # For two seconds, it answers commands with error 1053, some of them behind the first packets of a result.
            while not session.incidents():
                with suppress(pymysql.OperationalError):
                    assert session.query("SELECT 1") == ((1,),)
            cycle.result(60)
        incident = only_incident(session)
        # On a busy machine, it may have hung up before it met a command.
        assert incident["cause"] == ("shutdown" if "goodbye" in incident["seen"] else "restart")


def test_a_shutdown_while_a_statement_runs(own_server: StartServer, start_guard: StartGuard) -> None:
    server = own_server()
    server.execute("CREATE TABLE test.t (n INT PRIMARY KEY, v INT) ENGINE=InnoDB")
    server.execute("INSERT INTO test.t VALUES (1, 0)")
    guard = start_guard(address(server))
    with (
        closing(Guarded(guard, database="test", autocommit=True)) as session,
        closing(server.connect(database="test", autocommit=False)) as holder,
    ):
        wire.query(holder, "UPDATE t SET v = 7 WHERE n = 1")
        with in_background(session.query, "UPDATE t SET v = 2 WHERE n = 1") as write:
            wait_for_statement(server, "SET v = 2")
            server.stop()
            server.restart()
            with suppress(pymysql.MySQLError):
                write.result(30)
        incident = session.wait_until_restored()
        assert len(session.incidents()) == 1
        assert incident["in_flight"]
        # MariaDB just ends the link.
        assert incident["cause"] == ("shutdown" if server.name == "mysql" else "restart")
