"""Measure what the guard costs from end to end, compared with no proxy and with other proxies.

sysbench's point selects, the cheapest of all queries and thus the worst case for a proxy, run against a throwaway
MariaDB directly and through each proxy, in rounds: each round runs every target, in an order that rotates. Medians
are reported.
"""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import click

from bench import load
from bench.load import LoadError, Workload
from bench.place import stage
from bench.report import Measurement, as_json, document, machine_facts, save, summarise
from bench.targets import DIRECT, LINEUPS, SESSIONS, AbsentError, Target, direct, peer, rotated, start
from tests.servers import ServerError

WARM_UP_SECONDS = 1


class Connections(click.ParamType[tuple[int, ...]]):
    """Numbers of connections, separated by commas."""

    name = "N,N,..."

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers; fails with a usage error."""
        parts = value.split(",")
        if not all(part.isdecimal() and 0 < int(part) < SESSIONS for part in parts):
            self.fail(f"{value!r} is not a list of numbers from 1 to {SESSIONS - 1}", param, ctx)
        return tuple(sorted({int(part) for part in parts}))


class Peer(click.ParamType[tuple[str, str, int]]):
    """A proxy that runs already: its name and address."""

    name = "NAME=HOST:PORT"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str, int]:
        """Return name, host and port; fails with a usage error."""
        name, _, address = value.partition("=")
        host, _, port = address.rpartition(":")
        if not (name and host and port.isdecimal()):
            self.fail(f"{value!r} is not of the form NAME=HOST:PORT", param, ctx)
        return name, host, int(port)


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Runs per table cell.")
@click.option("--seconds", type=click.IntRange(min=1), default=5, show_default=True, help="Length of a run.")
@click.option("--connections", type=Connections(), default="1,8,32,128", show_default=True)
@click.option(
    "--workload", type=click.Choice([str(workload) for workload in Workload]), default="point-select", show_default=True
)
@click.option(
    "--lineup",
    type=click.Choice(list(LINEUPS)),
    default="peers",
    show_default=True,
    help="Other proxies; TLS towards the server, and the Router with it; clients over a unix socket; worker threads.",
)
@click.option(
    "--peer",
    "peers",
    type=Peer(),
    multiple=True,
    help="One more proxy, which you run yourself in front of the bench's server (127.0.0.1, see --server-port) and "
    "which lets user bench log in with password bench. Can be given several times.",
)
@click.option(
    "--server-port", type=click.IntRange(0, 65535), default=0, help="The server's port. Default: any free one."
)
@click.option(
    "--one-cpu",
    is_flag=True,
    help="Have all parties share one CPU: where the scheduler puts whom, and how it wakes them, then plays no part.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all numbers there.")
@click.option("--markdown", "markdown_file", type=click.Path(path_type=Path), help="Write the report there.")
def main(  # noqa: PLR0913, PLR0917 - one for each option
    rounds: int,
    seconds: int,
    connections: tuple[int, ...],
    workload: str,
    lineup: str,
    peers: tuple[tuple[str, str, int], ...],
    server_port: int,
    one_cpu: bool,  # noqa: FBT001 - click's
    json_file: Path | None,
    markdown_file: Path | None,
) -> None:
    """Measure throughput, latency and CPU time of the guard, of other proxies, and of no proxy.

    Proxies that are not installed are left out, and listed. The exit status is 1 if the guard itself is among them.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    if one_cpu:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # whom this process starts, inherits it
    absent: dict[str, str] = {}
    measurements: list[Measurement] = []
    with ExitStack() as stack:
        try:
            server = stack.enter_context(stage(port=server_port, tls=lineup == "tls"))
            targets = [direct(server)]
            if lineup == "unix":
                targets.append(replace(targets[0], name=f"{DIRECT}, unix", socket=str(server.socket_path)))
            targets += start(stack, LINEUPS[lineup], server.port, absent)
            targets += _peers(peers, absent)
            for measurement in _measure(targets, rounds, seconds, connections, Workload(workload)):
                measurements.append(measurement)
                _show(measurement, rounds)
        except (LoadError, ServerError) as error:
            raise click.ClickException(str(error)) from None
    rows = summarise(measurements, DIRECT)
    facts = machine_facts() | {target.name: target.version for target in targets if target.version}
    encryption = "TLS between proxy and server" if lineup == "tls" else "no TLS"
    place = ", all on one CPU" if one_cpu else ""
    facts["runs"] = f"{rounds} rounds of {seconds} s, {workload}, {load.TABLE_ROWS} rows, {encryption}{place}"
    report = document("Overhead of proxies", rows, facts, absent)
    click.echo(report, nl=False)
    if markdown_file:
        markdown_file.parent.mkdir(parents=True, exist_ok=True)
        markdown_file.write_text(report)
    if json_file:
        save(json_file, as_json(rows, measurements, facts, absent))
    if "stillhere" in absent:
        sys.exit(1)


def _peers(peers: Sequence[tuple[str, str, int]], absent: dict[str, str]) -> Iterator[Target]:
    for name, host, port in peers:
        try:
            yield peer(name, host, port)
        except AbsentError as error:
            absent[name] = str(error)
            click.echo(f"{name} is left out: {error}", err=True)


def _measure(
    targets: Sequence[Target], rounds: int, seconds: int, connections: Sequence[int], workload: Workload
) -> Iterator[Measurement]:
    for target in targets:
        _run(target, 0, WARM_UP_SECONDS, connections[-1], workload)
    for number in range(rounds):
        for count in connections:
            for target in rotated(targets, number):
                yield _run(target, number, seconds, count, workload)


def _run(target: Target, number: int, seconds: int, connections: int, workload: Workload) -> Measurement:
    try:
        result = load.run(target.host, target.port, connections, seconds, workload, target.socket, target.pid)
    except LoadError as error:
        raise LoadError(f"{target.name}, {connections} connections: {error}") from None
    return Measurement(
        target.name, connections, number, result.queries_per_second, result.p50_us, result.p99_us, result.cpu_us
    )


def _show(measurement: Measurement, rounds: int) -> None:
    click.echo(
        f"round {measurement.round + 1}/{rounds}  {measurement.target:>12}  {measurement.connections:>3} connections  "
        f"{measurement.queries_per_second:>9,.0f} queries/s  p50 {measurement.p50_us:,.0f} us",
        err=True,
    )


if __name__ == "__main__":
    main()
