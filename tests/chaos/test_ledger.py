"""The ledger test, for a minute. `make chaos` gives it more time."""

import random

import pytest

from tests.chaos.ledger import BALANCE, Log, Outcome, Tables, Transfer, Work, audit
from tests.chaos.run import run
from tests.conftest import SERVERS, skip_unless_available


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted(SERVERS))
def test_no_client_is_told_what_is_not_true(name: str) -> None:
    skip_unless_available(name)
    report = run(SERVERS[name](), seconds=18, clients=20, seed=random.randrange(1_000_000))
    assert not report.violations, "\n".join(report.lines())
    assert sum(report.faults.values()) >= 3
    assert report.incidents


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted(SERVERS))
def test_it_holds_with_spools_in_small_files(name: str) -> None:
    skip_unless_available(name)
    # With no memory at all for them, whatever a client does not take at once goes to a file: in plain trio, that is.
    # The pump would wait for a moment first.
    spool = {"memory": "64KiB", "disk": "256KiB", "total_memory": "0"}
    report = run(
        SERVERS[name](), seconds=10, clients=20, seed=random.randrange(1_000_000), spool=spool, relay_kind="trio"
    )
    assert not report.violations, "\n".join(report.lines())
    assert sum(report.faults.values()) >= 1
    assert any(event["event"] == "client reads slowly" for event in report.events)


def log_of(**outcomes: Outcome) -> Log:
    log = Log(0)
    for outcome in outcomes.values():
        log.begin(Work.INSERT).outcome = outcome
    return log


def found(*entries: int) -> Tables:
    return Tables(entries, (), {})


def test_the_audit_finds_what_is_missing_or_there_twice() -> None:
    log = log_of(a=Outcome.DONE, b=Outcome.DONE, c=Outcome.ROLLED_BACK, d=Outcome.UNKNOWN, e=Outcome.IN_FLIGHT)
    assert len(audit([log], found(0, 1)).violations) == 1  # the one in flight
    assert "number" not in audit([log], found(0, 1, 3)).violations[0]
    assert any("insert 1" in text and "and it is missing" in text for text in audit([log], found(0)).violations)
    assert any(
        "insert 1" in text and "it was applied 2 times" in text for text in audit([log], found(0, 1, 1)).violations
    )
    assert any("insert 2" in text and "it is there" in text for text in audit([log], found(0, 1, 2)).violations)
    assert any("nobody has written number 9" in text for text in audit([log], found(0, 1, 9)).violations)


def test_the_audit_splits_what_is_not_known() -> None:
    result = audit([log_of(a=Outcome.UNKNOWN, b=Outcome.UNKNOWN, c=Outcome.UNKNOWN)], found(1))
    assert (result.applied[Work.INSERT], result.not_applied[Work.INSERT]) == (1, 2)
    assert result.violations == []


def test_the_audit_finds_money_that_comes_from_nowhere() -> None:
    log = Log(0)
    log.begin(Work.TRANSFER).outcome = Outcome.DONE
    transfers = (Transfer(0, 1, 2, 5),)
    assert audit([log], Tables((), transfers, {1: BALANCE - 5, 2: BALANCE + 5})).violations == []
    lost = audit([log], Tables((), transfers, {1: BALANCE, 2: BALANCE + 5})).violations
    assert len(lost) == 2
