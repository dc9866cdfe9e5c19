"""All that the page and ``stillhere status`` show, as numbers and words that can be written as JSON."""

import statistics
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from proxy.history import History, LargeCommand
from proxy.incidents import Cause, Outcome, Report
from proxy.listener import Reception
from proxy.session_view import SessionState, SessionView
from proxy.shared import Shared

#: Losses for the same cause that follow each other within this time are one event: a restart, a broken network.
_EPISODE_GAP_SECONDS = 10
_EPISODES = 50
_LARGE_COMMANDS = 20
#: A page with more of them would be slow to make, and nobody would read it. /sessions has all.
_SESSIONS = 100

_STATE_ORDER = (SessionState.WITHOUT_LINK, SessionState.HELD, SessionState.LOGGING_IN, SessionState.RESTORABLE)

#: What threatens sessions, in fewer words than an incident has.
_THREATS = {
    Cause.IDLE_TIMEOUT: "idle for longer than wait_timeout",
    Cause.KILLED: "closed by KILL, or by something in between",
    Cause.SHUTDOWN: "shutdown of the server",
    Cause.RESTART: "restart or crash of the server",
    Cause.NETWORK: "network",
    Cause.SERVER_TIMEOUT: "net_read_timeout or net_write_timeout",
    Cause.SLOW_CLIENT: "a result that was read too slowly",
    Cause.PACKET_TOO_LARGE: "payload over max_allowed_packet",
    Cause.OUT_OF_CONNECTIONS: "server out of connections",
    Cause.UNKNOWN: "unknown",
}


@dataclass(frozen=True)
class IncidentRow:
    """A lost link. ``at`` is in Unix time, ``seconds`` is how long the session was without a link."""

    at: float
    session: int
    user: str
    client: str
    cause: str
    what: str
    outcome: str
    told: str
    seconds: float
    seen: str
    idle_seconds: float
    in_flight: bool
    met: str
    advice: str


@dataclass(frozen=True)
class Episode:
    """Links that were lost together, for the same cause. ``began_at`` and ``ended_at`` are in Unix time."""

    began_at: float
    ended_at: float
    cause: str
    what: str
    advice: str
    sessions: int
    #: How many sessions had each outcome.
    outcomes: dict[str, int]
    #: What clients have met, in words, the most frequent first.
    told: Sequence[str]
    #: The longest that a session was without a link.
    longest_seconds: float


@dataclass(frozen=True)
class Threat:
    """What threatened sessions in the last 24 hours, and how many of them had which outcome."""

    cause: str
    what: str
    saved: int
    told: int
    lost: int


@dataclass(frozen=True)
class HourRow:
    """One of the last 24 hours; ``begins_at`` is in Unix time."""

    begins_at: int
    saved: int
    told: int
    lost: int


@dataclass(frozen=True)
class Overview:
    """The guard at one moment; ``at`` is in Unix time."""

    at: float
    version: str
    listen: Sequence[str]
    upstream: str
    #: Why the server cannot be reached; empty if it can, or if nobody has tried.
    trouble: str
    draining: bool
    sessions_limit: int
    sessions_by_state: dict[str, int]
    in_transaction: int
    commands: int
    bytes_from_client: int
    bytes_from_server: int
    spooling: int
    spooled_memory_bytes: int
    spooled_disk_bytes: int
    longest_stall_seconds: float
    #: How long a task that was ready waited for its turn, in samples of the last minute.
    lag_median_seconds: float
    lag_most_seconds: float
    threats: Sequence[Threat]
    hours: Sequence[HourRow]
    sessions: Sequence[SessionView]
    episodes: Sequence[Episode]
    large_commands: Sequence[LargeCommand]


