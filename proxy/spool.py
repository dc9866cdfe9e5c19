"""What a slow client has not read yet: kept in memory, then in a file, so that the server need not wait for it.

Theory of operation
-------------------
A ``Spool`` is a queue of bytes in three parts: the oldest ones in memory (``_head``), then those in a file, then the
newest ones in memory again (``_tail``), on their way to the file. :meth:`Spool.put` never waits and never loses
anything; whoever puts calls :meth:`Spool.make_room` afterwards, which moves the newest part to the file, and waits
where there is no room.

Bytes change parts, or leave, only inside :meth:`Spool._moving`, one task at a time, and they are dropped where they
were only after they have arrived where they go. Threads read and write the file; a thread that has begun is never
abandoned, so a task that is cancelled has either done nothing or all of it. A file that fails is not written to again
before the spool has been empty.
"""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from structlog.stdlib import BoundLogger

from config import Spool as SpoolSettings
from proxy.ring import Ring

#: What is moved to the file at once, if there is so much.
_SPILL_BYTES = 256 * 1024

#: A client that makes room for half of what may be in memory in this time reads fast, and needs no file: something else
#: has kept it from reading. It is long enough for that on a busy machine, and short for a server.
_GRACE_SECONDS = 0.02

#: What is taken out of the file at once. It is not counted any more: no more than what any link may have in its hands.
_TAKE_BYTES = 64 * 1024


class SpoolSpace:
    """The room for all spools together."""

    def __init__(self, settings: SpoolSettings) -> None:
        self.settings = settings
        #: Bytes in memory, of all spools.
        self.in_memory = 0
        #: Bytes that went to files since the start.
        self.spilled_bytes = 0
        #: How long servers had to wait for clients since the start, in seconds: together, and the most for one backlog,
        #: both without what somebody still waits.
        self.stalled_seconds = self.longest_ended_stall = 0.0
        #: Those that hold something that their client has not read yet.
        self.in_use: set[Spool] = set()
        #: Those who wait for room.
        self.waiting = trio.lowlevel.ParkingLot()

    def __repr__(self) -> str:
        return f"<SpoolSpace with {self.in_memory} bytes in memory>"

    def adopt(self, settings: SpoolSettings) -> None:
        """Go by other settings from now on; a file that there is already keeps its size."""
        self.settings = settings
        self.waiting.unpark_all()  # there may be more room

    @property
    def is_over(self) -> bool:
        """There is more in memory than there should be."""
        return self.in_memory > self.settings.total_memory

    @property
    def on_disk(self) -> int:
        """How many bytes are in files, of all spools."""
        return sum(spool.on_disk for spool in self.in_use)

    @property
    def longest_stall(self) -> float:
        """The longest that a server had to wait for one client's backlog since the start, up to now, in seconds."""
        return max([self.longest_ended_stall, *(spool.stalled_seconds for spool in self.in_use)])


