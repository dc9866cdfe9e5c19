"""What was measured, as tables for people and as JSON for programs."""

import json
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

CAVEAT = (
    "The load generator, the server and the proxy share the cores of one machine, so a proxy's CPU time is taken from "
    "the other two: queries/s fall by more than they would with the proxy on a core of its own. CPU time per query "
    "depends on that far less. Whatever else the machine does shows too: compare numbers of one table only."
)


@dataclass(frozen=True)
class Measurement:
    """One run against one target in one round; `cpu_us` is the target's own CPU time per query, if known."""

    target: str
    connections: int
    round: int
    queries_per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float | None


@dataclass(frozen=True)
class Row:
    """The medians over all rounds for one target and number of connections.

    `spread` is how far the queries per second of the middle half of the rounds lie apart, halved; None for one round.
    `ratio` and what is added compare with the direct run of the same round: what slows a whole round down cancels out.
    """

    target: str
    connections: int
    queries_per_second: float
    spread: float | None
    ratio: float
    p50_us: float
    p99_us: float
    added_p50_us: float
    added_p99_us: float
    cpu_us: float | None


def summarise(measurements: Sequence[Measurement], direct: str) -> list[Row]:
    """Return one row for each number of connections and target, in the order of their first appearance.

    `direct` is the name of the target that the others are compared with; it must have a run wherever they have one.
    """
    baseline = {(m.connections, m.round): m for m in measurements if m.target == direct}
    cells: dict[tuple[int, str], list[Measurement]] = {}
    for measurement in sorted(measurements, key=lambda m: m.connections):
        cells.setdefault((measurement.connections, measurement.target), []).append(measurement)
    return [_row(runs, [baseline[m.connections, m.round] for m in runs]) for runs in cells.values()]


def _row(runs: Sequence[Measurement], baseline: Sequence[Measurement]) -> Row:
    pairs = list(zip(runs, baseline, strict=True))
    cpu = [run.cpu_us for run in runs if run.cpu_us is not None]
    rates = [run.queries_per_second for run in runs]
    return Row(
        target=runs[0].target,
        connections=runs[0].connections,
        queries_per_second=median(rates),
        spread=_spread(rates),
        ratio=median(run.queries_per_second / base.queries_per_second for run, base in pairs),
        p50_us=median(run.p50_us for run in runs),
        p99_us=median(run.p99_us for run in runs),
        added_p50_us=median(run.p50_us - base.p50_us for run, base in pairs),
        added_p99_us=median(run.p99_us - base.p99_us for run, base in pairs),
        cpu_us=median(cpu) if cpu else None,
    )


def _spread(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    low, _, high = quantiles(values, n=4, method="inclusive")
    return (high - low) / 2


def results_table(rows: Iterable[Row]) -> str:
    """Return the rows as a Markdown table that is aligned for reading as it is."""
    head = [
        "connections",
        "target",
        "queries/s",
        "±",
        "of direct",
        "p50 us",
        "p99 us",
        "added p50",
        "added p99",
        "CPU us/query",
    ]
    return table(
        head,
        [
            [
                str(row.connections),
                row.target,
                f"{row.queries_per_second:,.0f}",
                "" if row.spread is None else f"{row.spread:,.0f}",
                f"{row.ratio:.2f}",
                f"{row.p50_us:.0f}",
                f"{row.p99_us:.0f}",
                # With more connections than cores a latency is mostly time spent in queues, which says nothing.
                f"{row.added_p50_us:.0f}" if row.connections == 1 else "",
                f"{row.added_p99_us:.0f}" if row.connections == 1 else "",
                "" if row.cpu_us is None else f"{row.cpu_us:.1f}",
            ]
            for row in rows
        ],
        left={1},
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: set[int]) -> str:
    """Return a Markdown table that is aligned for reading as it is; ``left`` are the columns of words."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width if column in left else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def document(title: str, rows: Iterable[Row], facts: Mapping[str, str], absent: Mapping[str, str]) -> str:
    """Return the whole report in Markdown: results, how to read them, the machine, and who could not take part."""
    lines = [f"# {title}", "", results_table(rows), "", CAVEAT, ""]
    lines += [f"* {name}: {fact}" for name, fact in facts.items()]
    lines += [f"* {name}: absent, {' '.join(reason.split())}" for name, reason in absent.items()]
    return "\n".join(lines) + "\n"


def as_json(
    rows: Sequence[Row], measurements: Iterable[Measurement], facts: Mapping[str, str], absent: Mapping[str, str]
) -> dict[str, Any]:
    """Return the same for programs, with each single run."""
    return {
        "facts": dict(facts),
        "absent": dict(absent),
        "table": results_table(rows),
        "medians": [asdict(row) for row in rows],
        "runs": [asdict(measurement) for measurement in measurements],
    }


def save(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report for programs, in a directory that is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def machine_facts() -> dict[str, str]:
    """Return what the numbers depend on: CPU, cores, kernel, Python."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return {
        "CPU": model[1] if model else platform.machine(),
        "cores": str(os.cpu_count()),
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "Python": platform.python_version(),
    }
