"""When an idle link is probed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import Keepalive
from protocol.constants import CommandCode
from protocol.memory import SessionMemory
from protocol.reply import Expected, ReplyKind, ReplyTracker
from proxy.keepalive import KeepaliveClock, probe_command

TIMES = st.floats(0, 1e9)


@given(heard_at=TIMES, wait_timeout=st.integers(1, 31_536_000))
def test_due_before_the_server_or_a_middlebox_loses_patience(heard_at: float, wait_timeout: int) -> None:
    clock = KeepaliveClock(Keepalive(), wait_timeout)
    due = clock.next_probe(heard_at, heard_at, in_transaction=False)
    silence = min(60, wait_timeout / 2)
    assert heard_at + silence * 0.74 <= due <= heard_at + silence * 1.01


def test_probes_are_spread() -> None:
    clock = KeepaliveClock(Keepalive(), 28800)
    assert len({clock.next_probe(0, 0, in_transaction=False) for _ in range(100)}) > 50


def test_a_configured_interval_replaces_the_minute_but_not_the_servers_limit() -> None:
    settings = Keepalive.model_validate({"interval": "10m"})
    assert 450 <= KeepaliveClock(settings, 28800).next_probe(0, 0, in_transaction=False) <= 600
    assert KeepaliveClock(settings, 20).next_probe(0, 0, in_transaction=False) <= 10


def test_a_transaction_is_probed_only_as_long_as_the_server_would_bear_with_it() -> None:
    clock = KeepaliveClock(Keepalive(), 100)
    assert clock.next_probe(heard_at=40, idle_since=0, in_transaction=True) < 100
    assert clock.next_probe(heard_at=70, idle_since=0, in_transaction=True) == float("inf")
    assert clock.next_probe(heard_at=70, idle_since=0, in_transaction=False) < 130


@pytest.mark.parametrize(("silence", "must"), [(0, False), (4.9, False), (5.1, True)])
def test_check_before_use(silence: float, *, must: bool) -> None:
    assert KeepaliveClock(Keepalive(), 28800).must_validate(1000, 1000 + silence) is must


@pytest.mark.parametrize(
    ("reply", "probe"),
    [
        (b"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00", CommandCode.PING),  # ROW_COUNT() is 0
        (b"\x07\x00\x00\x01\x00\x05\x00\x02\x00\x00\x00", CommandCode.STATISTICS),  # ROW_COUNT() is 5
        (b"\x09\x00\x00\x01\xff\x28\x04#42000", CommandCode.STATISTICS),  # ROW_COUNT() is -1
    ],
)
def test_the_probe_leaves_row_count_alone(reply: bytes, probe: CommandCode) -> None:
    tracker = ReplyTracker(0, SessionMemory(client_listens=False, multi_statements=False, keeps_definitions=False))
    assert probe_command(tracker) is CommandCode.PING
    tracker.expect(Expected(CommandCode.QUERY, ReplyKind.RESULTS, 1))
    tracker.take(reply)
    assert tracker.idle
    assert probe_command(tracker) is probe
