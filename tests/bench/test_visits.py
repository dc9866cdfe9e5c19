import time
from collections.abc import Iterator

import pytest

from bench import load
from bench.targets import Target
from tests.servers import Server

pytest.importorskip("MySQLdb", reason="mysqlclient is not installed; make mysqlclient does that")
from bench.visits import VisitError, Visitors, Visits, hold


@pytest.fixture
def target(mariadb: Server) -> Iterator[Target]:
    mariadb.execute(f"CREATE USER {load.USER}@'127.0.0.1' IDENTIFIED BY '{load.PASSWORD}'")
    yield Target("direct", mariadb.port, "")
    mariadb.execute(f"DROP USER {load.USER}@'127.0.0.1'")


def test_rates_and_percentiles() -> None:
    visits = Visits(2.0, tuple(float(number) for number in range(101)))
    assert visits.per_second == 50.5
    assert (visits.percentile_us(50), visits.percentile_us(99)) == (50.0, 99.0)
    with pytest.raises(ValueError, match="of 1 visits"):
        Visits(1.0, (1.0,)).percentile_us(50)


def test_visitors_keep_to_a_rate(target: Target) -> None:
    with Visitors(target, 4, per_second=50) as visitors:
        time.sleep(1)
    # Never more; fewer where the machine is busy.
    assert 5 <= len(visitors.result().times_us) <= 54


def test_each_visit_is_a_connection_of_its_own(mariadb: Server, target: Target) -> None:
    def connections() -> int:
        return int(mariadb.execute("SHOW GLOBAL STATUS LIKE 'Connections'")[0][1])

    before = connections()
    with Visitors(target, 2) as visitors:
        time.sleep(0.2)
    assert connections() - before == len(visitors.result().times_us) + 1


def test_held_connections_are_there_together(mariadb: Server, target: Target) -> None:
    held = hold(target, 20)
    sessions = f"SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{load.USER}'"
    assert mariadb.execute(sessions) == [(20,)]
    for connection in held:
        connection.close()


def test_a_failed_visit_is_told(mariadb: Server) -> None:
    nobody = Target("nobody's", mariadb.port, "")
    with pytest.raises(VisitError, match="nobody's"), Visitors(nobody, 2):
        time.sleep(0.1)
    with pytest.raises(VisitError, match="nobody's"):
        hold(nobody, 3)
