"""A session that is never quiet can be restored all the same."""

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.e2e.conftest import StartGuard, address
from tests.e2e.guarded import Guarded, wait_until
from tests.servers import Server

#: What leaves something to be read back.
UNSETTLING = "SET @a = CONCAT('se', 'ven')"
#: What a busy session says again and again, and what its last statement leaves to be looked back at.
LOOPS = {
    "nothing": ("SELECT 1",),
    "rows": ("SELECT n FROM t WHERE n = 1",),
    "a row count": ("INSERT INTO t (v) VALUES (1)",),
    "warnings": ("DROP TABLE IF EXISTS nope", "SELECT n FROM t WHERE n = 1"),
    "an error": ("SELECT n FROM nope", "UPDATE t SET v = v + 1 WHERE n = 1"),
    "a transaction": ("BEGIN", "INSERT INTO t (v) VALUES (1)", "SELECT ROW_COUNT()", "COMMIT"),
    "SET": ("SET @b = 2", "INSERT INTO t (v) VALUES (1)"),
}


@pytest.fixture(params=["pump", "trio"])
def busy(request: pytest.FixtureRequest, start_guard: StartGuard, server: Server, schema: str) -> Iterator[Guarded]:
    server.execute(f"CREATE TABLE {schema}.t (n INT PRIMARY KEY AUTO_INCREMENT, v INT DEFAULT 0)")
    guard = start_guard(address(server), relay=request.param)
    with closing(Guarded(guard, database=schema, autocommit=True)) as session:
        yield session


def run(session: Guarded, loop: tuple[str, ...]) -> list[Any]:
    """Run statements one right after the other; give what they have returned, None for an error."""
    return [session.query(sql) if "FROM nope" not in sql else session.fails(sql) for sql in loop]


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_it_is_settled_in_front_of_a_command(busy: Guarded, server: Server, loop: tuple[str, ...]) -> None:
    busy.settle()
    times = busy.times_settled()
    busy.query(UNSETTLING)

    def has_gone_on() -> bool:
        results = run(busy, loop)
        if "SELECT ROW_COUNT()" in loop:
            assert results[2] == ((1,),)
        return busy.times_settled() > times

    wait_until(has_gone_on, "settling")
    server.execute(f"KILL CONNECTION {busy.thread()}")
    busy.wait_until_restored()
    assert busy.query("SELECT @a") == (("seven",),)


@pytest.mark.parametrize(
    ("leaving", "look"),
    [
        ("INSERT INTO t (v) VALUES (1), (2)", "SELECT ROW_COUNT()"),
        ("DROP TABLE IF EXISTS nope", "SHOW WARNINGS"),
        ("SELECT n FROM nope", "SHOW ERRORS"),
        ("DROP TABLE IF EXISTS nope", "SHOW COUNT(*) WARNINGS"),
        ("DROP TABLE IF EXISTS nope", "SELECT @@warning_count"),
    ],
)
def test_what_is_looked_back_at_is_not_spoiled(
    busy: Guarded, server: Server, schema: str, leaving: str, look: str
) -> None:
    connection = server.connect(database=schema, autocommit=True)
    with closing(connection), connection.cursor() as direct:
        for sql in (UNSETTLING, leaving, look):
            try:
                direct.execute(sql)
            except Exception:  # noqa: BLE001 - which one, the look shows
                assert sql == leaving
        expected = direct.fetchall()
    for _ in range(30):
        busy.query(UNSETTLING)
        run(busy, (leaving,))
        time.sleep(0.031)  # from now on, it is settled in front of a command
        assert busy.query(look) == expected
