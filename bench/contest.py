"""A contest: the same runs against the server itself and against each proxy in front of it, in rounds."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import click

from bench.load import LoadError
from bench.place import stage
from bench.report import machine_facts, save
from bench.targets import STARTERS, Target, direct, start
from bench.visits import VisitError
from tests.servers import ServerError


@dataclass(frozen=True)
class Run:
    """One run against one target in one round; those of round -1 are to warm up, and not counted."""

    target: str
    round: int


RunT = TypeVar("RunT", bound=Run)


def compete(
    measure: Callable[[Sequence[Target]], Iterator[RunT]],
    show: Callable[[RunT], str],
    results_table: Callable[[Sequence[RunT]], str],
    about: str,
    json_file: Path | None,
) -> None:
    """Start all who can take part, measure, print the table, and write all numbers into a file if one is given.

    What ``show`` makes of a run is told as it goes on; ``about`` is what is to be known about the runs. Raises
    ClickException.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    absent: dict[str, str] = {}
    runs: list[RunT] = []
    with ExitStack() as stack:
        try:
            server = stack.enter_context(stage())
            targets = [direct(server), *start(stack, STARTERS, server.port, absent)]
            for run in measure(targets):
                name = "warm-up" if run.round < 0 else f"round {run.round + 1}"
                click.echo(f"{name}: {run.target}: {show(run)}", err=True)
                if run.round >= 0:
                    runs.append(run)
        except (LoadError, ServerError, VisitError) as error:
            raise click.ClickException(str(error)) from None
    print(results_table(runs))
    if json_file is not None:
        facts = machine_facts() | {target.name: target.version for target in targets} | {"runs": about}
        save(
            json_file,
            {"facts": facts, "absent": absent, "table": results_table(runs), "runs": [asdict(run) for run in runs]},
        )
