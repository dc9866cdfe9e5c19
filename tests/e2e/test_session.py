"""A session through the guard is like one without."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pymysql
import pytest
from pymysql.constants import CLIENT

from tests.e2e import wire
from tests.e2e.wire import query
from tests.guard import Guard
from tests.servers import Connection, Server

ZSTD = 1 << 26


@pytest.fixture
def connection(guard: Guard, schema: str) -> Iterator[Connection]:
    with closing(guard.connect(database=schema, autocommit=True, local_infile=True)) as connection:
        yield connection


def test_greeting_is_the_servers(guard: Guard, server: Server) -> None:
    with closing(server.connect()) as direct, closing(guard.connect()) as guarded:
        through, without = wire.private(guarded), wire.private(direct)
        assert through.server_version == without.server_version
        assert through.server_charset == without.server_charset
        hidden = CLIENT.COMPRESS | CLIENT.SSL | ZSTD
        assert through.server_capabilities & ~hidden == without.server_capabilities & ~hidden
        assert not through.server_capabilities & (CLIENT.COMPRESS | ZSTD)
        assert query(guarded, "SELECT CONNECTION_ID()") == ((wire.thread_id(guarded),),)


def test_new_session_looks_untouched(guard: Guard, server: Server) -> None:
    # The guard asks the server for its limits before the client's first statement.
    questions = "SELECT ROW_COUNT(), LAST_INSERT_ID(), @@session.autocommit, @@warning_count, DATABASE()"
    with closing(server.connect(autocommit=None)) as direct, closing(guard.connect(autocommit=None)) as guarded:
        assert query(guarded, questions) == query(direct, questions)
    with closing(guard.connect(autocommit=None)) as guarded:
        assert query(guarded, "SELECT FOUND_ROWS()") == ((0,),)


def test_large_and_small_results(connection: Connection, server: Server) -> None:
    with closing(server.connect()) as direct:
        sql = "SELECT table_name, column_name, data_type FROM information_schema.columns ORDER BY 1, 2, 3, table_schema"
        assert query(connection, sql) == query(direct, sql)
    assert query(connection, "SELECT NULL, '', 1") == ((None, "", 1),)
    assert query(connection, "SELECT 1 FROM DUAL WHERE FALSE") == ()


def test_a_row_of_20_mib_arrives_whole(connection: Connection) -> None:
    # Two values, so that the row is larger than what the server could have been sent.
    (row,) = query(connection, "SELECT REPEAT('a', 10485760), REPEAT('b', 10485760)")
    assert row == ("a" * 10485760, "b" * 10485760)


def test_errors_pass_word_for_word(connection: Connection, server: Server) -> None:
    with closing(server.connect()) as direct:
        for sql in ("SELECT nonsense", "SELEC 1", "SELECT * FROM test.no_such_table"):
            with pytest.raises(pymysql.Error) as without:
                query(direct, sql)
            with pytest.raises(pymysql.Error) as through:
                query(connection, sql)
            assert through.value.args == without.value.args


def test_multiple_results_and_out_parameters(guard: Guard, schema: str) -> None:
    flags = CLIENT.MULTI_STATEMENTS
    with (
        closing(guard.connect(database=schema, client_flag=flags)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("CREATE PROCEDURE p(OUT x INT) BEGIN SELECT 1; SELECT 2, 3; SET x = 4; END")
        cursor.execute("CALL p(@x); SELECT @x; DO 0; SELECT 5")
        results = [list(cursor.fetchall())]
        while cursor.nextset():
            results.append(list(cursor.fetchall()))
        assert results == [[(1,)], [(2, 3)], [], [(4,)], [], [(5,)]]


def test_local_infile(connection: Connection, tmp_path: Path) -> None:
    file = tmp_path / "rows.txt"
    file.write_text("".join(f"{number}\n" for number in range(50_000)))
    query(connection, "CREATE TABLE numbers (n INT)")
    query(connection, f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE numbers")
    assert query(connection, "SELECT COUNT(*), SUM(n) FROM numbers") == ((50_000, 1_249_975_000),)
    with pytest.raises(pymysql.OperationalError, match="No such file"):
        query(connection, "LOAD DATA LOCAL INFILE '/no such file' INTO TABLE numbers")
    assert query(connection, "SELECT 1") == ((1,),)


def test_unbuffered_reader_that_stops_early(connection: Connection) -> None:
    with connection.cursor(pymysql.cursors.SSCursor) as cursor:
        cursor.execute("SELECT a.table_name FROM information_schema.columns a")
        assert cursor.fetchone()
    assert query(connection, "SELECT 1") == ((1,),)


def test_transaction_is_one(connection: Connection, server: Server, schema: str) -> None:
    query(connection, "CREATE TABLE t (n INT) ENGINE=InnoDB")
    connection.begin()
    query(connection, "INSERT INTO t VALUES (1)")
    assert server.execute("SELECT COUNT(*) FROM t", database=schema) == [(0,)]
    connection.rollback()
    assert query(connection, "SELECT COUNT(*) FROM t") == ((0,),)


def test_ping_statistics_and_schema_change(connection: Connection, schema: str) -> None:
    connection.ping(reconnect=False)
    connection.select_db("information_schema")
    assert query(connection, "SELECT DATABASE()") == (("information_schema",),)
    connection.select_db(schema)


def test_quit_is_not_counted_as_aborted(guard: Guard, server: Server) -> None:
    def aborted() -> int:
        ((_, value),) = server.execute("SHOW GLOBAL STATUS LIKE 'Aborted_clients'")
        return int(value)

    before = aborted()
    connection = guard.connect()
    connection.close()
    guard.wait_for("session ends", reason="the client said goodbye")
    assert aborted() == before


def test_a_client_that_vanishes_ends_its_session_on_the_server(guard: Guard, server: Server) -> None:
    connection = guard.connect()
    thread = wire.thread_id(connection)
    wire.vanish(connection)
    guard.wait_for("session ends", reason="the client's link: closed by the peer")
    for _ in range(100):
        if not server.execute("SELECT 1 FROM information_schema.processlist WHERE id = %s", (thread,)):
            return
    raise AssertionError("the server still has the session")
