"""What is counted, and what is remembered of it, without growing."""

from typing import Any

import pytest
from prometheus_client import generate_latest

from proxy.admin import words
from proxy.admin.overview import episodes
from proxy.errors import LinkEnd
from proxy.history import HOURS, LargeCommand
from proxy.incidents import Cause, Evidence, Incident, Outcome, Report
from proxy.tally import Tally

NOON = 1_800_000_000 // 86400 * 86400 + 43200
HOUR = 3600.0
EVIDENCE = Evidence(LinkEnd.CLOSED, "closed by the peer", None, 5.0, 100.0, False, 0.0, 60.0)


def report(at: float, *, outcome: Outcome = Outcome.SAVED, restarted: bool = True, **incident: Any) -> Report:
    lost = Incident(EVIDENCE, was_restarted=restarted, **incident)
    return Report(at, 1, "app", "127.0.0.1:5", lost, outcome, 0.5)


def large(size: int, limit: int = 1000, at: float = NOON) -> LargeCommand:
    return LargeCommand(at, 1, "app", "127.0.0.1:5", "COM_QUERY", size, limit)


def value(tally: Tally, name: str, **labels: str) -> float:
    found = tally.registry.get_sample_value(name, labels)
    assert found is not None
    return found


def test_the_last_day_has_no_gaps_and_forgets() -> None:
    tally = Tally()
    for hour in range(48):
        tally.note_incident(report(NOON + hour * HOUR))
    tally.note_incident(report(NOON + 47 * HOUR + 1, outcome=Outcome.TOLD))
    hours = tally.history.last_day(NOON + 49 * HOUR)
    assert [hour.begins_at for hour in hours] == [NOON + (26 + number) * HOUR for number in range(HOURS)]
    assert [hour.counts.total() for hour in hours] == [1] * 21 + [2, 0, 0]
    assert not any(hour.counts for hour in tally.history.last_day(NOON + 100 * HOUR))


def test_a_clock_that_is_put_back_hides_nothing() -> None:
    tally = Tally()
    for at in (NOON + HOUR, NOON, NOON + HOUR):
        tally.note_incident(report(at))
    assert sum(hour.counts.total() for hour in tally.history.last_day(NOON + HOUR)) == 3


@pytest.mark.parametrize(
    ("size", "refused", "near"), [(799, 0, 0), (800, 0, 1), (1000, 0, 1), (1001, 1, 0), (100_000, 1, 0)]
)
def test_what_counts_as_a_near_miss(size: int, refused: int, near: int) -> None:
    tally = Tally()
    tally.note_large_command(large(size))
    assert value(tally, "stillhere_refusals_total", reason="too_large") == refused
    assert value(tally, "stillhere_saves_total", cause="packet_too_large") == refused
    assert value(tally, "stillhere_near_misses_total") == near
    assert value(tally, "stillhere_payload_limit_ratio_bucket", le="1.0") == 1 - refused
    assert len(tally.history.large_commands) == refused + near


@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_who_lives_on_was_saved(outcome: Outcome) -> None:
    tally = Tally()
    tally.note_incident(report(NOON, outcome=outcome))
    lives_on = outcome in (Outcome.SAVED, Outcome.TOLD)
    assert value(tally, "stillhere_incidents_total", cause="restart", outcome=outcome) == 1
    assert value(tally, "stillhere_saves_total", cause="restart") == lives_on
    assert value(tally, "stillhere_reconnect_seconds_count") == lives_on


def test_a_storm_of_incidents_takes_no_more_memory_and_no_more_series() -> None:
    tally = Tally()
    series = generate_latest(tally.registry).count(b"\n")
    for number in range(5000):
        tally.note_incident(report(NOON + number))
        tally.note_large_command(large(2000))
    assert len(tally.history.incidents) == 1000
    assert len(tally.history.large_commands) == 200
    assert generate_latest(tally.registry).count(b"\n") == series


def test_losses_that_belong_together_are_one_episode() -> None:
    reports = [report(NOON + number / 10) for number in range(50)]
    reports.insert(25, report(NOON + 2.45, restarted=False))  # somebody else's, in between
    reports.append(report(NOON + 60, outcome=Outcome.CLOSED))
    found = episodes(reports)
    assert [(episode.cause, episode.sessions) for episode in found] == [("restart", 1), ("restart", 50), ("killed", 1)]
    assert found[0].outcomes == {"saved": 0, "told": 0, "closed": 1, "left": 0}
    assert found[1].began_at == NOON - 0.5
    assert found[1].advice == Cause.RESTART.advice


def test_an_episode_tells_the_most_frequent_fates_first() -> None:
    reports = [report(NOON, outcomes=("error 1213",)), *(report(NOON) for _ in range(3))]
    assert list(episodes(reports)[0].told) == ["the client has not noticed", "error 1213"]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (150_000, "146 KiB"),
        (1 << 30, "1.0 GiB"),
        (1 << 60, "1048576.0 TiB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.00012, "120 µs"),
        (0.0042, "4.2 ms"),
        (0.25, "250 ms"),
        (1, "1.0 s"),
        (59, "59 s"),
        (90, "1.5 min"),
        (7200, "2.0 h"),
        (86400 * 30, "30 d"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert words.span(seconds) == text
