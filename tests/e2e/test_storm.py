"""A server is restarted, or killed, below many sessions: all of them come back, not too many at a time."""

from contextlib import ExitStack

import pytest

from bench.storm import SCENARIOS, Theatre
from tests.conftest import SERVERS, skip_unless_available

SESSIONS = 150
CONCURRENCY = 8
GENEROUS_SECONDS = 30


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", sorted(SERVERS))
def test_all_sessions_come_back_a_few_at_a_time(name: str) -> None:
    skip_unless_available(name)
    with ExitStack() as stack:
        theatre = Theatre(stack, SERVERS[name](), SESSIONS, CONCURRENCY)
        for blow in SCENARIOS.values():
            storm = theatre.storm(blow)
            assert storm.errors == ()
            assert len(storm.served) == SESSIONS
            assert 0 < storm.most_logins <= CONCURRENCY
            assert storm.served_after(1) < GENEROUS_SECONDS
        assert theatre.guard.failures() == []
