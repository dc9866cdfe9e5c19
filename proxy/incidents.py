"""Why did the link go away? Evidence in, cause out; one record, and one line in the log, for each lost link."""

from dataclasses import dataclass
from enum import Enum, StrEnum

from structlog.stdlib import BoundLogger

from protocol.constants import ErrorCode
from protocol.packets import Err
from proxy.errors import LinkEnd

#: A server's clock and ours do not begin at the same moment; shorter time-outs leave less room for that.
_CLOCK_SECONDS = 1.0
_CLOCK_SHARE = 0.25


class Cause(Enum):
    """What has ended a link: a name, what happened in words, and what to do about it."""

    IDLE_TIMEOUT = (
        "idle_timeout",
        "the server ended it because it was idle for longer than wait_timeout",
        "nothing; if it should not happen, lower keepalive.interval or raise wait_timeout",
    )
    KILLED = (
        "killed",
        "it was closed while the server stayed up: by KILL, or by something in between (the two look the same)",
        "see who runs KILL CONNECTION, and whether a proxy or firewall in between ends connections",
    )
    SHUTDOWN = ("shutdown", "the server said that it was shutting down", "nothing, if the restart was planned")
    RESTART = (
        "restart",
        "the server stopped: it crashed or was shut down (the two look the same from here)",
        "if nobody has restarted it, see its error log",
    )
    NETWORK = (
        "network",
        "the network lost or reset it, or the server was frozen",
        "see what lies between here and the server; lower keepalive.interval if something there forgets idle links",
    )
    SERVER_TIMEOUT = (
        "server_timeout",
        "the server waited too long in the middle of a command or a result",
        "raise net_read_timeout and net_write_timeout on the server",
    )
    SLOW_CLIENT = (
        "slow_client",
        "the server waited in vain for the client to read a result, of which more was left than the spool holds",
        "have the client read faster, or raise spool.disk here or net_write_timeout on the server",
    )
    PACKET_TOO_LARGE = (
        "packet_too_large",
        "the server refused the size of a packet",
        "report this: the guard should have refused it",
    )
    OUT_OF_CONNECTIONS = (
        "out_of_connections",
        "the server had no connection to spare",
        "raise max_connections, or have fewer clients",
    )
    PROTOCOL = (
        "protocol",
        "what came from the server was not its protocol",
        "see what lies between here and the server; if there is nothing, report this with the server's version",
    )
    UNKNOWN = ("unknown", "the evidence does not tell", "look at what was seen of it: in the log, or at /incidents")

    def __init__(self, label: str, words: str, advice: str) -> None:
        self.label = label
        self.words = words
        self.advice = advice


_CAUSES_BY_CODE: dict[int, Cause] = {
    ErrorCode.CLIENT_INTERACTION_TIMEOUT: Cause.IDLE_TIMEOUT,
    ErrorCode.SERVER_SHUTDOWN: Cause.SHUTDOWN,
    ErrorCode.PACKET_TOO_LARGE: Cause.PACKET_TOO_LARGE,
    ErrorCode.NET_READ_INTERRUPTED: Cause.SERVER_TIMEOUT,
    ErrorCode.NET_WRITE_INTERRUPTED: Cause.SERVER_TIMEOUT,
    ErrorCode.QUERY_INTERRUPTED: Cause.KILLED,
    ErrorCode.CONNECTION_KILLED: Cause.KILLED,
    ErrorCode.SESSION_WAS_KILLED: Cause.KILLED,
    ErrorCode.CON_COUNT_ERROR: Cause.OUT_OF_CONNECTIONS,
}
_CAUSES_BY_END = {
    LinkEnd.RESET: Cause.NETWORK,
    LinkEnd.SILENCE: Cause.NETWORK,
    LinkEnd.BROKEN: Cause.PROTOCOL,
}


def _has_run_out(seconds: float, timeout: float) -> bool:
    """Tell whether so many seconds of ours are as many as a time-out of the server's."""
    return timeout > 0 and seconds >= timeout - min(_CLOCK_SECONDS, timeout * _CLOCK_SHARE)


class Outcome(StrEnum):
    """What became of a session whose link was lost."""

    SAVED = "saved"  # the client has not noticed
    TOLD = "told"  # it goes on, and the client was told, or will be, what it has lost
    CLOSED = "closed"  # it could not go on
    LEFT = "left"  # the client went before there was a new link


@dataclass(frozen=True)
class Evidence:
    """What is known of a lost link when it is lost. Times are in seconds."""

    end: LinkEnd
    reason: str
    farewell: Err | None
    #: For how long the server had said nothing and had nothing to do.
    idle: float
    wait_timeout: float
    is_busy: bool
    #: How long the server had to wait for the client to read its results, and how long it does that.
    held_up: float
    net_write_timeout: float


@dataclass
class Incident:
    """One lost link: the evidence, and what became of the session."""

    evidence: Evidence
    #: When the link was opened, in trio's time.
    opened_at: float = 0.0
    #: Why attempts to come back failed; empty if none did.
    met: str = ""
    #: Whether the server has been started since the link was opened; None where that was not found out.
    was_restarted: bool | None = None
    #: What clients were told of commands, and other things worth a word, in order.
    outcomes: tuple[str, ...] = ()
    #: The client was told that something is lost, or will be.
    has_told: bool = False
    client_left: bool = False

    def add(self, outcome: str) -> None:
        """Take note of something that came of the loss."""
        self.outcomes = (*self.outcomes, outcome)

    @property
    def told(self) -> str:
        """What came of it, in words."""
        return "; ".join(self.outcomes) or "the client has not noticed"

    def outcome(self, *, is_over: bool) -> Outcome:
        """Tell what became of the session."""
        if self.client_left:
            return Outcome.LEFT
        if is_over:
            return Outcome.CLOSED
        return Outcome.TOLD if self.has_told else Outcome.SAVED

    @property
    def cause(self) -> Cause:
        """What the evidence says."""
        evidence = self.evidence
        if evidence.farewell is not None:
            return _CAUSES_BY_CODE.get(evidence.farewell.code, Cause.UNKNOWN)
        if self.was_restarted or "refused" in self.met:
            return Cause.RESTART
        has_ended = evidence.end in (LinkEnd.CLOSED, LinkEnd.RESET)
        if has_ended and _has_run_out(evidence.idle, evidence.wait_timeout):
            return Cause.IDLE_TIMEOUT
        if has_ended and evidence.is_busy and _has_run_out(evidence.held_up, evidence.net_write_timeout):
            return Cause.SLOW_CLIENT
        if evidence.end is LinkEnd.CLOSED and self.was_restarted is False:
            return Cause.KILLED
        return _CAUSES_BY_END.get(evidence.end, Cause.UNKNOWN)

    def record(self, log: BoundLogger, *, is_over: bool, seconds: float) -> None:
        """Write the incident's line in the log; ``seconds`` is how long the session was without a link."""
        cause = self.cause
        write = log.warning if is_over or self.outcomes else log.info
        write(
            "session lost" if is_over else "link lost and restored",
            cause=cause.label,
            what=cause.words,
            outcome=self.told,
            seconds=round(seconds, 3),
            seen=self.evidence.reason,
            idle_seconds=round(self.evidence.idle, 1),
            in_flight=self.evidence.is_busy,
            met=self.met,
            advice=cause.advice,
        )


@dataclass(frozen=True)
class Report:
    """An incident when it is over, and whose it was. ``at`` is in Unix time."""

    at: float
    session: int
    user: str
    client: str
    incident: Incident
    outcome: Outcome
    #: How long the session was without a link.
    seconds: float
