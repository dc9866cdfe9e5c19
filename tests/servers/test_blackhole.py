import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pymysql
import pytest

from tests.servers import BlackholeRelay, Server


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(5)
        yield sock


@pytest.fixture
def relay(listener: socket.socket) -> Iterator[BlackholeRelay]:
    with BlackholeRelay(*listener.getsockname()) as relay:
        yield relay


def connect(relay: BlackholeRelay, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    client = socket.create_connection((relay.host, relay.port), timeout=5)
    server, _ = listener.accept()
    server.settimeout(5)
    return client, server


def assert_silent(sock: socket.socket) -> None:
    sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        sock.recv(1)
    sock.settimeout(5)


def test_bytes_pass_and_are_counted(relay: BlackholeRelay, listener: socket.socket) -> None:
    client, server = connect(relay, listener)
    with client, server:
        client.sendall(b"question")
        assert server.recv(100) == b"question"
        server.sendall(b"answer")
        assert client.recv(100) == b"answer"
        assert (relay.connections, relay.open_connections) == (1, 1)
        assert (relay.bytes_to_server, relay.bytes_to_client) == (8, 6)


def test_a_stream_larger_than_all_buffers_arrives_whole(relay: BlackholeRelay, listener: socket.socket) -> None:
    client, server = connect(relay, listener)
    sent = bytes(range(256)) * 80_000
    with client, server:

        def send() -> None:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        passed_on = -1
        while relay.bytes_to_server != passed_on:  # until all buffers are full
            passed_on = relay.bytes_to_server
            time.sleep(0.1)
        assert 0 < passed_on < len(sent)
        received = bytearray()
        while chunk := server.recv(65536):
            received += chunk
        sender.join()
        assert received == sent
        server.sendall(b"the other way is still open")
        assert client.recv(100) == b"the other way is still open"


def test_the_hole_hides_bytes_and_ends_until_it_is_restored(relay: BlackholeRelay, listener: socket.socket) -> None:
    client, server = connect(relay, listener)
    with client, server:
        relay.swallow()
        client.sendall(b"lost")
        server.sendall(b"lost too")
        server.shutdown(socket.SHUT_WR)
        assert_silent(server)
        assert_silent(client)
        assert (relay.bytes_to_server, relay.bytes_to_client) == (0, 0)
        relay.restore()
        assert server.recv(100) == b"lost"
        assert client.recv(100) == b"lost too"
        assert client.recv(100) == b""


def test_new_connections_fall_into_the_hole(relay: BlackholeRelay, listener: socket.socket) -> None:
    relay.swallow()
    with socket.create_connection((relay.host, relay.port), timeout=5) as client:
        client.sendall(b"hello?")
        listener.settimeout(0.1)
        with pytest.raises(TimeoutError):
            listener.accept()
        relay.restore()
        listener.settimeout(5)
        server, _ = listener.accept()
        with server:
            assert server.recv(100) == b"hello?"


def test_the_hole_may_be_for_old_connections_only(relay: BlackholeRelay, listener: socket.socket) -> None:
    old_client, old_server = connect(relay, listener)
    relay.swallow(new_connections=False)
    client, server = connect(relay, listener)
    with old_client, old_server, client, server:
        client.sendall(b"new")
        assert server.recv(100) == b"new"
        old_client.sendall(b"old")
        assert_silent(old_server)


@pytest.mark.parametrize("swallowed", [False, True])
def test_sever_resets_both_sides(relay: BlackholeRelay, listener: socket.socket, swallowed: bool) -> None:  # noqa: FBT001 - a parameter of pytest's
    client, server = connect(relay, listener)
    with client, server:
        if swallowed:
            relay.swallow()
        relay.sever()
        for sock in (client, server):
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        assert relay.open_connections == 0


@pytest.mark.parametrize("swallowed", [False, True])
def test_hang_up_ends_both_sides(relay: BlackholeRelay, listener: socket.socket, swallowed: bool) -> None:  # noqa: FBT001 - a parameter of pytest's
    client, server = connect(relay, listener)
    with client, server:
        if swallowed:
            relay.swallow()
            client.sendall(b"unread bytes must not turn the FIN into a RST")
        relay.hang_up()
        client.send(b"the first send after a FIN succeeds")
        assert client.recv(1) == b""
        assert server.recv(1) == b""


def test_a_reset_passes_through_as_a_reset(relay: BlackholeRelay, listener: socket.socket) -> None:
    client, server = connect(relay, listener)
    with client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        server.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_both_sides_reset_in_the_same_moment(relay: BlackholeRelay, listener: socket.socket) -> None:
    client, server = connect(relay, listener)
    relay.swallow()
    for sock in (client, server):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
    relay.restore()  # now one round of its selector sees both
    _ = relay.open_connections  # answered in that round or later, so the next answer comes after it
    assert relay.open_connections == 0


def test_nobody_behind_the_relay(relay: BlackholeRelay, listener: socket.socket) -> None:
    listener.close()
    with (
        pytest.raises(ConnectionResetError),
        socket.create_connection((relay.host, relay.port), timeout=5) as client,
    ):
        client.recv(1)


def test_close_ends_all(listener: socket.socket) -> None:
    relay = BlackholeRelay(*listener.getsockname())
    client, server = connect(relay, listener)
    with client, server:
        relay.close()
        relay.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((relay.host, relay.port))


def test_a_real_client_in_a_black_hole(server: Server) -> None:
    with BlackholeRelay(server.host, server.port) as relay:
        connection = pymysql.connect(host=relay.host, port=relay.port, user="root", read_timeout=0.3)
        with closing(connection), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            relay.swallow()
            with pytest.raises(pymysql.err.OperationalError, match="timed out"):
                cursor.execute("SELECT 2")
