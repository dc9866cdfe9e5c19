"""The pumps, as trio sees them: a session gives its lane away and sleeps until it is handed back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from threading import Thread

import trio

from proxy.lane import Lane
from proxy.pump import Pump


class Carrier:
    """One pump, its thread, and those who wait for it."""

    def __init__(self) -> None:
        self._pump = Pump()
        self._thread = Thread(target=self._pump.run, name="pump", daemon=True)
        # Sessions sleep until they are woken from here, so this has to outlive them, whatever ends the guard.
        self._scope = trio.CancelScope(shield=True)

    def __repr__(self) -> str:
        return f"<Carrier {self._thread.name}>"

    async def run(self) -> None:
        """Wake sessions whose lanes have been handed back, until :meth:`stop`."""
        self._thread.start()
        try:
            with self._scope:
                while True:
                    await trio.lowlevel.wait_readable(self._pump.returned_fd)
                    for lane in self._pump.collect():
                        trio.lowlevel.reschedule(lane.waiter)
        finally:
            self._pump.stop()
            self._thread.join()

    def stop(self) -> None:
        """End the thread. No session may be waiting."""
        self._scope.cancel()

    async def carry(self, lane: Lane) -> None:
        """Have a loaded lane carried until it is handed back. A cancellation has that happen soon."""
        lane.waiter = trio.lowlevel.current_task()
        self._pump.give(lane)

        def recall(_: object) -> trio.lowlevel.Abort:
            self._pump.recall(lane)
            return trio.lowlevel.Abort.FAILED

        await trio.lowlevel.wait_task_rescheduled(recall)
        lane.waiter = None

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
