"""The guard in front of other proxies: MySQL Router, and another guard."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pymysql
import pytest

from bench.load import DATABASE, USER
from bench.load import PASSWORD as ROUTED_PASSWORD
from bench.targets import mysql_router
from tests.conftest import skip_unless_available
from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.e2e.losses import Guarded
from tests.guard import Guard
from tests.servers import MySQL, Server

PASSWORD = "secret"


@pytest.fixture
def account(server: Server, schema: str) -> Iterator[str]:
    """Give a user with PASSWORD who may do anything in `schema`."""
    server.execute(f"CREATE USER c_{schema}@'%' IDENTIFIED BY '{PASSWORD}'")
    server.execute(f"GRANT ALL ON {schema}.* TO c_{schema}@'%'")
    yield f"c_{schema}"
    server.execute(f"DROP USER c_{schema}@'%'")


def test_a_guard_in_front_of_a_guard(server: Server, start_guard: StartGuard, schema: str, account: str) -> None:
    inner = start_guard(address(server))
    outer = start_guard(f"{inner.host}:{inner.port}")
    with closing(outer.connect(account, PASSWORD, database=schema, autocommit=True)) as connection:
        session = Guarded(connection, inner, server)
        session.rows("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(10))")
        session.rows("INSERT INTO t (v) VALUES ('one')")
        session.rows("SET @mine = 'mine', time_zone = '+03:00'")
        session.prepare("one", "SELECT v FROM t WHERE id = 1")
        before = session.use("one", wire.COM_STMT_EXECUTE, b"\0\1\0\0\0")
        # The server's link: the inner one restores it, and the outer one notices nothing.
        session.settle()
        session.lose()
        assert session.rows("SELECT @mine, @@time_zone, COUNT(*) FROM t") == (("mine", "+03:00", 1),)
        assert session.use("one", wire.COM_STMT_EXECUTE, b"\0\1\0\0\0") == before
        assert not [event for event in outer.events if event["event"] == "link lost and restored"]
        # What one of them has to say comes through as it is.
        session.rows("BEGIN")
        session.rows("INSERT INTO t (v) VALUES ('two')")
        session.lose()
        with pytest.raises(pymysql.OperationalError) as rolled_back:
            session.rows("INSERT INTO t (v) VALUES ('three')")
        assert rolled_back.value.args[0] == 1213
        assert session.rows("SELECT COUNT(*) FROM t") == ((1,),)
        with pytest.raises(pymysql.MySQLError) as too_large:
            session.rows(f"SELECT '{'x' * inner_limit(inner)}'")
        assert too_large.value.args[0] == 1153
        assert session.rows("SELECT @mine") == (("mine",),)


def inner_limit(guard: Guard) -> int:
    return int(next(event["limit_bytes"] for event in guard.events if event["event"] == "session begins"))


def test_a_guard_outlives_the_one_behind_it(server: Server, schema: str, account: str) -> None:
    inner = Guard(address(server))
    try:
        with (
            Guard(f"{inner.host}:{inner.port}") as outer,
            closing(outer.connect(account, PASSWORD, database=schema)) as connection,
        ):
            wire.query(connection, "SET @mine = 'mine', time_zone = '+03:00'")
            inner.close()
            inner = Guard(address(server), port=inner.port)
            outer.wait_for("link lost and restored")
            assert wire.query(connection, "SELECT @mine, @@time_zone") == (("mine", "+03:00"),)
            assert outer.failures() == []
    finally:
        inner.close()


def test_a_guard_in_front_of_mysql_router(start_guard: StartGuard, tmp_path: Path) -> None:
    skip_unless_available("mysql")
    with MySQL() as server:
        server.execute(f"CREATE USER {USER}@'%' IDENTIFIED BY '{ROUTED_PASSWORD}'")
        server.execute(f"CREATE DATABASE {DATABASE}")
        server.execute(f"GRANT ALL ON {DATABASE}.* TO {USER}@'%'")
        with mysql_router(server.port, tmp_path) as router:
            guard = start_guard(f"127.0.0.1:{router.port}")
            with closing(guard.connect(USER, ROUTED_PASSWORD, database=DATABASE, autocommit=True)) as connection:
                wire.query(connection, "SET @mine = 'mine', time_zone = '+03:00'")
                ((thread,),) = wire.query(connection, "SELECT CONNECTION_ID()")
                server.execute(f"KILL CONNECTION {thread}")
                guard.wait_for("link lost and restored")
                assert wire.query(connection, "SELECT @mine, @@time_zone") == (("mine", "+03:00"),)
                wire.query(connection, "CREATE TABLE t (id INT)")
                wire.query(connection, "BEGIN")
                wire.query(connection, "INSERT INTO t VALUES (1)")
                server.crash()
                guard.wait_for("server is away")
                server.restart()
                guard.wait_for("link lost and restored")
                with pytest.raises(pymysql.OperationalError) as rolled_back:
                    wire.query(connection, "INSERT INTO t VALUES (2)")
                assert rolled_back.value.args[0] == 1213
                assert wire.query(connection, "SELECT COUNT(*), @mine FROM t") == ((0, "mine"),)
