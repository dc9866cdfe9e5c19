"""Whether and when a session is to go over to the pump."""

from protocol.exchanges import Exchanges
from protocol.reply import Expected
from protocol.riding import Rider
from proxy.lane import Lane
from proxy.link import Link
from proxy.upstream import Upstream

#: A packet that is not whole yet may have so many bytes for the pump; longer rows are passed on as they come.
_LONGEST_BEGINNING = 64 * 1024

#: A session that has done nothing for so long is better off in the pump.
_QUIET_SECONDS = 0.2
#: How many ordinary commands are wanted in a row before a session goes back to the pump: more for those that came back
#: early before.
_SHORTEST_RUN, _LONGEST_RUN = 2, 32
_NEVER = float("inf")


class Boarding:
    """One session's way to its lane."""

    def __init__(self, client: Link, upstream: Upstream, lane: Lane, exchanges: Exchanges) -> None:
        #: There is no way any more.
        self.is_closed = False
        #: A link has ended, or seems to have: somebody has to look at that before the session can ride again.
        self.is_blocked = False
        self._client = client
        self._upstream = upstream
        self._lane = lane
        self._exchanges = exchanges
        self._rider: Rider | None = None
        #: So many ordinary commands in a row make the pump worth the change; none at first.
        self._wanted_run = 0

    def __repr__(self) -> str:
        return f"<Boarding {'closed' if self.is_closed else 'open'}>"

    def opens_at(self) -> float:
        """Tell when the pump can go on from here, in trio's time, and is worth the change."""
        if not self._can_board():
            return _NEVER
        upstream = self._upstream
        if not upstream.tracker.idle or upstream.reader.ordinary_run >= self._wanted_run:
            return 0.0
        return upstream.active_at + _QUIET_SECONDS

    def _can_board(self) -> bool:
        client, upstream = self._client, self._upstream
        if self.is_closed or self.is_blocked or client.inbox or not (client.can_be_lent and upstream.link.can_be_lent):
            return False
        if len(upstream.link.inbox) > (0 if upstream.tracker.idle else _LONGEST_BEGINNING):
            return False
        return self.rider().can_board

    def rider(self) -> Rider:
        """Give the rider of the link at hand."""
        upstream = self._upstream
        if self._rider is None or not self._rider.is_of(upstream.tracker):
            self._rider = Rider(
                self._lane,
                upstream.reader,
                upstream.tracker,
                upstream.memory,
                agreed=upstream.capabilities,
                exchanges=self._exchanges,
            )
        return self._rider

    def note_exchange(self, asked: Expected, reply: bytes, shown: bytes) -> None:
        """Take note of a command that was answered outside of the pump; see :meth:`Rider.note_exchange`."""
        self.rider().note_exchange(asked, reply, shown)

    def note_ride(self, commands: int) -> None:
        """Take note of a ride with so many commands."""
        if commands < _SHORTEST_RUN:
            self._wanted_run = min(max(2 * self._wanted_run, _SHORTEST_RUN), _LONGEST_RUN)
        elif commands > _LONGEST_RUN:
            self._wanted_run = _SHORTEST_RUN
