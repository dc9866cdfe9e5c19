"""Nothing too large gets out, and the session lives on."""

from collections.abc import Iterator
from contextlib import closing

import pymysql
import pytest

from protocol.framing import build_packet
from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.guard import Guard
from tests.servers import Connection, Server, StartServer

MIB = 1 << 20
LIMIT = MIB  # the shared servers run with this max_allowed_packet, so the largest payload has one byte less


@pytest.fixture(scope="module")
def small_packets(server: Server) -> Iterator[None]:
    ((before,),) = server.execute("SELECT @@GLOBAL.max_allowed_packet")
    server.execute(f"SET GLOBAL max_allowed_packet = {LIMIT}")
    yield
    server.execute(f"SET GLOBAL max_allowed_packet = {before}")


@pytest.fixture
def connection(guard: Guard, schema: str, small_packets: None) -> Iterator[Connection]:
    with closing(guard.connect(database=schema, autocommit=True, local_infile=True, ssl_disabled=True)) as connection:
        yield connection


def select_of(payload_bytes: int) -> bytes:
    """Write the argument of a COM_QUERY whose payload has exactly so many bytes."""
    head = b"SELECT LENGTH('"
    return head + b"x" * (payload_bytes - 1 - len(head) - 2) + b"')"


def assert_refused(connection: Connection, payload: bytes, size: int) -> None:
    code, sqlstate, message = wire.error(payload)
    assert (code, sqlstate) == (1153, "42000")
    assert f"{size} bytes" in message
    assert f"at most {LIMIT - 1}" in message
    assert "127.0.0.1:" in message
    assert "max_allowed_packet" in message
    assert wire.query(connection, "SELECT 'alive'") == (("alive",),)


def test_query_boundary(connection: Connection) -> None:
    wire.send(connection, wire.COM_QUERY, select_of(LIMIT - 1))
    assert [wire.receive(connection)[0] for _ in range(5)] == [1, 2, 3, 4, 5]
    for size in (LIMIT, LIMIT + 1, 2 * LIMIT):
        assert_refused(connection, wire.ask(connection, wire.COM_QUERY, select_of(size)), size)


@pytest.mark.usefixtures("small_packets")
def test_the_server_itself_has_the_same_boundary(server: Server) -> None:
    with closing(server.connect()) as direct:
        wire.send(direct, wire.COM_QUERY, select_of(LIMIT - 1))
        assert [wire.receive(direct)[0] for _ in range(5)] == [1, 2, 3, 4, 5]
    with closing(server.connect()) as direct:
        with pytest.raises((pymysql.Error, OSError)):
            wire.query(direct, "SELECT '" + "x" * LIMIT + "'")
        with pytest.raises(pymysql.Error):
            direct.ping(reconnect=False)


def test_prepare_boundary(connection: Connection) -> None:
    wire.send(connection, wire.COM_STMT_PREPARE, select_of(LIMIT - 1))
    assert [wire.receive(connection)[0] for _ in range(3)] == [1, 2, 3]
    assert_refused(connection, wire.ask(connection, wire.COM_STMT_PREPARE, select_of(LIMIT)), LIMIT)


def test_execute_boundary(connection: Connection) -> None:
    wire.query(connection, "CREATE TABLE t (v LONGBLOB)")
    statement = wire.prepare(connection, "INSERT INTO t VALUES (?)")
    head = statement.to_bytes(4, "little") + b"\0\1\0\0\0" + b"\0" + b"\1" + b"\xfc\0"

    def argument(payload_bytes: int) -> bytes:
        length = payload_bytes - 1 - len(head) - 4
        return head + b"\xfd" + length.to_bytes(3, "little") + b"x" * length

    assert wire.ask(connection, wire.COM_STMT_EXECUTE, argument(LIMIT - 1))[0] == 0
    assert_refused(connection, wire.ask(connection, wire.COM_STMT_EXECUTE, argument(LIMIT)), LIMIT)
    # The prepared statement is still there.
    assert wire.ask(connection, wire.COM_STMT_EXECUTE, argument(100))[0] == 0
    assert wire.query(connection, "SELECT COUNT(*) FROM t") == ((2,),)


def test_long_data_boundary(connection: Connection) -> None:
    wire.query(connection, "CREATE TABLE t (v LONGBLOB)")
    statement = wire.prepare(connection, "INSERT INTO t VALUES (?)")
    execute = wire.execute_argument(statement, blobs=1)

    def long_data(payload_bytes: int) -> bytes:
        return wire.long_data_argument(statement, 0, b"x" * (payload_bytes - 7))

    wire.send(connection, wire.COM_STMT_SEND_LONG_DATA, long_data(LIMIT - 1))
    assert wire.ask(connection, wire.COM_STMT_EXECUTE, execute)[0] == 0

    # A piece that is too large has no answer; the execution that would have used it gets one.
    wire.send(connection, wire.COM_STMT_SEND_LONG_DATA, long_data(7 + 50))
    wire.send(connection, wire.COM_STMT_SEND_LONG_DATA, long_data(LIMIT))
    code, sqlstate, message = wire.error(wire.ask(connection, wire.COM_STMT_EXECUTE, execute))
    assert (code, sqlstate) == (1153, "42000")
    assert f"{LIMIT} bytes" in message
    assert "not executed" in message

    # Afterwards, the statement is as new: no rest of the long data is left in it.
    wire.send(connection, wire.COM_STMT_SEND_LONG_DATA, long_data(7 + 3))
    assert wire.ask(connection, wire.COM_STMT_EXECUTE, execute)[0] == 0
    assert wire.query(connection, "SELECT LENGTH(v) FROM t ORDER BY 1") == ((3,), (LIMIT - 8,))


