"""What idle sessions cost: memory for each of them, and what busy ones lose by their being there."""

import resource
import signal
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import click
import pymysql

from bench import load
from bench.overhead import SERVER_OPTIONS, make_user_and_table
from bench.targets import HOST, guard
from tests.servers import MariaDB


def resident_kib(pid: int) -> int:
    """Read how much memory a process has resident, in KiB, from /proc."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@click.command()
@click.option("--sessions", default=5000, show_default=True, help="How many idle ones.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=5, show_default=True, help="Length of a run of the busy ones.")
@click.option("--relay", default="auto", show_default=True)
def main(sessions: int, rounds: int, seconds: int, relay: str) -> None:
    """Measure the guard without idle sessions and with them."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a session has two in the guard
    with ExitStack() as stack:
        server = stack.enter_context(
            MariaDB((*SERVER_OPTIONS, f"--max_connections={sessions + 100}", "--thread_handling=pool-of-threads"))
        )
        make_user_and_table(server)
        rates: dict[int, list[float]] = {0: [], sessions: []}
        for number in range(rounds):
            for count in sorted(rates, reverse=bool(number % 2)):
                with ExitStack() as inner:
                    directory = Path(inner.enter_context(tempfile.TemporaryDirectory(prefix="stillhere-bench-")))
                    target = inner.enter_context(guard(server.port, directory, relay=relay, sessions=sessions + 100))
                    pid = target.pid or 0
                    before = resident_kib(pid)
                    started = time.perf_counter()
                    for _ in range(count):
                        inner.enter_context(
                            pymysql.connect(host=HOST, port=target.port, user=load.USER, password=load.PASSWORD)
                        )
                    if count:
                        took = time.perf_counter() - started
                        time.sleep(2)
                        per_session = (resident_kib(pid) - before) / count
                        click.echo(
                            f"resident at start {before / 1024:.1f} MiB; {count} idle sessions: {per_session:.1f} KiB "
                            f"each, connected in {took:.1f} s"
                        )
                    result = load.run(HOST, target.port, 8, seconds, load.Workload.POINT_SELECT)
                    rates[count].append(result.queries_per_second)
                    click.echo(f"round {number + 1}: {count} idle, 8 busy: {result.queries_per_second:,.0f} queries/s")
        alone, beside = (statistics.median(rates[count]) for count in (0, sessions))
        click.echo(f"8 busy sessions beside {sessions} idle ones have {beside / alone:.3f} of their rate without them")


if __name__ == "__main__":
    main()
