"""What the doctor has to say of each cause: a verdict, the evidence for it, and what to set."""

from dataclasses import dataclass
from enum import Enum, StrEnum


class Cause(Enum):
    """What ends connections: the label for programs, and the words for people."""

    PACKET_TOO_LARGE = ("packet_too_large", "oversized packet")
    IDLE_TIMEOUT = ("idle_timeout", "idle timeout")
    KILLED = ("killed", "KILL")
    RESTART = ("restart", "restart or crash")
    NETWORK = ("network", "network")
    SLOW_APPLICATION = ("slow_application", "slow application")

    def __init__(self, label: str, words: str) -> None:
        self.label = label
        self.words = words


class Verdict(StrEnum):
    """Whether a cause threatens the setup."""

    SAFE = "safe"
    AT_RISK = "at risk"
    UNKNOWN = "unknown"


class Place(StrEnum):
    """Where a setting belongs."""

    SERVER = "server"
    POOL = "pool"
    GUARD = "guard"
    MACHINE = "this machine"


@dataclass(frozen=True)
class Advice:
    """One setting to change, as it is to be written there."""

    place: Place
    setting: str


@dataclass(frozen=True)
class Finding:
    """What there is to say of one cause."""

    cause: Cause
    verdict: Verdict
    evidence: tuple[str, ...]
    advice: tuple[Advice, ...] = ()
