import os
import sys
from pathlib import Path

import pytest

from bench import load
from bench.load import Load, LoadError, Workload, parse, percentile

# sysbench 1.0.20, `oltp_point_select --histogram --threads=1 --time=1 run`, most buckets left out.
OUTPUT = """\
sysbench 1.0.20 (using system LuaJIT 2.1.0-beta3)

Running the test with following options:
Number of threads: 1
Initializing random number generator from current time


Initializing worker threads...

Threads started!

Latency histogram (values are in milliseconds)
       value  ------------- distribution ------------- count
       0.015 |                                         1
       0.084 |******************************           40
       0.087 |**************************************** 50
       0.102 |*******                                  8
       1.319 |                                         1

SQL statistics:
    queries performed:
        read:                            100
        write:                           0
        other:                           0
        total:                           100
    transactions:                        100  (99.32 per sec.)
    queries:                             100  (99.32 per sec.)
    ignored errors:                      0      (0.00 per sec.)
    reconnects:                          0      (0.00 per sec.)

General statistics:
    total time:                          1.0016s
    total number of events:              100

Latency (ms):
         min:                                    0.02
         avg:                                    0.09
         max:                                    1.65
         95th percentile:                        0.13
         sum:                                 1994.90

Threads fairness:
    events (avg/stddev):           100.0000/0.00
    execution time (avg/stddev):   1.9949/0.00

"""


def test_parse() -> None:
    assert parse(OUTPUT) == Load(queries=100, queries_per_second=99.32, p50_us=87.0, p99_us=102.0)


@pytest.mark.parametrize("trouble", ["ignored errors:                      ", "reconnects:                          "])
def test_a_run_with_errors_is_not_valid(trouble: str) -> None:
    with pytest.raises(LoadError, match="not every query succeeded"):
        parse(OUTPUT.replace(f"{trouble}0", f"{trouble}1"))


@pytest.mark.parametrize("missing", ["Threads started!", "    queries: ", "    reconnects: ", " |"])
def test_incomplete_output_is_not_valid(missing: str) -> None:
    with pytest.raises(LoadError, match="not as expected"):
        parse(OUTPUT.replace(missing, "?"))


@pytest.mark.parametrize(
    ("share", "value"), [(0.01, 10.0), (0.25, 10.0), (0.26, 20.0), (0.5, 20.0), (0.51, 30.0), (0.99, 30.0), (1.0, 30.0)]
)
def test_percentile(share: float, value: float) -> None:
    assert percentile([(10.0, 25), (20.0, 25), (30.0, 50)], share) == value


def test_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)


def test_sysbench_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(LoadError, match="not installed"):
        load.prepare(1)


def test_cpu_time_of_logins_is_not_that_of_queries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "sysbench"
    before, _, after = OUTPUT.partition(load.STARTED)
    program.write_text(
        f"#!{sys.executable}\n"
        "import time\n"
        "def work(seconds):\n"
        "    while time.process_time() < seconds: pass\n"
        f"print({before!r}, end='')\n"
        "work(1.0)\n"
        f"print({load.STARTED!r}, end='', flush=True)\n"
        "work(1.5)\n"
        f"print({after!r}, end='')\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    # The load is a child of this process, so its CPU time counts as that of this process.
    result = load.run("127.0.0.1", 1, 1, 1, Workload.POINT_SELECT, pid=os.getpid())
    assert result.cpu_us is not None
    assert 0.4 < result.cpu_us * result.queries / 1e6 < 1.0
