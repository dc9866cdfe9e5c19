"""What to do when a link to the server is lost: reconnect, restore, send again, or tell the truth.

``Recovery.recover`` reads top to bottom. It looks at what is left of the link, has the server end the thread that may
still be at work, gets a new link and gives it what the session had, answers the commands of which nothing good can be
made, and hands back to the relay those commands that can be sent as if nothing had happened. What may be done about a
command is decided in :mod:`protocol.fate`.

Of a command that may have been carried out, the client is told by an error upon which nobody repeats it (1180), on a
link that is kept. Only a command that was surely not sent is told that the session cannot go on.
"""

import time
from collections.abc import Awaitable, Callable, Sequence

import trio
from structlog.stdlib import BoundLogger

from config import KilledReads, Reconnect, Snapshots
from protocol.constants import HEADER_LENGTH, CommandCode
from protocol.fate import Fate
from protocol.framing import build_packet
from protocol.holds import HoldKind
from protocol.looking_back import Leftover
from protocol.packets import Err
from protocol.reply import Expected, ReplyTracker, Stage
from proxy import answers, parting
from proxy.client_end import see_off
from proxy.errors import LinkEnd, LinkLost, SessionOver, UpstreamUnavailable
from proxy.fencing import end_thread, uptime, was_restarted
from proxy.incidents import Cause, Evidence, Incident, Outcome, Report
from proxy.link import RECEIVE_BYTES, Link
from proxy.local_file import discard_file
from proxy.lost_transaction import LostTransaction
from proxy.rereading import can_be_judged, judge, read_again
from proxy.session_state import restore
from proxy.shared import Shared
from proxy.upstream import Upstream
from proxy.wreck import Wreck

#: Why nobody knows what became of a transaction of which the fate of a statement is unknown.
_UNKNOWN = "nobody knows whether a statement in it was carried out"
#: What is said of the command that gets a parting error.
_NOT_SENT = "This command was not sent."


