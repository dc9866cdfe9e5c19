"""Sizes, durations and counts for people."""

_SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_TIMES = ((86400, "d"), (3600, "h"), (60, "min"))


def size(count: int) -> str:
    """Write a number of bytes with the largest unit that leaves at most one decimal, such as ``64 MiB``."""
    for unit, name in _SIZES:
        if count >= unit:
            return f"{round(count / unit, 1):g} {name}"
    return f"{count} bytes"


def duration(seconds: float) -> str:
    """Write a duration with the largest unit that leaves at most one decimal, such as ``8 h``."""
    for unit, name in _TIMES:
        if seconds >= unit:
            return f"{round(seconds / unit, 1):g} {name}"
    if 0 < seconds < 1:
        return f"{float(f'{seconds * 1000:.2g}'):g} ms"
    return f"{seconds:g} s"


def count(number: int, one: str) -> str:
    """Write a number of things: ``1 drop``, ``2 drops``."""
    return f"{number:,} {one if number == 1 else f'{one}s'}"