def test_refused_long_data_is_forgotten_with_its_statement(connection: Connection) -> None:
    wire.query(connection, "CREATE TABLE t (v LONGBLOB)")
    statement = wire.prepare(connection, "INSERT INTO t VALUES (?)")
    wire.send(connection, wire.COM_STMT_SEND_LONG_DATA, wire.long_data_argument(statement, 0, b"x" * LIMIT))
    assert wire.ask(connection, wire.COM_STMT_RESET, statement.to_bytes(4, "little"))[0] == 0
    wire.send(connection, wire.COM_STMT_SEND_LONG_DATA, wire.long_data_argument(statement, 0, b"abc"))
    assert wire.ask(connection, wire.COM_STMT_EXECUTE, wire.execute_argument(statement, blobs=1))[0] == 0
    assert wire.query(connection, "SELECT v FROM t") == ((b"abc",),)


def test_long_data_that_adds_up_is_the_servers_to_refuse(connection: Connection) -> None:
    wire.query(connection, "CREATE TABLE t (v LONGBLOB)")
    statement = wire.prepare(connection, "INSERT INTO t VALUES (?)")
    execute = wire.execute_argument(statement, blobs=1)
    piece = wire.long_data_argument(statement, 0, b"x" * 500_000)
    for pieces, accepted in ((2, True), (3, False)):
        for _ in range(pieces):
            wire.send(connection, wire.COM_STMT_SEND_LONG_DATA, piece)
        answer = wire.ask(connection, wire.COM_STMT_EXECUTE, execute)
        assert answer[0] == (0 if accepted else 0xFF)
    code, _, message = wire.error(answer)
    assert code == 1105
    assert "max_allowed_packet" in message
    assert wire.query(connection, "SELECT COUNT(*) FROM t") == ((1,),)


def test_change_user_boundary(connection: Connection) -> None:
    def argument(payload_bytes: int) -> bytes:
        head = b"root\0" + b"\0" + b"\0" + (45).to_bytes(2, "little") + b"mysql_native_password\0"
        attributes = payload_bytes - 1 - len(head)
        return head + b"x" * attributes

    assert_refused(connection, wire.ask(connection, wire.COM_CHANGE_USER, argument(LIMIT)), LIMIT)
    # One byte less is let through to the dialogue, in which the guard asks for the password.
    assert wire.ask(connection, wire.COM_CHANGE_USER, argument(LIMIT - 1))[0] == 0xFE


