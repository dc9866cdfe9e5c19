"""A storm of messages is cut short, each name by itself, and said to have been."""

from typing import Any

import pytest
import structlog

from config import Log, LogFormat, LogLevel
from proxy import logs
from proxy.log_limit import BURST, PER_SECOND, LogLimit


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def passed(limit: LogLimit, name: str, count: int) -> int:
    """Log so many messages; return how many of them were written."""
    written = 0
    for _ in range(count):
        try:
            limit(None, "info", {"event": name})
        except structlog.DropEvent:
            continue
        written += 1
    return written


def test_a_burst_passes_and_then_so_many_a_second() -> None:
    clock = Clock()
    limit = LogLimit(clock)
    assert passed(limit, "session lost", 1000) == BURST
    for _ in range(5):
        clock.now += 1
        assert passed(limit, "session lost", 1000) == PER_SECOND
    clock.now += 3600
    assert passed(limit, "session lost", 1000) == BURST


def test_a_storm_of_one_name_hides_no_other() -> None:
    limit = LogLimit(Clock())
    passed(limit, "session lost", 1000)
    assert passed(limit, "server is away", 1) == 1


def test_what_was_left_out_is_told_once() -> None:
    limit = LogLimit(Clock())
    passed(limit, "session lost", BURST + 5)
    passed(limit, "login failed", BURST + 1)
    assert limit.take_left_out() == {"session lost": 5, "login failed": 1}
    assert not limit.take_left_out()


def test_the_log_itself_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        logs.configure(Log(format=LogFormat.JSON, level=LogLevel.INFO))
        log: Any = structlog.get_logger()
        for _ in range(BURST + 7):
            log.info("a storm of its own")
        logs.report_left_out()
        logs.report_left_out()
    finally:
        structlog.reset_defaults()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == BURST + 1
    assert '"log messages left out"' in lines[-1]
    assert '"count": 7' in lines[-1]


def test_who_asks_for_everything_gets_it(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        logs.configure(Log(format=LogFormat.JSON, level=LogLevel.DEBUG))
        log: Any = structlog.get_logger()
        for _ in range(2 * BURST):
            log.info("a storm to look at")
    finally:
        structlog.reset_defaults()
    assert len(capsys.readouterr().err.splitlines()) == 2 * BURST
