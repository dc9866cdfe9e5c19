"""Bytes in the pump: none is lost or reordered, however often the session is handed over."""

import gc
import math
import random
import socket
import ssl
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio
import trustme

from config import RelayKind
from protocol.effects import Effects
from protocol.framing import build_packet
from protocol.packets import Ok
from proxy.link import Link
from proxy.relay import ClientGone, DecisionDue, DrainDue, Event, ProbeDue, UpstreamLost
from proxy.relays import MakeRelay, choose_relays
from tests.proxy.rig import COLUMN, EOF, Rig, ok, packets, rigged

pytest.importorskip("proxy.pump", reason="not compiled, or no epoll", exc_type=ImportError)

from proxy.lane import Lane
from proxy.pump import Pump

KIND = RelayKind.PUMP


@asynccontextmanager
async def pumping(**sections: dict[str, str]) -> AsyncIterator[Rig]:
    relays = choose_relays(KIND, 1)
    async with relays.running(), rigged(make_relay=relays.make, **sections) as rig:
        yield rig


@asynccontextmanager
async def riding(rig: Rig, events: list[Event]) -> AsyncIterator[None]:
    async def cruise() -> None:
        events.append(await rig.relay.cruise())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cruise)
        yield
        nursery.cancel_scope.cancel()


async def board(rig: Rig) -> None:
    """Ask for ordinary things until the pump has the session."""
    for _ in range(3):
        assert await rig.ask(b"\x03SELECT 1") == ok()


async def until(is_true: Callable[[], object]) -> None:
    """Wait in real time: the pump knows no other."""
    with trio.fail_after(5):
        while not is_true():  # noqa: ASYNC110 - what happens in the pump's thread sets no event
            await trio.sleep(0.01)


async def test_ordinary_commands_are_carried() -> None:
    async with pumping() as rig:
        events: list[Event] = []
        async with riding(rig, events):
            for _ in range(50):
                assert await rig.ask(b"\x03SELECT 1") == ok()
            commands, *_ = rig.relay._lane.traffic  # type: ignore[attr-defined]
            assert commands >= 40
        assert rig.server.heard == [b"\x03SELECT 1"] * 50
        assert events == []


async def test_other_commands_are_handed_back_and_it_goes_on_behind_them() -> None:
    async with pumping() as rig:
        events: list[Event] = []
        async with riding(rig, events):
            for payload in (b"\x03SELECT 1", b"\x03SET @a = 1", b"\x03SELECT 2", b"\x0e", b"\x02test", b"\x03SELECT 3"):
                assert await rig.ask(payload) == ok()
            await rig.client.send(build_packet(b"\x01", 0))
            await until(lambda: events)
        assert isinstance(events[0], DecisionDue)


NAMES = b"\x03SET NAMES utf8mb4"
_WAIT_TIMEOUT = b"\x00\x11\x0cwait_timeout\x03100"
#: What the client sees of the reply to it is an ordinary OK packet.
NAMED = packets(Ok(0, 0, 0, 2, 0, b"", _WAIT_TIMEOUT).build())


async def board_knowing(rig: Rig) -> None:
    """Have the pump know the answer to :data:`NAMES`, and then have the session."""
    rig.server.answer = lambda command: NAMED if command == NAMES else ok()
    for _ in range(2):
        assert await rig.ask(NAMES) == ok()
    await board(rig)
    rig.upstream.memory.tracked.variables.clear()


async def test_what_was_seen_before_is_carried_and_read_once_the_session_is_quiet() -> None:
    async with pumping() as rig:
        events: list[Event] = []
        async with riding(rig, events):
            await board_knowing(rig)
            for payload in (NAMES, b"\x03SELECT 1", NAMES):
                assert await rig.ask(payload) == ok()
            assert len(rig.relay._lane.journal) == 2  # type: ignore[attr-defined]
            assert rig.upstream.memory.tracked.variables == {}
            await until(lambda: rig.upstream.memory.tracked.variables == {"wait_timeout": "100"})
            assert await rig.ask(b"\x03SELECT 1") == ok()
        assert events == []


