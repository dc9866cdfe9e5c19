"""Every kind of command and reply, packet by packet: through the guard they are what they are without it."""

import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from pymysql.constants import CLIENT

from protocol.constants import Capability
from tests.e2e import wire
from tests.e2e.talk import Talk
from tests.guard import Guard
from tests.servers import Server

COMMON = CLIENT.MULTI_STATEMENTS | CLIENT.LOCAL_FILES | 1 << 18  # and PS_MULTI_RESULTS
CAPABILITIES: dict[str, int] = {
    "EOF": COMMON,
    "no EOF": COMMON | Capability.DEPRECATE_EOF,
    "no EOF, session track": COMMON | Capability.DEPRECATE_EOF | Capability.SESSION_TRACK,
}

SCHEMA = (
    "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v LONGTEXT) ENGINE=InnoDB",
    "INSERT INTO t (v) VALUES ('one'), (NULL), (''), (REPEAT('x', 300)), (REPEAT('y', 70000))",
    "CREATE PROCEDURE several() BEGIN SELECT 1; SELECT id FROM t LIMIT 0; SELECT v FROM t WHERE id < 4; END",
    "CREATE PROCEDURE gives(IN a INT, OUT b INT, INOUT c TEXT) BEGIN SELECT a; SET b = a * 2, c = CONCAT(c, '!'); END",
)

QUERIES = (
    "SELECT 1",
    "SELECT * FROM t",
    "SELECT * FROM t WHERE FALSE",
    "SELECT REPEAT('z', 1000000), REPEAT('z', 65530)",
    "SELECT nonsense",
    "SELECT 1 / 0",
    "DO 0",
    "INSERT INTO t (v) VALUES ('two'), ('three')",
    "UPDATE t SET v = 'changed' WHERE id < 3",
    "CALL several()",
    "CALL gives(1, @b, @c)",
    "SELECT 1; DO 0; SELECT 2; CALL several(); UPDATE t SET v = v",
    "SELECT 1; SELECT nonsense; SELECT 2",
    "SET time_zone = '+01:00', sql_mode = ''",
    # Only one of the variables that are reported: MariaDB reports several in the order of its hash table.
    "SET character_set_client = latin1",
    "USE information_schema",
    "BEGIN",
    "SELECT * FROM t FOR UPDATE",
    "ROLLBACK",
    "EXPLAIN SELECT * FROM t",
    "SHOW WARNINGS",
    "ANALYZE TABLE t",
    "",
)

#: Commands that have an answer of their own kind, or none, or are not known.
COMMANDS = (
    b"\x0e",  # COM_PING
    b"\x04t\0%",  # COM_FIELD_LIST
    b"\x04no_such_table\0%",
    b"\x1b\x01\x00",  # COM_SET_OPTION
    b"\x1b\x07\x00",
    b"\x1a\x63\x00\x00\x00",  # COM_STMT_RESET
    b"\x1c\x63\x00\x00\x00\x01\x00\x00\x00",  # COM_STMT_FETCH
    b"\x19\x63\x00\x00\x00",  # COM_STMT_CLOSE
    b"\x00",  # COM_SLEEP
    b"\x07\x02",  # COM_REFRESH
    b"\x0b",  # COM_CONNECT
    b"\x0f",  # COM_TIME
    b"\x77",
    b"\x02no_such_schema",  # COM_INIT_DB
    b"\x02information_schema",
    b"\x1f",  # COM_RESET_CONNECTION
)

LONGLONG = b"\x08\x00"
VAR_STRING = b"\xfd\x00"
READ_ONLY_CURSOR = 1


@pytest.fixture(params=list(CAPABILITIES))
def talks(request: pytest.FixtureRequest, guard: Guard, server: Server) -> Iterator[tuple[Talk, Talk]]:
    """Give two conversations on schemas of the same content: one through the guard, one direct."""
    names = [f"same_{os.urandom(4).hex()}" for _ in range(2)]
    for name in names:
        server.execute(f"CREATE DATABASE {name}")
        for statement in SCHEMA:
            server.execute(statement, database=name)
    capabilities = CAPABILITIES[request.param]
    settings: dict[str, Any] = {
        "client_flag": capabilities,
        "ssl_disabled": True,
        "local_infile": True,
        "autocommit": True,
    }
    try:
        with (
            closing(guard.connect(database=names[0], **settings)) as through,
            closing(server.connect(database=names[1], **settings)) as direct,
        ):
            yield Talk(through, capabilities), Talk(direct, capabilities)
    finally:
        for name in names:
            server.execute(f"DROP DATABASE {name}")


def assert_alike(talks: tuple[Talk, Talk], through: bytes, direct: bytes) -> None:
    # Schemas are named in column definitions and in some errors; the names are of the same length.
    names = [wire.private(talk.connection).db for talk in talks]
    assert through.replace(names[0], names[1]) == direct


