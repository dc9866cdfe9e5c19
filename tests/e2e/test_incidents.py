"""One line in the log for each lost link, and the cause that it names is the true one."""

from collections.abc import Iterator
from contextlib import closing, suppress

import pymysql
import pytest

from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.e2e.guarded import Guarded, in_background, wait_for_statement, wait_until, wait_until_gone
from tests.servers import BlackholeRelay, Server, StartServer

#: The guard looks at the server after so long, and that often.
KEEPALIVE = {"interval": "500ms", "probe_timeout": "300ms"}


@pytest.fixture
def standing(own_server: StartServer) -> Iterator[tuple[Server, BlackholeRelay]]:
    """Give a server of the test's own, and a relay in front of it."""
    server = own_server()
    with BlackholeRelay(server.host, server.port) as relay:
        yield server, relay


def test_each_loss_has_one_line_with_its_cause(
    standing: tuple[Server, BlackholeRelay], start_guard: StartGuard
) -> None:
    server, relay = standing
    guard = start_guard(address(server))
    far = start_guard(f"{relay.host}:{relay.port}", keepalive=KEEPALIVE)
    with closing(Guarded(guard, autocommit=True)) as session, closing(Guarded(far, autocommit=True)) as distant:
        for cut, cause, seen in (
            (relay.sever, "network", "reset"),
            (lambda: relay.swallow(new_connections=False), "network", "no answer to a probe"),
        ):
            distant.settle()
            cut()
            incident = distant.wait_until_restored()
            assert (incident["cause"], incident["in_flight"]) == (cause, False)
            assert seen in incident["seen"]
        assert len(distant.incidents()) == 2
        # The server's clock counts whole seconds: before it has moved on, a KILL could be a quick restart.
        uptime = "SELECT variable_value FROM {}.global_status WHERE variable_name = 'Uptime'".format(
            "information_schema" if server.name == "mariadb" else "performance_schema"
        )
        wait_until(lambda: int(server.execute(uptime)[0][0]) >= 2, "the second second of the server")
        with closing(Guarded(guard, autocommit=True)) as victim:
            server.execute(f"KILL CONNECTION {victim.known}")
            assert victim.wait_until_restored()["cause"] == "killed"
        with closing(Guarded(guard, autocommit=True)) as sleeper:
            sleeper.query("SET SESSION wait_timeout = 1")
            wait_until_gone(server, sleeper.known)
            sleeper.query("SELECT 1")  # one that wants to be short-lived comes back when it is wanted
            assert sleeper.wait_until_restored()["cause"] == "idle_timeout"
            assert len(sleeper.incidents()) == 1
        for end in (server.crash, server.stop):
            end()
            guard.wait_for("server is away")
            server.restart()
            incident = session.wait_until_restored()
            assert (incident["cause"], incident["outcome"]) == ("restart", "the client has not noticed")
        assert len(session.incidents()) == 2


def test_a_server_that_says_that_it_shuts_down(own_server: StartServer, start_guard: StartGuard) -> None:
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
