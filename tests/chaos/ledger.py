"""What clients were told, and whether the tables agree."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, StrEnum

BALANCE = 1000


class Work(StrEnum):
    """The kinds of work."""

    INSERT = "insert"
    PREPARED = "prepared insert"
    CONNECTOR = "connector's insert"
    TRANSFER = "transfer"
    SUM = "sum of balances"
    ECHO = "echo"
    PAGES = "pages"
    SLOW_PAGES = "pages, slowly"
    STATE = "session state"


WRITES = (Work.INSERT, Work.PREPARED, Work.CONNECTOR, Work.TRANSFER)


class Outcome(Enum):
    """What a client was told of its work: in words, and whether the number must be in the tables (None: it may be)."""

    IN_FLIGHT = ("never told", False)
    DONE = ("done", True)
    ROLLED_BACK = ("1213", False)
    UNKNOWN = ("1180", None)
    INTERRUPTED = ("server's own error", False)
    INTERRUPTED_COMMIT = ("server's own error at COMMIT", None)
    NOT_DONE_PARTED = ("4031, not done", False)
    UNKNOWN_PARTED = ("4031, unknown", None)
    UNEXPECTED = ("unexpected", None)

    def __init__(self, words: str, must_exist: bool | None) -> None:  # noqa: FBT001 - a member's value
        self.words = words
        self.must_exist = must_exist


@dataclass
class Write:
    """One attempt to write something under a number of its own, and what the client was told of it."""

    work: Work
    number: int
    outcome: Outcome = Outcome.IN_FLIGHT
    begun_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class Log:
    """What one client was told."""

    client: int
    writes: list[Write] = field(default_factory=list)
    reads: Counter[tuple[Work, Outcome]] = field(default_factory=Counter)
    #: Counts of all else that is worth a word.
    notes: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def begin(self, work: Work) -> Write:
        """Note a write under the next number, before it is sent."""
        write = Write(work, self.client * 10_000_000 + len(self.writes))
        self.writes.append(write)
        return write

    def object_to(self, words: str) -> None:
        """Note what must not happen."""
        self.violations.append(f"client {self.client}, {datetime.now(UTC):%T.%f}: {words}")


@dataclass(frozen=True)
class Transfer:
    """A row of the table of transfers."""

    number: int
    source: int
    target: int
    amount: int


@dataclass(frozen=True)
class Tables:
    """What the tables hold in the end: numbers (with repetitions), transfers, and balances by account."""

    entries: Sequence[int]
    transfers: Sequence[Transfer]
    balances: Mapping[int, int]


@dataclass
class Audit:
    """The comparison of the clients' logs with the tables."""

    outcomes: Counter[tuple[Work, Outcome]] = field(default_factory=Counter)
    #: Writes of which nobody could tell the client, that turned out to be applied, or not.
    applied: Counter[Work] = field(default_factory=Counter)
    not_applied: Counter[Work] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


def audit(logs: Iterable[Log], tables: Tables) -> Audit:
    """Compare what clients were told with what there is."""
    result = Audit()
    found = Counter(tables.entries) + Counter(transfer.number for transfer in tables.transfers)
    claimed = set()
    for log in logs:
        result.violations += log.violations
        result.outcomes += log.reads
        result.notes += log.notes
        for write in log.writes:
            claimed.add(write.number)
            _check(write, found[write.number], result)
    result.violations += [f"nobody has written number {number}" for number in sorted(found.keys() - claimed)]
    _check_money(tables, result)
    return result


def _check(write: Write, count: int, result: Audit) -> None:
    result.outcomes[write.work, write.outcome] += 1
    told = (
        f"the client was told {write.outcome.words!r} of {write.work} {write.number}, begun at {write.begun_at:%T.%f}"
    )
    if write.outcome is Outcome.IN_FLIGHT:
        result.violations.append(f"{told}, and it is there {count} times")
    elif count > 1:
        result.violations.append(f"{told}, and it was applied {count} times")
    elif write.outcome.must_exist is None:
        (result.applied if count else result.not_applied)[write.work] += 1
    elif count != write.outcome.must_exist:
        result.violations.append(f"{told}, and it is {'there' if count else 'missing'}")


def _check_money(tables: Tables, result: Audit) -> None:
    expected = Counter(dict.fromkeys(tables.balances, BALANCE))
    for transfer in tables.transfers:
        expected[transfer.source] -= transfer.amount
        expected[transfer.target] += transfer.amount
    for account, balance in tables.balances.items():
        if balance != expected[account]:
            result.violations.append(f"account {account} has {balance}, and {expected[account]} by the transfers")
    if sum(tables.balances.values()) != BALANCE * len(tables.balances):
        result.violations.append(f"there is {sum(tables.balances.values())} in all accounts together")
