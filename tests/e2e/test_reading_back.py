"""What a session can look back at is not spoiled by the guard's reading back what the session is."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.losses import connect_twins, schemas
from tests.guard import Guard
from tests.servers import Server

#: A statement that leaves something to be read back, and then one whose rows are to be looked back at.
UNSETTLING = "SET @a = 1 + 0"
LOOKED_BACK_AT = (
    "SELECT 1 FROM DUAL WHERE FALSE",
    "SELECT 1",
    "SELECT * FROM t",
    "SELECT SQL_CALC_FOUND_ROWS * FROM t LIMIT 1",
    "SELECT a.n FROM t a, t b, t c, t d, t e, t f",
    "SET sql_select_limit = 2",
    "DO 0",
)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("statement", LOOKED_BACK_AT)
def test_found_rows(stack: ExitStack, guard: Guard, server: Server, statement: str) -> None:
    names = stack.enter_context(schemas(server, 2, 1, ("CREATE TABLE t (n INT)", "INSERT INTO t VALUES (1), (2), (3)")))
    through, direct = connect_twins(stack, guard, server, names)
    times = through.times_settled()
    for twin in (through, direct):
        twin.rows("SELECT 1 UNION SELECT 2")
        twin.rows(UNSETTLING)
        twin.rows(statement)
    through.await_settled(times)
    for look in ("SELECT FOUND_ROWS()", "SHOW WARNINGS"):
        assert through.rows(look) == direct.rows(look)
