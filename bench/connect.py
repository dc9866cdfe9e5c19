"""Measure how many clients can connect, ask for one thing and quit in a second, at each proxy and without one."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click

from bench import contest
from bench.contest import compete
from bench.cpu import cpu_seconds
from bench.report import table
from bench.targets import DIRECT, Target, rotated
from bench.visits import Visitors


@dataclass(frozen=True)
class Run(contest.Run):
    """One run of visits; `cpu_us` is the target's own CPU time per visit, if known."""

    visits_per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float | None


def measure(targets: Sequence[Target], rounds: int, seconds: float, threads: int) -> Iterator[Run]:
    """Run all; those to warm up are short."""
    for number in range(-1, rounds):
        for target in rotated(targets, number):
            yield _run(target, number, seconds if number >= 0 else 0.3, threads)


def _run(target: Target, number: int, seconds: float, threads: int) -> Run:
    before = cpu_seconds(target.pid) if target.pid else 0.0
    with Visitors(target, threads) as visitors:
        time.sleep(seconds)
    visits = visitors.result()
    cpu_us = (cpu_seconds(target.pid) - before) / len(visits.times_us) * 1e6 if target.pid else None
    return Run(target.name, number, visits.per_second, visits.percentile_us(50), visits.percentile_us(99), cpu_us)


def results_table(runs: Sequence[Run]) -> str:
    """Return the medians as a Markdown table; what is said of direct runs compares those of the same round."""
    baseline = {run.round: run.visits_per_second for run in runs if run.target == DIRECT}
    rows = []
    for name in dict.fromkeys(run.target for run in runs):
        mine = [run for run in runs if run.target == name]
        cpu = [run.cpu_us for run in mine if run.cpu_us is not None]
        rows.append(
            [
                name,
                f"{median(run.visits_per_second for run in mine):,.0f}",
                f"{median(run.visits_per_second / baseline[run.round] for run in mine):.2f}",
                f"{median(run.p50_us for run in mine):,.0f}",
                f"{median(run.p99_us for run in mine):,.0f}",
                f"{median(cpu):,.0f}" if cpu else "",
            ]
        )
    return table(["target", "visits/s", "of direct", "p50 us", "p99 us", "CPU us/visit"], rows, left={0})


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Runs per target.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=3, show_default=True, help="Length of a run.")
@click.option("--threads", type=click.IntRange(min=1), default=8, show_default=True, help="Clients at a time.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all numbers there.")
def main(rounds: int, seconds: float, threads: int, json_file: Path | None) -> None:
    """Measure visits: connect, one query, quit."""
    compete(
        lambda targets: measure(targets, rounds, seconds, threads),
        lambda run: f"{run.visits_per_second:,.0f} visits/s",
        results_table,
        f"{rounds} rounds of {seconds:g} s, {threads} clients of mysqlclient in threads, no TLS",
        json_file,
    )


if __name__ == "__main__":
    main()
