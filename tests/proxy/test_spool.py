"""A spool gives back every byte, once and in order, whatever is cancelled, full or broken meanwhile."""

import errno
import os
import random
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from config import Spool as SpoolSettings
from proxy import spool as spool_module
from proxy.ring import Ring
from proxy.spool import Spool, SpoolSpace

KIB = 1024
PIECE = 64 * KIB

_T = TypeVar("_T")


def spool_of(space: SpoolSpace) -> Spool:
    return Spool(space, structlog.stdlib.get_logger())


def space_of(
    *, memory: int = 64 * KIB, disk: int = 0, total_memory: int = 1 << 30, directory: Path | None = None
) -> SpoolSpace:
    settings = SpoolSettings(memory=memory, disk=disk, total_memory=total_memory)
    return SpoolSpace(settings.model_copy(update={"directory": directory}))


def numbered(count: int) -> bytes:
    """Give bytes among which those that are lost, doubled or exchanged show."""
    return b"".join(number.to_bytes(4, "big") for number in range(count // 4 + 1))[:count]


async def take_all(spool: Spool) -> bytes:
    taken = b""
    while spool:
        taken += await spool.take()
    return taken


async def fill(spool: Spool, count: int = PIECE) -> None:
    spool.put(bytes(count))
    await spool.make_room()


def names(logs: list[Any]) -> list[str]:
    return [str(log["event"]) for log in logs]


# Order, whatever happens.


class Interrupter:
    """Runs what it is given, and cancels it after some steps of the scheduler."""

    def __init__(self, randomly: random.Random) -> None:
        self._randomly = randomly

    async def run(self, act: Callable[[], Awaitable[object]]) -> bool:
        """Return whether it has been done rather than cancelled."""
        is_done = False
        ticks = self._randomly.choice((None, 0, 1, 2, 3, 5, 8))
        async with trio.open_nursery() as nursery:
            if ticks is not None:
                nursery.start_soon(self._cancel_after, ticks, nursery.cancel_scope)
            await act()
            is_done = True
            nursery.cancel_scope.cancel()
        return is_done

    @staticmethod
    async def _cancel_after(ticks: int, scope: trio.CancelScope) -> None:
        for _ in range(ticks):
            await trio.lowlevel.checkpoint()
        scope.cancel()


@dataclass(frozen=True)
class Weather:
    """How things go outside of the spool."""

    randomly: random.Random
    #: How many of a hundred files cannot be made, and how many of a hundred writes fail.
    failures: int

    async def in_thread(self, function: Callable[..., _T], *args: Any) -> _T:
        """Do what a thread does: it cannot be cancelled once it has begun, and other tasks run meanwhile."""
        await trio.lowlevel.checkpoint()
        before = self.randomly.randrange(4)
        for _ in range(before):
            await trio.lowlevel.cancel_shielded_checkpoint()
        try:
            return function(*args)
        finally:
            for _ in range(3 - before):
                await trio.lowlevel.cancel_shielded_checkpoint()

    def ring(self, size: int, directory: Path | None) -> Ring:
        self._maybe_fail()
        ring = Ring(size, directory)
        append = ring.append

        def append_or_fail(data: bytes) -> None:
            if self._fails():
                part = data[: self.randomly.randrange(len(data))]
                os.pwrite(ring._file.fileno(), part[: size - ring._begin], ring._begin + len(ring))
                raise OSError(errno.ENOSPC, "No space left on device")
            append(data)

        ring.append = append_or_fail  # type: ignore[method-assign]
        return ring

    def _fails(self) -> bool:
        return self.randomly.randrange(100) < self.failures

    def _maybe_fail(self) -> None:
        if self._fails():
            raise OSError(errno.EACCES, "Permission denied")


@contextmanager
def tiny_steps(weather: Weather) -> Iterator[None]:
    """Have spools move a few bytes at once, in threads that the test has in its hands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool_module, "_SPILL_BYTES", 16)
        patch.setattr(spool_module, "_TAKE_BYTES", 5)
        patch.setattr(spool_module, "_GRACE_SECONDS", weather.randomly.choice((0, 0.0002)))
        patch.setattr(spool_module, "Ring", weather.ring)
        patch.setattr("proxy.spool.trio.to_thread.run_sync", weather.in_thread)
        yield


class Passage:
    """Bytes on their way through a spool."""

    def __init__(self, spool: Spool, count: int, randomly: random.Random) -> None:
        self.spool = spool
        self.rest = self.expected = numbered(count)
        self.taken = b""
        self._interrupter = Interrupter(randomly)
        self._randomly = randomly

    async def put(self) -> None:
        while self.rest:
            count = self._randomly.randrange(1, 30)
            self.spool.put(self.rest[:count])
            self.rest = self.rest[count:]
            while not await self._interrupter.run(self.spool.make_room) and self._randomly.randrange(4):
                self.check()

    async def take(self) -> None:
        while len(self.taken) < len(self.expected):
            before = len(self.taken)
            await self._interrupter.run(self._take)
            self.check()
            assert self.expected.startswith(self.taken)
            if len(self.taken) == before:
                await trio.lowlevel.checkpoint()

    async def _take(self) -> None:
        taken = await self.spool.take()
        self.taken += taken

    def check(self) -> None:
        spool = self.spool
        assert len(spool) == len(self.expected) - len(self.rest) - len(self.taken)
        assert spool._in_memory == sum(map(len, (*spool._head, *spool._tail)))
        assert spool._tail_bytes == sum(map(len, spool._tail))


@pytest.mark.parametrize("passages", [1, 3])
@given(
    seed=st.integers(0, 1 << 32),
    memory=st.integers(0, 60),
    disk=st.sampled_from([0, 1, 7, 50, 1000]),
    total_memory=st.integers(0, 100),
    failures=st.sampled_from([0, 0, 10, 50]),
)
@settings(deadline=None, max_examples=100)
def test_no_byte_is_lost_doubled_or_exchanged(
    passages: int, seed: int, memory: int, disk: int, total_memory: int, failures: int
) -> None:
    randomly = random.Random(seed)
    space = space_of(memory=memory, disk=disk, total_memory=total_memory)
    under_way = [Passage(spool_of(space), 500, randomly) for _ in range(passages)]

    async def pass_all() -> None:
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for passage in under_way:
                    nursery.start_soon(passage.put)
                    nursery.start_soon(passage.take)
        assert space.in_memory == 0
        for passage in under_way:
            assert passage.taken == passage.expected
            assert passage.spool._ring is None

    with tiny_steps(Weather(randomly, failures)), capture_logs():
        try:
            trio.run(pass_all)
        finally:
            for passage in under_way:
                passage.spool.close()


async def test_the_same_with_threads_and_a_file_as_they_are() -> None:
    space = space_of(memory=300 * KIB, disk=700 * KIB)
    spool = spool_of(space)
    expected, taken = numbered(12 << 20), bytearray()
    randomly = random.Random(5)
    has_put = False

    async def put() -> None:
        nonlocal has_put
        rest = memoryview(expected)
        while rest:
            spool.put(bytes(rest[:PIECE]))
            rest = rest[PIECE:]
            has_room = False
            while not has_room:
                with trio.move_on_after(randomly.random() / 500):
                    await spool.make_room()
                    has_room = True
        has_put = True

    async def take() -> None:
        await trio.sleep(0.2)  # no fast client
        while spool or not has_put:
            with trio.move_on_after(randomly.random() / 1000):
                taken.extend(await spool.take())
            if not randomly.randrange(20):
                await trio.sleep(0.001)

    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(put)
            nursery.start_soon(take)
    assert bytes(taken) == expected
    assert space.in_memory == 0
    assert {"client reads slowly", "spool is full"} <= set(names(logs))


# What is kept where, and what is said of it.


async def test_a_client_that_pauses_for_a_moment_needs_no_file() -> None:
    spool = spool_of(space_of(memory=1024 * KIB, disk=1 << 30))
    with capture_logs() as logs:
        for _ in range(12):
            await fill(spool)
        assert (spool.on_disk, spool._ring) == (0, None)
        assert len(await take_all(spool)) == 12 * PIECE
    assert logs == []


async def test_a_client_that_is_kept_from_reading_for_a_moment_needs_no_file(autojump_clock: MockClock) -> None:
    spool = spool_of(space_of(memory=1024 * KIB, disk=1 << 30))
    with capture_logs() as logs:
        for _ in range(5):
            async with trio.open_nursery() as nursery:
                for _ in range(15):
                    await fill(spool)
                nursery.start_soon(fill, spool)
                await trio.sleep(0.01)
                assert spool._ring is None
                for _ in range(9):
                    await spool.take()
            await take_all(spool)
    assert logs == []


async def test_without_a_file_nothing_is_said_of_a_client_that_is_kept_from_reading_for_a_moment(
    autojump_clock: MockClock,
) -> None:
    spool = spool_of(space_of(memory=100 * KIB))
    with capture_logs() as logs:
        await fill(spool)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fill, spool)
            await trio.sleep(0.01)
            await take_all(spool)
    assert logs == []


async def test_memory_is_kept_to_and_the_rest_is_in_the_file(tmp_path: Path) -> None:
    space = space_of(memory=1024 * KIB, disk=1 << 30, directory=tmp_path)
    spool = spool_of(space)
    with capture_logs() as logs:
        for _ in range(100):
            await fill(spool)
            assert space.in_memory <= 1024 * KIB
        assert spool.on_disk > 5000 * KIB
        assert len(await take_all(spool)) == 100 * PIECE
        assert spool._ring is None
    assert names(logs) == ["client reads slowly", "client has caught up"]
    assert logs[1]["bytes"] == 100 * PIECE
    assert logs[1]["server_waited_seconds"] == 0


async def test_a_full_spool_has_the_server_wait_and_says_so_once(autojump_clock: MockClock) -> None:
    spool = spool_of(space_of(memory=100 * KIB))
    with capture_logs() as logs:
        await fill(spool)
        await trio.sleep(2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fill, spool)
            await trio.sleep(3)
            assert nursery.child_tasks
            await spool.take()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fill, spool)
            await trio.sleep(4)
            await spool.take()
        assert (await spool.take(), await spool.take()) == (bytes(PIECE), b"")
        # Another time is another matter.
        await fill(spool)
        with trio.move_on_after(1):
            await fill(spool)
    assert names(logs) == ["spool is full", "client has caught up", "spool is full"]
    assert (logs[0]["bytes"], logs[0]["seconds"], logs[0]["log_level"]) == (2 * PIECE, 2.02, "warning")
    assert (logs[1]["bytes"], logs[1]["seconds"], logs[1]["server_waited_seconds"]) == (3 * PIECE, 9, 6.98)


async def test_a_spool_whose_file_is_full_waits_as_well() -> None:
    space = space_of(memory=0, disk=100 * KIB)
    spool = spool_of(space)
    with capture_logs() as logs:
        await fill(spool)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fill, spool)
            while not space.waiting:
                await trio.lowlevel.checkpoint()
            assert (spool.on_disk, space.in_memory) == (100 * KIB, 28 * KIB)
            await spool.take()
        assert (spool.on_disk, space.in_memory) == (64 * KIB, 0)
        assert len(await take_all(spool)) == PIECE
    assert names(logs) == ["client reads slowly", "spool is full", "client has caught up"]


async def test_without_a_file_there_is_memory_until_the_client_has_caught_up(tmp_path: Path) -> None:
    directory = tmp_path / "later"
    spool = spool_of(space_of(memory=200 * KIB, disk=1 << 20, directory=directory))
    with capture_logs() as logs:
        for _ in range(3):
            await fill(spool)
        with trio.move_on_after(0.1) as waiting:
            await fill(spool)
        assert waiting.cancelled_caught
        directory.mkdir()
        await spool.take()
        with trio.move_on_after(0.1) as waiting:
            await fill(spool)
        assert waiting.cancelled_caught
        assert names(logs) == ["spool has no file", "spool is full"]
        assert logs[0]["reason"] == "No such file or directory"
        await take_all(spool)
        for _ in range(10):
            await fill(spool)
        assert spool.on_disk
    assert names(logs)[-1] == "client reads slowly"
    spool.close()


async def test_a_file_that_cannot_be_written_to_any_more_is_not_tried_at_every_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spool = spool_of(space_of(memory=64 * KIB, disk=1 << 20))
    expected = numbered(5 * PIECE)
    with capture_logs() as logs:
        spool.put(expected[: 2 * PIECE])
        await spool.make_room()
        assert spool.on_disk == 2 * PIECE

        def fail(_ring: Ring, _data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Ring, "append", fail)
        taken = b""
        for start in range(2 * PIECE, 5 * PIECE, PIECE):
            spool.put(expected[start : start + PIECE])
            with trio.move_on_after(0.05):
                await spool.make_room()
            taken += await spool.take()
        taken += await take_all(spool)
    assert taken == expected
    assert names(logs) == ["client reads slowly", "spool has no file", "spool is full", "client has caught up"]


async def test_how_much_is_kept_and_how_long_servers_wait_is_known(autojump_clock: MockClock) -> None:
    space = space_of(memory=64 * KIB)
    slow, quick = spool_of(space), spool_of(space)
    assert (len(space.in_use), space.longest_stall) == (0, 0)
    with capture_logs() as logs:
        quick.put(b"x")
        slow.put(bytes(2 * PIECE))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(slow.make_room)
            await trio.sleep(10)
            # While it waits, and not only when that is over.
            assert slow.stalled_seconds == space.longest_stall == pytest.approx(10, abs=0.1)
            assert len(space.in_use) == 2
            await take_all(slow)
        await fill(slow, 1)
    assert logs[0]["sessions_spooling"] == 2
    assert slow.stalled_seconds == 0
    assert space.longest_stall == space.stalled_seconds == pytest.approx(10, abs=0.1)
    await take_all(quick)
    slow.close()
    assert not space.in_use


# All spools together.


async def test_with_too_much_in_memory_everything_new_goes_to_files() -> None:
    space = space_of(memory=1024 * KIB, disk=1 << 30, total_memory=1024 * KIB)
    spools = [spool_of(space) for _ in range(20)]
    with capture_logs():
        for _ in range(10):
            for spool in spools:
                await fill(spool)
                assert space.in_memory <= 1024 * KIB + PIECE
        for spool in spools:
            assert len(await take_all(spool)) == 10 * PIECE
    assert space.in_memory == 0


async def test_without_files_the_cap_holds_as_well(autojump_clock: MockClock) -> None:
    space = space_of(memory=1024 * KIB, total_memory=1024 * KIB)
    spools = [spool_of(space) for _ in range(20)]
    with capture_logs() as logs:
        for _ in range(10):
            for spool in spools:
                with trio.move_on_after(1):
                    await fill(spool)
                    continue
                break
        assert space.in_memory <= 1024 * KIB + len(spools) * PIECE
        assert "spool is full" in names(logs)
        for spool in spools:
            spool.close()
    assert space.in_memory == 0


@pytest.mark.parametrize("relief", ["take", "close"])
async def test_room_that_another_one_gives_back_is_noticed(autojump_clock: MockClock, relief: str) -> None:
    space = space_of(memory=1024 * KIB, total_memory=128 * KIB)
    greedy, modest = spool_of(space), spool_of(space)
    with capture_logs():
        for _ in range(2):
            await fill(greedy)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fill, modest)
            await trio.sleep(1)
            assert modest._in_memory == PIECE
            assert nursery.child_tasks
            if relief == "take":
                await greedy.take()
            else:
                greedy.close()
        modest.close()
        greedy.close()
    assert space.in_memory == 0


async def test_room_in_memory_that_a_file_makes_is_noticed() -> None:
    space = space_of(memory=1024 * KIB, disk=1 << 30, total_memory=128 * KIB)
    greedy, modest = spool_of(space), spool_of(space)
    modest._can_use_disk = False
    with capture_logs():
        modest.put(bytes(PIECE))
        for _ in range(2):
            greedy.put(bytes(PIECE))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(modest.make_room)
            await wait_all_tasks_blocked()
            assert modest._in_memory == PIECE
            nursery.start_soon(greedy.make_room)
        modest.close()
        greedy.close()


# The end.


@pytest.mark.parametrize("method", ["append", "take"])
async def test_a_spool_that_is_closed_while_a_thread_has_the_file(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    space = space_of(memory=0, disk=1 << 30)
    spool, another = spool_of(space), spool_of(space)
    has_begun, may_end = threading.Event(), threading.Event()
    real = getattr(Ring, method)

    def slowly(ring: Ring, argument: Any) -> Any:
        has_begun.set()
        may_end.wait(10)
        return real(ring, argument)

    with capture_logs():
        await fill(spool)
        ring = spool._ring
        assert ring is not None
        monkeypatch.setattr(Ring, method, slowly)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fill, spool)
            nursery.start_soon(spool.take)
            await trio.to_thread.run_sync(has_begun.wait, 10)
            spool.close()
            assert not ring._file.closed  # its descriptor must not become another file's
            may_end.set()
        monkeypatch.undo()
        assert ring._file.closed
        assert (space.in_memory, len(spool), await spool.take()) == (0, 0, b"")
        await fill(spool)
        assert (space.in_memory, len(spool)) == (0, 0)
        await fill(another)
        assert await take_all(another) == bytes(PIECE)


async def test_a_file_that_is_made_too_late_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = spool_of(space_of(memory=0, disk=1 << 30))
    made: list[Ring] = []
    has_begun, may_end = threading.Event(), threading.Event()

    def slowly(size: int, directory: Path | None) -> Ring:
        has_begun.set()
        may_end.wait(10)
        made.append(Ring(size, directory))
        return made[-1]

    monkeypatch.setattr(spool_module, "Ring", slowly)
    with capture_logs():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fill, spool)
            await trio.to_thread.run_sync(has_begun.wait, 10)
            spool.close()
            may_end.set()
    assert made[0]._file.closed


async def test_whoever_waits_for_room_is_let_go_at_the_end(autojump_clock: MockClock) -> None:
    spool = spool_of(space_of(memory=0))
    with capture_logs():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fill, spool)
            await trio.sleep(1)
            spool.close()


async def test_a_file_that_cannot_be_read_is_an_error_and_not_a_gap() -> None:
    spool = spool_of(space_of(memory=0, disk=1 << 30))
    with capture_logs():
        await fill(spool)
        assert spool._ring is not None
        os.ftruncate(spool._ring._file.fileno(), 10)
        with pytest.raises(OSError, match="10 bytes where 65536 were written"):
            await spool.take()
    spool.close()
