"""Measure what logins cost those that are there already: point selects, alone and beside 200 logins per second."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click

from bench import contest, load
from bench.contest import compete
from bench.load import Workload
from bench.report import table
from bench.targets import Target, rotated
from bench.visits import Visitors

CONNECTIONS = 8
#: Enough for the rate, as long as a visit takes less than 40 ms.
VISITORS = 8


@dataclass(frozen=True)
class Run(contest.Run):
    """One run of the load; `logins_per_second` is what there was beside it."""

    wanted: int
    logins_per_second: float
    queries_per_second: float
    p50_us: float
    p99_us: float


def measure(targets: Sequence[Target], rounds: int, seconds: int, rates: Sequence[int]) -> Iterator[Run]:
    """Run all, with each rate of logins."""
    for number in range(rounds):
        for rate in rates:
            for target in rotated(targets, number):
                yield _run(target, number, seconds, rate)


def _run(target: Target, number: int, seconds: int, rate: int) -> Run:
    logins_per_second = 0.0
    if rate:
        with Visitors(target, VISITORS, rate) as visitors:
            result = load.run(target.host, target.port, CONNECTIONS, seconds, Workload.POINT_SELECT)
        logins_per_second = visitors.result().per_second
    else:
        result = load.run(target.host, target.port, CONNECTIONS, seconds, Workload.POINT_SELECT)
    return Run(target.name, number, rate, logins_per_second, result.queries_per_second, result.p50_us, result.p99_us)


def results_table(runs: Sequence[Run]) -> str:
    """Return the medians as a Markdown table."""
    rows = []
    for name, wanted in dict.fromkeys((run.target, run.wanted) for run in sorted(runs, key=lambda run: run.wanted)):
        mine = [run for run in runs if (run.target, run.wanted) == (name, wanted)]
        rows.append(
            [
                name,
                f"{median(run.logins_per_second for run in mine):,.0f}",
                f"{median(run.queries_per_second for run in mine):,.0f}",
                f"{median(run.p50_us for run in mine):,.0f}",
                f"{median(run.p99_us for run in mine):,.0f}",
            ]
        )
    return table(["target", "logins/s", "queries/s", "p50 us", "p99 us"], rows, left={0})


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Runs per table cell.")
@click.option("--seconds", type=click.IntRange(min=1), default=3, show_default=True, help="Length of a run.")
@click.option("--logins", type=click.IntRange(min=1), default=200, show_default=True, help="Per second.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all numbers there.")
def main(rounds: int, seconds: int, logins: int, json_file: Path | None) -> None:
    """Measure point selects over 8 connections, while others log in, ask for one thing and quit."""
    compete(
        lambda targets: measure(targets, rounds, seconds, (0, logins)),
        lambda run: f"{run.logins_per_second:.0f} logins/s, p99 {run.p99_us:,.0f} us",
        results_table,
        f"{rounds} rounds of {seconds} s, {CONNECTIONS} connections, no TLS",
        json_file,
    )


if __name__ == "__main__":
    main()
