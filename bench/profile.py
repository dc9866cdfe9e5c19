"""Tell where the guard's CPU time goes with point selects: by perf, strace and callgrind, as far as they are there."""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from bench import load
from bench.load import LoadError, Workload
from bench.place import stage
from bench.report import machine_facts, save, table
from bench.targets import STARTERS, Target, start
from tests.servers import ServerError
from tests.servers.process import spawn

CONNECTIONS = 8
JUDGED = 20_000
#: A share of the CPU time, or calls per query, below which a line is left out.
LEAST_SHARE, LEAST_CALLS = 1.0, 0.01
ATTACH_SECONDS = 1.0


def parse_perf(output: str) -> list[tuple[float, str, str]]:
    """Return (percent, object, symbol), the largest first, out of `perf report -F overhead,dso,sym -t '|'`."""
    found = re.findall(r"^ *(\d+\.\d+)% *\|([^|]+)\|\[.\] ([^|\n]+)", output, re.MULTILINE)
    samples = [(float(percent), where.strip(), symbol.strip()) for percent, where, symbol in found]
    return sorted(samples, key=lambda sample: -sample[0])


def parse_strace(output: str) -> dict[str, int]:
    """Return how often each system call was made, out of what `strace -c` prints."""
    found = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", output, re.MULTILINE)
    return {name: int(count) for count, name in found if name != "total"}


def parse_callgrind(output: str) -> dict[str, int]:
    """Return the instructions of each function of the walker, out of what `callgrind_annotate` prints."""
    found = re.findall(r"^ *([\d,]+) \([ \d.]+%\) +\S+:__pyx_f_8protocol_6walker_(\w+) ", output, re.MULTILINE)
    return {name: int(count.replace(",", "")) for count, name in found}


def profile(target: Target, seconds: int, directory: Path) -> list[tuple[float, str, str]]:
    """Return where samples were taken: (percent, object, symbol), the most frequent first. Raises LoadError."""
    data = directory / "perf.data"
    command = ["perf", "record", "-e", "cpu-clock", "-F", "1999", "-p", str(target.pid), "-o", str(data)]
    with _attached(command, directory / "perf.log"):
        load.run(target.host, target.port, CONNECTIONS, seconds, Workload.POINT_SELECT)
    fields = ["--stdio", "--sort", "dso,symbol", "-F", "overhead,dso,sym", "-t", "|"]
    return parse_perf(_output("perf", "report", "-i", str(data), *fields))


def count_system_calls(target: Target, seconds: int, directory: Path) -> dict[str, float]:
    """Return how many system calls of each kind the guard made for each query. Raises LoadError."""
    counts = directory / "strace.txt"
    with _attached(["strace", "-c", "-f", "-p", str(target.pid), "-o", str(counts)], directory / "strace.log"):
        result = load.run(target.host, target.port, CONNECTIONS, seconds, Workload.POINT_SELECT)
    return {name: count / result.queries for name, count in parse_strace(counts.read_text()).items()}


def count_instructions(directory: Path) -> dict[str, float]:
    """Return how many instructions each function of the walker takes for a point select and its reply."""
    data = directory / "callgrind.out"
    judging = [sys.executable, "-m", "bench.judging", str(JUDGED)]
    _output("valgrind", "--tool=callgrind", f"--callgrind-out-file={data}", *judging)
    annotated = parse_callgrind(_output("callgrind_annotate", "--threshold=100", str(data)))
    return {name: count / JUDGED for name, count in annotated.items()}


@contextmanager
def _attached(command: list[str], log: Path) -> Iterator[None]:
    process = spawn(command, log)
    time.sleep(ATTACH_SECONDS)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)  # so that it writes what it has
        process.wait()


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def samples_table(samples: list[tuple[float, str, str]]) -> str:
    """Return what each object and each symbol has of the CPU time, as two Markdown tables."""
    objects: dict[str, float] = {}
    for percent, where, _ in samples:
        objects[where] = objects.get(where, 0.0) + percent
    ranked = sorted(objects.items(), key=lambda item: -item[1])
    shares = [[where, f"{percent:.1f} %"] for where, percent in ranked if percent >= LEAST_SHARE / 10]
    symbols = [[symbol, where, f"{percent:.1f} %"] for percent, where, symbol in samples if percent >= LEAST_SHARE]
    return "\n\n".join(
        [
            table(["object", "of CPU time"], shares, left={0}),
            table(["function", "object", "of CPU time"], symbols, left={0, 1}),
        ]
    )


def numbers_table(what: str, unit: str, numbers: dict[str, float], least: float) -> str:
    """Return names and numbers as a Markdown table, the largest first, those under `least` left out."""
    ranked = sorted(numbers.items(), key=lambda item: -item[1])
    return table([what, unit], [[name, f"{number:,.2f}"] for name, number in ranked if number >= least], left={0})


@click.command()
@click.option("--seconds", type=click.IntRange(min=1), default=5, show_default=True, help="Length of a run.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all numbers there.")
def main(seconds: int, json_file: Path | None) -> None:
    """Profile the guard under point selects over 8 connections, and count its system calls and instructions."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    absent = {name: "not installed" for name in ("perf", "strace", "valgrind") if shutil.which(name) is None}
    tables: list[str] = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stillhere-bench-")))
        try:
            server = stack.enter_context(stage())
            (target,) = start(stack, {"stillhere": STARTERS["stillhere"]}, server.port, absent)
            if "perf" not in absent:
                tables.append(samples_table(profile(target, seconds, directory)))
            if "strace" not in absent:
                calls = count_system_calls(target, seconds, directory)
                tables.append(numbers_table("system call", "per query", calls, LEAST_CALLS))
            if "valgrind" not in absent:
                instructions = count_instructions(directory)
                tables.append(numbers_table("function of protocol/walker.pyx", "instructions", instructions, 1))
        except (LoadError, ServerError, ValueError) as error:
            raise click.ClickException(str(error)) from None
        except subprocess.CalledProcessError as error:
            raise click.ClickException(f"{error.cmd[0]} failed with status {error.returncode}") from None
    text = "\n\n".join(tables)
    print(text)
    if json_file is not None:
        facts = machine_facts() | {
            "runs": f"{seconds} s each, {CONNECTIONS} connections, point selects as text, no TLS"
        }
        save(json_file, {"facts": facts, "absent": absent, "table": text})


if __name__ == "__main__":
    main()
