"""The life of a session's link to the server: connect, log in, prepare, probe, discard."""

import structlog
import trio
from structlog.stdlib import BoundLogger

from config import Config
from protocol.command import CommandReader
from protocol.constants import ERR_BYTE, HEADER_LENGTH, Capability, CommandCode, ErrorCode, Status
from protocol.errors import MalformedPacket, ProtocolError, Refusal, ServerError
from protocol.fate import text_of
from protocol.framing import build_packet
from protocol.handshake import ChangeUser, Greeting
from protocol.holds import Hold, HoldKind
from protocol.login import ClientLogin, Proof
from protocol.looking_back import covers
from protocol.memory import SessionMemory
from protocol.packets import Ok
from protocol.prepared import PreparedStatement
from protocol.reply import Expected, ReplyKind, ReplyTracker
from proxy.asking import Asking
from proxy.dialogue import Conversation
from proxy.errors import LinkEnd, LinkLost, LoginCutOff, SessionOver, UpstreamUnavailable
from proxy.identity import Identity
from proxy.introduction import UNKNOWN_LIMITS, Introduction, Limits, watch_again
from proxy.keepalive import KeepaliveClock, in_transaction, probe_command
from proxy.shared import Shared
from proxy.traffic import Traffic

#: The login request has one byte for the character set, COM_CHANGE_USER has two.
_LARGEST_LOGIN_CHARSET = 0xFF

#: A session that has been quiet for so long is settled.
_QUIET_SECONDS = 0.1
#: What has been to be settled for so long is settled in front of the next command.
_BUSY_SECONDS = 0.03
#: How the characteristics of a transaction are reported that has not begun yet.
_PENDING = "SET TRANSACTION"

#: What becomes of links whose servers go away; other ends have their reason in what was said.
_LOSSES = frozenset({LinkEnd.CLOSED, LinkEnd.RESET, LinkEnd.SILENCE})

#: What ROW_COUNT() can be made to be again.
_RESTORABLE_ROW_COUNTS = (0, -1)

#: With this packet, sessions end in good order.
GOODBYE = build_packet(bytes((CommandCode.QUIT,)), 0)