def test_local_file_in_pieces_above_the_limit(connection: Connection) -> None:
    wire.query(connection, "CREATE TABLE t (v LONGTEXT)")
    rows = [b"%07d" % number + b"x" * 592 for number in range(10_000)]
    file = b"".join(row + b"\n" for row in rows)
    load = b"LOAD DATA LOCAL INFILE 'f' INTO TABLE t"
    for piece_bytes in (LIMIT - 1, LIMIT, 3 * LIMIT, 0xFFFFFF):
        wire.send(connection, wire.COM_QUERY, load)
        sequence_id, payload = wire.receive(connection)
        assert payload[0] == 0xFB
        contents = file * (3 if piece_bytes == 0xFFFFFF else 1)
        for start in range(0, len(contents), piece_bytes):
            piece = build_packet(contents[start : start + piece_bytes], sequence_id + 1)
            wire.write(connection, piece)
            sequence_id = (sequence_id + -(-len(piece) // (0xFFFFFF + 4))) & 0xFF
        wire.write(connection, build_packet(b"", sequence_id + 1))
        answered, payload = wire.receive(connection)
        assert payload[0] == 0, payload
        assert answered == sequence_id + 2
        count = len(contents) // len(rows[0] + b"\n")
        assert wire.query(connection, "SELECT COUNT(*), COUNT(DISTINCT v), MIN(LENGTH(v)) FROM t") == (
            (count, 10_000, 599),
        )
        wire.query(connection, "TRUNCATE t")


def test_transaction_statements_and_variables_live_on(connection: Connection, server: Server, schema: str) -> None:
    wire.query(connection, "CREATE TABLE t (n INT) ENGINE=InnoDB")
    statement = wire.prepare(connection, "INSERT INTO t VALUES (7)")
    connection.begin()
    wire.query(connection, "INSERT INTO t VALUES (1)")
    wire.query(connection, "SET @mine = 'kept'")
    with pytest.raises(pymysql.Error) as refusal:
        wire.query(connection, "SELECT '" + "x" * 2 * LIMIT + "'")
    assert refusal.value.args[0] == 1153
    assert wire.query(connection, "SELECT @mine") == (("kept",),)
    assert wire.ask(connection, wire.COM_STMT_EXECUTE, wire.execute_argument(statement, blobs=0)[:9])[0] == 0
    assert server.execute("SELECT COUNT(*) FROM t", database=schema) == [(0,)]
    connection.commit()
    assert server.execute("SELECT n FROM t ORDER BY n", database=schema) == [(1,), (7,)]


def test_pipelined_refusal_keeps_the_order(connection: Connection) -> None:
    first = build_packet(b"\x03SELECT 1", 0)
    oversized = build_packet(b"\x03" + select_of(LIMIT + 5), 0)
    last = build_packet(b"\x0e", 0)
    wire.write(connection, first + oversized + last)
    assert [wire.receive(connection)[0] for _ in range(5)] == [1, 2, 3, 4, 5]
    sequence_id, payload = wire.receive(connection)
    assert (sequence_id, wire.error(payload)[0]) == (1, 1153)
    assert wire.receive(connection)[1][0] == 0


def bytes_received(server: Server) -> int:
    ((_, value),) = server.execute("SHOW GLOBAL STATUS LIKE 'Bytes_received'")
    return int(value)


@pytest.mark.parametrize("limit_mib", [16, 32])
def test_several_frames(own_server: StartServer, start_guard: StartGuard, limit_mib: int) -> None:
    limit = limit_mib * MIB
    server = own_server(f"--max-allowed-packet={limit}")
    guard = start_guard(address(server))
    with closing(guard.connect()) as connection:
        for size in (0xFFFFFE, 0xFFFFFF, 0x1000000, limit - 1):
            if size < limit:
                wire.send(connection, wire.COM_QUERY, select_of(size))
                first = size // 0xFFFFFF + 1
                assert [wire.receive(connection)[0] for _ in range(5)] == [first + step for step in range(5)], size
        received_before = bytes_received(server)
        for size in (limit, limit + 1, 40 * MIB):
            wire.send(connection, wire.COM_QUERY, select_of(size))
            sequence_id, payload = wire.receive(connection)
            assert sequence_id == size // 0xFFFFFF + 1
            code, _, message = wire.error(payload)
            assert code == 1153
            assert f"{size} bytes" in message
        assert wire.query(connection, "SELECT 'alive'") == (("alive",),)
        # Not a part of what was refused has reached the server.
        assert bytes_received(server) - received_before < 100_000


def refuse_frames(connection: Connection, frames: int) -> None:
    """Send a command of so many frames of 16 MiB and have it refused."""
    body = b"\x03" * 0xFFFFFF
    for sequence_id in range(frames):
        wire.write(connection, b"\xff\xff\xff" + bytes((sequence_id,)) + body)
    wire.write(connection, b"\x00\x00\x00" + bytes((frames,)))
    sequence_id, payload = wire.receive(connection)
    assert sequence_id == frames + 1
    assert f"{frames * 0xFFFFFF} bytes" in wire.error(payload)[2]


def test_memory_stays_bounded_while_refusing_a_gigabyte(guard: Guard, connection: Connection) -> None:
    for _ in range(5):
        refuse_frames(connection, 2)
    guard.forget_peak_memory()
    before = guard.peak_memory()
    refuse_frames(connection, 64)
    # The kernel's counters of resident pages are off by several hundred KiB themselves.
    assert guard.peak_memory() - before < 1.5 * MIB
    assert wire.query(connection, "SELECT 'alive'") == (("alive",),)


@pytest.mark.usefixtures("small_packets")
def test_new_sessions_see_a_new_limit(guard: Guard, server: Server) -> None:
    with closing(guard.connect()) as old:
        server.execute(f"SET GLOBAL max_allowed_packet = {2 * LIMIT}")
        try:
            assert wire.error(wire.ask(old, wire.COM_QUERY, select_of(LIMIT + 1)))[0] == 1153
            with closing(guard.connect()) as new:
                wire.send(new, wire.COM_QUERY, select_of(LIMIT + 1))
                assert wire.receive(new)[1][0] == 1
        finally:
            server.execute(f"SET GLOBAL max_allowed_packet = {LIMIT}")


def test_a_limit_of_the_guards_own(server: Server, start_guard: StartGuard) -> None:
    guard = start_guard(address(server), guard={"max_allowed_packet": "64KiB", "oversize_sqlstate": "08S01"})
    with closing(guard.connect()) as connection:
        code, sqlstate, message = wire.error(wire.ask(connection, wire.COM_QUERY, select_of(65536)))
        assert (code, sqlstate) == (1153, "08S01")
        assert "at most 65535" in message
        wire.send(connection, wire.COM_QUERY, select_of(65535))
        assert wire.receive(connection)[1][0] == 1
