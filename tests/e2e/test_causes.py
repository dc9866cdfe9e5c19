"""Two hundred links, lost in a dozen ways: the cause that the log names is the true one, or it is left open."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress

import pymysql
import pytest

from tests.e2e.conftest import StartGuard
from tests.e2e.guarded import Guarded, wait_until, wait_until_gone, wait_until_old
from tests.servers import BlackholeRelay, Server, StartServer

#: So many links are lost in each way, on each kind of server.
LINKS = 8
#: The server's, in seconds.
WAIT_TIMEOUT = 2
#: Notices silence soon.
WATCHFUL = {"interval": "500ms", "probe_timeout": "500ms", "validate_after": "500ms"}

SLEEP = "SELECT SLEEP(60) /* running */"


class World:
    """Sessions through a guard, behind which there is a relay in front of a server."""

    def __init__(self, server: Server, relay: BlackholeRelay, sessions: list[Guarded]) -> None:
        self.server = server
        self.relay = relay
        self.sessions = sessions

    def kill(self) -> None:
        """End all sessions on the server."""
        for session in self.sessions:
            self.server.execute(f"KILL CONNECTION {session.known}")

    def swallow(self) -> None:
        """Lose what is under way, and let new links through."""
        self.relay.swallow(new_connections=False)

    def freeze(self) -> None:
        """Stop the server for long enough to be noticed."""
        self.server.pause()
        time.sleep(2)
        self.server.resume()

    def start_again(self, end: Callable[[Server], None]) -> None:
        """Have the server end, and start again."""
        end(self.server)
        self.server.restart()

    def shut_down(self) -> None:
        """Have the server end by a statement, and start again."""
        with suppress(pymysql.MySQLError):
            self.server.execute("SHUTDOWN")
        self.server.stop()  # which is under way already
        self.server.restart()

    def outlast(self) -> None:
        """Wait until the server has lost patience with all of them."""
        for session in self.sessions:
            wait_until_gone(self.server, session.known)


def nothing(_: Guarded) -> None:
    pass


def begin(session: Guarded) -> None:
    session.query("BEGIN")


def set_timeout(session: Guarded) -> None:
    session.query("SET wait_timeout = 1")


STOPPED = {"restart", "shutdown"}
#: What each session does before; whether a statement runs; what happens; the causes that are true.
WAYS: dict[str, tuple[Callable[[Guarded], None], bool, Callable[[World], None], set[str]]] = {
    "killed while idle": (nothing, False, World.kill, {"killed"}),
    "killed in a transaction": (begin, False, World.kill, {"killed"}),
    "killed while a statement runs": (nothing, True, World.kill, {"killed"}),
    "reset while idle": (nothing, False, lambda world: world.relay.sever(), {"network"}),
    "reset while a statement runs": (nothing, True, lambda world: world.relay.sever(), {"network"}),
    "closed on the way": (nothing, False, lambda world: world.relay.hang_up(), {"killed"}),  # "or by something between"
    "black hole": (nothing, False, World.swallow, {"network"}),
    "frozen": (nothing, False, World.freeze, {"network"}),
    "idle in a transaction": (begin, False, World.outlast, {"idle_timeout"}),
    "idle for longer than it wanted": (set_timeout, False, World.outlast, {"idle_timeout"}),
    "crashed": (nothing, False, lambda world: world.start_again(Server.crash), {"restart"}),
    "crashed while a statement runs": (nothing, True, lambda world: world.start_again(Server.crash), {"restart"}),
    "stopped": (nothing, False, lambda world: world.start_again(Server.stop), STOPPED),
    "SHUTDOWN": (nothing, False, World.shut_down, STOPPED),
}


@pytest.fixture
def world(own_server: StartServer, start_guard: StartGuard) -> Iterator[World]:
    with ExitStack() as stack:
        server = own_server(f"--wait-timeout={WAIT_TIMEOUT}")
        wait_until_old(server)
        relay = stack.enter_context(BlackholeRelay(server.host, server.port))
        guard = start_guard(f"{relay.host}:{relay.port}", keepalive=WATCHFUL)
        sessions = [stack.enter_context(closing(Guarded(guard, autocommit=True))) for _ in range(LINKS)]
        # A server that was started anew is known by its uptime, in seconds, if the link is older than that.
        opened = uptime(server)
        wait_until(lambda: uptime(server) > opened + 2, "three seconds")
        yield World(server, relay, sessions)


def uptime(server: Server) -> int:
    return int(server.execute("SHOW GLOBAL STATUS LIKE 'Uptime'")[0][1])


@pytest.mark.parametrize("way", WAYS)
def test_causes(world: World, way: str) -> None:
    prepare, is_busy, happen, causes = WAYS[way]
    for session in world.sessions:
        prepare(session)
    with ThreadPoolExecutor(LINKS) as pool:
        statements = [pool.submit(attempt, session, SLEEP) for session in world.sessions if is_busy]
        if is_busy:
            wait_until(lambda: len(running(world.server)) == LINKS, "statements")
        happen(world)
        if is_busy:  # the copies that are run again, with the links that they are run on
            wait_until(lambda: all(one.done() for one in statements) or end_copies(world), "the end of the statements")
        for session in world.sessions:
            if prepare is set_timeout:  # it comes back when it is needed
                attempt(session, "SELECT 1")
            wait_until(lambda: bool(session.incidents()), "an incident")  # noqa: B023
    incidents = [session.incidents()[0] for session in world.sessions]
    assert {incident["cause"] for incident in incidents} <= causes, incidents


def attempt(session: Guarded, statement: str) -> None:
    with suppress(pymysql.MySQLError):
        session.query(statement)


def running(server: Server) -> list[int]:
    rows = server.execute(
        "SELECT id FROM information_schema.processlist WHERE info LIKE '%running%' AND id <> CONNECTION_ID()"
    )
    return [thread for (thread,) in rows]


def end_copies(world: World) -> bool:
    for thread in running(world.server):
        with suppress(pymysql.MySQLError):
            world.server.execute(f"KILL QUERY {thread}")
    return False
