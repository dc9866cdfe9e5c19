"""Measure what logins cost those that are there already: point selects, alone and beside 200 logins per second."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import click

from bench import load
from bench.load import LoadError, Workload
from bench.place import stage
from bench.report import machine_facts, save, table
from bench.targets import STARTERS, Target, direct, rotated, start
from bench.visits import VisitError, Visitors
from tests.servers import ServerError

CONNECTIONS = 8
#: Enough for the rate, as long as a visit takes less than 40 ms.
VISITORS = 8


@dataclass(frozen=True)
class Run:
    """One run of the load against one target in one round; `logins_per_second` is what there was beside it."""

    target: str
    round: int
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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    absent: dict[str, str] = {}
    runs: list[Run] = []
    with ExitStack() as stack:
        try:
            server = stack.enter_context(stage())
            targets = [direct(server), *start(stack, STARTERS, server.port, absent)]
            for run in measure(targets, rounds, seconds, (0, logins)):
                runs.append(run)
                click.echo(
                    f"round {run.round + 1}/{rounds}: {run.target}, {run.logins_per_second:.0f} logins/s: "
                    f"p99 {run.p99_us:,.0f} us",
                    err=True,
                )
        except (LoadError, ServerError, VisitError) as error:
            raise click.ClickException(str(error)) from None
    print(results_table(runs))
    if json_file is not None:
        facts = machine_facts() | {target.name: target.version for target in targets}
        facts["runs"] = f"{rounds} rounds of {seconds} s, {CONNECTIONS} connections, no TLS"
        save(
            json_file,
            {"facts": facts, "absent": absent, "table": results_table(runs), "runs": [asdict(run) for run in runs]},
        )


if __name__ == "__main__":
    main()
