"""One client, from its greeting to its end."""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import structlog
import trio

from protocol.command import Decision, Verdict, reply_kind
from protocol.constants import HEADER_LENGTH, CommandCode, Status
from protocol.effects import Kind
from protocol.errors import ProtocolError
from protocol.fate import text_of
from protocol.framing import build_packet
from protocol.looking_back import Leftover, asked_for
from protocol.packets import Err
from protocol.prepared import PreparedStatement
from protocol.reply import Expected, ReplyKind
from protocol.statement import classify
from proxy import answers, oversize
from proxy.admission import Admission
from proxy.client_end import see_off
from proxy.errors import CannotHold, LinkLost, LoginFailed, SessionOver
from proxy.history import LargeCommand
from proxy.holding import Holding
from proxy.link import Link
from proxy.local_file import hand_on_local_file
from proxy.lost_transaction import LostTransaction
from proxy.meanwhile import meanwhile
from proxy.oversize import ArrivingPacket
from proxy.recovery import Recovery
from proxy.relay import (
    ClientBroke,
    ClientGone,
    DecisionDue,
    DrainDue,
    Event,
    ProbeDue,
    Relay,
    SettlingDue,
    UpstreamLost,
)
from proxy.relays import MakeRelay
from proxy.session_state import prepare_again, settle, settle_insert_id
from proxy.session_view import SessionView, name_command, view
from proxy.shared import Shared
from proxy.tls import ClientTls
from proxy.traffic import Traffic
from proxy.upstream import Upstream

#: The commands that work in a transaction.
_STATEMENTS = frozenset({CommandCode.QUERY, CommandCode.STMT_EXECUTE, CommandCode.STMT_BULK_EXECUTE})

_T = TypeVar("_T")

log = structlog.stdlib.get_logger()


