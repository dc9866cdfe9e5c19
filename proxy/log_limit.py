"""A limit on log messages: a storm may not fill the disk, nor keep the guard from its work."""

from collections import Counter
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import structlog

#: How many messages of one name are written in a row, and how many more in each second after that.
BURST = 100
PER_SECOND = 10


@dataclass
class _Bucket:
    level: float
    filled_at: float


class LogLimit:
    """A processor for structlog that drops messages of a name of which there are too many."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` gives the time in seconds, from any beginning."""
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._left_out: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<LogLimit with {self._left_out.total()} messages left out>"

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Let a message pass, or raise ``structlog.DropEvent``."""
        name = str(event["event"])
        if self._takes(name):
            return event
        self._left_out[name] += 1
        raise structlog.DropEvent

    def take_left_out(self) -> Counter[str]:
        """Tell how many messages were dropped since the last call, by name."""
        left_out, self._left_out = self._left_out, Counter()
        return left_out

    def _takes(self, name: str) -> bool:
        now = self._clock()
        bucket = self._buckets.setdefault(name, _Bucket(BURST, now))
        bucket.level = min(BURST, bucket.level + (now - bucket.filled_at) * PER_SECOND)
        bucket.filled_at = now
        if bucket.level < 1:
            return False
        bucket.level -= 1
        return True