async def test_what_was_seen_before_is_read_before_anything_is_decided() -> None:
    async with pumping() as rig:
        events: list[Event] = []
        async with riding(rig, events):
            await board_knowing(rig)
            assert await rig.ask(NAMES) == ok()
            rig.server.sock.shutdown(socket.SHUT_RDWR)
            await until(lambda: events)
        assert isinstance(events[0], UpstreamLost)
        assert rig.upstream.memory.tracked.variables == {"wait_timeout": "100"}
        assert rig.upstream.tracker.expected == []


async def test_a_link_that_ends_in_the_middle_of_an_answer_that_was_known() -> None:
    async with pumping() as rig:
        events: list[Event] = []
        async with riding(rig, events):
            await board_knowing(rig)
            rig.server.answer = lambda _: NAMED[:20]
            await rig.client.send(build_packet(NAMES, 0))
            await until(lambda: rig.server.heard[-1] == NAMES)
            rig.server.sock.shutdown(socket.SHUT_RDWR)
            await until(lambda: events)
        assert isinstance(events[0], UpstreamLost)
        (expected,) = rig.upstream.tracker.expected
        assert expected.packet == build_packet(NAMES, 0)
        assert isinstance(expected.note, Effects)
        assert rig.upstream.memory.tracked.variables == {}


async def test_another_answer_than_before_is_read_at_once() -> None:
    async with pumping() as rig:
        events: list[Event] = []
        async with riding(rig, events):
            await board_knowing(rig)
            rig.server.answer = lambda _: NAMED.replace(b"100", b"200")
            assert await rig.ask(NAMES) == ok()
            assert rig.upstream.memory.tracked.variables == {"wait_timeout": "200"}
        assert events == []


@pytest.mark.parametrize("last", [b"\x01", b"\x03SELECT 2"])
async def test_the_last_word_of_a_client_that_leaves_is_heard(last: bytes) -> None:
    async with pumping() as rig:
        events: list[Event] = []
        async with riding(rig, events):
            await board(rig)
            await rig.client.send(build_packet(last, 0))
            rig.client.shutdown(socket.SHUT_WR)
            if last == b"\x01":
                await until(lambda: events)
                assert isinstance(events[0], DecisionDue)
            else:
                assert await rig.client.recv(100) == ok()
                await until(lambda: events)
                assert isinstance(events[0], ClientGone)


async def test_a_busy_session_stays_when_a_quiet_one_would_come() -> None:
    async with pumping() as rig, riding(rig, []):
        for _ in range(5):
            assert await rig.ask(b"\x03SELECT 1") == ok()
        carried = rig.relay._lane.traffic  # type: ignore[attr-defined]
        assert carried[0] > 0
        await trio.sleep(0.4)
        assert rig.relay._lane.traffic == carried, "there was another ride"  # type: ignore[attr-defined]


@pytest.mark.parametrize(("end", "event"), [("client", ClientGone), ("server", UpstreamLost)])
async def test_either_end_can_go(end: str, event: type[Event]) -> None:
    async with pumping() as rig:
        events: list[Event] = []
        async with riding(rig, events):
            assert await rig.ask(b"\x03SELECT 1") == ok()
            (rig.client if end == "client" else rig.server.sock).shutdown(socket.SHUT_RDWR)
            await until(lambda: events)
        assert isinstance(events[0], event)


async def test_a_session_that_is_over_needs_no_garbage_collector() -> None:
    relays = choose_relays(KIND, 1)
    async with rigged() as rig:
        near, far = socket.socketpair()
        with near, far:
            relay = relays.make(Link(near), rig.upstream)
            rest = weakref.ref(relay)
            gc.disable()
            try:
                del relay
                assert rest() is None
            finally:
                gc.enable()


