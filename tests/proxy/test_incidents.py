"""What is said of a lost link, by the evidence."""

from dataclasses import replace
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from protocol.packets import Err
from proxy.errors import LinkEnd
from proxy.incidents import Cause, Evidence, Incident

WAIT_TIMEOUT = 100.0
IDLE = Evidence(
    end=LinkEnd.CLOSED,
    reason="closed by the peer",
    farewell=None,
    idle=5.0,
    wait_timeout=WAIT_TIMEOUT,
    is_busy=False,
    held_up=0.0,
    net_write_timeout=60.0,
)


def cause_of(*, met: str = "", was_restarted: bool | None = False, **evidence: Any) -> Cause:
    return Incident(replace(IDLE, **evidence), met=met, was_restarted=was_restarted).cause


def said(code: int) -> Err:
    return Err(code, "HY000", "Bye")


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (4031, Cause.IDLE_TIMEOUT),
        (1053, Cause.SHUTDOWN),
        (1153, Cause.PACKET_TOO_LARGE),
        (1159, Cause.SERVER_TIMEOUT),
        (1161, Cause.SERVER_TIMEOUT),
        (1317, Cause.KILLED),
        (1927, Cause.KILLED),
        (3169, Cause.KILLED),
        (1040, Cause.OUT_OF_CONNECTIONS),
        (1045, Cause.UNKNOWN),
    ],
)
def test_a_server_that_says_why_is_believed(code: int, cause: Cause) -> None:
    assert cause_of(farewell=said(code)) is cause
    # Whatever else there is to see.
    for end in LinkEnd:
        assert cause_of(farewell=said(code), end=end, idle=500.0, met="connection refused", was_restarted=True) is cause


@pytest.mark.parametrize("end", [LinkEnd.CLOSED, LinkEnd.RESET, LinkEnd.SILENCE, LinkEnd.BROKEN, LinkEnd.ERROR])
def test_a_server_that_was_started_anew_had_stopped(end: LinkEnd) -> None:
    assert cause_of(end=end, was_restarted=True) is Cause.RESTART
    assert cause_of(end=end, was_restarted=None, met="127.0.0.1:3306: connection refused") is Cause.RESTART


def test_idle_for_longer_than_the_server_allows() -> None:
    # MariaDB resets the link, servers before MySQL 8.0.24 close it.
    for end in (LinkEnd.CLOSED, LinkEnd.RESET):
        assert cause_of(end=end, idle=WAIT_TIMEOUT - 1) is Cause.IDLE_TIMEOUT
        assert cause_of(end=end, idle=WAIT_TIMEOUT + 1000, was_restarted=None) is Cause.IDLE_TIMEOUT
        assert cause_of(end=end, idle=WAIT_TIMEOUT - 2) is not Cause.IDLE_TIMEOUT


def test_a_command_may_have_come_too_late() -> None:
    assert cause_of(idle=WAIT_TIMEOUT + 10, is_busy=True) is Cause.IDLE_TIMEOUT


def test_no_word_from_a_server_that_is_up() -> None:
    assert cause_of(is_busy=True) is Cause.KILLED
    assert cause_of(is_busy=False) is Cause.KILLED


def test_nobody_could_ask_the_server_whether_it_was_up() -> None:
    assert cause_of(was_restarted=None) is Cause.UNKNOWN


def test_a_server_that_was_not_read_from_for_too_long() -> None:
    for end in (LinkEnd.CLOSED, LinkEnd.RESET):
        assert cause_of(end=end, is_busy=True, held_up=60.1) is Cause.SLOW_CLIENT
        assert cause_of(end=end, is_busy=True, held_up=30.0) is not Cause.SLOW_CLIENT
        # It has been read, and the result was complete.
        assert cause_of(end=end, is_busy=False, held_up=60.1) is not Cause.SLOW_CLIENT


def test_the_network() -> None:
    assert cause_of(end=LinkEnd.RESET) is Cause.NETWORK
    assert cause_of(end=LinkEnd.SILENCE, is_busy=True) is Cause.NETWORK
    # A link that does not answer has not been closed, however long it was idle.
    assert cause_of(end=LinkEnd.SILENCE, idle=WAIT_TIMEOUT + 10) is Cause.NETWORK


def test_what_the_evidence_does_not_tell() -> None:
    assert cause_of(end=LinkEnd.ERROR) is Cause.UNKNOWN
    assert cause_of(end=LinkEnd.ERROR, idle=WAIT_TIMEOUT + 10) is Cause.UNKNOWN


def test_what_is_not_the_protocol() -> None:
    assert cause_of(end=LinkEnd.BROKEN, idle=WAIT_TIMEOUT + 10) is Cause.PROTOCOL


def test_every_cause_has_a_name_and_advice() -> None:
    assert len({cause.label for cause in Cause}) == len(Cause)
    assert all(cause.words and cause.advice for cause in Cause)


def recorded(incident: Incident, *, is_over: bool = False) -> dict[str, Any]:
    with capture_logs() as logs:
        incident.record(structlog.stdlib.get_logger(), is_over=is_over, seconds=0.12345)
    (event,) = logs
    return dict(event)


def test_a_loss_that_the_client_has_not_noticed() -> None:
    incident = Incident(IDLE, was_restarted=False)
    assert recorded(incident) == {
        "event": "link lost and restored",
        "log_level": "info",
        "cause": "killed",
        "what": Cause.KILLED.words,
        "advice": Cause.KILLED.advice,
        "outcome": "the client has not noticed",
        "seconds": 0.123,
        "seen": "closed by the peer",
        "idle_seconds": 5.0,
        "in_flight": False,
        "met": "",
    }


def test_a_loss_that_the_client_was_told_of() -> None:
    incident = Incident(IDLE, met="no route to host")
    incident.add("transaction rolled back")
    incident.add("error 1213")
    event = recorded(incident)
    assert (event["event"], event["log_level"]) == ("link lost and restored", "warning")
    assert (event["outcome"], event["met"]) == ("transaction rolled back; error 1213", "no route to host")


def test_a_session_that_is_over() -> None:
    event = recorded(Incident(IDLE), is_over=True)
    assert (event["event"], event["log_level"]) == ("session lost", "warning")
