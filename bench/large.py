"""Measure what proxies cost where much passes at once: a large result, and large statements.

The result is read by somebody who only empties the socket, so that the server and the proxy are what is measured; the
statements are sent one after the other, each as soon as the one before it has been answered. Each round does both,
through each proxy and without one, in an order that rotates. Medians are reported.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import click
import pymysql

from bench.cpu import cpu_seconds
from bench.load import DATABASE, PASSWORD, USER, LoadError
from bench.place import stage
from bench.report import machine_facts, save, table
from bench.targets import DIRECT, STARTERS, Target, direct, rotated, start
from protocol.framing import build_packet
from tests.e2e import wire
from tests.servers import Connection, ServerError

MIB = 1 << 20
GIB = 1 << 30
ROW_BYTES = 100  # on the wire, of which five are not the value
STATEMENT_BYTES = 15 * MIB
PATIENCE_SECONDS = 300
#: What the end of a result is before its warnings and status: an EOF packet. Nothing in the rows looks like it.
EOF_PACKET_BYTES = 9


@dataclass(frozen=True)
class Transfer:
    """One transfer through one target in one round; `cpu_seconds` is the target's own CPU time, if known."""

    direction: str
    target: str
    round: int
    bytes: int
    seconds: float
    cpu_seconds: float | None

    @property
    def mib_per_second(self) -> float:
        """Throughput."""
        return self.bytes / MIB / self.seconds


def download(connection: Connection, count: int) -> int:
    """Receive a result of about so many bytes; return how many they were exactly."""
    sock = wire.socket_of(connection)
    rows = max(1, count // ROW_BYTES)
    statement = f"SELECT REPEAT('x', {ROW_BYTES - 5}) FROM seq_1_to_{rows}"  # noqa: S608 - numbers
    sock.sendall(build_packet(bytes((wire.COM_QUERY,)) + statement.encode(), 0))
    buffer = bytearray(MIB)
    received, end = 0, b""
    while not (end.startswith(b"\5\0\0") and end[4:5] == b"\xfe"):
        length = sock.recv_into(buffer)
        if not length:
            raise ConnectionError("the link has ended in the middle of the result")
        received += length
        end = (end + buffer[max(0, length - EOF_PACKET_BYTES) : length])[-EOF_PACKET_BYTES:]
    if received < rows * ROW_BYTES:
        raise ConnectionError(f"the result has ended after {received} bytes: {end!r}")
    return received


def upload(connection: Connection, count: int) -> int:
    """Send statements of about so many bytes together; return how many they were exactly."""
    sock = wire.socket_of(connection)
    size = min(count, STATEMENT_BYTES)
    head, tail = b"DO LENGTH('", b"')"
    packet = build_packet(bytes((wire.COM_QUERY,)) + head + b"x" * (size - len(head) - len(tail)) + tail, 0)
    sent = 0
    for _ in range(max(1, round(count / size))):
        sock.sendall(packet)
        _, answer = wire.receive(connection)
        if answer[0]:
            raise ConnectionError(f"the server has answered {answer!r}")
        sent += len(packet)
    return sent


def measure(targets: Sequence[Target], rounds: int, sizes: dict[str, int]) -> Iterator[Transfer]:
    """Run all transfers; those of round -1 are to warm up."""
    for number in range(-1, rounds):
        for direction, count in sizes.items():
            for target in rotated(targets, number):
                yield _run(target, number, direction, count if number >= 0 else count // 8)


DIRECTIONS: dict[str, Callable[[Connection, int], int]] = {"result": download, "statements": upload}


def _run(target: Target, number: int, direction: str, count: int) -> Transfer:
    connection: Connection = pymysql.connect(
        host=target.host,
        port=target.port,
        user=USER,
        password=PASSWORD,
        database=DATABASE,
        ssl_disabled=True,
        autocommit=True,
        read_timeout=PATIENCE_SECONDS,
    )
    with closing(connection):
        cpu = cpu_seconds(target.pid) if target.pid else 0.0
        begun = time.perf_counter()
        passed = DIRECTIONS[direction](connection, count)
        seconds = time.perf_counter() - begun
        used = cpu_seconds(target.pid) - cpu if target.pid else None
    return Transfer(direction, target.name, number, passed, seconds, used)


def results_table(transfers: Sequence[Transfer]) -> str:
    """Return the medians as a Markdown table; what is said of direct runs compares those of the same round."""
    baseline = {(t.direction, t.round): t for t in transfers if t.target == DIRECT}
    cells: dict[tuple[str, str], list[Transfer]] = {}
    for transfer in transfers:
        cells.setdefault((transfer.direction, transfer.target), []).append(transfer)
    rows = []
    for (direction, target), runs in sorted(cells.items()):
        cpu = [run.cpu_seconds / (run.bytes / GIB) for run in runs if run.cpu_seconds is not None]
        rows.append(
            [
                direction,
                target,
                f"{median(run.bytes for run in runs) / MIB:,.0f}",
                f"{median(run.mib_per_second for run in runs):,.0f}",
                f"{median(run.mib_per_second / baseline[direction, run.round].mib_per_second for run in runs):.2f}",
                f"{median(cpu):.2f}" if cpu else "",
            ]
        )
    return table(["what", "target", "MiB", "MiB/s", "of direct", "CPU s/GiB"], rows, left={0, 1})


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Runs per table cell.")
@click.option("--result", type=click.IntRange(min=1), default=200, show_default=True, help="Size in MiB.")
@click.option("--statements", type=click.IntRange(min=1), default=256, show_default=True, help="Their size in MiB.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all numbers there.")
def main(rounds: int, result: int, statements: int, json_file: Path | None) -> None:
    """Measure throughput and CPU time with much data, through the guard and without it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    transfers: list[Transfer] = []
    absent: dict[str, str] = {}
    with ExitStack() as stack:
        try:
            server = stack.enter_context(stage())
            targets = [direct(server), *start(stack, STARTERS, server.port, absent)]
            for transfer in measure(targets, rounds, {"result": result * MIB, "statements": statements * MIB}):
                _show(transfer)
                if transfer.round >= 0:
                    transfers.append(transfer)
        except (LoadError, ServerError, ConnectionError, TimeoutError, pymysql.Error) as error:
            raise click.ClickException(str(error)) from None
    facts = machine_facts() | {"server": f"MariaDB {server.version}", "runs": f"{rounds} rounds, no TLS"}
    print(results_table(transfers))
    print("\n".join(["", *(f"* {name}: {fact}" for name, fact in facts.items())]))
    if json_file is not None:
        runs = [asdict(transfer) for transfer in transfers]
        save(json_file, {"facts": facts, "absent": absent, "table": results_table(transfers), "runs": runs})


def _show(transfer: Transfer) -> None:
    name = "warm-up" if transfer.round < 0 else f"round {transfer.round + 1}"
    click.echo(
        f"{name}: {transfer.direction}, {transfer.target}: {transfer.mib_per_second:,.0f} MiB/s",
        err=True,
    )


if __name__ == "__main__":
    main()
