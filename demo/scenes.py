"""The scenes: each does the same without the guard and with it, and fails if it does not go as it is told.

All errors and answers are those of real calls to a real server.
"""

from contextlib import closing
from typing import Any, NamedTuple

import pymysql

from demo.story import Story, describe, name_code
from tests.guard import Guard
from tests.servers import Connection, Server

MIB = 1 << 20
LIMIT_BYTES = MIB
OVERSIZED_BYTES = 2 * MIB
WAIT_TIMEOUT_SECONDS = 2
IDLE_SECONDS = 3 * WAIT_TIMEOUT_SECONDS

_DATABASE = "test"


class SceneFailed(Exception):
    """The guard, or the server, did not do what the story says."""


class Verdict(NamedTuple):
    """What a scene comes to, in a few words."""

    cause: str
    without_guard: str
    with_guard: str


class Told:
    """A connection of which all that is done is told."""

    def __init__(self, story: Story, connection: Connection) -> None:
        self._story = story
        self._connection = connection

    def succeed(self, sql: str, shown: str = "") -> Any:
        """Run a statement that must succeed, and return the first value of its result, if it has one."""
        try:
            value = self._run(sql)
        except (pymysql.Error, OSError) as error:
            self._story.step(shown or sql, "ERROR", describe(error))
            raise SceneFailed(f"{shown or sql} should have succeeded") from error
        self._story.step(shown or sql, "ok", "" if value is None else str(value))
        return value

    def fail(self, sql: str, shown: str = "") -> Exception:
        """Run a statement that must fail, and return the error."""
        try:
            value = self._run(sql)
        except (pymysql.Error, OSError) as error:
            self._story.step(shown or sql, "ERROR", describe(error))
            return error
        self._story.step(shown or sql, "ok", str(value))
        raise SceneFailed(f"{shown or sql} should have failed")

    def _run(self, sql: str) -> Any:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            row = cursor.fetchone()
            return row[0] if row else None


def oversized_packet(story: Story, server: Server, guard: Guard) -> Verdict:
    """Send an INSERT that is larger than the server allows, in the middle of a transaction."""
    story.scene(
        "Scene 1: an oversized packet",
        f"In a transaction, an INSERT of {OVERSIZED_BYTES // MIB} MiB. The server takes {LIMIT_BYTES // MIB} MiB.",
    )
    server.execute("CREATE TABLE notes (body LONGTEXT) ENGINE=InnoDB", database=_DATABASE)

    def committed() -> int:
        return int(server.execute("SELECT COUNT(*) FROM notes", database=_DATABASE)[0][0])

    story.side("Without the guard")
    with closing(_open(server)) as connection:
        told = Told(story, connection)
        _begin_and_insert(told)
        refused = told.fail(_oversized_insert(), "INSERT of 2 MiB")
        next_error = told.fail("SELECT COUNT(*) FROM notes")
    if committed() != 0:
        raise SceneFailed("without the guard, the transaction should have been lost")
    story.upshot("The connection is dead, and the transaction is lost.", is_good=False)

    story.side("With the guard")
    with closing(_open(guard)) as connection:
        told = Told(story, connection)
        _begin_and_insert(told)
        answer = told.fail(_oversized_insert(), "INSERT of 2 MiB")
        if answer.args[0] != 1153 or not str(answer.args[1]).startswith("stillhere:"):
            raise SceneFailed("with the guard, the oversized INSERT should have met the guard's own error 1153")
        seen = told.succeed("SELECT COUNT(*) FROM notes")
        if (seen, committed()) != (1, 0):
            raise SceneFailed("with the guard, the transaction should still have been open")
        told.succeed("COMMIT")
    if committed() != 1:
        raise SceneFailed("with the guard, the COMMIT should have kept the row")
    story.upshot("One clear error. The connection and the transaction live on.", is_good=True)
    return Verdict(
        "oversized packet",
        f"{name_code(refused)}, then {name_code(next_error)}; transaction lost",
        f"{name_code(answer)}; transaction committed",
    )


def _open(where: Server | Guard) -> Connection:
    """Connect as an application would, but never wait for ever."""
    return where.connect(database=_DATABASE, connect_timeout=10, read_timeout=10, write_timeout=10)


def _begin_and_insert(told: Told) -> None:
    told.succeed("BEGIN")
    told.succeed("INSERT INTO notes VALUES ('a small row')", "INSERT of a small row")


def _oversized_insert() -> str:
    return f"INSERT INTO notes VALUES ('{'x' * OVERSIZED_BYTES}')"  # noqa: S608  our own constant


def idle_timeout(story: Story, server: Server, guard: Guard) -> Verdict:
    """Leave two connections idle for longer than the server allows."""
    story.scene(
        "Scene 2: an idle connection",
        f"Two connections do nothing for {IDLE_SECONDS} s. The server's wait_timeout is {WAIT_TIMEOUT_SECONDS} s.",
    )
    query = "SELECT CONNECTION_ID()"
    with closing(_open(server)) as direct, closing(_open(guard)) as guarded:
        story.side(f"{query}, before")
        Told(story, direct).succeed(query, "Without the guard")
        before = Told(story, guarded).succeed(query, "With the guard")
        story.line()
        story.wait(f"{IDLE_SECONDS} s of silence", IDLE_SECONDS)
        story.side(f"{query}, after")
        error = Told(story, direct).fail(query, "Without the guard")
        after = Told(story, guarded).succeed(query, "With the guard")
    if after != before:
        raise SceneFailed(f"with the guard, the session should have been the same, but {before} has become {after}")
    story.upshot(f"Still session {after}: it was kept alive, not opened anew.", is_good=True)
    return Verdict(f"{IDLE_SECONDS} s of silence", f"{name_code(error)}; connection lost", "answered, same session")
