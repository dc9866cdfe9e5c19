"""The scenes in which a link to the server is lost, and the guard gives the session a new one.

As all scenes, each does the same without the guard and with it, and fails if it does not go as it is told.
"""

import time
from typing import Any

from demo.story import Story, name_code
from demo.told import DATABASE, SceneFailed, Told, Verdict, directly, through
from tests.guard import Guard
from tests.servers import Server

DOWN_SECONDS = 1
_KILL_SECONDS = 10.0

_HELLO = "SELECT 'Hello, ' || ?"
_PREPARE_HELLO = "PREPARE hello FROM '" + _HELLO.replace("'", "''") + "'"
_EXECUTE_HELLO = "EXECUTE hello USING @name"
_COUNT_JOBS = "SELECT COUNT(*) FROM jobs"


def killed(story: Story, server: Server, guard: Guard) -> Verdict:
    """KILL a session that has state of its own."""
    story.scene(
        "Scene 3: a KILL",
        "A session sets its sql_mode and a variable, and prepares a statement. Then it is KILLed.",
    )
    story.side("Without the guard")
    with directly(server) as connection:
        told = Told(story, connection)
        thread = told.succeed("SELECT CONNECTION_ID()")
        _set_state(told)
        _kill(story, server, thread)
        error = told.miss(_EXECUTE_HELLO)
    story.upshot("The connection is dead, and all that it had is lost.", is_good=False)

    story.side("With the guard")
    with through(guard) as (connection, session):
        told = Told(story, connection)
        thread = told.succeed("SELECT CONNECTION_ID()")
        _set_state(told)
        _kill(story, server, thread)
        _check(guard.wait_for("link lost and restored", session=session), "killed")
        _see_state(told)
        new_thread = told.succeed("SELECT CONNECTION_ID()")
        if new_thread == thread:
            raise SceneFailed(f"thread {thread} should have been killed")
    story.upshot(f"The session has all that it had. It goes on as thread {new_thread}.", is_good=True)
    return Verdict("KILL", f"{name_code(error)}; session lost", "answered; session restored")


def crashed(story: Story, server: Server, guard: Guard) -> Verdict:
    """Kill the server while one session is idle and another one is in the middle of a transaction."""
    story.scene(
        "Scene 4: a crash",
        "The server is killed with kill -9, and started again. Of the sessions on each",
        "way to it, one is idle, and one has written in a transaction, still open.",
    )
    server.execute("CREATE TABLE jobs (id INT) ENGINE=InnoDB", database=DATABASE)
    with (
        directly(server) as direct_idle,
        directly(server) as direct_writer,
        through(guard) as (guarded_idle, idle),
        through(guard) as (guarded_writer, writer),
    ):
        story.side("Before, on both ways: the idle session")
        _set_state(Told(story, direct_idle, guarded_idle))
        story.side("Before, on both ways: the session in a transaction")
        _begin_and_insert(Told(story, direct_writer, guarded_writer))

        story.side("The server")
        _crash_and_restart(story, server)
        # They come back in any order.
        restored = [guard.wait_for("link lost and restored") for _ in (idle, writer)]
        if sorted(event["session"] for event in restored) != [idle, writer]:
            raise SceneFailed(f"sessions {idle} and {writer} should have been restored, not {restored}")
        for event in restored:
            _check(event, "restart")

        story.side("After, without the guard: both sessions")
        error = Told(story, direct_idle).miss(_EXECUTE_HELLO)
        commit_error = Told(story, direct_writer).miss("COMMIT")
        story.upshot("Both are dead. Was the COMMIT carried out? The error does not tell.", is_good=False)

        story.side("After, with the guard: the idle session")
        _see_state(Told(story, guarded_idle))
        story.upshot("The session has all that it had.", is_good=True)

        story.side("After, with the guard: the session in a transaction")
        told = Told(story, guarded_writer)
        answer = told.fail("COMMIT")
        text = str(answer.args[1])
        if answer.args[0] != 1213 or not text.startswith("stillhere:") or "rolled back" not in text:
            raise SceneFailed("with the guard, the COMMIT should have met the guard's own error 1213")
        _begin_and_insert(told)
        told.succeed("COMMIT")
        told.answer(_COUNT_JOBS, "1")
    rows = server.execute(_COUNT_JOBS, database=DATABASE)[0][0]
    if rows != 1:
        raise SceneFailed(f"there should be exactly one row in the table, not {rows}")
    story.upshot("It is told the truth, starts again, and commits: exactly one row.", is_good=True)
    return Verdict(
        "kill -9 of the server",
        f"{_either(error, commit_error)}; both sessions lost",
        f"idle session restored; {name_code(answer)}, then committed",
    )


def _set_state(told: Told) -> None:
    """Give a session what is not worth much to the server, and everything to the application."""
    told.succeed("SET sql_mode = 'ANSI'", note="|| now joins strings")
    told.succeed(_PREPARE_HELLO, "PREPARE hello", _HELLO)
    told.succeed("SET @name = 'Ada'")


def _see_state(told: Told) -> None:
    told.answer(_EXECUTE_HELLO, "Hello, Ada")
    told.answer("SELECT @name", "Ada")
    told.answer("SELECT 'still ' || 'ANSI'", "still ANSI")


def _begin_and_insert(told: Told) -> None:
    told.succeed("BEGIN")
    told.succeed("INSERT INTO jobs VALUES (1)", "INSERT of a job")


def _kill(story: Story, server: Server, thread: int) -> None:
    """Kill a session as an administrator would, and wait until it is gone."""
    server.execute(f"KILL CONNECTION {thread}")
    deadline = time.monotonic() + _KILL_SECONDS
    while server.execute("SELECT 1 FROM information_schema.processlist WHERE id = %s", [thread]):
        if time.monotonic() > deadline:
            raise SceneFailed(f"thread {thread} is still there {_KILL_SECONDS:g} s after its KILL")
        time.sleep(0.02)
    story.step(f"KILL CONNECTION {thread}", "ok", "by an administrator, from elsewhere")


def _crash_and_restart(story: Story, server: Server) -> None:
    pid = server.pid
    server.crash()
    story.step(f"kill -9 {pid}", "ok", "")
    story.wait(f"{DOWN_SECONDS} s without a server", DOWN_SECONDS)
    server.restart()
    story.step("started again", "ok", f"as process {server.pid}")


def _check(restored: dict[str, Any], cause: str) -> None:
    if restored["cause"] != cause:
        raise SceneFailed(f"the guard should have found the cause {cause!r}, not {restored}")


def _either(first: Exception, second: Exception) -> str:
    """Name two errors, once if they are the same."""
    return " and ".join(dict.fromkeys((name_code(first), name_code(second))))
