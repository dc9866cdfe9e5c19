"""A session through a guard whose link is about to be lost: who it is, what runs in it, and what became of it."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pymysql
import pytest

from tests.e2e import wire
from tests.guard import Guard
from tests.servers import Connection, Server

DEADLINE_SECONDS = 30.0


class Guarded:
    """A PyMySQL connection through `guard`, and the number that its session has in the guard's log."""

    def __init__(self, guard: Guard, **kwargs: Any) -> None:
        self.guard = guard
        self.connection: Connection = guard.connect(**kwargs)
        self.known = wire.thread_id(self.connection)
        self.id = guard.wait_for("session begins", server_thread=self.known)["session"]

    def close(self) -> None:
        """Say goodbye to the guard, if that is still possible."""
        if self.connection.open:
            self.connection.close()

    def query(self, sql: str) -> Any:
        """Run a statement and return its rows."""
        return wire.query(self.connection, sql)

    def fails(self, sql: str) -> int:
        """Run a statement that must fail; return the error's code."""
        return failure(self.connection, sql)[0]

    def thread(self) -> int:
        """Ask for the thread that the session has on the server now."""
        ((thread,),) = self.query("SELECT CONNECTION_ID()")
        return int(thread)

    def settle(self) -> None:
        """Give the guard something to read back, and wait until it knows all that the session is."""
        times = self.times_settled()
        self.query("SET @settled = 1 + 0")
        self.wait_until_settled_again(times)

    def times_settled(self) -> int:
        """Tell how often the guard has read back what it has to know to restore the session."""
        return len(self._events("settled"))

    def wait_until_settled_again(self, times: int) -> None:
        """Wait until it has happened more often than so many times."""
        wait_until(lambda: self.times_settled() > times, "settling")

    def wait_until_restored(self) -> dict[str, Any]:
        """Wait until the session has lost its link and has another one; return the incident."""
        return self.guard.wait_for("link lost and restored", session=self.id)

    def incidents(self) -> list[dict[str, Any]]:
        """List what the guard's log has on lost links of this session."""
        return self._events("link lost and restored", "session lost")

    def _events(self, *names: str) -> list[dict[str, Any]]:
        return [event for event in self.guard.events if event["event"] in names and event.get("session") == self.id]


def failure(connection: Connection, sql: str) -> tuple[int, str]:
    """Run a statement that must fail; return the error's code and text."""
    with pytest.raises(pymysql.MySQLError) as failed:
        wire.query(connection, sql)
    return failed.value.args[0], failed.value.args[1]


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Wait until something has happened."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, f"{what} has not happened"
        time.sleep(0.01)


def running(server: Server, words: str) -> list[int]:
    """List the threads whose statement has these words in it."""
    rows = server.execute(
        "SELECT id FROM information_schema.processlist WHERE info LIKE %s AND id <> CONNECTION_ID()", (f"%{words}%",)
    )
    return [int(thread) for (thread,) in rows]


def wait_for_statement(server: Server, words: str, *, besides: int = 0) -> int:
    """Wait until a thread other than `besides` runs a statement with these words; return the thread."""
    found: list[int] = []

    def look() -> bool:
        found[:] = [thread for thread in running(server, words) if thread != besides]
        return bool(found)

    wait_until(look, f"a statement with {words!r}")
    return found[0]


def wait_until_old(server: Server) -> None:
    """Wait until a server is old enough for the guard to be sure, of a link that is opened now, if it was started anew.

    Servers tell for how long they have been up to the second, and up to a second off.
    """
    wait_until(lambda: int(server.execute("SHOW GLOBAL STATUS LIKE 'Uptime'")[0][1]) >= 3, "three seconds")


def wait_until_gone(server: Server, thread: int) -> None:
    """Wait until the server has ended a thread."""
    wait_until(
        lambda: not server.execute("SELECT 1 FROM information_schema.processlist WHERE id = %s", (thread,)),
        f"the end of thread {thread}",
    )


@contextmanager
def in_background(work: Callable[..., Any], *args: Any) -> Iterator["Future[Any]"]:
    """Do something in another thread, such as a statement that does not return before something else happens."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(work, *args)