def make_overview(shared: Shared, reception: Reception, views: Sequence[SessionView]) -> Overview:
    """Put everything together; ``views`` are those of all sessions."""
    now = time.time()
    history, space = shared.tally.history, shared.spool_space
    traffic = shared.tally.traffic(session.traffic for session in reception.sessions)
    states = Counter(view.state for view in views)
    lags = history.lags or (0.0,)
    return Overview(
        at=now,
        version=version("stillhere"),
        listen=[str(listen.address) for listen in shared.config.listen],
        upstream=str(shared.config.upstream.address),
        trouble=shared.contact.trouble or "",
        draining=reception.is_draining,
        sessions_limit=shared.config.limits.sessions,
        sessions_by_state={str(state): states[state] for state in SessionState},
        in_transaction=sum(view.in_transaction for view in views),
        commands=traffic.commands,
        bytes_from_client=traffic.bytes_from_client,
        bytes_from_server=traffic.bytes_from_server,
        spooling=len(space.in_use),
        spooled_memory_bytes=space.in_memory,
        spooled_disk_bytes=space.on_disk,
        longest_stall_seconds=space.longest_stall,
        lag_median_seconds=statistics.median(lags),
        lag_most_seconds=max(lags),
        threats=list(_threats(history, now)),
        hours=[HourRow(hour.begins_at, *_survivors(hour.counts)) for hour in history.last_day(now)],
        sessions=sorted(views, key=_urgency)[:_SESSIONS],
        episodes=episodes(history.incidents)[:_EPISODES],
        large_commands=list(reversed(history.large_commands))[:_LARGE_COMMANDS],
    )


def _threats(history: History, now: float) -> Iterator[Threat]:
    total: Counter[tuple[Cause, Outcome]] = Counter()
    for hour in history.last_day(now):
        total += hour.counts
    for cause in Cause:
        saved, told, lost = _survivors({key: count for key, count in total.items() if key[0] is cause})
        if saved or told or lost:
            yield Threat(cause.label, _THREATS[cause], saved, told, lost)


def _survivors(counts: dict[tuple[Cause, Outcome], int]) -> tuple[int, int, int]:
    """Count who was saved, who was told something, and who was lost; who left by itself is none of them."""
    by_outcome: Counter[Outcome] = Counter()
    for (_, outcome), count in counts.items():
        by_outcome[outcome] += count
    return by_outcome[Outcome.SAVED], by_outcome[Outcome.TOLD], by_outcome[Outcome.CLOSED]


def _urgency(view: SessionView) -> tuple[int, bool, float]:
    return _STATE_ORDER.index(view.state), not view.in_transaction, -view.idle_seconds


def incident_row(report: Report) -> IncidentRow:
    """Write an incident down."""
    incident, evidence = report.incident, report.incident.evidence
    return IncidentRow(
        at=report.at,
        session=report.session,
        user=report.user,
        client=report.client,
        cause=incident.cause.label,
        what=incident.cause.words,
        outcome=report.outcome,
        told=incident.told,
        seconds=round(report.seconds, 3),
        seen=evidence.reason,
        idle_seconds=round(evidence.idle, 3),
        in_flight=evidence.is_busy,
        met=incident.met,
        advice=incident.cause.advice,
    )


def episodes(reports: Iterable[Report]) -> list[Episode]:
    """Put incidents that belong together into one, the latest first. ``reports`` are in order of time."""
    groups: list[list[Report]] = []
    current: dict[Cause, list[Report]] = {}
    for report in reports:
        cause = report.incident.cause
        group = current.get(cause)
        if group is None or report.at - group[-1].at > _EPISODE_GAP_SECONDS:
            group = current[cause] = []
            groups.append(group)
        group.append(report)
    return sorted(map(_episode, groups), key=lambda episode: episode.ended_at, reverse=True)


def _episode(group: Sequence[Report]) -> Episode:
    cause = group[0].incident.cause
    outcomes = Counter(report.outcome for report in group)
    return Episode(
        began_at=group[0].at - group[0].seconds,
        ended_at=group[-1].at,
        cause=cause.label,
        what=cause.words,
        advice=cause.advice,
        sessions=len(group),
        outcomes={str(outcome): outcomes[outcome] for outcome in Outcome},
        told=[told for told, _ in Counter(report.incident.told for report in group).most_common(3)],
        longest_seconds=round(max(report.seconds for report in group), 3),
    )