class Upstream(Asking):
    """One session's link to the server, and all that is known about the session at its other end."""

    clock: KeepaliveClock
    identity: Identity
    limits: Limits

    def __init__(self, shared: Shared, log: BoundLogger) -> None:
        super().__init__(shared)
        #: Where the server is to which the link was opened last.
        self.address = shared.config.upstream.address
        #: When the client last did something, in trio's time.
        self.active_at = trio.current_time()
        #: When the link was opened, in trio's time.
        self.opened_at = self.active_at
        #: What ROW_COUNT() was on the link that was lost, and what the next transaction there was to be.
        self.lost_row_count: int | None = None
        self.lost_characteristics = ""
        #: Whether autocommit was on there.
        self.lost_autocommit = True
        self.has_link = False
        #: What tells the server that the link leads to from others; empty where it does not say.
        self.server: tuple[bytes | None, ...] = ()
        self.log = log
        #: The id by which the client knows the session's thread.
        self.known_thread = 0
        #: The number of the session in the log.
        self.session_id = 0
        self.traffic = Traffic()
        #: How often its link was lost.
        self.losses = 0
        #: Since when the client was idle when that was last found to be longer than wait_timeout.
        self._outlived_since: float | None = None
        #: Since when it has been to be settled, in trio's time; infinity: it was not when that was last looked at.
        self._unsettled_since = float("inf")
        self._threads = shared.threads
        self._tally = shared.tally
        self._contact = shared.contact
        #: The client has reset its session since it logged in.
        self._is_reset = False

    def __repr__(self) -> str:
        return f"<Upstream {self.address}>"

    @property
    def _config(self) -> Config:
        return self._shared.config

    @property
    def at_rest(self) -> bool:
        """Nothing is owed by either side, and no packet is half-way."""
        return self.tracker.idle and not self.link.has_unsent

    @property
    def in_transaction(self) -> bool:
        """The session is in a transaction, as far as the server has said."""
        return in_transaction(self.tracker)

    async def connect(self) -> Greeting:
        """Connect and return the server's greeting.

        Raises:
            ServerError: the server does not want another connection.
            UpstreamUnavailable: there is no server, or not one that speaks the protocol.
        """
        self.address = self._config.upstream.address
        structlog.contextvars.bind_contextvars(server=str(self.address))
        self.link, self.greeting = await self._contact.dial(self.address, self._config.upstream.connect_timeout)
        return self.greeting

    async def log_in(self, login: ClientLogin, client: Conversation) -> bytes:
        """Log in as the client has; return the payload of the server's OK packet, as the client should see it.

        Where the login is between the two of them, it is carried on with the client.

        Raises:
            ServerError: the server said no.
            LoginCutOff: the link was lost.
            UpstreamUnavailable: the server cannot be talked to.
            Refusal: the guard cannot log in to this account.
            LinkLost: the client's link ended.
        """
        identity = self.identity = Identity(login, self._shared)
        self.capabilities = identity.capabilities(self.greeting)
        self.memory = SessionMemory(
            client_listens=bool(login.request.capabilities & Capability.SESSION_TRACK),
            multi_statements=bool(self.capabilities & Capability.MULTI_STATEMENTS),
            keeps_definitions=bool(
                self.capabilities & (Capability.OPTIONAL_METADATA | Capability.MARIADB_CACHE_METADATA)
            ),
        )
        try:
            ok = await self.begin_session(await identity.log_in(self.link, self.greeting, client))
        except (LinkLost, ProtocolError) as error:
            if isinstance(error, LinkLost) and error.link is not self.link:
                raise
            is_cut_off = isinstance(error, LinkLost) and error.end in _LOSSES
            raise (LoginCutOff if is_cut_off else UpstreamUnavailable)(f"{error} during the login") from error
        self.has_link = True
        return ok

    async def reconnect(self) -> None:
        """Get a new link for the session, on which it is not restored yet.

        Raises:
            ServerError: the server said no.
            UpstreamUnavailable: the server cannot be talked to.
            SessionOver: this server cannot have the session.
        """
        *others, last = self.identity.passwords()
        for password in others:
            try:
                return await self._reconnect_with(password)
            except ServerError as error:
                if error.code != ErrorCode.ACCESS_DENIED:
                    raise
                self.drop_link()
        return await self._reconnect_with(last)

    async def _reconnect_with(self, password: bytes) -> None:
        await self.connect()
        self._threads.move(self.known_thread, self.greeting.thread_id)
        if self.identity.capabilities(self.greeting) != self.capabilities:
            raise SessionOver("the server behind the address has other capabilities now")
        try:
            ok = await self.identity.log_in_again(self.link, self.greeting, password)
            self.memory.begin_link()
            await self._begin_link(Ok.parse(ok))
            if self._is_reset:
                await self._reset_again()
        except (LinkLost, ProtocolError) as error:
            raise UpstreamUnavailable(f"{error} during the login") from error
        except Refusal as error:
            raise SessionOver(str(error)) from error

    async def _reset_again(self) -> None:
        """Make a new link what it is after COM_RESET_CONNECTION: some variables are not those of the login then."""
        tracked = self.memory.tracked
        variables, schema = dict(tracked.variables), tracked.schema
        reply = await self.exchange((CommandCode.RESET_CONNECTION, _bare(CommandCode.RESET_CONNECTION)))
        tracked.variables, tracked.schema = variables, schema
        await self._begin_link(Ok.parse(reply[HEADER_LENGTH:]))

    async def change_user(self, request: ChangeUser, proof: Proof | None, client: Conversation) -> bytes:
        """Log in anew on the open link; return the payload of the server's OK packet, as the client should see it.

        Without a proof, it is between the client and the server.

        Raises:
            ServerError: the server said no; the session goes on as the user it had.
            Refusal: the guard cannot log in to this account.
            LinkLost: one of the links cannot be used any more.
        """
        try:
            payload = await self.identity.change_user(self.link, self.capabilities, request, proof, client)
        except ServerError:
            # MariaDB has ended the transaction and forgotten the session's state, and goes on with what is left.
            self.memory.hold(Hold(HoldKind.UNSETTLED, "what a change of user that was refused has left"))
            self.memory.tracked.forget_transaction()
            self.tracker.status &= ~int(Status.IN_TRANSACTION)
            raise
        except ProtocolError as error:
            raise self.broken(error) from error
        self._is_reset = False
        self.memory.reset()
        shown = await self.begin_session(payload)
        if request.charset is not None and request.charset > _LARGEST_LOGIN_CHARSET:
            self.memory.hold(Hold(HoldKind.UNSETTLED, "a character set that only COM_CHANGE_USER can choose"))
        return shown

    async def reset_connection(self) -> bytes:
        """Carry out COM_RESET_CONNECTION; return the reply's payload, OK or ERR, as the client should see it.

        Raises:
            LinkLost: the link cannot be used any more.
        """
        schema = self.memory.tracked.schema
        self._is_reset = True
        try:
            reply = await self.exchange((CommandCode.RESET_CONNECTION, _bare(CommandCode.RESET_CONNECTION)))
        except LinkLost:
            # Whatever the server has got of it, the session is to have nothing any more but its schema.
            self.memory.reset()
            self.memory.tracked.schema = schema
            raise
        payload = reply[HEADER_LENGTH:]
        if payload[0] == ERR_BYTE:
            return payload
        self.memory.reset()
        shown = await self.begin_session(payload)
        self.memory.tracked.schema = schema
        return shown

    async def reset_statement(self, prepared: PreparedStatement) -> None:
        """Have the server forget a statement's long data. Raises LinkLost."""
        payload = bytes((CommandCode.STMT_RESET,)) + prepared.server_id.to_bytes(4, "little")
        await self.exchange((CommandCode.STMT_RESET, build_packet(payload, 0)))
        prepared.has_long_data = False

    async def probe(self) -> None:
        """See whether the server still answers.

        Raises:
            LinkLost: it does not, or not in time.
        """
        try:
            await self._probe()
        except LinkLost:
            self._tally.note_probe(is_answered=False)
            raise
        self._tally.note_probe(is_answered=True)
        self._note_outlived()

    async def _probe(self) -> None:
        command = probe_command(self.tracker)
        row_count, left_warnings = self.tracker.row_count, self.tracker.left_warnings
        timeout = self._config.keepalive.probe_timeout
        self.log.debug("probe", command=command.name)
        with trio.move_on_after(timeout) as scope:
            await self.exchange((command, _bare(command)))
        if scope.cancelled_caught:
            self.link.give_up()  # a late answer would be taken for that to the next command
            raise LinkLost(self.link, f"no answer to a probe within {timeout:g} s", LinkEnd.SILENCE)
        self.tracker.row_count, self.tracker.left_warnings = row_count, left_warnings

    def _note_outlived(self) -> None:
        """Count, once each time that the client is idle, that it has been so for longer than the server allows."""
        if trio.current_time() - self.active_at > self.wait_timeout and self._outlived_since != self.active_at:
            self._outlived_since = self.active_at
            self._tally.note_outlived()

    @property
    def has_own_timeout(self) -> bool:
        """The client has said itself how long its session is to live when it is idle."""
        memory = self.memory
        return "wait_timeout" in memory.tracked.variables or "wait_timeout" in memory.unsettled_system_variables

    @property
    def wait_timeout(self) -> float:
        """How long the server lets this session be idle, in seconds."""
        return self._own_seconds("wait_timeout", self.clock.wait_timeout)

    @property
    def net_read_timeout(self) -> float:
        """How long the server waits for the next piece of a local file, in seconds."""
        return self._own_seconds("net_read_timeout", self.limits.net_read_timeout)

    @property
    def net_write_timeout(self) -> float:
        """How long the server waits for somebody to read its results, in seconds."""
        return self._own_seconds("net_write_timeout", self.limits.net_write_timeout)

    def _own_seconds(self, name: str, otherwise: float) -> float:
        """Give what the client has set a variable to, if it has."""
        own = self.memory.tracked.variables.get(name, "")
        return float(own) if own.isdecimal() else otherwise

    def next_probe(self) -> float:
        """Tell when the link is due for a probe, in trio's time."""
        if self.has_own_timeout:
            return float("inf")
        return self.clock.next_probe(self.link.heard_at, self.active_at, in_transaction=self.in_transaction)

    def must_validate(self, now: float) -> bool:
        """Tell whether the link must answer a probe before a command is trusted to it."""
        return self.clock.must_validate(self.link.heard_at, now) and self.at_rest

    @property
    def can_restore_row_count(self) -> bool:
        """Whether ROW_COUNT() can be made what it is once something else has changed it."""
        return self.tracker.row_count in _RESTORABLE_ROW_COUNTS

    @property
    def is_unsettled(self) -> bool:
        """The server has to be asked for something, to know what the session is."""
        memory = self.memory
        if memory.is_unsettled or memory.is_insert_id_unsettled:
            return True
        return memory.is_transaction_unsettled and self.in_transaction

    def next_settling(self) -> float:
        """Tell when the session is to be settled, in trio's time, unless the client does something before."""
        if not self.is_unsettled:
            return float("inf")
        # Where there is something to look back at, it would be spoiled.
        is_harmless = self._can_be_asked and self.can_restore_row_count and not self.tracker.left_warnings
        return self.active_at + _QUIET_SECONDS if is_harmless else float("inf")

    def next_busy_settling(self) -> float:
        """Tell from when on the session is to be settled in front of the client's next command, in trio's time.

        Otherwise one that is never quiet could never be restored.
        """
        self._unsettled_since = min(self._unsettled_since, self.active_at) if self.memory.is_unsettled else float("inf")
        return self._unsettled_since + _BUSY_SECONDS

    def must_settle(self, inbox: bytes) -> bool:
        """Tell whether the session, which is at rest, is to be settled before the first command there goes out."""
        now = trio.current_time()
        if now < self.next_busy_settling() or not self._can_be_asked or not self._is_covered_by(inbox):
            return False
        self._unsettled_since = now
        return True

    @property
    def _can_be_asked(self) -> bool:
        """Whether asking the server spoils nothing but what can be looked back at: not a one-shot SET TRANSACTION."""
        return self.in_transaction or not self.memory.tracked.characteristics

    def _is_covered_by(self, inbox: bytes) -> bool:
        """Tell whether a command leaves nothing to be looked back at of what would be spoiled."""
        # On MariaDB, those of an earlier statement may still be there.
        has_warnings = self.tracker.left_warnings or self.tracker.may_have_warnings
        if self.can_restore_row_count and not has_warnings:
            return True
        size = HEADER_LENGTH + int.from_bytes(inbox[:3], "little")
        if len(inbox) < size:
            return False
        command = Expected(inbox[HEADER_LENGTH], ReplyKind.NONE, 1, packet=inbox[:size])
        text = text_of(command, self.memory, self.capabilities)
        return text is not None and covers(text, has_warnings=has_warnings)

    def quit(self) -> None:
        """End the session as a client does, so that the server does not count it as aborted, and close the link.

        In the middle of a packet the goodbye is left out: its bytes would pass for those that are missing there, and a
        statement that its client has never finished would be carried out.
        """
        self._say_goodbye()
        self.close()

    def give_back_link(self) -> None:
        """Close a link that the session does not need any more; it is to get another one."""
        self._say_goodbye()
        self.has_link = False
        self.drop_link()

    def _say_goodbye(self) -> None:
        if self.has_link and self.at_rest and not self.link.has_ended_sending:
            try:
                self.link.send_last(GOODBYE)
            except LinkLost as lost:
                self.log.debug("upstream was gone at quit", reason=str(lost))

    def close(self) -> None:
        """Close the link, if there is one."""
        self._threads.forget(self.known_thread)
        self.drop_link()

    def drop_link(self) -> None:
        """Close the link, if there is one; the session may get another one."""
        if hasattr(self, "link"):
            self.link.close()

    def lose_link(self) -> None:
        """Close a link that has ended, of which the session may go on."""
        self.losses += 1
        self._threads.lose(self.known_thread)
        self.lost_row_count = self.tracker.row_count
        self.lost_autocommit = bool(self.tracker.status & Status.AUTOCOMMIT)
        characteristics = self.memory.tracked.characteristics
        is_pending = characteristics.startswith(_PENDING) and not self.in_transaction
        self.lost_characteristics = characteristics if is_pending else ""
        self.has_link = False
        self.drop_link()

    async def begin_session(self, ok_payload: bytes) -> bytes:
        """Set up what is known about a session that has just begun with this OK packet; return it for the client.

        So far, nothing is in its memory.
        """
        ok = Ok.parse(ok_payload)
        if not self.identity.can_return:
            self.memory.hold(Hold(HoldKind.PASSTHROUGH))
        await self._begin_link(ok)
        tracked = self.memory.tracked
        shown = tracked.note(ok.state) if ok.state else b""
        tracked.has_changed = False
        if not tracked.schema:
            tracked.schema = self.identity.schema  # MySQL Router leaves it out of what the server says
        return Ok(ok.header, ok.affected_rows, ok.last_insert_id, ok.status, ok.warnings, ok.info, shown).build()

    async def _begin_link(self, ok: Ok) -> None:
        """Set up what belongs to a link on which the server has just said OK."""
        self.opened_at = trio.current_time()
        self.tracker = ReplyTracker(self.capabilities, self.memory)
        self.reader = CommandReader(
            self.tracker, self.memory, self.capabilities, UNKNOWN_LIMITS.packet, self._threads.current
        )
        introduction = Introduction(
            self.ask_as_ever, self.memory, self.greeting.version, self._shared.questions, self.log
        )
        try:
            limits = self.limits = await introduction.introduce()
        except MalformedPacket as error:
            raise self.broken(error) from error
        self.server = introduction.server
        self.tracker.status = ok.status
        self.tracker.row_count, self.tracker.left_warnings, self.tracker.may_have_warnings = 0, False, False
        own_limit = self._config.guard.max_allowed_packet
        self.reader.limit = limits.packet if own_limit is None else min(own_limit, limits.packet)
        self.clock = KeepaliveClock(self._config.keepalive, limits.wait_timeout)
        self.active_at = trio.current_time()

    async def watch(self) -> None:
        """Have the server report again what a client has told it not to. Raises LinkLost."""
        await watch_again(self.ask, self.memory)


def _bare(command: CommandCode) -> bytes:
    """Write a command that has nothing but its name."""
    return build_packet(bytes((command,)), 0)
