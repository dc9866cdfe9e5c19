"""The cruise: bytes flow between client and server until something needs a decision.

This is the hot path, the only code that runs for every query. ``Relay.cruise`` is its interface; while it runs, it owns
both links of a session and the protocol objects that judge what passes. It forwards whole packets (large ones as they
come), and no byte of a command whose header has not been judged. It returns with both links at rest, or with the
evidence of what was under way: the replies still owed in ``tracker.expected``, what the client has seen of the current
one in ``tracker.reply_begun``.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import trio

from protocol.command import Decision, Verdict
from protocol.constants import CommandCode
from protocol.errors import ProtocolError
from protocol.reply import Expected, Stage
from proxy.errors import LinkEnd, LinkLost
from proxy.link import Link
from proxy.upstream import GOODBYE, Upstream

#: Stages in which the server says nothing more before the client does.
_ENDED_BY_CLIENT = (Stage.TUNNEL_MOUTH, Stage.TUNNEL, Stage.LOCAL_INFILE)

#: In the middle of a reply, another relay is worth the change only where the reply is long.
_WORTH_YIELDING_BYTES = 32 * 1024


#: As long as the client has done something within this time, one task serves both directions in turns.
_TURNS_SECONDS = 0.05


@dataclass(frozen=True)
class DecisionDue:
    """The client's inbox begins with a packet that is not to be forwarded just so. All replies have been delivered."""

    decision: Decision


@dataclass(frozen=True)
class ProbeDue:
    """The link to the server has been silent for long enough, and is at rest. A command may be waiting."""


@dataclass(frozen=True)
class SettlingDue:
    """The server is to be asked what the session has become: it has been quiet for a moment, or busy for too long."""


@dataclass(frozen=True)
class UpstreamLost:
    """The link to the server has ended."""

    lost: LinkLost


@dataclass(frozen=True)
class ClientGone:
    """The client has ended its link."""

    reason: str


@dataclass(frozen=True)
class ClientBroke:
    """The client does not speak the protocol."""

    error: ProtocolError


@dataclass(frozen=True)
class DrainDue:
    """The guard is about to stop, and the session is at a quiet point."""


@dataclass(frozen=True)
class YieldDue:
    """Another relay can go on from here."""


Event: TypeAlias = DecisionDue | ProbeDue | SettlingDue | UpstreamLost | ClientGone | ClientBroke | DrainDue


class Relay(Protocol):
    """The interface that a session uses; one relay for each session."""

    async def cruise(self) -> Event:
        """Let bytes flow; return when something needs a decision."""

    def drain(self) -> None:
        """Have the cruise end with :class:`DrainDue` at the next quiet point."""

    def catch_up(self) -> int | None:
        """Bring traffic and times up to date for an onlooker; return the code of the command that is being answered."""


def _never() -> float:
    return float("inf")


def _ignore(_asked: Expected, _reply: bytes, _shown: bytes) -> None:
    pass


