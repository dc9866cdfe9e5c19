"""What processes have cost, by the kernel's own accounts."""

import os
from collections import defaultdict
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that process `pid` and its descendants have used so far, in user and kernel mode.

    All threads count, and children that ended and were waited for. Resolution: one tick, usually 10 ms. Raises
    ProcessLookupError if there is no such process.
    """
    processes = dict(_read_processes())
    if pid not in processes:
        raise ProcessLookupError(f"no process {pid}")
    children = defaultdict(list)
    for child, (parent, _) in processes.items():
        children[parent].append(child)
    ticks = 0
    family = [pid]
    while family:
        member = family.pop()
        ticks += processes[member][1]
        family += children[member]
    return ticks / TICKS_PER_SECOND


def parse_stat(text: str) -> tuple[int, int]:
    """Take the parent's pid and the CPU time, in ticks, out of a `/proc/PID/stat`, laid out as in proc(5)."""
    # The name, in parentheses, may itself contain spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), sum(int(field) for field in fields[11:15])


def _read_processes() -> list[tuple[int, tuple[int, int]]]:
    processes = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                processes.append((int(path.name), parse_stat((path / "stat").read_text())))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
    return processes