async def test_the_pump_tells_how_long_it_was_busy() -> None:
    relays = choose_relays(KIND, 2)
    async with relays.running(), rigged(make_relay=relays.make) as rig:
        async with riding(rig, []):
            await board(rig)
        assert 0 < relays.take_lag() < 5
        await until(lambda: not relays.take_lag())


async def test_a_drain_calls_the_session_back() -> None:
    async with pumping() as rig:
        events: list[Event] = []
        async with riding(rig, events):
            assert await rig.ask(b"\x03SELECT 1") == ok()
            rig.relay.drain()
            await until(lambda: events)
        assert events == [DrainDue()]


async def test_a_cancelled_session_is_called_back() -> None:
    async with pumping() as rig:
        async with riding(rig, []):
            assert await rig.ask(b"\x03SELECT 1") == ok()
        # Its sockets are its own again.
        await rig.upstream.link.send(build_packet(b"\x0e", 0))
        await until(lambda: b"\x0e" in rig.server.heard)


async def test_a_command_of_which_nothing_went_out_is_still_the_clients() -> None:
    async with pumping() as rig:
        events: list[Event] = []
        async with riding(rig, events):
            await board(rig)
            rig.upstream.link.lend().shutdown(socket.SHUT_WR)  # epoll does not tell of that
            await rig.client.send(build_packet(b"\x03UPDATE t SET a = a + 1", 0))
            await until(lambda: events)
        assert isinstance(events[0], UpstreamLost)
        # It is to be sent on the next link, once: nothing is owed for it here.
        assert rig.upstream.tracker.expected == []
        assert rig.relay._client.inbox == build_packet(b"\x03UPDATE t SET a = a + 1", 0)  # type: ignore[attr-defined]


async def test_a_client_that_takes_little_at_a_time_gets_all_of_it_in_order() -> None:
    rows = [bytes((len(text),)) + text for text in (b"%d" % number * 30 for number in range(10_000))]
    reply = packets(b"\x01", COLUMN, EOF, *rows, EOF)
    async with pumping() as rig:
        # What the pump has read does not fit at once, nor when there is room again.
        rig.relay._client.lend().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # type: ignore[attr-defined]
        async with riding(rig, []):
            await board(rig)
            rig.server.answer = lambda _: reply
            # A ride ends where the client takes nothing for a moment, as on a busy machine.
            with trio.fail_after(30):
                while rig.relay._lane.traffic[2] < 2 * len(reply):  # type: ignore[attr-defined]
                    assert await rig.ask(b"\x03SELECT 1", len(reply)) == reply


def a_reply(rng: random.Random) -> bytes:
    rows = []
    for _ in range(rng.choice((0, 1, 3, 500, 3000))):
        size = rng.choice((1, 30, 100, 240)) if rng.random() < 0.999 else 200_000
        length = bytes((size,)) if size < 251 else b"\xfd" + size.to_bytes(3, "little")
        rows.append(length + rng.randbytes(size))
    return packets(b"\x01", COLUMN, EOF, *rows, EOF)


@pytest.mark.parametrize("seed", range(4))
async def test_no_byte_is_lost_or_reordered_at_random_hand_overs(seed: int) -> None:
    async def converse(make_relay: MakeRelay, rng: random.Random) -> None:
        async with rigged(make_relay=make_relay, spool={"memory": "128KiB"}) as rig:
            replies = {b"%d" % number: a_reply(rng) for number in range(40)}
            rig.server.answer = lambda command: replies.get(command.rpartition(b" ")[2], ok())  # to a probe

            async def cruise() -> None:
                while True:
                    event: Event | None = None
                    with trio.move_on_after(rng.random() / 100):
                        event = await rig.relay.cruise()
                    if event is not None:
                        assert event == ProbeDue()
                        await rig.upstream.probe()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cruise)
                for number, expected in replies.items():
                    verb = rng.choice((b"SELECT", b"SELECT", b"SELECT", b"SELECT ';',"))  # which the pump hands over
                    command = build_packet(b"\x03" + verb + b" " + number, 0)
                    cut = rng.randrange(1, 3 * len(command))
                    await rig.client.send(command[:cut])
                    if command[cut:]:
                        await trio.sleep(rng.random() / 100)
                        await rig.client.send(command[cut:])
                    received = bytearray()
                    is_slow = rng.random() < 0.1
                    while len(received) < len(expected):
                        received += await rig.client.recv(rng.randrange(1, 200_000))
                        if is_slow and rng.random() < 0.2:
                            await trio.sleep(0.04)
                    assert received == expected
                nursery.cancel_scope.cancel()

    relays = choose_relays(KIND, 2)
    async with relays.running(), trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(converse, relays.make, random.Random(seed * 100 + number))