class TrioRelay:
    """The relay in plain trio: at first one task, then one for each direction and one for what a slow client leaves."""

    def __init__(
        self,
        client: Link,
        upstream: Upstream,
        yields_at: Callable[[], float] = _never,
        note_exchange: Callable[[Expected, bytes, bytes], None] = _ignore,
    ) -> None:
        """``yields_at`` tells when another relay could go on from here, in trio's time.

        ``note_exchange`` is given short commands, with the reply to them and what the client saw of it.
        """
        self._client = client
        self._upstream = upstream
        self._yields_at = yields_at
        self._note_exchange = note_exchange
        self._draining = False
        self._event: Event | YieldDue | None = None
        self._scope = trio.CancelScope()
        #: When there may be something due; the scope also ends when another relay can go on.
        self._looks_again_at = float("inf")
        self._settled: trio.Event | None = None

    def __repr__(self) -> str:
        return f"<TrioRelay between {self._client} and {self._upstream}>"

    def drain(self) -> None:
        """Have the cruise end with :class:`DrainDue` at the next quiet point."""
        self._draining = True
        self._scope.cancel()

    def catch_up(self) -> int | None:
        """Return the code of the command that is being answered; all else is up to date."""
        expected = self._upstream.tracker.expected
        return expected[0].command if expected else None

    async def cruise(self) -> Event:
        """Let bytes flow; return when something needs a decision."""
        event = await self.cruise_or_yield()
        if isinstance(event, YieldDue):
            raise TypeError("a relay that was never to yield has done so")
        return event

    async def cruise_or_yield(self) -> Event | YieldDue:
        """Let bytes flow; return when something needs a decision, or when another relay can go on."""
        self._event = None
        in_turns = True
        while self._event is None:
            # What passes meanwhile moves the moment of the next probe, so look again before it can have come.
            now = trio.current_time()
            due, self._looks_again_at = self._look_ahead(now)
            if due is not None:
                return due
            yields_at = float("inf") if self._upstream.link.inbox else self._yields_at()
            if yields_at <= now:
                return YieldDue()
            # Cancelling what moves the bytes is safe at any moment: links keep what was received and what was not sent.
            with trio.CancelScope(deadline=min(self._looks_again_at, yields_at)) as self._scope:
                turns_end = self._upstream.active_at + _TURNS_SECONDS
                if in_turns and now < turns_end and self._can_take_turns():
                    with trio.move_on_at(turns_end):
                        self._event = await self._observed(self._in_turns)
                else:
                    await self._in_both_directions()
            in_turns = False
            if isinstance(self._event, DrainDue) and not self._upstream.at_rest:
                self._event = None  # A command slipped through while this was being decided.
            if isinstance(self._event, YieldDue) and self._yields_at() > trio.current_time():
                self._event = None
        return self._event

    def _look_ahead(self, now: float) -> tuple[Event | None, float]:
        """Give the event that is due already, and when to look again, in trio's time."""
        client, upstream = self._client, self._upstream
        deadline = now + upstream.clock.interval
        if upstream.at_rest:
            if client.inbox == GOODBYE and not client.has_unsent:
                # It would be found without this, but with more ado, and hardly a session ends without it.
                return DecisionDue(Decision(Verdict.QUIT, CommandCode.QUIT)), now
            if self._is_drained():
                return DrainDue(), now
            settling = upstream.next_settling()
            if settling <= now:
                return SettlingDue(), now
            deadline = min(deadline, upstream.next_probe())
            if deadline <= now:
                return ProbeDue(), now
            deadline = min(deadline, settling)
        return None, deadline

    def _is_drained(self) -> bool:
        client = self._client
        return self._draining and not (self._upstream.in_transaction or client.inbox or client.has_unsent)

    async def _observed(self, part: Callable[[], Awaitable[Event | YieldDue | None]]) -> Event | YieldDue | None:
        """Move bytes, and tell what that has come to."""
        try:
            return await part()
        except ProtocolError as error:
            return ClientBroke(error)
        except LinkLost as lost:
            return ClientGone(str(lost)) if lost.link is self._client else UpstreamLost(lost)

    def _can_take_turns(self) -> bool:
        client, upstream = self._client, self._upstream
        return upstream.at_rest and not (client.has_unsent or upstream.link.inbox or upstream.has_ended)

    async def _in_turns(self) -> Event | YieldDue | None:
        """Serve a client that waits for each reply, as nearly all do, in one task, which costs half of what three do.

        Gives up, with no event, where both directions have something to do. Meanwhile, nobody notices how the side is
        that nothing is expected from, so this has to end soon.
        """
        client, upstream, tracker = self._client, self._upstream, self._upstream.tracker
        while True:
            if client.inbox:
                if upstream.link.peer_has_closed:
                    return None
                event: Event | YieldDue | None = await self._forward_commands()
                if event is not None:
                    return event if tracker.idle else None
                while not tracker.idle:
                    await upstream.link.must_receive()
                    event = await self._pass_replies()
                    if (
                        event is not None
                        or client.has_unsent
                        or upstream.has_ended
                        or tracker.stage in _ENDED_BY_CLIENT
                    ):
                        return event
            await client.must_receive()

    async def _in_both_directions(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run, self._replies, nursery.cancel_scope)
            nursery.start_soon(self._run, self._deliveries, nursery.cancel_scope)
            await self._run(self._commands, nursery.cancel_scope)

    async def _run(self, part: Callable[[], Awaitable[Event | YieldDue | None]], all_parts: trio.CancelScope) -> None:
        """Run one part of the cruise; the event that ends it ends the others as well."""
        event = await self._observed(part)
        if self._event is None:
            self._event = event
        all_parts.cancel()

    async def _commands(self) -> Event:
        """Client to server."""
        client, upstream = self._client, self._upstream
        await upstream.link.flush()
        while True:
            if client.inbox:
                if upstream.reader.decision is None and upstream.tracker.idle and upstream.link.peer_has_closed:
                    await trio.sleep_forever()  # until the other direction has found out how it has ended
                event = await self._forward_commands()
                if event is not None:
                    if upstream.tracker.stage is not Stage.LOCAL_INFILE:
                        await self._all_replies()
                    return event
            try:
                await client.must_receive()
            except LinkLost as lost:
                # It may have ended its side only; a server answers what it has been asked all the same. Where the
                # server waits for the client, there is nothing to be had.
                if lost.end is LinkEnd.CLOSED and upstream.tracker.stage not in _ENDED_BY_CLIENT:
                    if not upstream.tracker.idle:
                        # While a statement waits (GET_LOCK, SLEEP), servers look whether their client is still there.
                        upstream.link.end_sending()
                    await self._all_replies()
                return ClientGone(str(lost))

    async def _forward_commands(self) -> Event | None:
        """Forward what may pass of the client's inbox; give the event at which it stops."""
        client, upstream = self._client, self._upstream
        reader = upstream.reader
        if reader.decision is None:
            if upstream.must_validate(client.heard_at):
                return ProbeDue()
            if upstream.at_rest and not client.has_unsent and upstream.must_settle(client.inbox):
                return SettlingDue()
            owed = len(upstream.tracker.expected)
            count = reader.take(client.inbox)
            if count:
                upstream.traffic.commands += len(upstream.tracker.expected) - owed
                upstream.traffic.bytes_from_client += count
                data = client.take(count)
                await upstream.link.send(reader.edited(data) if reader.edits else data)
        return None if reader.decision is None else DecisionDue(reader.decision)

    async def _all_replies(self) -> None:
        """Wait until the server owes nothing any more, and the client has been sent all of it."""
        while not self._upstream.tracker.idle or self._client.has_unsent:
            self._settled = trio.Event()
            await self._settled.wait()

    async def _replies(self) -> Event | YieldDue:
        """Server to client."""
        client, upstream = self._client, self._upstream
        await client.wait_room()
        while True:
            event = await self._pass_replies()
            if event is not None:
                return event
            if not upstream.has_ended:
                await upstream.link.must_receive()

    async def _pass_replies(self) -> Event | YieldDue | None:
        """Give the client what has come for it."""
        client, upstream, tracker = self._client, self._upstream, self._upstream.tracker
        asked = tracker.expected[0] if len(tracker.expected) == 1 and not tracker.reply_begun else None
        came = upstream.link.inbox
        shown = upstream.take_replies()
        if asked is not None and asked.note is not None and tracker.idle and not upstream.link.inbox:
            self._note_exchange(asked, came, shown)
        if shown:
            upstream.active_at = upstream.link.heard_at
            upstream.traffic.bytes_from_server += len(shown)
            await client.post(shown)
        is_idle = tracker.idle
        if is_idle and not client.has_unsent:
            self._note_rest()
            if self._is_drained():
                return DrainDue()
        if (is_idle or len(shown) >= _WORTH_YIELDING_BYTES) and self._yields():
            return YieldDue()
        return None

    async def _deliveries(self) -> Event | YieldDue:
        """Give the client what it has not taken at once, as fast as it reads."""
        while True:
            await self._client.wait_unsent()
            await self._client.flush()
            if self._upstream.tracker.idle:
                self._note_rest()
                if self._is_drained():
                    return DrainDue()
                if self._yields():
                    return YieldDue()

    def _yields(self) -> bool:
        """Tell whether another relay can go on now; if it can later, look again then."""
        moment = self._yields_at()
        if moment <= trio.current_time():
            return True
        self._scope.deadline = min(self._scope.deadline, moment)
        return False

    def _note_rest(self) -> None:
        """Take note that nothing is owed, and that the client has been given all of it."""
        memory = self._upstream.memory
        if memory.has_news:
            # The cruise has looked ahead before it could know that there would be something to settle.
            settling = self._upstream.next_settling()
            self._looks_again_at = min(self._looks_again_at, settling)
            # Where there is something to look back at, it is settled after the next command at the earliest.
            memory.has_news = settling == float("inf") and self._upstream.is_unsettled
            self._scope.deadline = min(self._scope.deadline, self._looks_again_at)
        if self._settled is not None:
            self._settled.set()
