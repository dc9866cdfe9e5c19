"""The cruise ends when something needs a decision, at the right moment and in the right state."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from protocol.command import Verdict
from protocol.framing import build_packet
from proxy.link import RECEIVE_BYTES
from proxy.relay import ClientBroke, ClientGone, DecisionDue, DrainDue, Event, ProbeDue, UpstreamLost
from tests.proxy.rig import COLUMN, EOF, Rig, ok, packets, rigged

HOUR = 3600


@asynccontextmanager
async def cruising(rig: Rig, events: list[Event]) -> AsyncIterator[None]:
    """Let the relay cruise in the background, answering probes that are due, until it ends with another event."""

    async def cruise() -> None:
        while True:
            event = await rig.relay.cruise()
            events.append(event)
            if not isinstance(event, ProbeDue):
                return
            await rig.upstream.probe()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cruise)
        yield
        nursery.cancel_scope.cancel()


async def test_an_idle_session_is_probed_about_once_a_minute(autojump_clock: MockClock) -> None:
    async with rigged() as rig:
        events: list[Event] = []
        async with cruising(rig, events):
            await trio.sleep(HOUR)
        assert 60 <= len(events) <= 80
        assert set(rig.server.heard) == {b"\x0e"}


async def test_a_busy_session_is_not_probed(autojump_clock: MockClock) -> None:
    async with rigged() as rig:
        events: list[Event] = []
        async with cruising(rig, events):
            for _ in range(1000):
                await rig.ask(b"\x03DO 0")
                await trio.sleep(4)
        assert events == []


async def test_a_query_that_takes_long_is_not_disturbed(autojump_clock: MockClock) -> None:
    async with rigged() as rig:
        events: list[Event] = []
        rig.server.answer = lambda _: b""
        async with cruising(rig, events):
            await rig.client.send(build_packet(b"\x03SELECT SLEEP(3600)", 0))
            await trio.sleep(HOUR)
            await rig.server.send(ok())
            assert await rig.client.recv(100) == ok()
        assert events == []
        assert rig.server.heard == [b"\x03SELECT SLEEP(3600)"]


async def test_a_command_after_a_silence_waits_for_a_probe(autojump_clock: MockClock) -> None:
    async with rigged() as rig:
        events: list[Event] = []
        async with cruising(rig, events):
            await rig.ask(b"\x03DO 0")
            await trio.sleep(5.5)
            await rig.ask(b"\x03DO 1")
            await rig.ask(b"\x03DO 2")
        assert rig.server.heard == [b"\x03DO 0", b"\x0e", b"\x03DO 1", b"\x03DO 2"]
        assert events == [ProbeDue()]


async def test_a_transaction_is_probed_until_the_servers_own_limit(autojump_clock: MockClock) -> None:
    async with rigged() as rig:
        events: list[Event] = []
        rig.server.answer = lambda command: ok(3 if command != b"\x03COMMIT" else 2)
        async with cruising(rig, events):
            await rig.ask(b"\x03BEGIN")
            await trio.sleep(28800 * 2)
            probes = len(events)
            assert 480 <= probes <= 640  # as often as in the eight hours of wait_timeout
            await trio.sleep(28800)
            assert len(events) == probes
            await rig.ask(b"\x03COMMIT")
            await trio.sleep(HOUR)
            assert len(events) > probes + 50


async def test_a_server_that_does_not_answer_a_probe_is_lost_in_time(autojump_clock: MockClock) -> None:
    async with rigged() as rig:
        rig.server.answer = lambda _: b""
        assert await rig.relay.cruise() == ProbeDue()
        before = trio.current_time()
        with pytest.raises(Exception, match="no answer to a probe within 5 s"):
            await rig.upstream.probe()
        assert trio.current_time() - before == pytest.approx(5)


async def test_a_decision_waits_for_the_replies_before_it(autojump_clock: MockClock) -> None:
    async with rigged() as rig:
        rig.server.answer = lambda _: b""
        oversized = b"\xff\xff\xff\x00\x03"
        await rig.client.send(build_packet(b"\x03SELECT 1", 0) + oversized)
        async with trio.open_nursery() as nursery:
            events: list[Event] = []
            async with cruising(rig, events):
                await trio.sleep(100)
                assert events == []
                await rig.server.send(ok())
                assert await rig.client.recv(100) == ok()
                await trio.sleep(1)
            nursery.cancel_scope.cancel()
        (event,) = events
        assert isinstance(event, DecisionDue)
        assert event.decision.verdict is Verdict.COLLECT
        assert rig.server.heard == [b"\x03SELECT 1"]


async def test_what_comes_before_a_broken_packet_is_answered_first(autojump_clock: MockClock) -> None:
    async with rigged() as rig:
        await rig.client.send(build_packet(b"\x03DO 0", 0) + build_packet(b"\x03DO 1", 9))
        event = await rig.relay.cruise()
        if isinstance(event, DecisionDue):
            rig.upstream.reader.decision = None
            event = await rig.relay.cruise()
        assert isinstance(event, ClientBroke)
        assert await rig.client.recv(100) == ok()
        assert rig.server.heard == [b"\x03DO 0"]


async def test_either_end_can_go(autojump_clock: MockClock) -> None:
    async with rigged() as rig:
        rig.client.close()
        assert isinstance(await rig.relay.cruise(), ClientGone)
    async with rigged() as rig:
        rig.server.sock.shutdown(trio.socket.SHUT_RDWR)
        assert isinstance(await rig.relay.cruise(), UpstreamLost)


async def test_a_client_that_has_ended_its_side_still_gets_its_answers(autojump_clock: MockClock) -> None:
    async with rigged() as rig:
        rig.server.answer = lambda _: b""
        await rig.client.send(build_packet(b"\x03SELECT SLEEP(9)", 0))
        rig.client.shutdown(trio.socket.SHUT_WR)
        async with trio.open_nursery() as nursery:
            events: list[Event] = []
            nursery.start_soon(_cruise_once, rig, events)
            await trio.sleep(9)
            assert rig.server.has_heard_end
            await rig.server.send(ok())
        assert isinstance(events[0], ClientGone)
        assert await rig.client.recv(100) == ok()


async def _cruise_once(rig: Rig, events: list[Event]) -> None:
    events.append(await rig.relay.cruise())


async def test_draining_waits_for_replies_and_transactions(autojump_clock: MockClock) -> None:
    async with rigged() as rig:
        rig.server.answer = lambda command: ok(2 if command == b"\x03COMMIT" else 3)
        events: list[Event] = []
        async with cruising(rig, events):
            await rig.ask(b"\x03BEGIN")
            rig.relay.drain()
            await trio.sleep(20)
            assert DrainDue() not in events
            await rig.ask(b"\x03COMMIT")
            await trio.sleep(1)
        assert events[-1] == DrainDue()


def large_reply(count: int) -> bytes:
    return packets(b"\x01", COLUMN, EOF, *([b"\xfd\x60\xea\x00" + bytes(60_000)] * count), EOF)


SPOOLS: dict[str, dict[str, str]] = {
    "in memory": {},
    "in a file": {"memory": "64KiB", "disk": "256KiB"},
    "full": {"memory": "64KiB", "disk": "0"},
}


@pytest.mark.parametrize("spool", SPOOLS.values(), ids=SPOOLS)
async def test_no_byte_is_lost_or_reordered_however_often_the_cruise_is_interrupted(
    autojump_clock: MockClock, spool: dict[str, str]
) -> None:
    rows = [bytes((len(text),)) + text for text in (b"%d" % number * 30 for number in range(3000))]
    reply = packets(b"\x01", COLUMN, EOF, *rows, EOF)
    randomly = random.Random(7)
    async with rigged(spool=spool) as rig:
        rig.server.answer = lambda _: reply
        expected = reply * 20
        received = bytearray()

        async def read() -> None:
            while len(received) < len(expected):
                received.extend(await rig.client.recv(randomly.randrange(1, 70_000)))
                await trio.sleep(randomly.random() / 1000)

        async def cruise() -> None:
            while True:
                event: Event | None = None
                with trio.move_on_after(randomly.random() / 200):
                    event = await rig.relay.cruise()
                if event is not None:
                    # While a thread writes to a file, virtual time has nobody else to wait for, and runs ahead.
                    assert event == ProbeDue()
                    await rig.upstream.probe()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cruise)
            nursery.start_soon(rig.client.send, build_packet(b"\x03SELECT", 0) * 20)
            await read()
            nursery.cancel_scope.cancel()
        assert bytes(received) == expected
        assert rig.server.heard.count(b"\x03SELECT") == 20


async def test_draining_waits_for_a_client_that_reads_slowly(autojump_clock: MockClock) -> None:
    reply = large_reply(30)
    async with rigged(spool={"memory": "10MiB"}) as rig:
        rig.server.answer = lambda _: reply
        events: list[Event] = []
        async with cruising(rig, events):
            await rig.client.send(build_packet(b"\x03SELECT", 0))
            await trio.sleep(1)
            rig.relay.drain()
            received = b""
            while len(received) < len(reply):
                await trio.sleep(1)
                received += await rig.client.recv(50_000)
            assert received == reply
        assert events == [DrainDue()]


async def test_a_server_does_not_wait_for_a_client_that_reads_nothing(autojump_clock: MockClock) -> None:
    async with rigged(spool={"disk": "0", "memory": "10MiB"}) as rig:
        rig.server.answer = lambda _: large_reply(100)
        async with cruising(rig, []):
            await rig.client.send(build_packet(b"\x03SELECT", 0))
            await wait_all_tasks_blocked()
            assert rig.upstream.tracker.idle
            assert rig.spool_space.in_memory > 5_000_000


async def test_a_full_spool_stays_as_it_is_however_often_the_cruise_is_interrupted(autojump_clock: MockClock) -> None:
    async with rigged(spool={"disk": "0", "memory": "100KiB"}) as rig:
        rig.server.answer = lambda _: large_reply(100)
        await rig.client.send(build_packet(b"\x03SELECT", 0))
        for _ in range(100):
            with trio.move_on_after(1):
                await rig.relay.cruise()
        assert rig.spool_space.in_memory <= 100 * 1024 + RECEIVE_BYTES


async def test_a_command_does_not_go_to_a_server_that_has_just_left(autojump_clock: MockClock) -> None:
    events: list[Event] = []
    async with rigged() as rig, cruising(rig, events):
        await rig.ask(b"\x03DO 1")
        rig.server.sock.shutdown(trio.socket.SHUT_WR)
        await rig.client.send(build_packet(b"\x03DO 2", 0))
        await trio.sleep(1)
        assert isinstance(events[0], UpstreamLost)
        assert rig.upstream.tracker.idle
        assert rig.server.heard == [b"\x03DO 1"]


async def test_a_client_that_reads_late_is_not_kept_waiting(autojump_clock: MockClock) -> None:
    reply = large_reply(30)
    async with rigged() as rig, cruising(rig, []):
        rig.server.answer = lambda _: reply
        await rig.client.send(build_packet(b"\x03SELECT", 0))
        await wait_all_tasks_blocked()
        began = trio.current_time()
        received = 0
        while received < len(reply):
            received += len(await rig.client.recv(1 << 20))
        assert trio.current_time() == began


async def test_what_a_client_has_not_read_goes_on_when_the_cruise_does(autojump_clock: MockClock) -> None:
    reply = large_reply(30)
    async with rigged(spool={"memory": "10MiB"}) as rig:
        rig.server.answer = lambda _: reply
        async with cruising(rig, []):
            await rig.client.send(build_packet(b"\x03SELECT", 0))
            await wait_all_tasks_blocked()
        assert rig.upstream.tracker.idle
        began = trio.current_time()
        async with cruising(rig, []):
            received = 0
            while received < len(reply):
                received += len(await rig.client.recv(1 << 20))
            assert trio.current_time() == began
