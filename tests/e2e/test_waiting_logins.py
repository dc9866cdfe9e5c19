"""A client that logs in while the server is away waits for it; one that leaves without a login does no harm."""

import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pymysql
import pytest

from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.e2e.guarded import in_background, wait_until
from tests.guard import Guard
from tests.servers import BlackholeRelay, Server, StartServer

CLIENTS = 20


def log_in(guard: Guard) -> int:
    """Log in and ask for something."""
    with closing(guard.connect(connect_timeout=30)) as connection:
        return int(wire.query(connection, "SELECT 1")[0][0])


@pytest.mark.parametrize("end", ["stop", "crash"])
def test_logins_wait_for_a_server_that_comes_back(own_server: StartServer, start_guard: StartGuard, end: str) -> None:
    server = own_server()
    guard = start_guard(address(server), reconnect={"login_wait": "30s"})
    log_in(guard)
    getattr(server, end)()
    with ThreadPoolExecutor(CLIENTS) as pool:
        waiting = [pool.submit(log_in, guard) for _ in range(CLIENTS)]
        guard.wait_for("server is away")
        server.restart()
        assert [one.result(60) for one in waiting] == [1] * CLIENTS


def test_logins_wait_for_the_first_start(own_server: StartServer, start_guard: StartGuard) -> None:
    server = own_server()
    server.stop()
    guard = start_guard(address(server), reconnect={"login_wait": "30s"})
    with in_background(log_in, guard) as waiting:
        guard.wait_for("server is away")
        server.restart()
        assert waiting.result(60) == 1


def test_a_server_that_is_lost_during_a_login(server: Server, start_guard: StartGuard) -> None:
    with BlackholeRelay(server.host, server.port) as relay:
        guard = start_guard(f"{relay.host}:{relay.port}", reconnect={"login_wait": "30s"})
        connection = pymysql.connect(user="root", defer_connect=True)
        sock = socket.create_connection((guard.host, guard.port))
        assert sock.recv(1, socket.MSG_PEEK)  # the client has its greeting, and the server waits
        relay.sever()
        connection.connect(sock)
        with closing(connection):
            assert wire.query(connection, "SELECT CONNECTION_ID()") != ((wire.thread_id(connection),),)


def test_a_login_is_told_why_it_has_waited_in_vain(start_guard: StartGuard) -> None:
    guard = start_guard("127.0.0.1:1", reconnect={"login_wait": "200ms"})
    with pytest.raises(pymysql.OperationalError) as refused:
        guard.connect(user="root", password="x")
    code, message = refused.value.args
    assert code == 2003
    assert message.startswith("stillhere: no session can be had from 127.0.0.1:1: connection refused")
    assert "too many connections" not in message.lower()


def test_a_client_that_does_not_wait(own_server: StartServer, start_guard: StartGuard) -> None:
    server = own_server()
    server.stop()
    guard = start_guard(address(server), reconnect={"login_wait": "1h"})
    with socket.create_connection((guard.host, guard.port)):
        guard.wait_for("server is away")
    assert guard.wait_for("login failed")["fault"] == "gone"


def test_refusals_are_not_waited_for(own_server: StartServer, start_guard: StartGuard) -> None:
    server = own_server()
    server.execute("CREATE USER locked@'%' IDENTIFIED BY 'x' ACCOUNT LOCK")
    guard = start_guard(address(server), reconnect={"login_wait": "1h"})
    with pytest.raises(pymysql.OperationalError) as refused:
        guard.connect("locked", "x")
    assert refused.value.args[0] in (3118, 4151)


@pytest.mark.parametrize("goodbye", ["close", "reset", "half", "garbage"])
def test_clients_that_leave_do_not_shut_out_the_guard(
    own_server: StartServer, start_guard: StartGuard, goodbye: str
) -> None:
    server = own_server("--max-connect-errors=3", "--skip_name_resolve=OFF", "--host-cache-size=100")
    server.execute("CREATE USER someone@'127.%'")
    # Of a host that is the server's own, it does not count errors.
    with BlackholeRelay(server.host, server.port, source_host="127.0.0.5") as relay:
        guard = start_guard(f"{relay.host}:{relay.port}")
        for number in range(10):
            with socket.create_connection((guard.host, guard.port)) as sock:
                if goodbye != "close":
                    assert sock.recv(4)
                if goodbye == "reset":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                elif goodbye != "close":
                    sock.sendall(b"\x20\0\0\1" if goodbye == "half" else b"GET / HTTP/1.1\r\n\r\n")
            wait_until(lambda: failed_logins(guard) > number, "the end of the login")  # noqa: B023
        with closing(guard.connect("someone")) as connection:
            assert wire.query(connection, "SELECT 1") == ((1,),)


def failed_logins(guard: Guard) -> int:
    return sum(event["event"] == "login failed" for event in guard.events)