class Spool:
    """One client's."""

    def __init__(self, space: SpoolSpace, log: BoundLogger) -> None:
        self._space = space
        self._log = log
        self._head: deque[bytes] = deque()
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._in_memory = 0
        #: Bytes that were put and not taken yet. The file's own count is ahead of it while a thread reads there.
        self._length = 0
        self._ring: Ring | None = None
        self._lock = trio.Lock()
        self._can_use_disk = bool(space.settings.disk)
        self._is_closed = False
        #: Until when the client may still turn out to read fast, in trio's time; None if that is not in question.
        self._grace_ends: float | None = None
        #: When the client was first found to be slow since it had last read all, in trio's time.
        self._began = 0.0
        self._put_bytes = 0
        #: How long the server had to wait for room, in seconds: since the client had last read all.
        self.waited = 0.0
        self._waiting_since: float | None = None

    def __repr__(self) -> str:
        return f"<Spool {self._in_memory} bytes in memory, {self.on_disk} on disk>"

    def __len__(self) -> int:
        return self._length

    @property
    def on_disk(self) -> int:
        """How many bytes are in the file."""
        return 0 if self._ring is None else len(self._ring)

    @property
    def stalled_seconds(self) -> float:
        """How long the server had to wait for room since the client had last read all, up to now."""
        return self.waited + (trio.current_time() - self._waiting_since if self._waiting_since is not None else 0.0)

    def put(self, data: bytes) -> None:
        """Append bytes. Call :meth:`make_room` before more is put."""
        if self._is_closed:
            return  # nobody will take them
        if not self._length:
            self._began, self._put_bytes, self.waited = trio.current_time(), 0, 0.0
            self._space.in_use.add(self)
        self._length += len(data)
        self._put_bytes += len(data)
        self._count(len(data))
        settings = self._space.settings
        fits = self._in_memory <= settings.memory - _SPILL_BYTES and not self._space.is_over
        if self._tail or self.on_disk or (not fits and self._can_use_disk):
            self._tail.append(data)
            self._tail_bytes += len(data)
        else:
            self._head.append(data)

    async def make_room(self) -> None:
        """Move what is too much for memory to the file; wait where there is no room.

        One task at a time may do this; another one must :meth:`take` meanwhile. If it is cancelled, nothing is lost.
        """
        while self._tail_bytes >= _SPILL_BYTES or self._is_over():
            if self._ring is None and not self._space.is_over and await self._reads_fast():
                return
            if self._tail and await self._spill():
                continue
            if not self._is_over():
                return
            await self._wait()

    def _is_over(self) -> bool:
        if self._in_memory > self._space.settings.memory:
            return True
        # What came before there was too much in memory may stay there, as long as what comes now goes to the file.
        return self._space.is_over and bool(self._tail if self._can_use_disk else self._in_memory)

    async def _reads_fast(self) -> bool:
        """Give the client a moment; tell whether it has made room in it, so that all can stay in memory."""
        if self._grace_ends is None:
            self._grace_ends = trio.current_time() + _GRACE_SECONDS
        with trio.CancelScope(deadline=self._grace_ends):
            while self._in_memory > self._space.settings.memory // 2:
                await self._space.waiting.park()
            self._grace_ends = None
            self._head += self._tail
            self._tail.clear()
            self._tail_bytes = 0
            return True
        return False

    async def _wait(self) -> None:
        since = self._waiting_since = trio.current_time()
        if not self.waited:
            settings = self._space.settings
            self._log.warning(
                "spool is full",
                bytes=self._length,
                seconds=round(since - self._began, 3),
                on_disk=self.on_disk,
                sessions_spooling=len(self._space.in_use),
                advice="the server waits for this client now, and ends the session after its net_write_timeout: "
                f"have the client read faster, or raise spool.disk ({settings.disk} bytes), spool.memory "
                f"({settings.memory}) or spool.total_memory ({settings.total_memory})",
            )
        try:
            await self._space.waiting.park()
        finally:
            seconds = max(trio.current_time() - since, 1e-9)
            self.waited += seconds
            self._waiting_since = None
            self._space.stalled_seconds += seconds
            self._space.longest_ended_stall = max(self._space.longest_ended_stall, self.waited)

    async def _spill(self) -> bool:
        """Move what is at the tail to the file; tell whether it is worth looking again."""
        async with self._moving():
            if not self._tail:
                return True  # taken meanwhile
            if self._ring is None and self._can_use_disk:
                await self._open()
            if self._ring is None or not self._can_use_disk or not self._ring.room:
                return False
            chunk = b"".join(self._tail)[: self._ring.room]
            try:
                await trio.to_thread.run_sync(self._ring.append, chunk)
            except OSError as error:
                self._give_up_disk(error)
                return False
            self._space.spilled_bytes += len(chunk)
            if not self._is_closed:
                self._drop_from_tail(len(chunk))
        self._space.waiting.unpark_all()  # others may have waited for that memory
        return True

    @asynccontextmanager
    async def _moving(self) -> AsyncIterator[None]:
        """Have all parts to oneself, but for what is put and for the end of the spool."""
        async with self._lock:
            try:
                yield
            finally:
                if self._is_closed:
                    self._close_ring()

    def _drop_from_tail(self, count: int) -> None:
        self._tail_bytes -= count
        self._count(-count)
        while count:
            oldest = self._tail.popleft()
            if len(oldest) > count:
                self._tail.appendleft(oldest[count:])
            count -= min(count, len(oldest))

    async def _open(self) -> None:
        settings = self._space.settings
        try:
            self._ring = await trio.to_thread.run_sync(Ring, settings.disk, settings.directory)
        except OSError as error:
            self._give_up_disk(error)
        else:
            self._log.info("client reads slowly", bytes=self._length, sessions_spooling=len(self._space.in_use))

    def _give_up_disk(self, error: OSError) -> None:
        self._can_use_disk = False
        self._log.warning(
            "spool has no file",
            reason=error.strerror or str(error),
            advice="make room in spool.directory, or choose another one; until then, there is only spool.memory",
        )

    async def take(self) -> bytes:
        """Take the oldest bytes, as many as are at hand; none if the spool is empty. Raises OSError.

        What is in memory costs no turn of the scheduler: otherwise more would be put at each turn than can be taken.
        """
        if self._length and not self._lock.locked() and (self._head or not self.on_disk):
            return self._take_from_memory()
        async with self._moving():
            if not self._length:
                return b""
            if self._head or not self.on_disk or self._ring is None:
                return self._take_from_memory()
            chunk = await trio.to_thread.run_sync(self._ring.take, _TAKE_BYTES)
            if self._is_closed:
                return b""
            self._note_taken(len(chunk))
            return chunk

    def _take_from_memory(self) -> bytes:
        source = self._head or self._tail
        chunk = source.popleft()
        if source is self._tail:
            self._tail_bytes -= len(chunk)
        self._count(-len(chunk))
        self._note_taken(len(chunk))
        return chunk

    def _note_taken(self, count: int) -> None:
        self._length -= count
        if not self._length:
            self._note_empty()
        self._space.waiting.unpark_all()

    def _note_empty(self) -> None:
        self._can_use_disk = bool(self._space.settings.disk)  # There may be room again.
        self._grace_ends = None
        self._space.in_use.discard(self)
        if self._ring is not None or self.waited:
            self._log.info(
                "client has caught up",
                bytes=self._put_bytes,
                seconds=round(trio.current_time() - self._began, 3),
                server_waited_seconds=round(self.waited, 3),
            )
        self._close_ring()

    def close(self) -> None:
        """Forget everything, and give back the room."""
        self._is_closed = True
        self._space.in_use.discard(self)
        self._head.clear()
        self._tail.clear()
        self._tail_bytes = self._length = 0
        self._count(-self._in_memory)
        # Not while a thread may have the file: its descriptor might be another file's by then. Who moves closes it.
        if not self._lock.locked():
            self._close_ring()
        self._space.waiting.unpark_all()

    def _close_ring(self) -> None:
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _count(self, change: int) -> None:
        self._in_memory += change
        self._space.in_memory += change
