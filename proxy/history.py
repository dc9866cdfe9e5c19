"""What happened lately: the latest incidents and large commands, and how many sessions were saved in each hour."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from proxy.incidents import Cause, Outcome, Report

#: How many of each kind are remembered. A restart of the server is one incident for every session.
_INCIDENTS = 1000
_LARGE_COMMANDS = 200
#: A minute of samples.
_LAGS = 60

_HOUR_SECONDS = 3600
HOURS = 24


@dataclass(frozen=True)
class LargeCommand:
    """A command that came close to the limit, or was refused. ``at`` is in Unix time, the rest in bytes."""

    at: float
    session: int
    user: str
    client: str
    command: str
    size_bytes: int
    #: The largest size that the server accepts.
    limit_bytes: int

    @property
    def share(self) -> float:
        """The size in parts of the limit; above 1 it was refused."""
        return self.size_bytes / self.limit_bytes


@dataclass
class Hour:
    """What became of sessions in one hour; ``begins_at`` is in Unix time."""

    begins_at: int
    counts: Counter[tuple[Cause, Outcome]] = field(default_factory=Counter)


class History:
    """Bounded in size, whatever happens."""

    def __init__(self) -> None:
        self.incidents: deque[Report] = deque(maxlen=_INCIDENTS)
        self.large_commands: deque[LargeCommand] = deque(maxlen=_LARGE_COMMANDS)
        #: How long a task that was ready waited for its turn, in seconds, sampled once a second.
        self.lags: deque[float] = deque(maxlen=_LAGS)
        self._hours: deque[Hour] = deque(maxlen=HOURS)

    def __repr__(self) -> str:
        return f"<History of {len(self.incidents)} incidents>"

    def count(self, at: float, cause: Cause, outcome: Outcome) -> None:
        """Count a session that would have been lost without the guard. ``at`` is in Unix time."""
        begins_at = _hour(at)
        if not self._hours or self._hours[-1].begins_at < begins_at:
            self._hours.append(Hour(begins_at))
        self._hours[-1].counts[cause, outcome] += 1

    def last_day(self, now: float) -> Sequence[Hour]:
        """Give the hours up to ``now``, the current one last, without gaps."""
        known = {hour.begins_at: hour for hour in self._hours}
        last = _hour(now)
        begins = range(last - (HOURS - 1) * _HOUR_SECONDS, last + 1, _HOUR_SECONDS)
        return [known.get(begins_at, Hour(begins_at)) for begins_at in begins]


def _hour(at: float) -> int:
    return int(at) // _HOUR_SECONDS * _HOUR_SECONDS
