"""Measure how fast streams are cut into commands and replies: the judging of bytes alone, without any I/O.

Bytes come as they do from a link: in chunks of at most what it receives at once, with what was not taken of the last
chunk in front. Each run of a case repeats it for a while; the medians of the runs are reported.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import click

from bench.report import machine_facts, save
from protocol.command import CommandReader
from protocol.constants import MAX_FRAME_PAYLOAD, Capability, CommandCode
from protocol.framing import build_packet, first_packet
from protocol.large_query import HOLD_ABOVE
from protocol.memory import SessionMemory
from protocol.reply import ReplyTracker
from protocol.wire import lenenc_bytes, lenenc_integer

CHUNK_BYTES = 256 * 1024
LIMIT_BYTES = 64 * 1024 * 1024

_EOF = b"\xfe\x00\x00\x02\x00"
_END_OK = b"\xfe\x00\x00\x02\x00\x00\x00"
_COLUMN = (
    b"".join(map(lenenc_bytes, (b"def", b"bench", b"t", b"t", b"c", b"c"))) + b"\x0c\x21\0\xff\0\0\0\xfd\0\0\0\0\0"
)


@dataclass(frozen=True)
class Case:
    """Something to measure: a function, and what one call of it takes in."""

    name: str
    run: Callable[[], None]
    bytes: int
    packets: int


@dataclass(frozen=True)
class Result:
    """The medians for one case."""

    name: str
    microseconds: float
    bytes_per_second: float
    packets_per_second: float


def measure(case: Case, rounds: int, seconds: float) -> Result:
    """Repeat a case for about ``seconds`` in each of ``rounds`` rounds."""
    case.run()
    times = []
    for _ in range(rounds):
        calls = 0
        begin = now = perf_counter()
        while now - begin < seconds or not calls:
            case.run()
            calls += 1
            now = perf_counter()
        times.append((now - begin) / calls)
    each = median(times)
    return Result(case.name, each * 1e6, case.bytes / each, case.packets / each)


def cases() -> Iterable[Case]:
    """Give the cases one by one, since some need tens of megabytes."""
    query = build_packet(b"\x03SELECT c FROM sbtest1 WHERE id=".ljust(60, b"5"), 0)
    yield _commands("COM_QUERY of 60 bytes", query, 1)
    yield _commands("100 of them in one chunk", query * 100, 100)
    yield _commands("COM_QUERY of 64 KiB", build_packet(b"\x03".ljust(HOLD_ABOVE, b"x"), 0), 1)
    for style, capabilities in (("EOF", 0), ("end-OK", Capability.DEPRECATE_EOF)):
        rows: tuple[tuple[str, int, int], ...] = (
            ("point select", 120, 1),
            ("10,000 rows of 100 bytes", 100, 10_000),
            ("10,000 rows of 10 bytes", 10, 10_000),
            ("a row of 16 MiB", MAX_FRAME_PAYLOAD + 1000, 1),
        )
        for name, length, count in rows:
            yield _replies(f"{name}, {style}", length, count, capabilities)
    yield _first_packet("first_packet of 60 bytes", query)
    yield _first_packet("first_packet of 16 MiB", build_packet(bytes(MAX_FRAME_PAYLOAD + 1000), 0))


def _walkers(capabilities: int) -> tuple[CommandReader, ReplyTracker]:
    memory = SessionMemory(client_listens=False, multi_statements=False, keeps_definitions=False)
    tracker = ReplyTracker(capabilities, memory)
    return CommandReader(tracker, memory, capabilities, LIMIT_BYTES), tracker


def _chunks(data: bytes) -> list[bytes]:
    return [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]


def point_select_reply() -> bytes:
    """Return what a server answers to a point select that finds a row, to a client with DEPRECATE_EOF."""
    payloads = [b"\x01", _COLUMN, lenenc_bytes(b"x" * 119), _END_OK]
    return b"".join(build_packet(payload, number) for number, payload in enumerate(payloads, 1))


def _commands(name: str, data: bytes, packets: int) -> Case:
    reader, tracker = _walkers(0)
    chunks = _chunks(data)

    def run() -> None:
        for chunk in chunks:
            if reader.take(chunk) != len(chunk):
                raise AssertionError("a command was not let through")
        tracker.abandon()

    return Case(name, run, len(data), packets)


def _replies(name: str, row_bytes: int, rows: int, capabilities: int) -> Case:
    row = lenenc_bytes(b"x" * (row_bytes - len(lenenc_integer(row_bytes))))
    eof = [] if capabilities else [_EOF]
    payloads = [b"\x01", _COLUMN, *eof, *([row] * rows), _END_OK if capabilities else _EOF]
    data = b""
    packets = []
    sequence_id = 1
    for payload in payloads:
        packets.append(build_packet(payload, sequence_id))
        sequence_id = (sequence_id + 1 + len(payload) // MAX_FRAME_PAYLOAD) & 0xFF
    data = b"".join(packets)
    chunks = _chunks(data)
    reader, tracker = _walkers(capabilities)

    def run() -> None:
        reader.expect_reply(CommandCode.QUERY)
        rest = b""
        for chunk in chunks:
            inbox = rest + chunk if rest else chunk
            _, taken = tracker.take(inbox)
            rest = inbox[taken:]
        if not tracker.idle:
            raise AssertionError("a reply did not end where it should")

    return Case(name, run, len(data), len(payloads))


def _first_packet(name: str, data: bytes) -> Case:
    def run() -> None:
        if first_packet(data, 0, len(data)) is None:
            raise AssertionError("a packet was not found")

    return Case(name, run, len(data), 1)


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Runs of each case.")
@click.option(
    "--seconds", type=click.FloatRange(min=0), default=0.3, show_default=True, help="Length of a run; 0 is one call."
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all numbers there.")
def main(rounds: int, seconds: float, json_file: Path | None) -> None:
    """Measure the code that cuts streams, and print a table."""
    print(f"{'':34}{'us':>12}{'MB/s':>12}{'packets/s':>14}")
    results = []
    for case in cases():
        result = measure(case, rounds, seconds)
        results.append(result)
        print(
            f"{result.name:34}{result.microseconds:12,.2f}{result.bytes_per_second / 1e6:12,.1f}"
            f"{result.packets_per_second:14,.0f}",
            flush=True,
        )
    if json_file is not None:
        save(json_file, {"facts": machine_facts(), "medians": [asdict(result) for result in results]})


if __name__ == "__main__":
    main()
