"""Clients that send much at once: what belongs to a transaction that is lost is not carried out outside of it."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from protocol.packets import Err
from tests.e2e import wire
from tests.e2e.guarded import wait_for_statement
from tests.e2e.raw import BASE, Packet, RawClient
from tests.guard import Guard
from tests.servers import Server

CONNECT_WITH_DB, MULTI_STATEMENTS = 1 << 3, 1 << 16
#: What each command is answered with: nothing but OK, or the code of an error.
OK, LOST, UNKNOWN = None, 1213, 1180
PING = b"\x0e"


@pytest.fixture
def client(guard: Guard, server: Server, schema: str) -> Iterator[RawClient]:
    server.execute(f"CREATE TABLE {schema}.t (n INT PRIMARY KEY, v INT DEFAULT 0) ENGINE=InnoDB")
    server.execute(f"INSERT INTO {schema}.t (n) VALUES (100)")
    with RawClient(guard.host, guard.port, BASE | CONNECT_WITH_DB | MULTI_STATEMENTS, schema=schema) as client:
        guard.wait_for("session begins", server_thread=client.greeting.thread_id)
        yield client


def command(what: str | bytes) -> bytes:
    return what if isinstance(what, bytes) else b"\x03" + what.encode()


def code_of(reply: list[Packet]) -> int | None:
    last = reply[-1].payload
    return Err.parse(last).code if last[0] == 0xFF else None


def ask_all(client: RawClient, *commands: str | bytes) -> list[int | None]:
    """Send commands in one go; return what each of them is answered with."""
    payloads = [command(what) for what in commands]
    client.send_bytes(b"".join(len(payload).to_bytes(3, "little") + b"\0" + payload for payload in payloads))
    return [code_of(client.reply(payload[0])) for payload in payloads]


def numbers(server: Server, schema: str) -> list[int]:
    return [n for (n,) in server.execute(f"SELECT n FROM {schema}.t WHERE n < 100 ORDER BY n")]


BEGINNINGS = {"begun": ("BEGIN",), "autocommit off": ("SET autocommit = 0",)}
#: What is sent behind the loss, all at once: each command, and what it is to be answered with.
BURSTS: dict[str, list[tuple[str | bytes, int | None]]] = {
    "commit": [
        ("INSERT INTO t (n) VALUES (2)", LOST),
        (PING, OK),
        ("INSERT INTO t (n) VALUES (3)", LOST),
        ("COMMIT", LOST),
    ],
    "rollback": [("INSERT INTO t (n) VALUES (2)", LOST), ("SELECT n FROM t", LOST), ("ROLLBACK", OK)],
    "commit at once": [("COMMIT", LOST)],
    "rollback at once": [("ROLLBACK", OK)],
    "several statements": [
        ("INSERT INTO t (n) VALUES (2); INSERT INTO t (n) VALUES (3)", LOST),
        ("INSERT INTO t (n) VALUES (4); COMMIT", LOST),
        ("CREATE TABLE made (n INT)", LOST),
        ("COMMIT", LOST),
    ],
    "begun again": [("INSERT INTO t (n) VALUES (2)", LOST), ("BEGIN", OK)],
}


@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("burst", BURSTS)
def test_the_rest_of_a_transaction_that_was_lost_while_idle(
    guard: Guard, server: Server, schema: str, client: RawClient, beginning: str, burst: str
) -> None:
    assert ask_all(client, *BEGINNINGS[beginning], "INSERT INTO t (n) VALUES (1)") == [OK, OK]
    server.execute(f"KILL CONNECTION {client.greeting.thread_id}")
    guard.wait_for("link lost and restored")
    # Another transaction follows; it is whole, and carried out.
    following = ("INSERT INTO t (n) VALUES (50)", "COMMIT")
    commands, expected = zip(*BURSTS[burst], strict=True)
    assert ask_all(client, *commands, *following) == [*expected, OK, OK]
    assert numbers(server, schema) == [50]
    assert not server.execute("SELECT 1 FROM information_schema.tables WHERE table_name = 'made'")


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_the_rest_of_a_transaction_that_was_lost_in_flight(
    server: Server, schema: str, client: RawClient, beginning: str
) -> None:
    assert ask_all(client, *BEGINNINGS[beginning], "INSERT INTO t (n) VALUES (1)") == [OK, OK]
    with closing(server.connect(autocommit=False)) as holder:
        wire.query(holder, f"UPDATE {schema}.t SET v = 7 WHERE n = 100")
        burst = ["UPDATE t SET v = 8 WHERE n = 100", "INSERT INTO t (n) VALUES (2)"]
        client.send_bytes(b"".join(len(text).to_bytes(3, "little") + b"\0" + text for text in map(command, burst)))
        thread = wait_for_statement(server, "v = 8")
        late = command("INSERT INTO t (n) VALUES (3)")
        client.send(late)
        server.execute(f"KILL CONNECTION {thread}")
        answers = [code_of(client.reply(3)) for _ in range(3)]
        wire.query(holder, "ROLLBACK")
    assert OK not in answers
    assert numbers(server, schema) == []
    # What the client sends after it was told is another transaction.
    assert ask_all(client, "INSERT INTO t (n) VALUES (50)") == [OK]
    assert ask_all(client, "COMMIT") == [OK]
    assert numbers(server, schema) == [50]


def test_what_is_sent_after_the_client_was_told_is_carried_out(
    guard: Guard, server: Server, schema: str, client: RawClient
) -> None:
    assert ask_all(client, "BEGIN", "INSERT INTO t (n) VALUES (1)") == [OK, OK]
    server.execute(f"KILL CONNECTION {client.greeting.thread_id}")
    guard.wait_for("link lost and restored")
    assert ask_all(client, "INSERT INTO t (n) VALUES (2)", "INSERT INTO t (n) VALUES (3)") == [LOST, LOST]
    assert ask_all(client, "INSERT INTO t (n) VALUES (4)") == [OK]
    assert numbers(server, schema) == [4]


def test_large_and_prepared_statements_in_such_a_transaction(
    guard: Guard, server: Server, schema: str, client: RawClient
) -> None:
    client.send(b"\x16INSERT INTO t (n) VALUES (2)")
    execute = b"\x17" + client.reply(0x16)[0].payload[1:5] + b"\0\1\0\0\0"
    large = f"INSERT INTO t (n) VALUES (3) /* {'x' * 100_000} */"
    assert ask_all(client, "BEGIN", "INSERT INTO t (n) VALUES (1)") == [OK, OK]
    server.execute(f"KILL CONNECTION {client.greeting.thread_id}")
    guard.wait_for("link lost and restored")
    burst = (execute, large, execute, large, "COMMIT", "INSERT INTO t (n) VALUES (50)")
    assert ask_all(client, *burst) == [LOST, LOST, LOST, LOST, LOST, OK]
    assert numbers(server, schema) == [50]
