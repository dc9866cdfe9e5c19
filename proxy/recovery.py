"""What to do when a link to the server is lost: reconnect, restore, send again, or tell the truth.

``Recovery.recover`` reads top to bottom. It looks at what is left of the link, answers the commands of which nothing
good can be made, gets a new link, gives it what the session had, and hands back to the relay those commands that can be
sent as if nothing had happened. What may be done about a command is decided in :mod:`protocol.fate`.
"""

import time
from collections.abc import Awaitable, Callable

import trio
from structlog.stdlib import BoundLogger

from config import Reconnect, Snapshots
from protocol.constants import HEADER_LENGTH, CommandCode
from protocol.fate import Fate
from protocol.framing import build_packet
from protocol.packets import Err
from protocol.reply import Expected, Stage
from proxy import answers, parting
from proxy.errors import LinkEnd, LinkLost, SessionOver, UpstreamUnavailable
from proxy.incidents import Evidence, Incident, Outcome, Report
from proxy.link import RECEIVE_BYTES, Link
from proxy.local_file import discard_file
from proxy.rereading import judge_cut_off, read_again
from proxy.session_state import restore
from proxy.shared import Shared
from proxy.upstream import Upstream
from proxy.wreck import Wreck

#: What is to be said of a command in a parting error.
_FATES = {
    Fate.AGAIN: "This command was not sent.",
    Fate.RERUN: "This command was a read that has not been run again.",
    Fate.CHECK: "The outcome of this command is unknown: it may or may not have been carried out.",
    Fate.ROLLED_BACK: "Nothing is left of this command.",
    Fate.UNKNOWN: "The outcome of this command is unknown: it may or may not have been carried out.",
}
#: What is to be said of the transaction, by whether it is certain that there was one.
_TRANSACTION_FATES = {True: " The open transaction was rolled back.", False: " If a transaction was open, it is over."}
_NOT_SENT = _FATES[Fate.AGAIN]


