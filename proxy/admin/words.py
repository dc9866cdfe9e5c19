"""Numbers, as people read them."""

from datetime import UTC, datetime

_SIZES = ("bytes", "KiB", "MiB", "GiB", "TiB")
_SPANS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def size(count: float) -> str:
    """Write a number of bytes: ``17.3 MiB``."""
    for unit in _SIZES[:-1]:
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == _SIZES[0] or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {_SIZES[-1]}"


def span(seconds: float) -> str:
    """Write a time: ``3 min``, ``1.5 s``, ``12 ms``."""
    if 0 < seconds < 0.0005:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 or not seconds else f"{seconds * 1000:.1f} ms"
    length, unit = next((length, unit) for length, unit in _SPANS if seconds >= length)
    return f"{seconds / length:.0f} {unit}" if seconds >= 10 * length else f"{seconds / length:.1f} {unit}"


def count(number: int) -> str:
    """Write a large number: ``12,345``."""
    return f"{number:,}"


def utc(at: float) -> str:
    """Write a time, given in Unix time, as programs read it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def utc_short(at: float) -> str:
    """Write a time, given in Unix time, as people read it: with the date where it is another day."""
    moment, now = datetime.fromtimestamp(at, UTC), datetime.now(UTC)
    return f"{moment:%H:%M:%S}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M:%S}"
