"""Connections, direct and through the guard, of which all that is done is told.

All errors and answers are those of real calls to a real server.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import pymysql

from demo.story import Story, describe
from tests.guard import Guard
from tests.servers import Connection, Server

DATABASE = "test"

#: What drivers and servers say of a connection that is no more. MariaDB has a code of its own for a KILL.
_LOST = (2006, 2013, 1927, 4031)


class SceneFailed(Exception):
    """The guard, or the server, did not do what the story says."""


class Verdict(NamedTuple):
    """What a scene comes to, in a few words."""

    cause: str
    without_guard: str
    with_guard: str


class Told:
    """A connection of which all that is done is told; where there are several, all do the same, and it is told once."""

    def __init__(self, story: Story, *connections: Connection) -> None:
        self._story = story
        self._connections = connections

    def succeed(self, sql: str, shown: str = "", note: str = "") -> Any:
        """Run a statement that must succeed, and return the first value of its result, if it has one.

        ``note`` is told where there is no such value.
        """
        try:
            value = self._run(sql)
        except (pymysql.Error, OSError) as error:
            self._story.step(shown or sql, "ERROR", describe(error))
            raise SceneFailed(f"{shown or sql} should have succeeded") from error
        self._story.step(shown or sql, "ok", note if value is None else str(value))
        return value

    def answer(self, sql: str, expected: str, shown: str = "") -> None:
        """Run a statement of which the result is known."""
        value = self.succeed(sql, shown)
        if str(value) != expected:
            raise SceneFailed(f"{shown or sql} should have answered {expected!r}, not {value!r}")

    def fail(self, sql: str, shown: str = "") -> Exception:
        """Run a statement that must fail, and return the error."""
        try:
            value = self._run(sql)
        except (pymysql.Error, OSError) as error:
            self._story.step(shown or sql, "ERROR", describe(error))
            return error
        self._story.step(shown or sql, "ok", str(value))
        raise SceneFailed(f"{shown or sql} should have failed")

    def miss(self, sql: str, shown: str = "") -> Exception:
        """Run a statement that must fail because the connection is gone, and return the error."""
        error = self.fail(sql, shown)
        if error.args[0] not in _LOST:
            raise SceneFailed(f"{shown or sql} should have found the connection gone, not {error!r}")
        return error

    def _run(self, sql: str) -> Any:
        row = None
        for connection in self._connections:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                row = cursor.fetchone()
        return row[0] if row else None


@contextmanager
def directly(server: Server) -> Iterator[Connection]:
    """Give a connection to the server."""
    with closing(_open(server)) as connection:
        yield connection


@contextmanager
def through(guard: Guard) -> Iterator[tuple[Connection, int]]:
    """Give a connection through the guard, and the number of the session in the guard's log; see it end there."""
    with closing(_open(guard)) as connection:
        session = guard.wait_for("session begins")["session"]
        yield connection, session
    guard.wait_for("session ends", session=session)


def _open(where: Server | Guard) -> Connection:
    """Connect as an application would, but never wait for ever."""
    return where.connect(database=DATABASE, connect_timeout=10, read_timeout=10, write_timeout=10)
