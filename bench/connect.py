"""Measure how many clients can connect, ask for one thing and quit in a second, at each proxy and without one."""

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import click

from bench.cpu import cpu_seconds
from bench.load import LoadError
from bench.place import stage
from bench.report import machine_facts, save, table
from bench.targets import DIRECT, STARTERS, Target, direct, rotated, start
from bench.visits import VisitError, Visitors
from tests.servers import ServerError


@dataclass(frozen=True)
class Run:
    """One run against one target in one round; `cpu_us` is the target's own CPU time per visit, if known."""

    target: str
    round: int
    visits_per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float | None


def measure(targets: Sequence[Target], rounds: int, seconds: float, threads: int) -> Iterator[Run]:
    """Run all; those of round -1 are to warm up, and short."""
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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    absent: dict[str, str] = {}
    runs: list[Run] = []
    with ExitStack() as stack:
        try:
            server = stack.enter_context(stage())
            targets = [direct(server), *start(stack, STARTERS, server.port, absent)]
            for run in measure(targets, rounds, seconds, threads):
                name = "warm-up" if run.round < 0 else f"round {run.round + 1}/{rounds}"
                click.echo(f"{name}: {run.target}: {run.visits_per_second:,.0f} visits/s", err=True)
                if run.round >= 0:
                    runs.append(run)
        except (LoadError, ServerError, VisitError) as error:
            raise click.ClickException(str(error)) from None
    print(results_table(runs))
    if json_file is not None:
        facts = machine_facts() | {target.name: target.version for target in targets}
        facts["runs"] = f"{rounds} rounds of {seconds:g} s, {threads} clients of mysqlclient in threads, no TLS"
        save(
            json_file,
            {"facts": facts, "absent": absent, "table": results_table(runs), "runs": [asdict(run) for run in runs]},
        )


if __name__ == "__main__":
    main()