class Recovery:
    """Brings one session back, each time that it loses its link."""

    def __init__(self, client: Link, upstream: Upstream, shared: Shared, log: BoundLogger) -> None:
        self._client = client
        self._upstream = upstream
        self._shared = shared
        self._reconnector = shared.reconnector
        self._tally = shared.tally
        self._log = log
        self._draining = False
        self._idling = trio.CancelScope()

    def __repr__(self) -> str:
        return f"<Recovery of {self._upstream}>"

    @property
    def _server(self) -> str:
        return str(self._upstream.address)

    @property
    def _settings(self) -> Reconnect:
        return self._shared.config.reconnect

    def drain(self) -> None:
        """Do not wait any more for a client that waits for nothing."""
        self._draining = True
        self._idling.cancel()

    async def recover(self, lost: LinkLost, owed: int | None = None) -> None:
        """Give the session a new link, after its old one was lost.

        ``owed`` is the sequence id of an answer that the client waits for and the reply tracker does not know of: what
        it is about has not been done, and can be done on the new link.

        Raises:
            SessionOver: the session cannot go on. The client has been told, where it could be.
            LinkLost, ProtocolError: the client's link ended, or the client broke the protocol.
        """
        if self._upstream.tracker.stage is Stage.TUNNEL and lost.end is LinkEnd.CLOSED:
            # So ends a binary log that was asked for up to its end: the server hangs up behind it.
            raise SessionOver("the server has ended the stream")
        started = trio.current_time()
        incident = Incident(self._evidence(lost))
        is_over = True
        try:
            wreck = Wreck(self._upstream, lost)
            self._upstream.lose_link()
            await self._salvage(wreck, incident, owed)
            is_over = False
        finally:
            log = self._log.bind(server_thread=self._upstream.greeting.thread_id)
            seconds = trio.current_time() - started
            incident.record(log, is_over=is_over, seconds=seconds)
            self._tally.note_incident(self._report(incident, incident.outcome(is_over=is_over), seconds))

    def _report(self, incident: Incident, outcome: Outcome, seconds: float) -> Report:
        upstream = self._upstream
        return Report(
            time.time(), upstream.session_id, upstream.identity.user, self._client.peer, incident, outcome, seconds
        )

    def _evidence(self, lost: LinkLost) -> Evidence:
        upstream = self._upstream
        return Evidence(
            end=lost.end,
            reason=str(lost),
            farewell=upstream.tracker.farewell,
            idle=trio.current_time() - max(upstream.active_at, upstream.asked_at),
            wait_timeout=upstream.wait_timeout,
            is_busy=not upstream.tracker.idle,
            held_up=self._client.held_up,
            net_write_timeout=upstream.net_write_timeout,
        )

    async def _salvage(self, wreck: Wreck, incident: Incident, owed: int | None) -> None:
        """Do all that can be done for what was under way, and get a new link."""
        client, upstream = self._client, self._upstream
        tracker, memory = upstream.tracker, upstream.memory
        if tracker.inside_packet or tracker.stage is Stage.TUNNEL:
            # Nothing but the rest of what has begun would make sense to the client.
            incident.add("closed in the middle of a packet")
            raise SessionOver(f"the server's link: {incident.evidence.reason} (in the middle of a packet)")
        if tracker.stage is Stage.LOCAL_INFILE:
            tracker.sequence_id = await discard_file(client, tracker.sequence_id)
        is_renewable = memory.has_only_read and self._settings.snapshots is Snapshots.RENEW
        is_rolled_back = wreck.in_transaction and not is_renewable
        if wreck.in_transaction:
            incident.add("transaction rolled back" if is_rolled_back else "snapshot renewed")
            incident.has_told |= is_rolled_back
        fates = wreck.judge(is_rolled_back=is_rolled_back)
        if memory.holds:
            held = f"a new link cannot have {', '.join(map(str, memory.holds))}"
            words = _FATES[fates[0]] if fates else _NOT_SENT
            over = _TRANSACTION_FATES[wreck.is_certain] if is_rolled_back else ""
            await self._part(incident, held, tracker.sequence_id if fates else owed, words + over)
        if is_rolled_back:
            memory.lose_transaction(is_certain=wreck.is_certain)
        again: list[bytes] = []
        for command, fate in zip(wreck.commands, fates, strict=True):
            if fate is Fate.AGAIN:
                again.append(command.packet or b"")
                continue
            if fate in (Fate.RERUN, Fate.CHECK):
                await self._repeat(command, fate, wreck, tracker.sequence_id, incident)
            else:
                await self._tell(self._verdict(fate, wreck, is_rolled_back), tracker.sequence_id, incident)
                memory.lost_transaction = False
            tracker.answer_instead()
        # To the relay, it is as if they had not been sent yet.
        client.inbox = b"".join(again) + client.inbox
        tracker.abandon()
        if not upstream.has_link:
            await self._relink(incident, owed, _NOT_SENT, is_waiting=bool(again) or owed is not None)
        memory.lost_leftovers |= wreck.leftovers
        upstream.reader.examines = True

    def _verdict(self, fate: Fate, wreck: Wreck, in_transaction: bool) -> Err:  # noqa: FBT001 - handed on
        if fate is not Fate.ROLLED_BACK:
            return answers.outcome_unknown(self._server, in_transaction=in_transaction)
        if in_transaction and not wreck.is_certain:
            return answers.transaction_unknown(self._server)
        return answers.rolled_back(self._server)

    async def _tell(self, answer: Err, sequence_id: int, incident: Incident) -> None:
        incident.add(f"error {answer.code}")
        incident.has_told = True
        await self._client.send(build_packet(answer.build(), sequence_id))

    async def _part(self, incident: Incident, why: str, awaited: int | None, fate: str) -> None:
        """Tell the client that its session is over, at the place where it listens; then raise SessionOver."""
        incident.add(f"closed: {why}")
        reason = f"{incident.evidence.reason}; {why}"
        await parting.part(self._client, answers.parting(self._server, reason, fate), awaited)
        raise SessionOver(f"the server's link: {reason}")

    async def _relink(self, incident: Incident, awaited: int | None, fate: str, *, is_waiting: bool) -> None:
        """Get a new link and give it what the session had.

        The wait budget runs while the client waits for something: from now on, or from its next command on. ``awaited``
        and ``fate`` are for the parting error, if it comes to that.
        """
        ended: LinkLost | None = None
        over: SessionOver | None = None
        started = trio.current_time()
        is_wanted = trio.Event()
        # A session that its client wants to be short-lived would be opened again and again for nobody.
        if is_waiting or not self._upstream.has_own_timeout:
            is_wanted.set()
        async with trio.open_nursery() as nursery:

            async def reconnect() -> None:
                nonlocal over
                await is_wanted.wait()
                try:
                    attempt = self._attempt(incident)
                    incident.met = await self._reconnector.reconnect(attempt, is_waited_for=is_waiting)
                except SessionOver as error:
                    over = error
                nursery.cancel_scope.cancel()

            nursery.start_soon(reconnect)
            try:
                if not is_waiting:
                    await self._next_command()
                    is_wanted.set()
                await self._outwait()
                over = SessionOver(f"no new link could be had within {self._settings.wait:g} s")
                incident.met = self._reconnector.trouble_since(started)
            except LinkLost as lost:
                ended = lost
            nursery.cancel_scope.cancel()
        if ended is not None:
            incident.add("the client left first")
            incident.client_left = True
            raise ended
        if over is not None:
            await self._part(incident, str(over), awaited, fate)

    async def _next_command(self) -> None:
        """Wait for the client's next command. Raises LinkLost where none will come, or is to be answered."""
        client = self._client
        with trio.CancelScope() as self._idling:
            if self._draining:
                self._idling.cancel()
            while len(client.inbox) <= HEADER_LENGTH:
                await client.must_receive()
        if self._idling.cancelled_caught:
            raise LinkLost(client, "drained", LinkEnd.FAREWELL)
        if client.inbox[HEADER_LENGTH] == CommandCode.QUIT:
            raise LinkLost(client, "the client said goodbye", LinkEnd.FAREWELL)

    async def _outwait(self) -> None:
        """Return when the client has waited for as long as it may have to. Raises LinkLost where it has gone."""
        with trio.move_on_after(self._settings.wait):
            while len(self._client.inbox) < RECEIVE_BYTES:
                await self._client.must_receive()
            await trio.sleep_forever()

    def _attempt(self, incident: Incident) -> Callable[[], Awaitable[None]]:
        upstream = self._upstream
        opened_at = upstream.opened_at

        async def attempt() -> None:
            try:
                await upstream.reconnect()
                uptime = await restore(upstream)
                upstream.has_link = True
            except LinkLost as lost:
                raise UpstreamUnavailable(f"{lost} while the session was restored") from lost
            finally:
                if not upstream.has_link:
                    upstream.drop_link()
            age = trio.current_time() - opened_at
            incident.was_restarted = _was_restarted(uptime, age)

        return attempt

    async def _repeat(self, command: Expected, fate: Fate, wreck: Wreck, sequence_id: int, incident: Incident) -> None:
        """Answer a read, once: if the link is lost again meanwhile, the statement may be what it cannot bear."""
        client, upstream = self._client, self._upstream
        if not upstream.has_link:
            await self._relink(incident, sequence_id, _FATES[fate], is_waiting=True)
        try:
            if fate is Fate.CHECK:
                answer: Err | None = await judge_cut_off(upstream, command)
            else:
                answer = await read_again(client, upstream, command, wreck.leftovers | upstream.memory.lost_leftovers)
        except LinkLost as lost:
            if lost.link is client:
                raise
            tracker = upstream.tracker
            if tracker.inside_packet:
                raise SessionOver(f"the server's link: {lost} (in the middle of a packet)") from lost
            answer = answers.outcome_unknown(self._server)
            if tracker.reply_begun:
                # What has been handed on was read in a transaction that cannot write.
                answer, sequence_id = answers.result_cut_off(self._server), tracker.sequence_id
            tracker.abandon()
            upstream.lose_link()
        if answer is None:
            incident.add("read run again")
        else:
            await self._tell(answer, sequence_id, incident)


def _was_restarted(uptime: float | None, age: float) -> bool | None:
    """Tell whether a server has been started since a link of this age was opened; None where that is not sure.

    Servers count their uptime in whole seconds.
    """
    if uptime is None or age - 1 < uptime < age:
        return None
    return uptime < age
