"""A KILL finds a session by the id that its client knows, whatever thread it has by now."""

import signal
import subprocess
from collections.abc import Callable
from contextlib import closing, suppress

import pymysql
import pytest

from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.e2e.guarded import Guarded, in_background, wait_for_statement
from tests.guard import Guard
from tests.servers import Server, StartServer

COM_PROCESS_KILL = 0x0C


def moved(guard: Guard, server: Server) -> Guarded:
    """Open a session, and have it lose its link and get another one."""
    session = Guarded(guard)
    server.execute(f"KILL CONNECTION {session.known}")
    session.wait_until_restored()
    return session


@pytest.mark.parametrize("form", ["KILL QUERY {}", "kill /* what runs */ query {};", "-- stop it\nKILL QUERY {}"])
def test_a_query_is_stopped(guard: Guard, server: Server, form: str) -> None:
    with closing(moved(guard, server)) as session, closing(guard.connect()) as killer:
        thread = session.thread()
        assert thread != session.known
        with in_background(session.query, "SELECT SLEEP(30)") as sleeping:
            assert wait_for_statement(server, "SLEEP(30)") == thread
            wire.query(killer, form.format(session.known))
            with suppress(pymysql.OperationalError):  # MariaDB's error 1317; MySQL's SLEEP() returns 1
                assert sleeping.result(20) == ((1,),)
        assert session.thread() == thread


@pytest.mark.parametrize("form", ["KILL {}", "KILL CONNECTION {}", "KILL HARD {}", "KILL SOFT CONNECTION {}"])
def test_a_connection_is_killed_and_comes_back(guard: Guard, server: Server, form: str) -> None:
    if server.name == "mysql" and ("HARD" in form or "SOFT" in form):
        pytest.skip("these are MariaDB's words")
    with closing(moved(guard, server)) as session, closing(guard.connect()) as killer:
        thread = session.thread()
        wire.query(killer, form.format(session.known))
        assert session.wait_until_restored()["cause"] == "killed"
        assert session.thread() != thread


def test_the_command_of_the_protocol(guards: Callable[[Server], Guard], mariadb: Server) -> None:
    # MySQL 9 does not know it any more.
    guard = guards(mariadb)
    with closing(moved(guard, mariadb)) as session, closing(guard.connect()) as killer:
        thread = session.thread()
        wire.send(killer, COM_PROCESS_KILL, session.known.to_bytes(4, "little"))
        assert wire.receive(killer)[1][0] == 0
        session.wait_until_restored()
        assert session.thread() != thread


def test_ctrl_c_in_the_command_line_client(guard: Guard, server: Server) -> None:
    command = ["mariadb", f"--host={guard.host}", f"--port={guard.port}", "--user=root", "--unbuffered", "--force"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write("SELECT SLEEP(29) AS asleep;\n")
        client.stdin.flush()
        lost = wait_for_statement(server, "SLEEP(29)")
        server.execute(f"KILL CONNECTION {lost}")
        # The read is run again, by a thread of which the client does not know.
        wait_for_statement(server, "SLEEP(29)", besides=lost)
        client.send_signal(signal.SIGINT)
        output, _ = client.communicate("SELECT 'still', 'here';\n", timeout=20)
        assert "still\there" in output.splitlines()


def test_old_and_new_sessions_are_not_taken_for_each_other(own_server: StartServer, start_guard: StartGuard) -> None:
    server = own_server()
    guard = start_guard(address(server))
    old = [Guarded(guard) for _ in range(4)]
    server.restart()  # and counts its threads from the beginning
    for session in old:
        session.thread()
    new = [guard.connect() for _ in range(8)]
    known = [session.known for session in old] + [wire.thread_id(connection) for connection in new]
    assert len(set(known)) == len(known)
    killer = new[0]
    for connection in new[1:]:
        wire.query(killer, f"KILL CONNECTION {wire.thread_id(connection)}")
    before = [session.thread() for session in old]
    assert [session.thread() for session in old] == before
    for connection in new:
        assert wire.query(connection, "SELECT 1") == ((1,),)
        connection.close()
    for session in old:
        session.close()
