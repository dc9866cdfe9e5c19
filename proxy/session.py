"""One client, from its greeting to its end."""

import tempfile
from contextlib import suppress

import structlog
import trio

from protocol.command import Decision, Verdict, reply_kind
from protocol.constants import CommandCode
from protocol.errors import ProtocolError
from protocol.framing import build_packet
from protocol.packets import Err
from protocol.reply import ReplyKind
from proxy import answers, oversize
from proxy.admission import Admission, Shared
from proxy.errors import CannotHold, LinkLost, LoginFailed
from proxy.link import Link
from proxy.oversize import ArrivingPacket
from proxy.parting import part
from proxy.relay import ClientBroke, ClientGone, DecisionDue, DrainDue, Event, ProbeDue, Relay, TrioRelay, UpstreamLost
from proxy.upstream import Upstream

#: Up to this size, a command of several frames is kept in memory rather than in a file.
_HELD_IN_MEMORY_BYTES = 1 << 20


class Session:
    """A client's link, its link to the server, and what goes on between them."""

    def __init__(self, client: Link, session_id: int, shared: Shared) -> None:
        self._client = client
        self._config = shared.config
        self._log = structlog.stdlib.get_logger().bind(session=session_id)
        self._upstream = Upstream(shared.config, shared.upstream_tls, self._log)
        self._admission = Admission(client, self._upstream, shared)
        self._relay: Relay | None = None
        self._draining = False
        self._waiting = trio.CancelScope()
        #: Sequence id of the answer that the client waits for while the guard acts for it.
        self._owed: int | None = None

    def __repr__(self) -> str:
        return f"<Session of {self._admission.user or 'nobody yet'} on {self._upstream}>"

    async def run(self) -> None:
        """Log the client in and serve it until it goes, or until going on would be wrong. Closes both links."""
        try:
            await self._admission.admit()
            upstream = self._upstream
            self._log.info(
                "session begins",
                user=self._admission.user,
                server_thread=upstream.greeting.thread_id,
                limit_bytes=upstream.reader.limit,
            )
            self._log.info("session ends", reason=await self._serve())
        except LoginFailed as failed:
            self._log.warning("login failed", reason=str(failed))
        finally:
            self._client.close()
            self._upstream.close()

    def drain(self) -> None:
        """End at the next quiet point."""
        self._draining = True
        self._waiting.cancel()
        if self._relay is not None:
            self._relay.drain()

    async def _serve(self) -> str:
        """Serve the client; return why that has ended."""
        relay = self._relay = TrioRelay(self._client, self._upstream)
        if self._draining:
            relay.drain()
        try:
            ended = None
            while ended is None:
                self._owed = None
                ended = await self._respond(await relay.cruise())
        except LinkLost as lost:
            if lost.link is not self._client:
                return await self._part(str(lost))
            ended = f"the client's link: {lost}"
        except ProtocolError as error:
            return await self._dismiss(error)
        await self._upstream.quit()
        return ended

    async def _respond(self, event: Event) -> str | None:
        """Do what an event asks for; return why the session ends, if it does."""
        match event:
            case DecisionDue(decision) if decision.verdict is Verdict.QUIT:
                return "the client said goodbye"
            case DecisionDue(decision):
                await self._act(decision)
            case ProbeDue():
                await self._upstream.probe()
            case UpstreamLost(reason):
                raise LinkLost(self._upstream.link, reason)
            case ClientGone(reason):
                raise LinkLost(self._client, reason)
            case ClientBroke(error):
                raise error
            case DrainDue():
                return "drained"
        return None

    async def _act(self, decision: Decision) -> None:
        """Do what the packet at the head of the client's stream asks for."""
        upstream = self._upstream
        match decision.verdict:
            case Verdict.TOO_LARGE:
                packet = await oversize.discard(self._client)
                await self._refuse(decision, packet)
            case Verdict.COLLECT:
                await self._hold(decision)
            case Verdict.LOCAL_FILE_TOO_LARGE:
                self._log.info("local file is sent in smaller pieces", limit_bytes=upstream.reader.limit)
                await oversize.cut_local_file(self._client, upstream)
            case Verdict.CARRY_OUT:
                await self._carry_out(decision)
            case Verdict.OUT_OF_SYNC:
                pass  # What came before it has been answered. Now that it is the first one, the reader will raise.
        upstream.reader.decision = None

    async def _hold(self, decision: Decision) -> None:
        """Keep a command of several frames until its size is known, then send or refuse it."""
        upstream = self._upstream
        with tempfile.SpooledTemporaryFile(max_size=_HELD_IN_MEMORY_BYTES) as file:
            try:
                packet = await oversize.hold(self._client, upstream.reader.limit, file)
            except CannotHold as failed:
                self._log.error("no room to hold a command", size=failed.size, reason=str(failed))
                await self._answer(answers.cannot_hold(failed.size, str(failed)), failed.next_sequence_id)
                return
            if packet.size >= upstream.reader.limit:
                await self._refuse(decision, packet)
                return
            if reply_kind(decision.command) is not ReplyKind.NONE:
                self._owed = packet.sequence_id
            if upstream.must_validate(trio.current_time()):
                await upstream.probe()
            await oversize.send_held(upstream, file, packet, decision.command)

    async def _refuse(self, decision: Decision, packet: ArrivingPacket) -> None:
        """Answer a command that is too large, and has been discarded."""
        reader = self._upstream.reader
        self._log.warning("refused", command=_name(decision.command), size=packet.size, limit_bytes=reader.limit)
        if decision.command == CommandCode.STMT_SEND_LONG_DATA and decision.statement_id is not None:
            # It has no answer. The next execution of its statement gets one.
            reader.refused_long_data[decision.statement_id] = packet.size
            return
        await self._answer(
            answers.too_large(packet.size, reader.limit, str(self._upstream.address), self._sqlstate),
            packet.sequence_id,
        )

    async def _carry_out(self, decision: Decision) -> None:
        """Do the guard's part in a command in which it has one."""
        if decision.command == CommandCode.CHANGE_USER:
            await self._admission.change_user()
            return
        packet = await oversize.discard(self._client)
        self._owed = packet.sequence_id
        if decision.command == CommandCode.RESET_CONNECTION:
            await self._client.send(build_packet(await self._upstream.reset_connection(), packet.sequence_id))
        elif decision.statement_id is not None:
            reader = self._upstream.reader
            size = reader.refused_long_data.pop(decision.statement_id)
            await self._upstream.reset_statement(decision.statement_id)
            await self._answer(
                answers.parameter_too_large(size, reader.limit, str(self._upstream.address), self._sqlstate),
                packet.sequence_id,
            )

    async def _answer(self, answer: Err, sequence_id: int) -> None:
        await self._client.send(build_packet(answer.build(), sequence_id))

    async def _part(self, reason: str) -> str:
        """Tell the client that its session on the server is over."""
        self._log.warning("upstream lost", reason=reason, in_flight=not self._upstream.tracker.idle)
        self._upstream.close()
        try:
            with self._waiting:
                told = await part(self._client, self._upstream, reason, self._owed)
                return f"the server's link: {reason}" + ("" if told else " (in the middle of a packet)")
        except (LinkLost, ProtocolError) as error:
            return f"the server's link: {reason}; then the client's: {error}"
        return "drained"

    async def _dismiss(self, error: ProtocolError) -> str:
        """End the session of a client that broke the protocol."""
        self._log.warning("client dismissed", reason=str(error))
        await self._upstream.quit()
        if not self._upstream.tracker.inside_packet:
            with suppress(LinkLost):
                await self._answer(answers.out_of_order(str(error)), 1)
                await self._client.hang_up()
        return str(error)

    @property
    def _sqlstate(self) -> str:
        return self._config.guard.oversize_sqlstate


def _name(code: int) -> str:
    """Name a command as the manual does."""
    return f"COM_{CommandCode(code).name}" if code in CommandCode.__members__.values() else f"0x{code:02x}"
