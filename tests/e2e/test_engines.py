"""Nothing is said to be rolled back that an engine without transactions keeps."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from protocol.framing import build_packet
from tests.e2e import wire
from tests.e2e.guarded import Guarded, failure, in_background, wait_for_statement, wait_until_gone
from tests.guard import Guard
from tests.servers import Server


@pytest.fixture
def session(guard: Guard, server: Server, schema: str) -> Iterator[Guarded]:
    for statement in (
        "CREATE TABLE {}.undone (n INT PRIMARY KEY AUTO_INCREMENT, v INT DEFAULT 0) ENGINE=InnoDB",
        "CREATE TABLE {}.kept (n INT PRIMARY KEY AUTO_INCREMENT, v INT DEFAULT 0) ENGINE=MyISAM",
        "INSERT INTO {}.undone (n) VALUES (1)",
        "INSERT INTO {}.kept (n) VALUES (1)",
        "CREATE VIEW {}.seen AS SELECT n, v FROM {}.kept",
        "CREATE SCHEMA {}_other",
        "CREATE TABLE {}_other.undone (n INT PRIMARY KEY AUTO_INCREMENT, v INT DEFAULT 0) ENGINE=MyISAM",
    ):
        server.execute(statement.replace("{}", schema))
    options = {"database": schema, "autocommit": True, "local_infile": True}
    with closing(Guarded(guard, **options)) as session:
        yield session
    server.execute(f"DROP SCHEMA {schema}_other")


def test_a_transaction_that_has_written_for_good(session: Guarded, server: Server) -> None:
    for write, code in (
        ("INSERT INTO undone (v) VALUES (1)", 1213),
        ("INSERT INTO kept (v) VALUES (1)", 1180),
        ("UPDATE seen SET v = 2", 1180),
    ):
        session.query("BEGIN")
        session.query("SELECT COUNT(*) FROM kept")
        session.query(write)
        server.execute(f"KILL CONNECTION {session.thread()}")
        session.wait_until_restored()
        told, message = failure(session.connection, "SELECT 1")
        assert (told, "engine without transactions" in message) == (code, code == 1180), write
        session.query("SELECT 1")
    # In a transaction that follows, nothing of it is left.
    session.query("BEGIN")
    session.query("INSERT INTO undone (v) VALUES (1)")
    server.execute(f"KILL CONNECTION {session.thread()}")
    session.wait_until_restored()
    assert session.fails("SELECT 1") == 1213


@pytest.mark.parametrize(
    ("write", "code"),
    [
        ("INSERT INTO undone (v) SELECT SLEEP(30)", 1213),
        ("/* why */ UPDATE undone SET v = SLEEP(30)", 1213),
        ("INSERT INTO kept (v) SELECT SLEEP(30)", 1180),
        ("UPDATE seen SET v = SLEEP(30)", 1180),
        ("UPDATE undone u, kept k SET u.v = SLEEP(30)", 1180),
        ("INSERT INTO {}_other.undone (v) SELECT SLEEP(30)", 1180),
        ("INSERT INTO `{}`.`undone` (v) SELECT SLEEP(30)", 1213),
    ],
)
def test_a_write_in_a_transaction_that_was_under_way(
    session: Guarded, server: Server, schema: str, write: str, code: int
) -> None:
    session.query("BEGIN")
    with in_background(failure, session.connection, write.replace("{}", schema)) as writing:
        server.execute(f"KILL CONNECTION {wait_for_statement(server, 'SLEEP(30)')}")
        assert writing.result(30)[0] == code
    assert session.query("SELECT 1") == ((1,),)


def test_a_prepared_write_in_the_schema_that_it_was_prepared_in(session: Guarded, server: Server, schema: str) -> None:
    connection = session.connection
    ids = {}
    for name in (schema, f"{schema}_other"):
        connection.select_db(name)
        ids[name] = wire.prepare(connection, "INSERT INTO undone (v) SELECT SLEEP(30)")
    for name, code in ((schema, 1213), (f"{schema}_other", 1180)):
        session.query("BEGIN")
        argument = ids[name].to_bytes(4, "little") + b"\0\1\0\0\0"
        wire.send(connection, wire.COM_STMT_EXECUTE, argument)
        server.execute(f"KILL CONNECTION {wait_for_statement(server, 'SLEEP(30)')}")
        assert wire.error(wire.receive(connection)[1])[0] == code


@pytest.mark.parametrize(("table", "code"), [("undone", 1213), ("kept", 1180)])
def test_a_local_file_that_was_not_at_its_end(session: Guarded, server: Server, table: str, code: int) -> None:
    connection = session.connection
    wire.send(connection, wire.COM_QUERY, f"LOAD DATA LOCAL INFILE 'f' INTO TABLE {table} (v)".encode())
    assert wire.receive(connection) == (1, b"\xfbf")
    wire.write(connection, build_packet(b"4\n" * 20_000, 2))
    thread = wait_for_statement(server, "LOAD DATA LOCAL")
    server.execute(f"KILL CONNECTION {thread}")
    wait_until_gone(server, thread)
    wire.write(connection, build_packet(b"6\n", 3) + build_packet(b"", 4))
    assert wire.error(wire.receive(connection)[1])[0] == code


def test_a_branch_that_was_prepared_is_not_said_to_be_rolled_back(
    session: Guarded, server: Server, schema: str
) -> None:
    for statement in (f"XA START '{schema}'", "INSERT INTO undone (v) VALUES (1)", f"XA END '{schema}'"):
        session.query(statement)
    session.query(f"XA PREPARE '{schema}'")
    server.execute(f"KILL CONNECTION {session.known}")
    code, message = failure(session.connection, "SELECT 1")
    assert (code, "XA RECOVER" in message, "open transaction was rolled back" in message) == (4031, True, False)
    server.execute(f"XA ROLLBACK '{schema}'")