def assert_same(talks: tuple[Talk, Talk], payload: bytes, *, file: bytes = b"") -> bytes:
    through, direct = (talk.ask(payload, file=file) for talk in talks)
    assert_alike(talks, through, direct)
    for talk in talks:
        talk.assert_in_step()
    return direct


def test_queries(talks: tuple[Talk, Talk]) -> None:
    for sql in QUERIES:
        if sql in ("BEGIN", "ROLLBACK"):
            # MySQL tells clients of session tracking of transactions even where session_track_transaction_info is OFF;
            # behind the guard, it is those that have asked for it.
            for talk in talks:
                talk.ask(b"\x03" + sql.encode())
        else:
            assert_same(talks, b"\x03" + sql.encode())


def test_commands(talks: tuple[Talk, Talk]) -> None:
    for payload in COMMANDS:
        assert_same(talks, payload)


def test_statistics_is_text(talks: tuple[Talk, Talk]) -> None:
    for talk in talks:
        assert b"Uptime" in talk.ask(b"\x09")
        talk.assert_in_step()


def prepare(talks: tuple[Talk, Talk], sql: bytes) -> list[bytes]:
    """Prepare a statement on both; give the two ids, which may differ."""
    ids = []
    replies = []
    for talk in talks:
        reply = talk.ask(b"\x16" + sql)
        ids.append(reply[5:9])
        replies.append(reply[:5] + reply[9:])
        talk.assert_in_step()
    assert_alike(talks, *replies)
    return ids


def execute(talks: tuple[Talk, Talk], ids: list[bytes], rest: bytes, *, code: int = 0x17) -> bytes:
    replies = []
    for talk, statement in zip(talks, ids, strict=True):
        replies.append(talk.ask(bytes((code,)) + statement + rest))
        talk.assert_in_step()
    assert_alike(talks, *replies)
    return replies[1]


def test_prepared_statements(talks: tuple[Talk, Talk]) -> None:
    number = (3).to_bytes(8, "little")
    one = b"\x01\x00\x00\x00"
    ids = prepare(talks, b"SELECT * FROM t WHERE id <> ?")
    execute(talks, ids, b"\0" + one + b"\0\1" + LONGLONG + number)
    execute(talks, ids, b"\0" + one + b"\0\0" + number)
    execute(talks, ids, b"", code=0x1A)
    for sql in (b"INSERT INTO t (v) VALUES ('p')", b"DO 0", b"SHOW TABLES", b"SELECT 1", b"CALL several()"):
        ids = prepare(talks, sql)
        execute(talks, ids, b"\0" + one)
    reply = talks[0].ask(b"\x16SELECT nonsense FROM nowhere")
    assert reply[4] == 0xFF


def test_out_parameters(talks: tuple[Talk, Talk]) -> None:
    ids = prepare(talks, b"CALL gives(?, ?, ?)")
    types = LONGLONG + LONGLONG + VAR_STRING
    values = (21).to_bytes(8, "little") + bytes(8) + b"\x02hi"
    reply = execute(talks, ids, b"\0\x01\x00\x00\x00\0\1" + types + values)
    assert b"hi!" in reply


def test_cursors(talks: tuple[Talk, Talk]) -> None:
    ids = prepare(talks, b"SELECT id, v FROM t")
    execute(talks, ids, bytes((READ_ONLY_CURSOR,)) + b"\x01\x00\x00\x00")
    for _ in range(3):
        execute(talks, ids, (2).to_bytes(4, "little"), code=0x1C)
    ids = prepare(talks, b"SELECT id FROM t WHERE FALSE")
    execute(talks, ids, bytes((READ_ONLY_CURSOR,)) + b"\x01\x00\x00\x00")


def test_local_files(talks: tuple[Talk, Talk]) -> None:
    load = b"LOAD DATA LOCAL INFILE 'f' INTO TABLE t (v)"
    assert_same(talks, b"\x03" + load, file=b"a\nb\nc\n")
    assert_same(talks, b"\x03" + load)
    assert_same(talks, b"\x03SELECT 1; " + load + b"; SELECT COUNT(*) FROM t", file=b"d\n")
    assert_same(talks, b"\x03LOAD DATA LOCAL INFILE 'f' INTO TABLE no_such_table", file=b"e\n")


def test_pipelined_commands(talks: tuple[Talk, Talk]) -> None:
    commands = (b"\x03SELECT * FROM t", b"\x0e", b"\x03SELECT nonsense", b"\x19\x63\0\0\0", b"\x03DO 0")
    replies = [talk.ask_all(commands) for talk in talks]
    assert_alike(talks, *replies)
    for talk in talks:
        talk.assert_in_step()
