"""The errors on links that live on: frameworks must neither throw the link away nor run the statement again."""

from contextlib import closing

import pytest
import sqlalchemy as sa

from protocol.packets import Err
from proxy import answers
from tests.e2e import wire
from tests.e2e.guarded import Guarded, failure, in_background, wait_for_statement
from tests.guard import Guard
from tests.servers import Server

#: What SQLAlchemy, Django, Laravel, Doctrine, Rails, HikariCP and others look for in the texts of errors.
PHRASES = (
    "gone away",
    "went away",
    "lost connection",
    "connection lost",
    "communication link failure",
    "communications link failure",
    "is dead or not enabled",
    "error while sending",
    "server closed the connection",
    "connection was closed",
    "connection was killed",
    "connection is no longer usable",
    "broken pipe",
    "reset by peer",
    "refused",
    "shutting down",
    "shutdown in progress",
    "packets out of order",
    "no connection",
    "not connected",
    "timed out",
    "timeout",
)
SERVER = "db.internal:3306"
#: Each error on a link that is kept, with its code and SQLSTATE.
KEPT: tuple[tuple[Err, int, str], ...] = (
    (answers.rolled_back(SERVER), 1213, "40001"),
    (answers.result_cut_off(SERVER), 1213, "40001"),
    (answers.outcome_unknown(SERVER), 1180, "HY000"),
    (answers.cannot_look_back(SERVER), 1180, "HY000"),
    (answers.not_as_prepared(SERVER, "it had 1 columns, and now it has 2"), 1615, "HY000"),
    (answers.too_large(2_000_000, 1_048_576, SERVER, "42000"), 1153, "42000"),
    (answers.parameter_too_large(2_000_000, 1_048_576, SERVER, "42000"), 1153, "42000"),
    (answers.cannot_hold(20_000_000, "no space left on device"), 1041, "HY000"),
)
ATTEMPTS = 3


@pytest.mark.parametrize(("error", "code", "sqlstate"), KEPT)
def test_codes_and_words(error: Err, code: int, sqlstate: str) -> None:
    assert (error.code, error.sqlstate) == (code, sqlstate)
    assert error.message.startswith("stillhere: ")
    assert [phrase for phrase in PHRASES if phrase in error.message.lower()] == []


def test_a_session_that_is_told_goes_on(guard: Guard, server: Server, schema: str) -> None:
    server.execute(f"CREATE TABLE {schema}.t (n INT) ENGINE=InnoDB")
    with closing(Guarded(guard, database=schema, autocommit=True)) as session:
        with in_background(session.query, "INSERT INTO t SELECT SLEEP(20)") as write:
            server.execute(f"KILL CONNECTION {wait_for_statement(server, 'SLEEP(20)')}")
            with pytest.raises(Exception, match="outcome of this statement is unknown"):
                write.result(20)
        session.connection.begin()
        session.query("INSERT INTO t VALUES (5)")
        server.execute(f"KILL CONNECTION {session.thread()}")
        code, message = failure(session.connection, "INSERT INTO t VALUES (6)")
        assert code == 1213
        assert "rolled back" in message
        assert session.query("SELECT COUNT(*) FROM t WHERE n > 1") == ((0,),)


def transfer(engine: sa.Engine, lose: "Losses") -> int:
    """Move money in a transaction, from the beginning again where the server says so; return the attempts."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with engine.begin() as connection:
                connection.execute(sa.text("UPDATE accounts SET balance = balance - 10 WHERE id = 1"))
                lose.once(connection)
                connection.execute(sa.text("UPDATE accounts SET balance = balance + 10 WHERE id = 2"))
        except sa.exc.OperationalError as error:
            if error.connection_invalidated or error.orig is None or error.orig.args[0] != 1213:
                raise
        else:
            return attempt
    raise AssertionError("no attempt has succeeded")


class Losses:
    """Has a transaction lose its link, the first time."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._has_been = False

    def once(self, connection: sa.Connection) -> None:
        if not self._has_been:
            self._has_been = True
            thread = connection.execute(sa.text("SELECT CONNECTION_ID()")).scalar_one()
            self._server.execute(f"KILL CONNECTION {thread}")


def test_sqlalchemy_retries_and_throws_nothing_away(guard: Guard, server: Server, schema: str) -> None:
    server.execute(f"CREATE TABLE {schema}.accounts (id INT PRIMARY KEY, balance INT) ENGINE=InnoDB")
    server.execute(f"INSERT INTO {schema}.accounts VALUES (1, 100), (2, 100)")
    engine = sa.create_engine(
        f"mysql+pymysql://root@{guard.host}:{guard.port}/{schema}", pool_size=1, max_overflow=0, pool_pre_ping=False
    )
    with closing(engine.raw_connection()) as borrowed:
        driver_connection = borrowed.driver_connection
    assert transfer(engine, Losses(server)) == 2
    rows = server.execute("SELECT id, balance FROM accounts ORDER BY id", database=schema)
    assert rows == [(1, 90), (2, 110)]
    # Idle in the pool, the link is lost once more, and nobody notices.
    with engine.connect() as connection:
        thread = connection.execute(sa.text("SELECT CONNECTION_ID()")).scalar_one()
    server.execute(f"KILL CONNECTION {thread}")
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT SUM(balance) FROM accounts")).scalar_one() == 200
    with closing(engine.raw_connection()) as borrowed:
        assert borrowed.driver_connection is driver_connection
        assert wire.private(driver_connection).open
    engine.dispose()