class Recovery:
    """Brings one session back, each time that it loses its link."""

    def __init__(
        self, client: Link, upstream: Upstream, lost_transaction: LostTransaction, shared: Shared, log: BoundLogger
    ) -> None:
        self._client = client
        self._upstream = upstream
        self._lost_transaction = lost_transaction
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
        incident = Incident(self._evidence(lost), self._upstream.opened_at)
        is_over = True
        try:
            wreck = Wreck(self._upstream, lost)
            self._upstream.lose_link()
            await self._salvage(wreck, incident, owed)
            is_over = False
        except LinkLost:
            incident.add("the client left first")
            incident.client_left = True
            raise
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
        client, upstream = self._client, self._upstream
        is_busy = not upstream.tracker.idle
        return Evidence(
            end=lost.end,
            reason=str(lost),
            farewell=upstream.tracker.farewell,
            # Up to the command that is under way, if there is one. A probe may have come too late as well.
            idle=(client.heard_at if is_busy else trio.current_time()) - max(upstream.active_at, upstream.answered_at),
            wait_timeout=upstream.wait_timeout,
            is_busy=is_busy,
            held_up=client.held_up,
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
        wreck.is_rolled_back = wreck.in_transaction and not (is_renewable or wreck.commits_nothing)
        if wreck.in_transaction and not wreck.commits_nothing:
            incident.add("transaction rolled back" if wreck.is_rolled_back else "snapshot renewed")
            incident.has_told |= wreck.is_rolled_back
        fates = wreck.judge()
        is_waiting = bool(fates) or owed is not None
        over = ""
        if wreck.in_transaction or any(fate is not Fate.AGAIN for fate in fates):
            over = await self._fence(wreck, fates, incident, is_waiting=is_waiting)
        if memory.holds:
            over = f"a new link cannot have {', '.join(map(str, memory.holds))}"
        over = over or await self._relink(incident, is_waiting=is_waiting)
        if wreck.is_rolled_back or any(fate is not Fate.AGAIN for fate in fates):
            doubt = wreck.doubt or (_UNKNOWN if Fate.UNKNOWN in fates else "")
            self._lost_transaction.begin(doubt, is_fenced=wreck.is_fenced)
        over = await self._answer(wreck, fates, tracker, incident, over)
        if over:
            await self._part(incident, over, owed)
        memory.lost_leftovers |= wreck.leftovers
        upstream.reader.examines = True

    async def _answer(
        self, wreck: Wreck, fates: Sequence[Fate], tracker: ReplyTracker, incident: Incident, over: str
    ) -> str:
        """Answer the commands that cannot be sent again, which are the first ones, and have the relay send the others.

        ``over`` is why there is no link, empty if there is one; so is what is returned. ``tracker`` is the old link's.
        """
        told = [fate for fate in fates if fate is not Fate.AGAIN]
        # To the relay, it is as if the others had not been sent yet.
        again = (command.packet or b"" for command in wreck.commands[len(told) :])
        self._client.inbox = b"".join(again) + self._client.inbox
        if told:  # before it is: what the client sends upon it is another matter
            await self._lost_transaction.note_answered(is_open=wreck.leaves_open(len(told)))
        for command, fate in zip(wreck.commands, told, strict=False):
            if fate in (Fate.RERUN, Fate.CHECK) and not over:
                over = await self._repeat(command, fate, wreck, tracker.sequence_id, incident)
            else:
                await self._tell(self._verdict(fate, wreck), tracker.sequence_id, incident)
            tracker.answer_instead()
        tracker.abandon()
        return over

    async def _fence(self, wreck: Wreck, fates: list[Fate], incident: Incident, *, is_waiting: bool) -> str:
        """Have the server end the old thread, on a link that is given back; see :mod:`proxy.fencing`.

        ``fates`` become unknown where the server does not say that a statement has left nothing behind. Returns why no
        link could be had, empty if there was one.
        """
        upstream = self._upstream
        while True:
            wreck.is_fenced = False
            over = await self._relink(incident, is_waiting=is_waiting, restores=False)
            if over:
                wreck.doubt_remains(fates)
                return over
            try:
                wreck.is_fenced = await end_thread(upstream, wreck.thread)
                await wreck.look_for_remains(upstream, fates)
            except LinkLost as lost:
                self._log.debug("fencing failed", reason=str(lost))
            else:
                return ""
            finally:
                upstream.give_back_link()

    def _verdict(self, fate: Fate, wreck: Wreck) -> Err:
        if fate is not Fate.ROLLED_BACK:
            in_transaction = wreck.is_rolled_back
            return answers.outcome_unknown(self._server, in_transaction=in_transaction, is_fenced=wreck.is_fenced)
        if wreck.is_rolled_back and wreck.doubt:
            return answers.transaction_unknown(self._server, wreck.doubt)
        return answers.rolled_back(self._server, is_fenced=wreck.is_fenced)

    async def _tell(self, answer: Err, sequence_id: int, incident: Incident) -> None:
        incident.add(f"error {answer.code}")
        incident.has_told = True
        await self._client.send(build_packet(answer.build(), sequence_id))

    async def _part(self, incident: Incident, why: str, owed: int | None) -> None:
        """Tell the client that its session is over, at the place where it listens; then raise SessionOver."""
        incident.add(f"closed: {why}")
        reason = f"{incident.evidence.reason}; {why}"
        words = f"{_NOT_SENT}{self._transaction_fate()}"
        await parting.part(self._client, answers.parting(self._server, reason, words), owed)
        raise SessionOver(f"the server's link: {reason}")

    def _transaction_fate(self) -> str:
        """Say what became of the transaction that the client believes to be in, if there is one."""
        memory = self._upstream.memory
        if any(hold.kind is HoldKind.XA for hold in memory.holds):
            return " An XA transaction that was prepared waits in XA RECOVER; any other was rolled back."
        if not memory.lost_transaction:
            return ""
        if memory.loss_doubt:
            return f" If a transaction was open, it is over: {memory.loss_doubt}."
        return " The open transaction was rolled back."

    async def _relink(self, incident: Incident, *, is_waiting: bool, restores: bool = True) -> str:
        """Get a new link and give it what the session had; return why that cannot be, empty if it is done.

        The wait budget runs while the client waits for something: from now on, or from its next command on.
        """
        ended: LinkLost | None = None
        over = ""
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
                    attempt = self._attempt(incident, restores=restores)
                    met = await self._reconnector.reconnect(attempt, is_waited_for=is_waiting)
                    incident.met = incident.met or met
                except SessionOver as error:
                    over = str(error)
                nursery.cancel_scope.cancel()

            nursery.start_soon(reconnect)
            try:
                if not is_waiting:
                    await self._next_command()
                    is_wanted.set()
                await self._outwait()
                over = f"no new link could be had within {self._settings.wait:g} s"
                incident.met = self._reconnector.trouble_since(started)
            except LinkLost as lost:
                ended = lost
            nursery.cancel_scope.cancel()
        if ended is not None:
            raise ended
        return over

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

    def _attempt(self, incident: Incident, *, restores: bool) -> Callable[[], Awaitable[None]]:
        upstream = self._upstream

        async def attempt() -> None:
            try:
                await upstream.reconnect()
                age = trio.current_time() - incident.opened_at
                incident.was_restarted = was_restarted(await uptime(upstream), age)
                if restores:
                    await restore(upstream)
                upstream.has_link = True
            except LinkLost as lost:
                raise UpstreamUnavailable(f"{lost} while the session was restored") from lost
            finally:
                if not upstream.has_link:
                    upstream.drop_link()

        return attempt

    def _was_killed(self, command: Expected, wreck: Wreck, incident: Incident) -> bool:
        """Return whether somebody has ended just this read, and may have meant it."""
        upstream = self._upstream
        return (
            self._settings.killed_reads is KilledReads.TELL
            and command is wreck.commands[0]
            and incident.cause is Cause.KILLED
            and incident.was_restarted is False
            and upstream.server == wreck.thread.server
            and can_be_judged(upstream, command)
        )

    async def _repeat(self, command: Expected, fate: Fate, wreck: Wreck, sequence_id: int, incident: Incident) -> str:
        """Answer a read, once: if the link is lost again meanwhile, the statement may be what it cannot bear.

        Returns why there is no link any more, empty if there is one.
        """
        client, upstream = self._client, self._upstream
        try:
            answer: Err | None
            if fate is Fate.CHECK:
                answer = await judge(upstream, command, answers.result_cut_off(self._server))
            elif self._was_killed(command, wreck, incident):
                answer = await judge(upstream, command, answers.killed(self._server))
            else:
                answer = await read_again(client, upstream, command, wreck.leftovers | upstream.memory.lost_leftovers)
        except LinkLost as lost:
            if lost.link is client:
                raise
            if upstream.link.has_ended_sending:
                await see_off(client)
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
            if command is wreck.commands[-1]:
                wreck.leftovers = Leftover(0)  # what it has left behind is on the new link
        else:
            await self._tell(answer, sequence_id, incident)
        return "" if upstream.has_link else await self._relink(incident, is_waiting=True)
