"""Clients that send much at once: what belongs to a transaction that is lost is not carried out outside of it."""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing

import pytest

from protocol.framing import build_packet
from protocol.packets import Err
from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.e2e.guarded import in_background, wait_for_statement
from tests.e2e.raw import BASE, Packet, RawClient
from tests.e2e.test_kernel_evidence import kill_at_random
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


def test_what_arrives_piece_by_piece(guard: Guard, server: Server, schema: str, client: RawClient) -> None:
    """A client that does not wait for answers need not send all at once."""
    assert ask_all(client, "BEGIN", "INSERT INTO t (n) VALUES (1)") == [OK, OK]
    server.execute(f"KILL CONNECTION {client.greeting.thread_id}")
    guard.wait_for("link lost and restored")
    burst = [command(what) for what in ("INSERT INTO t (n) VALUES (2)", PING, "INSERT INTO t (n) VALUES (3)", "COMMIT")]
    for payload in burst:
        client.send(payload)
        time.sleep(0.005)
    assert [code_of(client.reply(payload[0])) for payload in burst] == [LOST, OK, LOST, LOST]
    assert numbers(server, schema) == []
    assert ask_all(client, "INSERT INTO t (n) VALUES (50)") == [OK]


def test_what_is_more_than_the_guard_keeps(guard: Guard, server: Server, schema: str, client: RawClient) -> None:
    assert ask_all(client, "BEGIN", "INSERT INTO t (n) VALUES (1)") == [OK, OK]
    server.execute(f"KILL CONNECTION {client.greeting.thread_id}")
    guard.wait_for("link lost and restored")
    many = [f"INSERT INTO t (n) VALUES ({n}) /* {'x' * 4000} */" for n in range(2, 99)] * 12
    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(lambda: [code_of(client.reply(3)) for _ in (*many, "COMMIT")])
        for text in (*many, "COMMIT"):
            client.send(command(text))
        assert set(answers.result(30)) == {LOST}
    assert numbers(server, schema) == []
    assert ask_all(client, "INSERT INTO t (n) VALUES (50)") == [OK]


INSERT = "INSERT INTO t (n) VALUES (2)"
LARGE_INSERT = f"{INSERT} /* {'x' * 100_000} */"


@pytest.mark.parametrize(
    ("beginning", "burst", "expected"),
    [
        # An implicit transaction of which the server has not said yet that it is open.
        ("SET autocommit = 0", ["UPDATE t SET v = 8 WHERE n = 100", INSERT], {LOST}),
        ("SET autocommit = 0", ["UPDATE t SET v = 8 WHERE n = 100", INSERT, "COMMIT"], {UNKNOWN}),
        ("DO 0", ["BEGIN; UPDATE t SET v = 8 WHERE n = 100", INSERT, "COMMIT"], {UNKNOWN}),
        ("BEGIN", ["CALL writes()", INSERT, "COMMIT"], {UNKNOWN}),
        # These do not go out before the others have been answered.
        ("SET autocommit = 0", ["UPDATE t SET v = 8 WHERE n = 100", LARGE_INSERT, "COMMIT"], {LOST}),
        ("DO 0", ["BEGIN; UPDATE t SET v = 8 WHERE n = 100", LARGE_INSERT, "COMMIT"], {UNKNOWN}),
        ("BEGIN", ["CALL writes()", LARGE_INSERT, "COMMIT"], {UNKNOWN}),
    ],
)
def test_what_follows_the_first_statement_of_a_transaction(
    server: Server, schema: str, client: RawClient, beginning: str, burst: list[str], expected: set[int]
) -> None:
    server.execute(f"CREATE PROCEDURE {schema}.writes() UPDATE {schema}.t SET v = 8 WHERE n = 100")
    assert ask_all(client, beginning) == [OK]
    with closing(server.connect(autocommit=False)) as holder:
        wire.query(holder, f"UPDATE {schema}.t SET v = 7 WHERE n = 100")
        client.send(command(burst[0]))
        thread = wait_for_statement(server, "v = 8")
        # Nobody sees it before the link is lost.
        payloads = [command(text) for text in burst[1:]]
        with in_background(server.execute, f"KILL CONNECTION {thread}"):
            client.send_bytes(b"".join(len(payload).to_bytes(3, "little") + b"\0" + payload for payload in payloads))
        # Where it is not known what became of one of them, nothing may have the client repeat the transaction.
        assert {code_of(client.reply(3)) for _ in burst} == expected
        wire.query(holder, "ROLLBACK")
    assert numbers(server, schema) == []
    assert ask_all(client, "INSERT INTO t (n) VALUES (50)", "COMMIT") == [OK, OK]
    assert numbers(server, schema) == [50]


