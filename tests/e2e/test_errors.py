"""What the guard says when it has lost something, and what drivers, pools and retry loops make of it."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pymysql
import pytest
import sqlalchemy
from sqlalchemy import text

from protocol.packets import Err
from proxy import answers
from tests.e2e import wire
from tests.e2e.guarded import Guarded, failure, in_background, wait_for_statement, wait_until_gone
from tests.guard import Guard
from tests.servers import Server

SERVER = "db.internal:3306"

#: By these words, in any case, frameworks take a connection for lost: they throw it away, or run the statement again.
#: They are those of Laravel's DetectsLostConnections and of its like in Rails, Doctrine, SQLAlchemy and drivers.
TELLTALES = (
    "gone away",
    "lost connection",
    "is dead or not enabled",
    "error while sending",
    "decryption failed or bad record mac",
    "server closed the connection",
    "ssl connection has been closed",
    "error writing data to the connection",
    "resource deadlock avoided",
    "transaction() on null",
    "child connection forced to terminate",
    "query_wait_timeout",
    "reset by peer",
    "reset by the peer",
    "physical connection is not usable",
    "tcp provider: error",
    "communication link failure",
    "communications link failure",
    "connection is no longer usable",
    "login timeout expired",
    "connection refused",
    "running with the --read-only option",
    "the connection is broken",
    "no connection to the server",
    "connection timed out",
    "could not connect to server",
    "name or service not known",
    "temporary failure in name resolution",
    "ssl: ",
    "broken pipe",
    "is shutting down",
    "shutdown in progress",
    "packets out of order",
    "connection was killed",
    "can't connect to",
    "disconnected by the server",
    "closed the connection",
    "connection has been closed",
    "not connected",
    "unexpected eof",
    "server has gone",
    "invalid connection",
    "went away",
    "connection lost",
    "connection was closed",
    "no connection",
    "refused",
    "timed out",
    "timeout",
)

KEPT: dict[str, tuple[Err, int, str]] = {
    "too large": (answers.too_large(2 << 20, 1 << 20, SERVER, "42000"), 1153, "42000"),
    "parameter too large": (answers.parameter_too_large(2 << 20, 1 << 20, SERVER, "42000"), 1153, "42000"),
    "cannot hold": (answers.cannot_hold(20 << 20, "no space left on device"), 1041, "HY000"),
    "rolled back": (answers.rolled_back(SERVER, is_fenced=True), 1213, "40001"),
    "rolled back later": (answers.rolled_back(SERVER, is_fenced=False), 1213, "40001"),
    "cut off": (answers.result_cut_off(SERVER), 1213, "40001"),
    "unknown": (answers.outcome_unknown(SERVER), 1180, "HY000"),
    "unknown and not over": (answers.outcome_unknown(SERVER, in_transaction=True, is_fenced=False), 1180, "HY000"),
    "transaction unknown": (answers.transaction_unknown(SERVER, "a statement in it had failed"), 1180, "HY000"),
    "cannot look back": (answers.cannot_look_back(SERVER), 1180, "HY000"),
    "killed": (answers.killed(SERVER), 1317, "70100"),
    "not as prepared": (answers.not_as_prepared(SERVER, "its columns are not the same any more"), 1615, "HY000"),
}


@pytest.mark.parametrize("name", sorted(KEPT))
def test_errors_on_links_that_are_kept(name: str) -> None:
    answer, code, sqlstate = KEPT[name]
    assert (answer.code, answer.sqlstate) == (code, sqlstate)
    assert answer.message.startswith("stillhere: ")
    assert [words for words in TELLTALES if words in answer.message.lower()] == []


def test_all_errors_are_known_here() -> None:
    at_login = {"too_many_sessions", "unreachable", "bad_handshake", "access_denied", "no_plugins"}
    on_lost_links = at_login | {"out_of_order", "parting"}
    made = {name for name, maker in vars(answers).items() if getattr(maker, "__module__", "") == answers.__name__}
    assert made - on_lost_links == {
        "too_large",
        "parameter_too_large",
        "cannot_hold",
        "rolled_back",
        "result_cut_off",
        "killed",
        "outcome_unknown",
        "transaction_unknown",
        "cannot_look_back",
        "not_as_prepared",
    }


def test_errors_on_links_that_end() -> None:
    parting = answers.parting(SERVER, "closed by the peer", "This command was not sent.")
    assert (parting.code, parting.sqlstate) == (4031, "08S01")
    unreachable = answers.unreachable(SERVER, "connection refused")
    assert (unreachable.code, unreachable.sqlstate) == (2003, "HY000")


# What really arrives.


@pytest.fixture
def table(server: Server, schema: str) -> str:
    server.execute(f"CREATE TABLE {schema}.t (n INT PRIMARY KEY, v INT DEFAULT 0) ENGINE=InnoDB")
    server.execute(f"INSERT INTO {schema}.t (n) VALUES (1), (2)")
    return f"{schema}.t"


@pytest.fixture
def told(guard: Guard, server: Server, table: str) -> Callable[[str], tuple[int, str]]:
    """Give a function that has a write lost in flight, behind some statement, and returns what its client is told."""

    def lose(begin: str) -> tuple[int, str]:
        with (
            closing(Guarded(guard, database=table.partition(".")[0], autocommit=True)) as session,
            closing(server.connect(autocommit=False)) as holder,
        ):
            session.query(begin)
            wire.query(holder, f"UPDATE {table} SET v = 7 WHERE n = 1")
            with in_background(failure, session.connection, "UPDATE t SET v = 1 WHERE n = 1") as write:
                server.execute(f"KILL CONNECTION {wait_for_statement(server, 'UPDATE t SET v = 1')}")
                code, message = write.result(30)
            assert session.query("SELECT 1") == ((1,),)
            return code, message

    return lose


@pytest.mark.parametrize(("begin", "code", "words"), [("DO 0", 1180, "may or may not"), ("BEGIN", 1213, "rolled back")])
def test_a_client_is_told_what_it_has_to_know(
    told: Callable[[str], tuple[int, str]], server: Server, begin: str, code: int, words: str
) -> None:
    got, message = told(begin)
    assert got == code
    assert message.startswith("stillhere: ")
    assert words in message
    assert f"{server.host}:{server.port}" in message
    assert [telltale for telltale in TELLTALES if telltale in message.lower()] == []


# SQLAlchemy.


@pytest.fixture
def engine(guard: Guard, schema: str) -> Iterator[sqlalchemy.Engine]:
    """Give an engine that does not ask its connections whether they are still there."""
    url = f"mysql+pymysql://root@{guard.host}:{guard.port}/{schema}"
    engine = sqlalchemy.create_engine(url, pool_size=1, max_overflow=0, pool_pre_ping=False)
    yield engine
    engine.dispose()


def retrying(engine: sqlalchemy.Engine, work: Callable[[sqlalchemy.Connection], Any]) -> int:
    """Run a transaction as the manual of every server says: again, if it is told of a deadlock; return the attempts."""
    for attempt in range(1, 4):
        try:
            with engine.begin() as connection:
                work(connection)
        except sqlalchemy.exc.OperationalError as error:
            if error.connection_invalidated or error.orig is None or error.orig.args[0] != 1213:
                raise
        else:
            return attempt
    raise AssertionError("the transaction has never succeeded")


def dbapi_connection(engine: sqlalchemy.Engine) -> Any:
    with engine.connect() as connection:
        return connection.connection.dbapi_connection


def test_a_retry_loop_and_a_pool(engine: sqlalchemy.Engine, server: Server, table: str) -> None:
    before = dbapi_connection(engine)
    killed: list[int] = []

    def work(connection: sqlalchemy.Connection) -> None:
        connection.execute(text("UPDATE t SET v = v + 1 WHERE n = 1"))
        if not killed:
            killed.append(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())
            server.execute(f"KILL CONNECTION {killed[0]}")
            wait_until_gone(server, killed[0])
        connection.execute(text("UPDATE t SET v = v + 1 WHERE n = 2"))

    assert retrying(engine, work) == 2
    assert server.execute(f"SELECT n, v FROM {table} ORDER BY n") == [(1, 1), (2, 1)]
    assert dbapi_connection(engine) is before
    assert "Connections in pool: 1" in engine.pool.status()


def test_a_commit_of_a_lost_transaction(engine: sqlalchemy.Engine, server: Server, table: str) -> None:
    before = dbapi_connection(engine)
    killed: list[int] = []

    def work(connection: sqlalchemy.Connection) -> None:
        connection.execute(text("UPDATE t SET v = v + 1 WHERE n = 1"))
        if not killed:
            killed.append(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())
            server.execute(f"KILL CONNECTION {killed[0]}")
            wait_until_gone(server, killed[0])

    assert retrying(engine, work) == 2
    assert server.execute(f"SELECT n, v FROM {table} ORDER BY n") == [(1, 1), (2, 0)]
    assert dbapi_connection(engine) is before


def test_a_pool_that_was_idle(engine: sqlalchemy.Engine, server: Server, table: str) -> None:
    with engine.connect() as connection:
        thread = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()
        before = connection.connection.dbapi_connection
    server.execute(f"KILL CONNECTION {thread}")
    wait_until_gone(server, thread)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO t (n) VALUES (3)"))
        assert connection.connection.dbapi_connection is before
    assert server.execute(f"SELECT COUNT(*) FROM {table}") == [(3,)]


def test_an_outcome_that_is_unknown_is_no_reason_to_throw_a_connection_away(
    engine: sqlalchemy.Engine, server: Server, table: str
) -> None:
    before = dbapi_connection(engine)

    def insert() -> Exception | None:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            try:
                connection.execute(text("UPDATE t SET v = 5 WHERE n = 1"))
            except sqlalchemy.exc.SQLAlchemyError as error:
                return error
        return None

    with closing(server.connect(autocommit=False)) as holder:
        wire.query(holder, f"UPDATE {table} SET v = 7 WHERE n = 1")
        with in_background(insert) as write:
            server.execute(f"KILL CONNECTION {wait_for_statement(server, 'SET v = 5')}")
            error = write.result(30)
    assert isinstance(error, sqlalchemy.exc.DBAPIError)
    assert isinstance(error.orig, pymysql.MySQLError)
    assert error.orig.args[0] == 1180
    assert not error.connection_invalidated
    assert dbapi_connection(engine) is before
