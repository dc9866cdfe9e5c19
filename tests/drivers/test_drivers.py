"""Every driver goes through the guard as it goes to a server, and does not notice that the server has crashed."""

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.drivers.conftest import PASSWORD, events_of, log_of, make_account
from tests.drivers.script import STEPS, Script
from tests.drivers.table import DRIVERS
from tests.e2e.conftest import StartGuard, address
from tests.guard import Guard
from tests.servers import Server, StartServer

PARCELS = 20_000
DEADLINE_SECONDS = 30.0
#: Probes come soon. They tell that a session has been quiet for so long that the guard knows all of its state.
KEEPALIVE = {"interval": "500ms"}
USERS = [{"user": name, "password": PASSWORD} for name, driver in DRIVERS.items() if driver.auth == "users"]


@pytest.mark.parametrize("name", DRIVERS)
def test_can_be_tried_here(name: str) -> None:
    """Skips, so that no driver is left out below without a word."""
    if lacking := DRIVERS[name].lacking():
        pytest.skip(f"cannot be tried here: {lacking}")


def test_drivers_do_not_notice_a_crash(
    own_server: StartServer, start_guard: StartGuard, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """All of them go as far as they get without it; then the server crashes, once for all."""
    server = own_server("--max-allowed-packet=1M")
    post_parcels(server)
    guards = {
        "learn": start_guard(address(server), keepalive=KEEPALIVE),
        "users": start_guard(address(server), keepalive=KEEPALIVE, auth={"mode": "users", "users": USERS}),
    }
    names = [name for name, driver in DRIVERS.items() if driver.lacking() is None]
    with ExitStack() as stack:
        scripts = {}
        for name in names:
            driver = DRIVERS[name]
            account = make_account(server, guards[driver.auth], name)
            server.execute(f"CREATE VIEW `{name}`.parcels AS SELECT * FROM shared.parcels")
            server.execute(f"CREATE TABLE `{name}`.entries (n INT PRIMARY KEY) ENGINE=InnoDB")
            scripts[name] = stack.enter_context(Script(driver.call(account), tmp_path / name))
        idle = [name for name, script in scripts.items() if script.wait_until_idle()]
        for auth, guard in guards.items():
            wait_until_settled(guard, [name for name in idle if DRIVERS[name].auth == auth])
        server.crash()
        for guard in guards.values():
            guard.wait_for("server is away")
        server.restart()
        for name in idle:
            scripts[name].go_on()
        for name in idle:
            scripts[name].wait()
        for name, script in scripts.items():
            with subtests.test(driver=name):
                assert (script.steps, script.status) == (STEPS, 0), script.output
                assert_one_session(guards[DRIVERS[name].auth], name)


def post_parcels(server: Server) -> None:
    """Make the large result that the drivers fetch."""
    rows = [(n, "filler " * 25) for n in range(PARCELS)]
    with closing(server.connect(autocommit=True)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE shared")
        cursor.execute("CREATE TABLE shared.parcels (n INT PRIMARY KEY, filler VARCHAR(200))")
        cursor.executemany("INSERT INTO shared.parcels VALUES (%s, %s)", rows)


def wait_until_settled(guard: Guard, users: Sequence[str]) -> None:
    """Wait until the sessions of these users have been quiet for long enough to be restored with all their state."""
    probes = {user: log_of(guard, user).count("probe") for user in users}
    deadline = time.monotonic() + DEADLINE_SECONDS
    for user in users:
        while log_of(guard, user).count("probe") == probes[user]:
            assert time.monotonic() < deadline, f"the session of {user} is not probed: {events_of(guard, user)}"
            time.sleep(0.05)


def assert_one_session(guard: Guard, user: str) -> None:
    """See that a driver has not connected anew behind our back, and that its session has lost its link once."""
    log = log_of(guard, user)
    assert log.count("session begins") == 1
    assert log.count("refused") == (0 if DRIVERS[user].knows_the_limit else 1)
    (incident,) = [event for event in events_of(guard, user) if event["event"] == "link lost and restored"]
    assert (incident["cause"], incident["outcome"]) == ("restart", "the client has not noticed")
