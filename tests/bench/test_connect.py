import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("MySQLdb", reason="mysqlclient is not installed; make mysqlclient does that")
from bench import connect, idle, logins

CONNECT = """\
| target    | visits/s | of direct | p50 us | p99 us | CPU us/visit |
| --------- | -------: | --------: | -----: | -----: | -----------: |
| direct    |    3,000 |      1.00 |    200 |    900 |              |
| stillhere |      600 |      0.17 |  1,000 |  9,000 |        1,500 |"""

LOGINS = """\
| target    | logins/s | queries/s | p50 us | p99 us |
| --------- | -------: | --------: | -----: | -----: |
| direct    |        0 |       100 |     50 |     90 |
| stillhere |        0 |        60 |     70 |    110 |
| direct    |      200 |        90 |     50 |    100 |
| stillhere |      198 |        50 |     80 |    300 |"""


@pytest.mark.skipif(shutil.which("sysbench") is None, reason="sysbench is not installed; make peers does that")
def test_a_short_run_from_end_to_end(tmp_path: Path) -> None:
    file = tmp_path / "results" / "connect.json"
    arguments = ["--rounds", "1", "--seconds", "0.2", "--threads", "2", "--json", str(file)]
    assert CliRunner().invoke(connect.main, arguments, catch_exceptions=False).exit_code == 0
    report = json.loads(file.read_text())
    rates = {run["target"]: run["visits_per_second"] for run in report["runs"]}
    assert min(rates["direct"], rates["stillhere"]) > 0
    assert rates.keys() | report["absent"].keys() == {"direct", "stillhere", "HAProxy", "nginx stream", "MySQL Router"}


def test_visits_are_compared_with_the_direct_run_of_the_same_round() -> None:
    runs = [
        connect.Run("direct", 0, 4000.0, 100.0, 800.0, None),
        connect.Run("stillhere", 0, 1000.0, 500.0, 8000.0, 1000.0),
        connect.Run("direct", 1, 2000.0, 300.0, 1000.0, None),
        connect.Run("stillhere", 1, 200.0, 1500.0, 10_000.0, 2000.0),
    ]
    assert connect.results_table(runs) == CONNECT


def test_logins_stand_below_the_runs_without_them() -> None:
    runs = [
        logins.Run("direct", 0, 0, 0.0, 100.0, 50.0, 90.0),
        logins.Run("direct", 0, 200, 199.6, 90.0, 50.0, 100.0),
        logins.Run("stillhere", 0, 0, 0.0, 60.0, 70.0, 110.0),
        logins.Run("stillhere", 0, 200, 198.0, 50.0, 80.0, 300.0),
    ]
    assert logins.results_table(runs) == LOGINS


def test_memory_is_that_of_the_first_round() -> None:
    rounds = [
        idle.Round(0, 1000, 100.0, 90.0, 50.0, 60.0, 50_000, 70_000),
        idle.Round(1, 1000, 100.0, 110.0, 50.0, 70.0, 60_000, 70_000),
    ]
    text = idle.results_table(49_152, rounds)
    for name, value in {
        "resident at start": "48.0 MiB",
        "memory per idle session": "20.0 KiB",
        "8 busy ones beside idle ones, queries/s": "100",
        "of alone": "1.00",
        "p99 beside, us": "65",
    }.items():
        assert any(
            line.split("|")[1].strip() == name and line.split("|")[2].strip() == value for line in text.splitlines()
        )
