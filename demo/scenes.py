"""The scenes in which the guard keeps a connection from being lost.

As all scenes, each does the same without the guard and with it, and fails if it does not go as it is told.
"""

from demo.story import Story, name_code
from demo.told import DATABASE, SceneFailed, Told, Verdict, directly, through
from tests.guard import Guard
from tests.servers import Server

MIB = 1 << 20
LIMIT_BYTES = MIB
OVERSIZED_BYTES = 2 * MIB
#: Of the server, but for scene 2, which is not to last for too long.
WAIT_TIMEOUT_SECONDS = 10
SHORT_WAIT_TIMEOUT_SECONDS = 2
IDLE_SECONDS = 3 * SHORT_WAIT_TIMEOUT_SECONDS


def oversized_packet(story: Story, server: Server, guard: Guard) -> Verdict:
    """Send an INSERT that is larger than the server allows, in the middle of a transaction."""
    story.scene(
        "Scene 1: an oversized packet",
        f"In a transaction, an INSERT of {OVERSIZED_BYTES // MIB} MiB. The server takes {LIMIT_BYTES // MIB} MiB.",
    )
    server.execute("CREATE TABLE notes (body LONGTEXT) ENGINE=InnoDB", database=DATABASE)

    def committed() -> int:
        return int(server.execute("SELECT COUNT(*) FROM notes", database=DATABASE)[0][0])

    story.side("Without the guard")
    with directly(server) as connection:
        told = Told(story, connection)
        _begin_and_insert(told)
        refused = told.fail(_oversized_insert(), "INSERT of 2 MiB")
        next_error = told.fail("SELECT COUNT(*) FROM notes")
    if committed() != 0:
        raise SceneFailed("without the guard, the transaction should have been lost")
    story.upshot("The connection is dead, and the transaction is lost.", is_good=False)

    story.side("With the guard")
    with through(guard) as (connection, _):
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


def _begin_and_insert(told: Told) -> None:
    told.succeed("BEGIN")
    told.succeed("INSERT INTO notes VALUES ('a small row')", "INSERT of a small row")


def _oversized_insert() -> str:
    return f"INSERT INTO notes VALUES ('{'x' * OVERSIZED_BYTES}')"  # noqa: S608  our own constant


def idle_timeout(story: Story, server: Server, guard: Guard) -> Verdict:
    """Leave two connections idle for longer than the server allows."""
    story.scene(
        "Scene 2: an idle connection",
        f"Two connections do nothing for {IDLE_SECONDS} s. "
        f"The server's wait_timeout is {SHORT_WAIT_TIMEOUT_SECONDS} s for them.",
    )
    query = "SELECT CONNECTION_ID()"
    # Sessions take it over when they begin.
    server.execute("SET GLOBAL wait_timeout = %s", [SHORT_WAIT_TIMEOUT_SECONDS])
    with directly(server) as direct, through(guard) as (guarded, _):
        server.execute("SET GLOBAL wait_timeout = %s", [WAIT_TIMEOUT_SECONDS])
        story.side(f"{query}, before")
        Told(story, direct).succeed(query, "Without the guard")
        before = Told(story, guarded).succeed(query, "With the guard")
        story.line()
        story.wait(f"{IDLE_SECONDS} s of silence", IDLE_SECONDS)
        story.side(f"{query}, after")
        error = Told(story, direct).miss(query, "Without the guard")
        after = Told(story, guarded).succeed(query, "With the guard")
    if after != before:
        raise SceneFailed(f"with the guard, the session should have been the same, but {before} has become {after}")
    story.upshot(f"Still session {after}: it was kept alive, not opened anew.", is_good=True)
    return Verdict(f"{IDLE_SECONDS} s of silence", f"{name_code(error)}; connection lost", "answered, same session")
