"""Durations and sizes, written with their units."""

import re

from config.diagnostics import InvalidValue

MAX_DURATION_SECONDS = 365 * 24 * 3600
MAX_SIZE_BYTES = 1 << 40

UNIT_MISSING = "a duration needs a unit: ms, s, m or h"

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {
    "": 1,
    "b": 1,
    # As in the server's option files, where the letters are binary units.
    "k": 1 << 10,
    "m": 1 << 20,
    "g": 1 << 30,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}
_DECIMAL_BYTES = {"kb": "KiB", "mb": "MiB", "gb": "GiB"}
_QUANTITY = re.compile(r"(?P<number>[0-9]{1,15}(?:\.[0-9]{1,9})?) ?(?P<unit>[A-Za-z]{0,16})")


def parse_duration(text: str) -> float:
    """Read a duration such as ``500ms``, ``5s``, ``1.5m`` or ``1h`` into seconds, at most a year.

    Raises:
        InvalidValue: (a ValueError) it has no unit, is negative, too long, or not a duration at all.
    """
    match = _match(text, "a duration", "write a number and a unit: ms, s, m or h, such as 5s")
    number, unit = match["number"], match["unit"]
    if not unit:
        raise InvalidValue(UNIT_MISSING, f"write {number}s")
    if unit not in _SECONDS:
        raise InvalidValue("is not a unit of time", "the units are ms, s, m and h")
    seconds = float(number) * _SECONDS[unit]
    if seconds > MAX_DURATION_SECONDS:
        raise InvalidValue("is longer than a year")
    return seconds


def parse_size(text: str) -> int:
    """Read a size such as ``64MiB``, ``16KiB``, ``64M`` (binary, too) or ``1048576`` into bytes, at most 1 TiB.

    Raises:
        InvalidValue: (a ValueError) it is negative, not whole, too large, or no size at all.
    """
    match = _match(text, "a size", "write a whole number and a unit: B, KiB, MiB or GiB, such as 64MiB")
    number, unit = match["number"], match["unit"].lower()
    if unit in _DECIMAL_BYTES:
        raise InvalidValue("sizes are counted in units of 1024", f"write {number}{_DECIMAL_BYTES[unit]}")
    if unit not in _BYTES:
        raise InvalidValue("is not a unit of size", "the units are B, KiB, MiB and GiB")
    if not number.isdigit():
        raise InvalidValue("a size must be a whole number", "use a smaller unit")
    size = int(number) * _BYTES[unit]
    if size > MAX_SIZE_BYTES:
        raise InvalidValue("is larger than 1 TiB")
    return size


def _match(text: str, kind: str, hint: str) -> re.Match[str]:
    if match := _QUANTITY.fullmatch(text):
        return match
    if text.startswith("-"):
        raise InvalidValue(f"{kind} cannot be negative")
    raise InvalidValue(f"is not {kind}", hint)