async def test_commands_in_tls_records_of_their_own_are_all_heard() -> None:
    authority = trustme.CA()
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("guard").configure_cert(ours)
    authority.configure_trust(theirs)
    near, far = socket.socketpair()
    link, server = socket.socketpair()
    with ThreadPoolExecutor() as threads, near, far, link, server:
        accepted = threads.submit(ours.wrap_socket, near, server_side=True)
        client = theirs.wrap_socket(far, server_hostname="guard")
        from proxy.carrier import Carrier  # noqa: PLC0415 - where nothing was compiled, there is none
        from proxy.lane import Lane  # noqa: PLC0415

        with client, accepted.result() as guarded:
            guarded.setblocking(False)
            command = build_packet(b"\x03SELECT 1", 0)
            client.send(command)
            client.send(command)
            lane, carrier = Lane(), Carrier()
            lane.agree(
                deprecates_eof=False,
                counts_with_metadata_flag=False,
                has_attributes=False,
                hides_reports=True,
                admits_begin=False,
                limit=1 << 24,
            )
            now = time.monotonic()
            lane.load(
                guarded,
                link,
                heard_at=now,
                validate_after=5,
                received=b"",
                command=b"",
                is_unsettled=False,
                waits_to_settle=False,
                settles_at=math.inf,
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(carrier.run)

                def recall(_: object) -> trio.lowlevel.Abort:
                    carrier.recall(lane)
                    return trio.lowlevel.Abort.FAILED

                with trio.move_on_after(2) as waiting:
                    carrier.carry(lane, math.inf)
                    await trio.lowlevel.wait_task_rescheduled(recall)
                carrier.stop()
            assert not waiting.cancel_called
            from_client, *_ = lane.unload()
            assert from_client == command


@contextmanager
def pump_running() -> Iterator[Pump]:
    pump = Pump()
    thread = threading.Thread(target=pump.run)
    thread.start()
    try:
        yield pump
    finally:
        pump.stop()
        thread.join()


def load(lane: Lane, client: socket.socket, server: socket.socket) -> None:
    now = time.monotonic()
    lane.load(
        client,
        server,
        heard_at=now,
        validate_after=5,
        received=b"",
        command=b"",
        is_unsettled=False,
        waits_to_settle=False,
        settles_at=math.inf,
    )


def collect(pump: Pump, count: int) -> list[Lane]:
    """Wait in real time for so many lanes to be handed back."""
    lanes: list[Lane] = []
    deadline = time.monotonic() + 5
    while len(lanes) < count and time.monotonic() < deadline:
        time.sleep(0.001)
        lanes += pump.collect()
    return lanes


@pytest.mark.parametrize("missing", ["client", "server"])
def test_a_lane_that_epoll_does_not_take_is_handed_back(missing: str) -> None:
    lane = Lane()
    near, far = socket.socketpair()
    with pump_running() as pump, near, far, socket.socket() as closed:
        closed.close()
        load(lane, *((closed, far) if missing == "client" else (near, closed)))
        pump.give(lane)
        assert collect(pump, 1) == [lane]
        assert lane.has_ended
        load(lane, near, far)  # nothing of the first attempt is left
        pump.give(lane)
        assert pump.collect() == []
        pump.recall(lane)
        assert collect(pump, 1) == [lane]
        assert not lane.has_ended


def test_lanes_that_are_called_back_more_than_once_come_back() -> None:
    with ExitStack() as stack:
        pump = stack.enter_context(pump_running())
        pairs = [socket.socketpair() for _ in range(400)]
        for pair in pairs:
            stack.enter_context(pair[0])
            stack.enter_context(pair[1])
        for _ in range(60):
            lanes = [Lane() for _ in pairs]
            for lane, pair in zip(lanes, pairs, strict=True):
                load(lane, *pair)
                pump.give(lane)
            for lane in (*lanes, *(lanes[100:200:7] * 3)):
                pump.recall(lane)
            assert len(collect(pump, len(lanes))) == len(lanes)


async def test_numbers_for_which_the_pump_has_no_room() -> None:
    rows = packets(Ok(0, (1 << 64) - 1, 0, 2, 0, b"", b"").build())
    async with pumping() as rig:
        events: list[Event] = []
        rig.upstream.reader.limit = 1 << 33
        rig.upstream.memory.last_insert_id = 1 << 64
        async with riding(rig, events):
            await board(rig)
            rig.upstream.memory.last_insert_id = 0
            rig.server.answer = lambda _: rows
            for command in (b"\x03CALL p()", b"\x03SELECT 1", b"\x03SELECT 1", b"\x03SELECT 1"):
                assert await rig.ask(command, len(rows)) == rows
        assert events == []


def unsettling(command: bytes) -> bytes:
    """Answer in a transaction, an INSERT with an id that has to be asked for."""
    if b"SLEEP" in command:
        return b""
    return packets(Ok(0, 0, 7, 3, 0, b"", b"").build()) if b"INSERT" in command else ok(3)


def switches_of_the_pump() -> int:
    (pump,) = (thread for thread in threading.enumerate() if thread.name == "pump")
    status = Path(f"/proc/self/task/{pump.native_id}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


async def test_while_a_statement_runs_the_pump_sleeps() -> None:
    async with pumping() as rig, riding(rig, []):
        await board(rig)
        rig.server.answer = unsettling
        for _ in range(3):
            await rig.ask(b"\x03INSERT INTO t VALUES (1)")
        await rig.client.send(build_packet(b"\x03SELECT SLEEP(1000)", 0))
        await until(lambda: rig.relay.catch_up() is not None)
        before = switches_of_the_pump()
        await trio.sleep(0.5)
        assert switches_of_the_pump() - before < 10


@pytest.mark.parametrize("says", ["another command", "half a command", "the end"])
async def test_while_a_client_that_has_said_more_waits_nobody_is_busy(says: str) -> None:
    async with pumping() as rig:
        events: list[Event] = []
        async with riding(rig, events):
            await board(rig)
            rig.server.answer = lambda _: b""
            await rig.client.send(build_packet(b"\x03SELECT SLEEP(1000)", 0))
            await until(lambda: rig.relay.catch_up() is not None)
            if says == "the end":
                rig.client.shutdown(socket.SHUT_WR)
            else:
                await rig.client.send(build_packet(b"\x03SELECT 2", 0)[: None if says == "another command" else 7])
            before = time.process_time()
            await trio.sleep(0.5)
            assert time.process_time() - before < 0.1
            await rig.server.send(ok())
            assert await rig.client.recv(11) == ok()
        assert [command for command in rig.server.heard if b"1" not in command] == (
            [b"\x03SELECT 2"] if says == "another command" else []
        )


async def test_a_client_that_takes_nothing_any_more_leaves_nothing_owed() -> None:
    async with pumping() as rig:
        events: list[Event] = []
        async with riding(rig, events):
            await board(rig)
            rig.client.shutdown(socket.SHUT_RD)  # so that the write fails, and nothing tells before
            await rig.client.send(build_packet(b"\x03SELECT 1", 0))
            await until(lambda: events)
        assert isinstance(events[0], ClientGone)
        assert rig.upstream.tracker.expected == []
