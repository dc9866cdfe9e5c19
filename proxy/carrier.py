"""The pumps, as trio sees them: a session gives its lane away and sleeps until it is handed back.

What thousands of sessions hold while they sleep is kept small: no coroutine and no cancel scope of trio's are for this.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from threading import Thread

import trio

from proxy.lane import Lane
from proxy.pump import Pump

_NEVER = float("inf")
#: So many seconds pass for each lane before all of them are looked at again, so that it costs a hundredth at most.
_PAUSE_PER_LANE = 20e-6


class Carrier:
    """One pump, its thread, and those who wait for it."""

    def __init__(self) -> None:
        self._pump = Pump()
        self._thread = Thread(target=self._pump.run, name="pump", daemon=True)
        # Sessions sleep until they are woken from here, so this has to outlive them, whatever ends the guard.
        self._scope = trio.CancelScope(shield=True)
        #: The lanes that are being carried, and when they are to be called back, in trio's time.
        self._deadlines: dict[Lane, float] = {}
        self._until_due = trio.CancelScope()
        self._looked_at = 0.0

    def __repr__(self) -> str:
        return f"<Carrier {self._thread.name}>"

    async def run(self) -> None:
        """Wake sessions whose lanes have been handed back, until :meth:`stop`."""
        self._thread.start()
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch_deadlines)
                    while True:
                        await trio.lowlevel.wait_readable(self._pump.returned_fd)
                        for lane in self._pump.collect():
                            del self._deadlines[lane]
                            trio.lowlevel.reschedule(lane.waiter)
                            lane.waiter = None
        finally:
            self._pump.stop()
            self._thread.join()

    def stop(self) -> None:
        """End the thread. No session may be waiting."""
        self._scope.cancel()

    def carry(self, lane: Lane, deadline: float) -> None:
        """Have a loaded lane carried: the current task, which is to sleep, is woken when it has been handed back.

        That happens soon after ``deadline``, in trio's time, or after :meth:`recall`.
        """
        lane.waiter = trio.lowlevel.current_task()
        self._deadlines[lane] = deadline
        if deadline < self._until_due.deadline:
            self._until_due.deadline = self._no_sooner_than_is_cheap(deadline)
        self._pump.give(lane)

    async def _watch_deadlines(self) -> None:
        """Call lanes back when they are due."""
        deadlines = self._deadlines
        while True:
            now = trio.current_time()
            for lane in [lane for lane, deadline in deadlines.items() if deadline <= now]:
                self._pump.recall(lane)
                deadlines[lane] = _NEVER
            self._looked_at = now
            soonest = self._no_sooner_than_is_cheap(min(deadlines.values(), default=_NEVER))
            with trio.CancelScope(deadline=soonest) as self._until_due:
                await trio.sleep_forever()

    def _no_sooner_than_is_cheap(self, moment: float) -> float:
        return max(moment, self._looked_at + len(self._deadlines) * _PAUSE_PER_LANE)

    def take_lag(self) -> float:
        """Give the longest that a session had to wait for others since the last call, in seconds."""
        return self._pump.take_longest_round()

    def recall(self, lane: Lane) -> None:
        """Have a lane handed back soon, if it is being carried."""
        self._pump.recall(lane)


class Carriers:
    """Several of them, among which the sessions are spread."""

    def __init__(self, count: int) -> None:
        self._all = [Carrier() for _ in range(count)]
        self._turns = cycle(self._all)

    def __repr__(self) -> str:
        return f"<Carriers: {len(self._all)}>"

    def next(self) -> Carrier:
        """Choose one for a new session."""
        return next(self._turns)

    def take_lag(self) -> float:
        """Give the longest that a session had to wait for others since the last call, in seconds."""
        return max(carrier.take_lag() for carrier in self._all)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run them around all sessions."""
        async with trio.open_nursery() as nursery:
            for carrier in self._all:
                nursery.start_soon(carrier.run)
            try:
                yield
            finally:
                for carrier in self._all:
                    carrier.stop()
