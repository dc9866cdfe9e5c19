"""A client that is gone while its statement runs is gone for the server as well."""

import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

import pytest

from protocol.framing import build_packet
from tests.e2e import wire
from tests.e2e.guarded import Guarded, in_background, wait_for_statement, wait_until, wait_until_gone
from tests.e2e.raw import BASE, RawClient
from tests.guard import Guard
from tests.servers import Connection, Server


def hang_up(sock: socket.socket) -> None:
    socket.socket.shutdown(sock, socket.SHUT_RDWR)
    sock.close()


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def vanish(connection: Connection, how: Callable[[socket.socket], None]) -> None:
    wire.private(connection)._rfile.close()  # else the socket stays open
    how(wire.private(connection)._sock)


@pytest.mark.parametrize("how", [hang_up, reset])
@pytest.mark.parametrize("ssl_disabled", [True, False])
@pytest.mark.parametrize("statement", ["SELECT GET_LOCK('{}', 600)", "SELECT '{}', SLEEP(600)"])
def test_what_it_waits_for_is_given_up(
    guard: Guard,
    server: Server,
    schema: str,
    how: Callable[[socket.socket], None],
    statement: str,
    *,
    ssl_disabled: bool,
) -> None:
    with ExitStack() as stack:
        holder = stack.enter_context(closing(server.connect()))
        wire.query(holder, f"SELECT GET_LOCK('{schema}', 0)")
        session = stack.enter_context(closing(Guarded(guard, ssl_disabled=ssl_disabled)))
        wire.send(session.connection, wire.COM_QUERY, statement.format(schema).encode())
        thread = wait_for_statement(server, statement.format(schema)[:12])
        vanish(session.connection, how)
        wait_until_gone(server, thread)
        # The next one in the queue gets the lock.
        other = stack.enter_context(closing(guard.connect()))
        with in_background(wire.query, other, f"SELECT GET_LOCK('{schema}', 60)") as waiting:
            wire.query(holder, "DO RELEASE_ALL_LOCKS()")
            assert waiting.result(30) == ((1,),)
        guard.wait_for("session ends", session=session.id)
        assert session.incidents() == []


def test_many_at_once(guard: Guard, server: Server, schema: str) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(closing(guard.connect())) for _ in range(60)]
        for connection in connections:
            wire.send(connection, wire.COM_QUERY, f"SELECT '{schema}', SLEEP(600)".encode())
        question = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE %s AND id <> CONNECTION_ID()"

        def count() -> Any:
            return server.execute(question, (f"%{schema}', SLEEP%",))[0][0]

        wait_until(lambda: count() == len(connections), "all statements")
        for connection in connections:
            vanish(connection, hang_up)
        wait_until(lambda: count() == 0, "the end of all statements")


def test_what_was_sent_before_is_carried_out(guard: Guard, server: Server, schema: str) -> None:
    server.execute(f"CREATE TABLE {schema}.t (n INT) ENGINE=InnoDB")
    for number in range(20):
        connection = guard.connect(database=schema, autocommit=True, ssl_disabled=True)
        wire.send(connection, wire.COM_QUERY, f"INSERT INTO t VALUES ({number})".encode())
        vanish(connection, hang_up)
    wait_until(lambda: server.execute(f"SELECT COUNT(*) FROM {schema}.t") == [(20,)], "all of them")


def test_who_has_ended_only_his_side_gets_all_answers(guard: Guard) -> None:
    with RawClient(guard.host, guard.port, BASE) as client:
        queries = [b"\x03SELECT %d" % number for number in range(5)]
        client.send_bytes(b"".join(build_packet(query, 0) for query in queries))
        client._socket.shutdown(socket.SHUT_WR)
        for number in range(5):
            assert client.reply(3)[-2].payload == b"\x01%d" % number
