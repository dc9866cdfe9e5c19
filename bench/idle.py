"""Measure what idle sessions cost: memory for each of them, and what busy ones lose by their being there.

One process of the guard sees both: in each round the busy ones run alone, and beside idle ones that come and go.
"""

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import click

from bench import load
from bench.load import LoadError, Workload
from bench.place import allow_open_files, stage
from bench.report import machine_facts, save, table
from bench.targets import Target, guard, start
from bench.visits import VisitError, hold
from tests.servers import ServerError

BUSY = 8
SPARE = 100
#: A session is handed to the pump when it has been quiet for a moment.
SETTLE_SECONDS = 1.0
#: So long may it take the guard to part with all idle ones.
PARTING_SECONDS = 60


@dataclass(frozen=True)
class Round:
    """One round: queries/s and p99 of the busy ones, and the guard's resident memory before and with the idle ones."""

    round: int
    idle: int
    alone_per_second: float
    beside_per_second: float
    alone_p99_us: float
    beside_p99_us: float
    before_kib: int
    with_kib: int


def resident_kib(pid: int) -> int:
    """Read how much memory a process has resident, in KiB, from /proc."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def measure(target: Target, rounds: int, seconds: int, sessions: int) -> Iterator[Round]:
    """Run all rounds; the order within them alternates."""
    pid = target.pid or 0
    nobody = open_files(pid)
    for number in range(rounds):
        alone = _busy(target, seconds) if not number % 2 else None
        before = resident_kib(pid)
        idle = hold(target, sessions)
        try:
            time.sleep(SETTLE_SECONDS)
            full = resident_kib(pid)
            beside = _busy(target, seconds)
        finally:
            for connection in idle:
                connection.close()
        _wait_until_gone(pid, nobody)
        alone = alone or _busy(target, seconds)
        yield Round(
            number,
            sessions,
            alone.queries_per_second,
            beside.queries_per_second,
            alone.p99_us,
            beside.p99_us,
            before,
            full,
        )


def open_files(pid: int) -> int:
    """Count the descriptors that a process has."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _wait_until_gone(pid: int, nobody: int) -> None:
    deadline = time.monotonic() + PARTING_SECONDS
    while open_files(pid) > nobody:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the guard has {open_files(pid)} descriptors left, {nobody} without sessions")
        time.sleep(0.1)


def _busy(target: Target, seconds: int) -> load.Load:
    return load.run(target.host, target.port, BUSY, seconds, Workload.POINT_SELECT)


def results_table(at_start_kib: int, rounds: Sequence[Round]) -> str:
    """Return the medians as a Markdown table.

    Memory is that of the first round: what a process gave back it may keep, and the next sessions are then cheaper.
    """
    first = rounds[0]
    rows = [
        ["resident at start", f"{at_start_kib / 1024:.1f} MiB"],
        [f"resident with {first.idle:,} idle sessions", f"{first.with_kib / 1024:.1f} MiB"],
        ["memory per idle session", f"{(first.with_kib - first.before_kib) / first.idle:.1f} KiB"],
        [f"{BUSY} busy ones alone, queries/s", f"{median(r.alone_per_second for r in rounds):,.0f}"],
        [f"{BUSY} busy ones beside idle ones, queries/s", f"{median(r.beside_per_second for r in rounds):,.0f}"],
        ["of alone", f"{median(r.beside_per_second / r.alone_per_second for r in rounds):.2f}"],
        ["p99 alone, us", f"{median(r.alone_p99_us for r in rounds):,.0f}"],
        ["p99 beside, us", f"{median(r.beside_p99_us for r in rounds):,.0f}"],
    ]
    return table(["stillhere", ""], rows, left={0})


@click.command()
@click.option("--sessions", type=click.IntRange(min=1), default=5000, show_default=True, help="How many idle ones.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--seconds", type=click.IntRange(min=1), default=3, show_default=True, help="Length of a busy run.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all numbers there.")
def main(sessions: int, rounds: int, seconds: int, json_file: Path | None) -> None:
    """Measure the guard without idle sessions and with them."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    allow_open_files()  # a session has two in the guard
    absent: dict[str, str] = {}
    done: list[Round] = []
    with ExitStack() as stack:
        try:
            # A thread for each connection would measure the server.
            options = (f"--max-connections={sessions + SPARE}", "--thread-handling=pool-of-threads", "--back-log=1000")
            server = stack.enter_context(stage(*options))
            starters = {"stillhere": partial(guard, sessions=sessions + SPARE)}
            for target in start(stack, starters, server.port, absent):
                at_start = resident_kib(target.pid or 0)
                for each in measure(target, rounds, seconds, sessions):
                    done.append(each)
                    click.echo(
                        f"round {each.round + 1}/{rounds}: {each.with_kib / 1024:.1f} MiB with {sessions} idle ones; "
                        f"{each.alone_per_second:,.0f} queries/s alone, {each.beside_per_second:,.0f} beside them",
                        err=True,
                    )
        except (LoadError, ServerError, TimeoutError, VisitError) as error:
            raise click.ClickException(str(error)) from None
    if absent:
        sys.exit(1)
    print(results_table(at_start, done))
    if json_file is not None:
        facts = machine_facts() | {"server": f"MariaDB {server.version}", "stillhere": target.version}
        facts["runs"] = f"{rounds} rounds, {seconds} s for each busy run"
        save(
            json_file,
            {
                "facts": facts,
                "absent": {},
                "table": results_table(at_start, done),
                "at_start_kib": at_start,
                "runs": [asdict(each) for each in done],
            },
        )


if __name__ == "__main__":
    main()