class Session:
    """A client's link, its link to the server, and what goes on between them."""

    def __init__(self, client: Link, tls: ClientTls, session_id: int, shared: Shared, make_relay: MakeRelay) -> None:
        self._client = client
        self._shared = shared
        self._make_relay = make_relay
        self._log = log.bind(session=session_id, client=client.peer)
        self._upstream = Upstream(shared, self._log)
        self._upstream.session_id = session_id
        self._admission = Admission(client, tls, self._upstream, shared, self._log)
        self._lost_transaction = LostTransaction(client, self._upstream)
        self._recovery = Recovery(client, self._upstream, self._lost_transaction, shared, self._log)
        self._relay: Relay | None = None
        self._draining = False
        self._began_at = trio.current_time()

    def __repr__(self) -> str:
        return f"<Session of {self._admission.user or 'nobody yet'} on {self._upstream}>"

    async def run(self) -> None:
        """Log the client in and serve it until it goes, or until going on would be wrong. Closes both links."""
        try:
            await self._admission.admit()
            self._shared.tally.begin_session()
            upstream = self._upstream
            self._log.info(
                "session begins",
                user=self._admission.user,
                server_thread=upstream.greeting.thread_id,
                limit_bytes=upstream.reader.limit,
            )
            reason = await self._serve()
            self._log.info(
                "session ends",
                reason=reason,
                seconds=round(trio.current_time() - self._began_at, 3),
                commands=self.traffic.commands,
                bytes_from_client=self.traffic.bytes_from_client,
                bytes_from_server=self.traffic.bytes_from_server,
            )
        except LoginFailed as failed:
            self._log.warning("login failed", reason=str(failed), fault=failed.fault)
            self._shared.tally.note_login_failure(failed.fault)
        finally:
            self._client.close()
            self._upstream.close()

    @property
    def traffic(self) -> Traffic:
        """What has passed through it."""
        if self._relay is not None:
            self._relay.catch_up()
        return self._upstream.traffic

    def view(self) -> SessionView:
        """Look at it as it is now."""
        running = None if self._relay is None else self._relay.catch_up()
        is_logged_in = self._relay is not None
        return view(self._upstream, self._client, self._began_at, running, is_logged_in=is_logged_in)

    def drain(self) -> None:
        """End at the next quiet point."""
        self._draining = True
        self._recovery.drain()
        if self._relay is not None:
            self._relay.drain()

    async def _serve(self) -> str:
        """Serve the client; return why that has ended."""
        relay = self._relay = self._make_relay(self._client, self._upstream)
        if self._draining:
            relay.drain()
        try:
            ended = None
            while ended is None:
                ended = await self._respond(await relay.cruise())
        except LinkLost as lost:
            ended = f"the client's link: {lost}"
        except SessionOver as over:
            return str(over)
        except ProtocolError as error:
            return await self._dismiss(error)
        self._upstream.quit()
        return ended

    async def _respond(self, event: Event) -> str | None:
        """Do what an event asks for; return why the session ends, if it does."""
        match event:
            case DecisionDue(decision) if decision.verdict is Verdict.QUIT:
                return "the client said goodbye"
            case DecisionDue(decision):
                await self._act(decision)
            case ProbeDue():
                await self._insist(self._upstream.probe)
            case SettlingDue():
                await self._insist(self._settle)
            case UpstreamLost(lost):
                await self._recover(lost)
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
            case Verdict.LOCAL_FILE:
                try:
                    await hand_on_local_file(self._client, upstream)
                except LinkLost as lost:
                    if lost.link is self._client:
                        raise
                    await self._recover(lost)
            case Verdict.CARRY_OUT:
                await self._carry_out(decision)
            case Verdict.EXAMINE:
                await self._examine(decision)
            case Verdict.OUT_OF_SYNC:
                pass  # What came before it has been answered. Now that it is the first one, the reader will raise.
        upstream.reader.decision = None

    async def _hold(self, decision: Decision) -> None:
        """Keep a large command until it is whole, then send or refuse it."""
        upstream = self._upstream
        with Holding(self._shared.spool_space) as holding:
            try:
                packet = await meanwhile(
                    self._keep_alive, partial(oversize.hold, self._client, upstream.reader.limit, holding)
                )
            except CannotHold as failed:
                self._log.error("no room to hold a command", size=failed.size, reason=str(failed))
                self._shared.tally.note_no_room()
                await self._answer(answers.cannot_hold(failed.size, str(failed)), failed.next_sequence_id)
                return
            if packet.size >= upstream.reader.limit:
                await self._refuse(decision, packet)
                return
            self._note_size(decision, packet)
            owed = packet.sequence_id if reply_kind(decision.command) is not ReplyKind.NONE else None
            await self._insist(partial(self._send_held, holding, packet, decision.command), owed)

    async def _send_held(self, holding: Holding, packet: ArrivingPacket, command: int) -> None:
        """Send a command that was held. Raises LinkLost where it has not gone out as a whole."""
        upstream = self._upstream
        memory = upstream.memory
        asks_for_lost = (
            bool(memory.lost_leftovers)
            and command in _STATEMENTS
            and await self._has_lost(await oversize.asked_for(holding))
        )
        if command in _STATEMENTS and self._lost_transaction.concerns_next_command(taken_bytes=packet.size):
            answer = self._lost_transaction.refusal(Kind.OTHER)
            await self._lost_transaction.note_answered(is_open=True)
            if answer is not None:
                await self._answer(answer, packet.sequence_id)
                return
        if asks_for_lost:
            await self._answer(answers.cannot_look_back(str(upstream.address)), packet.sequence_id)
            return
        if upstream.must_validate(trio.current_time()) or upstream.link.peer_has_closed:
            await upstream.probe()
        try:
            await oversize.send_held(upstream, holding, packet, command)
        except LinkLost:
            upstream.tracker.abandon()  # A server does not carry out what it has only a part of.
            raise

    async def _refuse(self, decision: Decision, packet: ArrivingPacket) -> None:
        """Answer a command that is too large, and has been discarded."""
        reader = self._upstream.reader
        self._log.warning("refused", command=name_command(decision.command), size=packet.size, limit_bytes=reader.limit)
        self._note_size(decision, packet)
        if decision.command == CommandCode.STMT_SEND_LONG_DATA and decision.statement_id is not None:
            # It has no answer. The next execution of its statement gets one.
            prepared = self._upstream.memory.statements.get(decision.statement_id)
            if prepared is not None:
                prepared.refused_size = packet.size
            return
        await self._answer(
            answers.too_large(packet.size, reader.limit, str(self._upstream.address), self._sqlstate),
            packet.sequence_id,
        )

    def _note_size(self, decision: Decision, packet: ArrivingPacket) -> None:
        upstream = self._upstream
        command = LargeCommand(
            at=time.time(),
            session=upstream.session_id,
            user=self._admission.user,
            client=self._client.peer,
            command=name_command(decision.command),
            size_bytes=packet.size,
            limit_bytes=upstream.reader.limit - 1,
        )
        self._shared.tally.note_large_command(command)

    async def _carry_out(self, decision: Decision) -> None:
        """Do the guard's part in a command in which it has one."""
        upstream = self._upstream
        if decision.command == CommandCode.CHANGE_USER:
            await self._admission.change_user()
            return
        prepared = None if decision.statement_id is None else upstream.memory.statements[decision.statement_id]
        said = b""
        if prepared is not None and prepared.broken:
            said = await self._insist(partial(prepare_again, upstream, prepared))
            if not upstream.memory.refusal(prepared) and prepared.refused_size is None:
                return
        packet = await oversize.discard(self._client)
        if decision.command == CommandCode.RESET_CONNECTION:
            reply = await self._insist(upstream.reset_connection, packet.sequence_id)
            await self._client.send(build_packet(reply, packet.sequence_id))
        elif said:
            await self._client.send(build_packet(said, packet.sequence_id))
        elif prepared is not None:
            await self._refuse_execution(prepared, packet.sequence_id)

    async def _refuse_execution(self, prepared: PreparedStatement, sequence_id: int) -> None:
        """Answer the execution of a statement that was not to be executed."""
        server = str(self._upstream.address)
        if reason := self._upstream.memory.refusal(prepared):
            await self._forget_long_data(prepared.client_id, sequence_id)
            await self._answer(answers.not_as_prepared(server, reason), sequence_id)
            return
        size, prepared.refused_size = prepared.refused_size or 0, None
        await self._insist(partial(self._upstream.reset_statement, prepared), sequence_id)
        limit = self._upstream.reader.limit
        await self._answer(answers.parameter_too_large(size, limit, server, self._sqlstate), sequence_id)

    async def _examine(self, decision: Decision) -> None:
        """See whether a command would meet something that was lost with a link; if not, let it pass."""
        upstream, memory = self._upstream, self._upstream.memory
        server = str(upstream.address)
        packet = self._client.inbox[: HEADER_LENGTH + int.from_bytes(self._client.inbox[:3], "little")]
        arrived = Expected(decision.command, reply_kind(decision.command), 1, packet=packet)
        text = text_of(arrived, memory, upstream.capabilities) or b""
        answer = None
        # This first: the link can be lost meanwhile, and with it the transaction.
        is_statement = decision.command in _STATEMENTS
        asks_for_lost = is_statement and await self._has_lost(asked_for(text))
        if self._lost_transaction.concerns_next_command() and is_statement:
            escapes = not upstream.tracker.status & Status.NO_BACKSLASH_ESCAPES
            kind = classify(text, backslash_escapes=escapes).kind
            answer = self._lost_transaction.refusal(kind)
            await self._lost_transaction.note_answered(is_open=answer is not None and kind is not Kind.COMMIT)
        elif asks_for_lost:
            answer = answers.cannot_look_back(server)
        if is_statement:
            if answer is None:
                # It leaves another number of rows behind. Whether it leaves something else behind, its reply tells.
                memory.lost_leftovers &= ~Leftover.ROW_COUNT
            upstream.reader.examines = bool(memory.lost_leftovers) or memory.lost_transaction
        if answer is None:
            upstream.reader.has_examined = True
        else:
            discarded = await oversize.discard(self._client)
            await self._forget_long_data(decision.statement_id, discarded.sequence_id)
            await self._answer(answer, discarded.sequence_id)

    async def _forget_long_data(self, statement_id: int | None, sequence_id: int) -> None:
        """Have the server forget the long data of a statement that was not executed, as it does after an execution."""
        prepared = None if statement_id is None else self._upstream.memory.statements.get(statement_id)
        if prepared is not None and prepared.has_long_data:
            await self._insist(partial(self._upstream.reset_statement, prepared), sequence_id)

    async def _has_lost(self, asked: Leftover) -> bool:
        """Tell whether something that a statement asks for went with an earlier link."""
        memory = self._upstream.memory
        if asked & memory.lost_leftovers == asked == Leftover.INSERT_ID and memory.is_insert_id_unsettled:
            # What has been inserted since then may have given a new one. Nothing else is asked that this would change.
            await self._insist(partial(settle_insert_id, self._upstream))
        return bool(asked & memory.lost_leftovers)

    async def _settle(self) -> None:
        await settle(self._upstream)

    async def _insist(self, act: Callable[[], Awaitable[_T]], owed: int | None = None) -> _T:
        """Do something at the server, on a new link if need be. ``owed`` is as for :meth:`Recovery.recover`.

        A slow client goes on being given what it has not read yet.
        """
        while True:
            try:
                return await (meanwhile(self._deliver, act) if self._client.has_unsent else act())
            except LinkLost as lost:
                if lost.link is self._client:
                    raise
                await self._recover(lost, owed)

    async def _keep_alive(self) -> None:
        """Keep the server from losing patience with a client that is in the middle of a command, and so not idle."""
        upstream = self._upstream
        with suppress(LinkLost):  # which whoever sends next will find out as well
            while True:
                upstream.active_at = trio.current_time()
                await trio.sleep_until(upstream.next_probe())
                # A probe whose answer nobody waits for would have it taken for the answer to the command.
                with trio.CancelScope(shield=True):
                    await upstream.probe()

    async def _recover(self, lost: LinkLost, owed: int | None = None) -> None:
        """Do what is to be done about a lost link, and go on giving a slow client what it has not read yet."""
        if self._upstream.link.has_ended_sending:
            await see_off(self._client)
        await meanwhile(self._deliver, partial(self._recovery.recover, lost, owed))

    async def _deliver(self) -> None:
        with suppress(LinkLost):  # which whoever sends next will find out as well
            while True:
                await self._client.flush()
                await self._client.wait_unsent()

    async def _answer(self, answer: Err, sequence_id: int) -> None:
        await self._client.send(build_packet(answer.build(), sequence_id))

    async def _dismiss(self, error: ProtocolError) -> str:
        """End the session of a client that broke the protocol."""
        self._log.warning("client dismissed", reason=str(error))
        self._upstream.quit()
        if not self._upstream.tracker.inside_packet:
            with suppress(LinkLost):
                await self._answer(answers.out_of_order(str(error)), 1)
                await self._client.hang_up()
        return str(error)

    @property
    def _sqlstate(self) -> str:
        return self._shared.config.guard.oversize_sqlstate
