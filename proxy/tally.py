"""What the guard counts: one object for all sessions, called where decisions are made, never for a query.

The names and labels are those of ``/metrics``. No label takes its values from clients.
"""

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics

from proxy.errors import LoginFault
from proxy.history import History, LargeCommand
from proxy.incidents import Cause, Outcome, Report
from proxy.traffic import Traffic

#: From this part of the limit on, a command that passes is a near miss.
NEAR_MISS = 0.8

#: Around 1, the limit itself: what is in the bucket of 1 was accepted, what is above it was refused.
_SHARES = (0.1, 0.25, 0.5, 0.65, NEAR_MISS, 0.9, 0.95, 1, 1.25, 2, 4, 16)
_RECONNECT_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_LAG_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)

_SURVIVED = (Outcome.SAVED, Outcome.TOLD)

# A second series for each counter, with the time when it was made, is of no use here: that is when the guard started.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Tally:
    """The counts, and the history that goes with them."""

    def __init__(self) -> None:
        self.history = History()
        #: What passed through sessions that have ended.
        self.ended = Traffic()
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._begun = Counter(
            "stillhere_sessions_begun", "Sessions that have begun: clients that were let in.", registry=registry
        )
        self._login_failures = Counter(
            "stillhere_login_failures",
            "Clients that did not get in, by who or what kept them.",
            ["fault"],
            registry=registry,
        )
        self._saves = Counter(
            "stillhere_saves",
            "Sessions that live on where they would have been lost without the guard, by what threatened them.",
            ["cause"],
            registry=registry,
        )
        self._incidents = Counter(
            "stillhere_incidents",
            "Lost links, by what ended them and what became of the session.",
            ["cause", "outcome"],
            registry=registry,
        )
        self._reconnect = Histogram(
            "stillhere_reconnect_seconds",
            "How long sessions were without a link to the server.",
            buckets=_RECONNECT_SECONDS,
            registry=registry,
        )
        self._refusals = Counter(
            "stillhere_refusals",
            "What the guard has refused: too_large and no_room are commands, sessions are clients.",
            ["reason"],
            registry=registry,
        )
        self._near_misses = Counter(
            "stillhere_near_misses",
            f"Commands that passed with {NEAR_MISS:.0%} of the limit or more.",
            registry=registry,
        )
        self._shares = Histogram(
            "stillhere_payload_limit_ratio",
            "Size of commands of more than 64 KiB in parts of the limit; what is above 1 was refused.",
            buckets=_SHARES,
            registry=registry,
        )
        self._probes = Counter(
            "stillhere_probes",
            "Probes of links to the server, by whether they were answered.",
            ["outcome"],
            registry=registry,
        )
        self._lag = Histogram(
            "stillhere_loop_lag_seconds",
            "How long a task that was ready waited for its turn, sampled once a second: the guard's own load.",
            buckets=_LAG_SECONDS,
            registry=registry,
        )
        self._pump_lag = Histogram(
            "stillhere_pump_lag_seconds",
            "The longest in each second that the pump was busy at a stretch, for which other sessions waited.",
            buckets=_LAG_SECONDS,
            registry=registry,
        )
        self._show_zeros()

    def __repr__(self) -> str:
        return f"<Tally with {self.history}>"

    def _show_zeros(self) -> None:
        """Make every series exist from the start, so that its first step is seen as one."""
        for cause in Cause:
            self._saves.labels(cause.label)
            for outcome in Outcome:
                self._incidents.labels(cause.label, outcome)
        for fault in LoginFault:
            self._login_failures.labels(fault)
        for reason in ("too_large", "no_room", "sessions"):
            self._refusals.labels(reason)
        for answer in ("answered", "lost"):
            self._probes.labels(answer)

    def traffic(self, live: Iterable[Traffic]) -> Traffic:
        """Add up what has passed since the start; ``live`` is that of the sessions that there are."""
        total = Traffic()
        for traffic in (self.ended, *live):
            total.add(traffic)
        return total

    def begin_session(self) -> None:
        """Count a client that was let in."""
        self._begun.inc()

    def note_login_failure(self, fault: LoginFault) -> None:
        """Count a client that was not let in, or whose change of user has ended its session."""
        self._login_failures.labels(fault).inc()

    def note_turned_away(self) -> None:
        """Count a client for whom there were too many sessions."""
        self._refusals.labels("sessions").inc()

    def note_no_room(self) -> None:
        """Count a command that could not be kept until it was whole."""
        self._refusals.labels("no_room").inc()

    def note_large_command(self, command: LargeCommand) -> None:
        """Count a command that had to be measured, and was refused if it is above the limit."""
        share = command.share
        self._shares.observe(share)
        if share > 1:
            self._refusals.labels("too_large").inc()
            self._save(command.at, Cause.PACKET_TOO_LARGE)
        elif share >= NEAR_MISS:
            self._near_misses.inc()
        if share >= NEAR_MISS:
            self.history.large_commands.append(command)

    def note_probe(self, *, is_answered: bool) -> None:
        """Count a probe."""
        self._probes.labels("answered" if is_answered else "lost").inc()

    def note_outlived(self) -> None:
        """Count a session that probes have kept alive for longer than the server would have borne with it."""
        self._save(time.time(), Cause.IDLE_TIMEOUT)

    def note_incident(self, report: Report) -> None:
        """Count a lost link, and remember it."""
        cause, outcome = report.incident.cause, report.outcome
        self._incidents.labels(cause.label, outcome).inc()
        if outcome in _SURVIVED:
            self._reconnect.observe(report.seconds)
            self._saves.labels(cause.label).inc()
        self.history.count(report.at, cause, outcome)
        self.history.incidents.append(report)

    def note_lag(self, seconds: float) -> None:
        """Take down how long a task had to wait for its turn."""
        self._lag.observe(seconds)
        self.history.lags.append(seconds)

    def note_pump_lag(self, seconds: float) -> None:
        """Take down the longest in the last second that the pump was busy at a stretch; without a pump, it is 0."""
        self._pump_lag.observe(seconds)

    def _save(self, at: float, cause: Cause) -> None:
        self._saves.labels(cause.label).inc()
        self.history.count(at, cause, Outcome.SAVED)
