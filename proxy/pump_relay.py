"""The relay that leaves to the pump what the pump can do, and to trio all the rest."""

import time

import trio

from protocol.exchanges import Exchanges
from proxy.boarding import Boarding
from proxy.carrier import Carrier
from proxy.lane import Lane
from proxy.link import Link
from proxy.relay import Event, TrioRelay, YieldDue
from proxy.upstream import GOODBYE, Upstream

_NEVER = float("inf")


class PumpRelay:
    """One session's; see :class:`proxy.relay.Relay`."""

    def __init__(self, client: Link, upstream: Upstream, carrier: Carrier, exchanges: Exchanges) -> None:
        self._client = client
        self._upstream = upstream
        self._carrier = carrier
        self._lane = Lane()
        self._boarding = boarding = Boarding(client, upstream, self._lane, exchanges)
        self._trio = TrioRelay(client, upstream, boarding.opens_at, boarding.note_exchange)
        self._is_riding = False
        #: What of the lane's traffic has been counted.
        self._counted = (0, 0, 0)

    def __repr__(self) -> str:
        return f"<PumpRelay between {self._client} and {self._upstream}>"

    def drain(self) -> None:
        """Have the cruise end with DrainDue at the next quiet point."""
        self._boarding.is_closed = True
        self._trio.drain()
        self._carrier.recall(self._lane)

    async def cruise(self) -> Event:
        """Let bytes flow; return when something needs a decision."""
        while True:
            event = await self._trio.cruise_or_yield()
            if not isinstance(event, YieldDue):
                self._boarding.is_blocked = False
                return event
            await self._ride()
            await trio.lowlevel.checkpoint_if_cancelled()

    def catch_up(self) -> int | None:
        """Bring traffic and times up to date for an onlooker; return the code of the command that is being answered."""
        if not self._is_riding:
            return self._trio.catch_up()
        self._note_progress()
        return self._lane.running

    async def _ride(self) -> None:
        client, link, lane, rider = self._client, self._upstream.link, self._lane, self._boarding.rider()
        lane.load(
            client.lend(),
            link.lend(),
            heard_at=link.heard_at - _trio_clock(),
            validate_after=self._upstream.clock.validate_after,
            received=link.take(len(link.inbox)),
            command=rider.board(),
            is_unsettled=self._upstream.next_settling() < _NEVER,
            waits_to_settle=self._upstream.is_unsettled,
            settles_at=self._upstream.next_busy_settling() - _trio_clock(),
        )
        self._counted = (0, 0, 0)
        self._is_riding = True
        self._carrier.carry(lane, self._looks_again_at())
        await trio.lowlevel.wait_task_rescheduled(self._recall)
        self._is_riding = False
        command = lane.command
        from_client, from_server, for_client, for_server = lane.unload()
        client_failure, server_failure = (error and OSError(error, "") for error in lane.errors)
        client.take_back(from_client, for_client, lane.client_failure or client_failure or None)
        link.take_back(from_server, for_server, lane.server_failure or server_failure or None)
        if command or from_server or for_client or for_server or from_client != GOODBYE:
            rider.alight(command)
        # Otherwise the session is over, and nobody asks any more what it was.
        self._note_progress()
        commands, *_ = lane.traffic
        self._boarding.note_ride(commands)
        if commands:
            self._upstream.reader.trailing = 0
        if lane.has_ended or lane.is_interrupted:
            client.receive_what_is_there()
        # Where it has said no more, it may have ended its side, and would come back from the next ride at once.
        self._boarding.is_blocked = lane.has_ended or (lane.is_interrupted and not client.inbox)

    def _looks_again_at(self) -> float:
        """Tell when the session is to be looked at again, in trio's time. That it can be settled, the pump tells."""
        upstream = self._upstream
        deadline = trio.current_time() + upstream.clock.interval
        return min(deadline, upstream.next_probe()) if self._lane.running is None else deadline

    def _recall(self, _: object) -> trio.lowlevel.Abort:
        """Have the ride end soon, because the task is cancelled; it goes on when the lane has been handed back."""
        self._carrier.recall(self._lane)
        return trio.lowlevel.Abort.FAILED

    def _note_progress(self) -> None:
        """Take note of what has passed, and when, since this was last done."""
        upstream, traffic = self._upstream, self._upstream.traffic
        client_heard_at, server_heard_at = self._lane.heard_at
        ahead = _trio_clock()
        self._client.heard_at = max(self._client.heard_at, client_heard_at + ahead)
        upstream.link.heard_at = max(upstream.link.heard_at, server_heard_at + ahead)
        commands, from_client, from_server = counted = self._lane.traffic
        if commands:
            upstream.active_at = upstream.link.heard_at
        before = self._counted
        traffic.commands += commands - before[0]
        traffic.bytes_from_client += from_client - before[1]
        traffic.bytes_from_server += from_server - before[2]
        self._counted = counted


def _trio_clock() -> float:
    """Tell how far trio's clock is ahead of CLOCK_MONOTONIC, in seconds."""
    return trio.current_time() - time.monotonic()
