"""A KILL hits the session that its author means, whatever thread serves that session by now."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pymysql
import pytest

from protocol.constants import CommandCode
from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.e2e.guarded import Guarded, failure, in_background, running, wait_for_statement, wait_until_old
from tests.guard import Guard
from tests.servers import Connection, Server, StartServer
from tests.servers.process import find_program

#: Sessions that are opened behind a restart: enough for the server to come to the ids that it gave before.
NEWCOMERS = 12


@pytest.fixture
def moved(guard: Guard, server: Server) -> Iterator[Guarded]:
    """Give a session that is served by another thread than the one its client knows."""
    with closing(Guarded(guard, autocommit=True)) as session:
        server.execute(f"KILL CONNECTION {session.known}")
        session.wait_until_restored()
        assert session.thread() != session.known
        yield session


@pytest.fixture
def killer(guard: Guard) -> Iterator[Connection]:
    """Give another session through the guard."""
    with closing(guard.connect(autocommit=True)) as connection:
        yield connection


def interrupt(server: Server, session: Guarded, kill: str, killer: Connection) -> None:
    """Have a statement of the session interrupted; the session keeps its thread."""
    thread = session.thread()
    with in_background(session.query, "SELECT SLEEP(30)") as sleep:
        assert wait_for_statement(server, "SLEEP(30)") == thread
        wire.query(killer, kill)
        if server.name == "mysql":
            assert sleep.result(10) == ((1,),)
        else:
            with pytest.raises(pymysql.MySQLError) as interrupted:
                sleep.result(10)
            assert interrupted.value.args[0] == 1317
    assert session.thread() == thread


def test_a_statement_is_interrupted(server: Server, moved: Guarded, killer: Connection) -> None:
    forms = ["KILL QUERY {}", "kill /* it */ query {} ;", "-- stop it\nKILL QUERY {}"]
    if server.name == "mariadb":
        forms += ["KILL SOFT QUERY {}", "KILL HARD QUERY {}"]
    for form in forms:
        interrupt(server, moved, form.format(moved.known), killer)


def test_a_session_is_ended_and_comes_back(server: Server, moved: Guarded, killer: Connection) -> None:
    forms = ["KILL {}", "KILL CONNECTION {}"]
    if server.name == "mariadb":
        forms += ["KILL HARD {}", "KILL SOFT CONNECTION {}"]
    for form in forms:
        before = moved.thread()
        wire.query(killer, form.format(moved.known))
        assert moved.wait_until_restored()["cause"] == "killed"
        assert moved.thread() not in (before, moved.known)


def test_a_kill_that_is_a_command(server: Server, moved: Guarded, killer: Connection) -> None:
    before = moved.thread()
    answer = wire.ask(killer, CommandCode.PROCESS_KILL, moved.known.to_bytes(4, "little"))
    if server.name == "mysql":
        assert wire.error(answer)[0] == 1047  # no more
        assert moved.thread() == before
    else:
        assert answer[0] == 0
        moved.wait_until_restored()
        assert moved.thread() not in (before, moved.known)


def test_a_session_that_ends_itself(guard: Guard, moved: Guarded) -> None:
    # Of a server, it would be told that it has been killed; that says nothing of its session's state, which is kept.
    before = moved.thread()
    moved.fails(f"KILL {moved.known}")
    moved.wait_until_restored()
    assert moved.thread() != before


def test_ctrl_c_in_the_command_line_client(guard: Guard, server: Server) -> None:
    program = find_program("mariadb")
    assert program is not None
    command = [program, "--no-defaults", "--force", "--unbuffered", "--batch", "--skip-column-names"]
    command += [f"--host={guard.host}", f"--port={guard.port}", "--user=root", "--skip-ssl"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        try:
            client.stdin.write("SELECT CONNECTION_ID();\n")
            client.stdin.flush()
            first = int(client.stdout.readline())
            session = guard.wait_for("session begins", server_thread=first)["session"]
            server.execute(f"KILL CONNECTION {first}")
            guard.wait_for("link lost and restored", session=session)
            client.stdin.write("SELECT SLEEP(30);\nSELECT 'still', CONNECTION_ID();\n")
            client.stdin.flush()
            thread = wait_for_statement(server, "SLEEP(30)")
            assert thread != first
            os.kill(client.pid, signal.SIGINT)
            said, complaints = client.communicate(timeout=20)
        finally:
            client.kill()
    assert f"still\t{thread}" in said, complaints
    assert "query killed" in said + complaints


def test_ctrl_c_while_the_statement_is_run_again(guard: Guard, server: Server) -> None:
    program = find_program("mariadb")
    assert program is not None
    command = [program, "--no-defaults", "--force", "--unbuffered", "--skip-ssl"]
    command += [f"--host={guard.host}", f"--port={guard.port}", "--user=root"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as client:
        assert client.stdin is not None
        try:
            client.stdin.write("SELECT SLEEP(29) AS asleep;\n")
            client.stdin.flush()
            lost = wait_for_statement(server, "SLEEP(29)")
            server.execute(f"KILL CONNECTION {lost}")
            # By a thread of which the client does not know.
            wait_for_statement(server, "SLEEP(29)", besides=lost)
            client.send_signal(signal.SIGINT)
            output, _ = client.communicate("SELECT 'still', 'here';\n", timeout=20)
        finally:
            client.kill()
    assert "still\there" in output.splitlines()


def test_no_two_sessions_go_by_one_id(own_server: StartServer, start_guard: StartGuard) -> None:
    server = own_server()
    guard = start_guard(address(server))
    with ExitStack() as stack:
        old = [stack.enter_context(closing(Guarded(guard, autocommit=True))) for _ in range(3)]
        server.crash()
        guard.wait_for("server is away")
        server.restart()
        for session in old:
            session.query("SELECT 1")
        new = [stack.enter_context(closing(guard.connect(autocommit=True))) for _ in range(NEWCOMERS)]
        known = [session.known for session in old] + [wire.thread_id(connection) for connection in new]
        assert len(set(known)) == len(known)
        threads = [session.thread() for session in old]
        threads += [wire.query(connection, "SELECT CONNECTION_ID()")[0][0] for connection in new]
        # The ids have come round: this is what the test is about.
        taken = [n for n, thread in enumerate(threads) if thread in known and known.index(thread) != n]
        assert taken
        interrupt(server, old[-1], f"KILL QUERY {old[-1].known}", new[0])
        # The thread that has this id on the server is another session's, which has not been hurt.
        assert [wire.query(connection, "SELECT CONNECTION_ID()")[0][0] for connection in new] == threads[len(old) :]
        for connection in new[1:]:
            wire.query(new[0], f"KILL CONNECTION {wire.thread_id(connection)}")
        assert [session.thread() for session in old] == threads[: len(old)]
        for connection in new:
            assert wire.query(connection, "SELECT 1") == ((1,),)


# A statement that runs, and whose session is killed


@pytest.fixture
def runaway(server: Server, start_guard: StartGuard, schema: str) -> Iterator[Guarded]:
    """Give a session behind a guard with the default configuration."""
    for statement in (
        "CREATE TABLE {}.t (n INT PRIMARY KEY)",
        "INSERT INTO {}.t VALUES (-1)",
        "CREATE FUNCTION {}.writes() RETURNS INT BEGIN INSERT INTO t VALUES (7); RETURN SLEEP(30); END",
    ):
        server.execute(statement.format(schema))
    wait_until_old(server)
    with closing(Guarded(start_guard(address(server)), database=schema, autocommit=True)) as session:
        session.query("SET @mine = 'kept'")
        yield session


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("SELECT SLEEP(30)", 1317),
        ("WITH a AS (SELECT n FROM t) SELECT n, SLEEP(30) FROM a", 1317),
        ("SELECT writes() /* SLEEP(30) */", 1180),
        ("INSERT INTO t SELECT SLEEP(30)", 1180),
    ],
)
def test_a_read_that_was_killed_is_not_run_again(runaway: Guarded, server: Server, statement: str, code: int) -> None:
    with in_background(failure, runaway.connection, statement) as running_statement:
        thread = wait_for_statement(server, "SLEEP(30)")
        server.execute(f"KILL CONNECTION {thread}")
        told, message = running_statement.result(30)
    assert told == code
    assert message.startswith("stillhere:")
    assert running(server, "SLEEP(30)") == []
    assert runaway.wait_until_restored()["outcome"] == f"error {code}"
    assert runaway.query("SELECT @mine") == (("kept",),)


def test_what_a_statement_does_that_was_killed_is_not_found_out_for_ever(runaway: Guarded, server: Server) -> None:
    # To explain this, a server carries it out.
    with in_background(failure, runaway.connection, "WITH a AS (SELECT SLEEP(29)) SELECT * FROM a") as statement:
        server.execute(f"KILL CONNECTION {wait_for_statement(server, 'SLEEP(29)')}")
        assert statement.result(20)[0] == 1180
    assert runaway.query("SELECT @mine") == (("kept",),)


@pytest.mark.parametrize("end", ["stop", "crash"])
def test_a_read_is_run_again_where_the_server_has_ended_it_for_its_own_reasons(
    own_server: StartServer, start_guard: StartGuard, end: str
) -> None:
    server = own_server()
    wait_until_old(server)
    with (
        closing(Guarded(start_guard(address(server)), autocommit=True)) as session,
        in_background(session.query, "SELECT SLEEP(3), 'done'") as running_statement,
    ):
        wait_for_statement(server, "SLEEP(3)")
        getattr(server, end)()
        server.restart()
        # MySQL itself ends a SLEEP when it is shut down, and then its row has a 1.
        assert running_statement.result(60)[0][1] == "done"
