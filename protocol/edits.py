"""Changing a few bytes of a stream that passes otherwise as it is."""

from collections.abc import Iterable
from typing import NamedTuple


class Edit(NamedTuple):
    """What takes the place of the bytes from ``start`` to ``stop``."""

    start: int
    stop: int
    replacement: bytes


def apply_edits(data: bytes, edits: Iterable[Edit]) -> bytes:
    """Make the edits, which are in order and do not overlap, in ``data``."""
    pieces: list[bytes] = []
    position = 0
    for edit in edits:
        pieces += (data[position : edit.start], edit.replacement)
        position = edit.stop
    return b"".join((*pieces, data[position:]))