def test_long_data_of_an_execution_that_was_refused(
    guard: Guard, server: Server, schema: str, client: RawClient
) -> None:
    """It goes with the execution, as if that had failed on the server."""
    server.execute(f"CREATE TABLE {schema}.blobs (data LONGBLOB) ENGINE=InnoDB")
    client.send(b"\x16INSERT INTO blobs VALUES (?)")
    statement_id = client.reply(0x16)[0].payload[1:5]
    piece = b"\x18" + statement_id + b"\0\0" + b"abc"
    execute = b"\x17" + statement_id + b"\0\1\0\0\0" + b"\0\1\xfc\0"
    assert ask_all(client, "BEGIN", "INSERT INTO t (n) VALUES (1)") == [OK, OK]
    server.execute(f"KILL CONNECTION {client.greeting.thread_id}")
    guard.wait_for("link lost and restored")
    for expected in (LOST, OK):
        client.send(piece)
        client.send(execute)
        assert code_of(client.reply(0x17)) == expected
    assert server.execute(f"SELECT data FROM {schema}.blobs") == [(b"abc",)]


# All of that at random moments.

TRANSACTIONS, STATEMENTS = 150 * int(os.environ.get("STILLHERE_RACES", "1")), 4


class Pipeliner:
    """Sends whole transactions without waiting for answers, and takes note of what each statement is answered with."""

    def __init__(self, guard: Guard, schema: str, numbers: range, seed: int) -> None:
        self.answers: dict[int, list[int | None]] = {}
        self._client = RawClient(guard.host, guard.port, BASE | CONNECT_WITH_DB, schema=schema)
        self._numbers = numbers
        self._randomly = random.Random(seed)

    def run(self) -> None:
        has_autocommit = True
        with self._client:
            for number in self._numbers:
                inserts = [f"INSERT INTO t (n, v) VALUES ({number * STATEMENTS + i}, 0)" for i in range(STATEMENTS)]
                self.answers[number] = self._carry_out(["BEGIN"] * has_autocommit + inserts + ["COMMIT"])
                if self._randomly.random() < 0.05:
                    has_autocommit = not has_autocommit
                    assert ask_all(self._client, f"SET autocommit = {int(has_autocommit)}") == [OK]

    def _carry_out(self, texts: list[str]) -> list[int | None]:
        """Wait for the answers to the first statements; the others go out in pieces, too fast for any answer."""
        randomly, client = self._randomly, self._client
        cuts = sorted(randomly.sample(range(len(texts) + 1), 2))
        answers = ask_all(client, *texts[: cuts[0]])
        if any(answers):
            return answers + ask_all(client, "ROLLBACK")
        time.sleep(randomly.choice((0, 0, 0.05)))  # in which a lost link comes back
        data = [build_packet(command(text), 0) for text in texts[cuts[0] :]]
        cut = cuts[1] - cuts[0]
        client.send_bytes(b"".join(data[:cut]))
        time.sleep(randomly.choice((0, 0.001, 0.004)))
        client.send_bytes(b"".join(data[cut:]))
        return answers + [code_of(client.reply(3)) for _ in data]


def test_a_transaction_is_carried_out_as_a_whole_or_not_at_all(
    server: Server, start_guard: StartGuard, schema: str
) -> None:
    server.execute(f"CREATE TABLE {schema}.t (n INT, v INT) ENGINE=InnoDB")
    guard = start_guard(address(server))
    clients = [Pipeliner(guard, schema, range(n * TRANSACTIONS, (n + 1) * TRANSACTIONS), n) for n in range(3)]
    is_over = threading.Event()
    with ThreadPoolExecutor() as pool:
        killer = pool.submit(kill_at_random, server, schema, is_over)
        running = [pool.submit(client.run) for client in clients]
        wait(running)
        is_over.set()
        for client_run in running:
            client_run.result()
    stored = Counter(n // STATEMENTS for (n,) in server.execute(f"SELECT n FROM {schema}.t"))
    told: Counter[str] = Counter()
    for number, answers in ((number, answers) for client in clients for number, answers in client.answers.items()):
        count = stored[number]
        assert count in (0, STATEMENTS), (number, answers, count)
        if not any(answers):
            told["done"] += 1
            assert count == STATEMENTS, (number, answers)
        elif UNKNOWN in answers:
            told["unknown"] += 1
        else:
            told["lost"] += 1
            assert count == 0, (number, answers)
    print(f"{server.name}: {killer.result()} killed; transactions: {dict(told)}")  # noqa: T201  shown with -s
