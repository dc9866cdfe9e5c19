"""The metrics that are read off the sessions and the spool when somebody asks."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.metadata import version

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from protocol.holds import HoldKind
from proxy.session import Session
from proxy.session_view import SessionState, SessionView
from proxy.shared import Shared


class LiveCollector(Collector):
    """Makes metrics out of :attr:`views`, which are to be those of all sessions when somebody asks."""

    def __init__(self, shared: Shared, sessions: Collection[Session]) -> None:
        self._shared = shared
        self._sessions = sessions
        self.views: Sequence[SessionView] = ()

    def __repr__(self) -> str:
        return f"<LiveCollector of {len(self._sessions)} sessions>"

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; prometheus_client asks for them."""
        yield _gauges("stillhere_build_info", "Which stillhere this is.", "version", {version("stillhere"): 1})
        trouble = self._shared.contact.trouble
        yield GaugeMetricFamily(
            "stillhere_upstream_up",
            "Whether the last attempt to reach the server has succeeded; 0 as well where there was none.",
            float(trouble == ""),
        )
        yield from self._of_sessions()
        yield from self._of_spool()

    def _of_sessions(self) -> Iterator[Metric]:
        views = self.views
        states = Counter(view.state for view in views)
        yield _gauges(
            "stillhere_sessions",
            "Sessions, by what would become of them if they lost their link to the server now.",
            "state",
            {state.replace(" ", "_"): states[state] for state in SessionState},
        )
        yield GaugeMetricFamily(
            "stillhere_sessions_limit", "How many sessions there may be.", self._shared.config.limits.sessions
        )
        yield GaugeMetricFamily(
            "stillhere_sessions_in_transaction",
            "Sessions in a transaction.",
            sum(view.in_transaction for view in views),
        )
        kinds = Counter(kind for view in views for kind in {hold.kind for hold in view.holds})
        yield _gauges(
            "stillhere_holds",
            "Sessions that could not be restored, by what forbids it.",
            "kind",
            {kind.name.lower(): kinds[kind] for kind in HoldKind},
        )
        traffic = self._shared.tally.traffic(session.traffic for session in self._sessions)
        yield CounterMetricFamily(
            "stillhere_commands", "Commands that were handed on to the server and that it answers.", traffic.commands
        )
        relayed = CounterMetricFamily("stillhere_relayed_bytes", "Bytes handed on.", labels=["direction"])
        relayed.add_metric(["to_server"], traffic.bytes_from_client)
        relayed.add_metric(["to_client"], traffic.bytes_from_server)
        yield relayed

    def _of_spool(self) -> Iterator[Metric]:
        space = self._shared.spool_space
        yield GaugeMetricFamily(
            "stillhere_spool_memory_bytes", "Bytes kept in memory for slow clients, and of commands.", space.in_memory
        )
        yield GaugeMetricFamily("stillhere_spool_disk_bytes", "Bytes kept in files for slow clients.", space.on_disk)
        yield GaugeMetricFamily(
            "stillhere_spool_sessions", "Sessions whose client has not read all of its results yet.", len(space.in_use)
        )
        yield CounterMetricFamily(
            "stillhere_spool_written_bytes", "Bytes of results that went to files.", space.spilled_bytes
        )
        yield CounterMetricFamily(
            "stillhere_spool_stalled_seconds",
            "How long servers had to wait for clients, with the spool full.",
            space.stalled_seconds,
        )
        yield GaugeMetricFamily(
            "stillhere_spool_longest_stall_seconds",
            "The longest that a server had to wait for one client's backlog since the start.",
            space.longest_stall,
        )


def _gauges(name: str, words: str, label: str, values: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, words, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
