"""What the guard's own statements change in the server's counters, and that it is no more than that."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing

import pytest

from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.servers import Connection, Server, StartServer

#: What clients do that has something to be settled, and pause.
WORK = {
    "a client that sets variables": (
        "SET time_zone = '+01:00'",
        "SELECT * FROM t",
        "INSERT INTO t VALUES (1)",
        "SET @a = 1",
        "BEGIN",
        "UPDATE t SET n = 2",
        "COMMIT",
        "SELECT n FROM t WHERE n > 5",
    ),
    "a client that reads from a view of another schema": ("SELECT * FROM mysql.v", "SELECT * FROM t, t AS u"),
}
#: The counters in which the guard's statements show: a few at the beginning of a session, and a few where something is
#: read back. None of these is an empty query, and none writes or opens a table.
ALWAYS = {"Bytes_received", "Bytes_sent", "Com_select", "Com_set_option", "Queries", "Questions", "Rows_sent"}
OWN = {
    "mariadb": ALWAYS | {"Com_do", "Feature_subquery", "Max_memory_used", "Memory_used"},
    "mysql": ALWAYS | {"Last_query_partial_plans", "option_tracker_usage:Traditional Optimizer"},
}
#: The same where MariaDB is asked what a view or a stored function may have set.
SURVEY = {
    "Created_tmp_tables",
    "Handler_read_rnd_next",
    "Handler_tmp_write",
    "Optimizer_join_prefixes_check_calls",
    "Rows_tmp_read",
    "Select_scan",
}
#: What a server writes by itself.
NOISE = ("Innodb_", "Binlog_", "Aria_", "Uptime", "Threads_")

#: A quiet session is settled after 0.1 s.
PAUSE_SECONDS = 0.5


def counters(connection: Connection, scope: str) -> dict[str, int]:
    rows = wire.query(connection, f"SHOW {scope} STATUS")
    return {name: int(value) for name, value in rows if value.isdecimal()}


def changes(server: Server, connect: Callable[..., Connection], statements: Sequence[str]) -> dict[str, dict[str, int]]:
    """Give by how much a session has changed the session's and the whole server's counters."""
    with closing(server.connect()) as onlooker:
        before = counters(onlooker, "GLOBAL")
        with closing(connect(database="test", autocommit=None)) as connection:
            for statement in statements:
                wire.query(connection, statement)
            time.sleep(PAUSE_SECONDS)
            own = counters(connection, "SESSION")
        time.sleep(PAUSE_SECONDS)
        after = counters(onlooker, "GLOBAL")
    return {"SESSION": own, "GLOBAL": {name: after[name] - before[name] for name in before}}


@pytest.mark.parametrize("work", list(WORK))
def test_counters(own_server: StartServer, start_guard: StartGuard, work: str) -> None:
    server = own_server()
    guard = start_guard(address(server))
    server.execute("CREATE TABLE test.t (n INT) ENGINE=InnoDB")
    server.execute("CREATE VIEW mysql.v AS SELECT 1 AS n")
    changes(server, guard.connect, WORK[work])  # the first one asks for the names of all variables as well
    direct = [changes(server, server.connect, WORK[work]) for _ in range(3)]
    guarded = [changes(server, guard.connect, WORK[work]) for _ in range(3)]
    may_differ = OWN[server.name] | (SURVEY if "view" in work and server.name == "mariadb" else set())
    for scope in ("SESSION", "GLOBAL"):
        one, *others = (each[scope] for each in direct)
        steady = {name for name in one if all(one[name] == other.get(name) for other in others)}
        steady = {name for name in steady if not name.startswith(NOISE)}
        differing = {name for name in steady if all(one[name] != each[scope].get(name) for each in guarded)}
        assert "Com_select" in differing
        assert differing <= may_differ, scope
