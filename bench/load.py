"""The load: sysbench's point selects."""

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from bench.cpu import cpu_seconds

TABLE_ROWS = 10_000
#: What sysbench prints, at once, when all connections are there and the first query is about to be sent.
STARTED = "Threads started!\n"
USER = PASSWORD = DATABASE = "bench"  # noqa: S105 - of a throwaway server


class LoadError(RuntimeError):
    """A run that failed or is not valid; the text holds sysbench's words."""


class Workload(StrEnum):
    """How the point selects are sent."""

    POINT_SELECT = "point-select"  # as text: COM_QUERY
    PREPARED = "prepared"  # as a prepared statement: COM_STMT_EXECUTE


@dataclass(frozen=True)
class Load:
    """What one run came to. Latencies are as good as sysbench's buckets: about 2 %.

    `cpu_us` is the CPU time per query of the process that was asked about, if one was.
    """

    queries: int
    queries_per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float | None = None


def prepare(port: int) -> None:
    """Make and fill the table; raises LoadError."""
    _sysbench(["--mysql-host=127.0.0.1", f"--mysql-port={port}"], "prepare")


def run(  # noqa: PLR0913, PLR0917 - where to, how much, and what
    host: str,
    port: int,
    connections: int,
    seconds: int,
    workload: Workload,
    socket: str | None = None,
    pid: int | None = None,
) -> Load:
    """Send point selects over `connections` connections for `seconds`; raises LoadError.

    With the path of a unix `socket`, host and port do not matter. The CPU time of process `pid` counts from when all
    connections are there: their logins cost many queries' worth, and have a bench of their own.
    """
    mode = "disable" if workload is Workload.POINT_SELECT else "auto"
    # All rows alike: the rows read should differ between runs in nothing that matters.
    options = ["--rand-type=uniform", "--histogram", f"--db-ps-mode={mode}"]
    where = [f"--mysql-socket={socket}"] if socket else [f"--mysql-host={host}", f"--mysql-port={port}"]
    at_start: list[float] = []
    result = parse(
        _sysbench(
            where,
            *options,
            f"--threads={connections}",
            f"--time={seconds}",
            "run",
            on_start=lambda: at_start.append(cpu_seconds(pid) if pid else 0.0),
        )
    )
    return replace(result, cpu_us=(cpu_seconds(pid) - at_start[0]) / result.queries * 1e6) if pid else result


def parse(output: str) -> Load:
    """Read what `sysbench --histogram ... run` printed; raises LoadError if it is incomplete or tells of errors."""
    histogram = re.findall(r"^ +(\d+\.\d+) \|\**[* ]* (\d+)$", output, re.MULTILINE)
    queries = re.search(r"^ +queries: +(\d+) +\((\d+\.\d+) per sec\.\)$", output, re.MULTILINE)
    troubles = re.findall(r"^ +(?:ignored errors|reconnects): +(\d+) ", output, re.MULTILINE)
    if STARTED not in output or not histogram or queries is None or len(troubles) != 2:
        raise LoadError(f"sysbench's output is not as expected:\n{output}")
    if any(int(count) for count in troubles):
        raise LoadError(f"not every query succeeded, so the numbers mean little:\n{output}")
    buckets = [(float(milliseconds) * 1000, int(count)) for milliseconds, count in histogram]
    return Load(int(queries[1]), float(queries[2]), percentile(buckets, 0.50), percentile(buckets, 0.99))


def percentile(buckets: Sequence[tuple[float, int]], share: float) -> float:
    """Return the value below or at which `share` of the counts lie; `buckets` are (value, count), sorted by value."""
    wanted = share * sum(count for _, count in buckets)
    seen = 0
    for value, count in buckets:
        seen += count
        if seen >= wanted:
            return value
    raise ValueError("a percentile of nothing")


def _sysbench(where: Sequence[str], *arguments: str, on_start: Callable[[], None] = lambda: None) -> str:
    command = [
        "sysbench",
        "oltp_point_select",
        *where,
        f"--mysql-user={USER}",
        f"--mysql-password={PASSWORD}",
        f"--mysql-db={DATABASE}",
        "--tables=1",
        f"--table-size={TABLE_ROWS}",
        *arguments,
    ]
    output = ""
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            for line in process.stdout or ():
                if line == STARTED:
                    on_start()
                output += line
    except FileNotFoundError:
        raise LoadError("sysbench is not installed") from None
    if process.returncode:
        raise LoadError(f"sysbench failed with status {process.returncode}:\n{output[-2000:]}")
    return output
