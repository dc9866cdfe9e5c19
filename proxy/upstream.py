"""The session's place for a link to the server: connect, log in, prepare, probe, discard."""

import socket
from dataclasses import dataclass

import trio
from structlog.stdlib import BoundLogger

from config import Config, UnixAddress
from protocol.command import CommandReader
from protocol.constants import ERR_BYTE, Capability, CommandCode
from protocol.errors import MalformedPacket, ProtocolError, ServerError
from protocol.framing import build_packet
from protocol.handshake import ChangeUser, Greeting
from protocol.login import ClientLogin, change_user, log_in, upstream_request
from protocol.packets import Err, Ok
from protocol.reply import ReplyTracker, Stage
from protocol.resultset import build_query, parse_results
from protocol.session_track import WATCH_STATEMENT, SessionTracker
from proxy.dialogue import Conversation
from proxy.errors import LinkLost, UpstreamUnavailable
from proxy.keepalive import KeepaliveClock, in_transaction, probe_command
from proxy.link import Link
from proxy.tls import UpstreamTls

#: While a statement runs, the kernel gives up on a server whose machine has acknowledged nothing for this long.
_UNACKNOWLEDGED_SECONDS = 30.0

_LIMITS_STATEMENT = "SELECT @@max_allowed_packet, @@net_buffer_length, @@wait_timeout"
#: FOUND_ROWS() of a new session is 0; the statement above makes it 1.
_FORGET_FOUND_ROWS_STATEMENT = "SELECT 1 FROM DUAL WHERE FALSE"

#: The replies to the guard's own statements are a few hundred bytes long.
_REPLY_BYTES = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What the server has set for a session: packets in bytes, time in seconds."""

    packet: int
    wait_timeout: float


#: For a session that may not even read its variables (an expired password): small enough for any sensible server.
_UNKNOWN_LIMITS = Limits(packet=1 << 20, wait_timeout=28800.0)


class Upstream:
    """One session's link to the server, and all that is known about the session at its other end."""

    link: Link
    greeting: Greeting
    capabilities: Capability
    tracker: ReplyTracker
    reader: CommandReader
    clock: KeepaliveClock

    def __init__(self, config: Config, tls: UpstreamTls, log: BoundLogger) -> None:
        self.address = config.upstream.address
        #: When the client last did something, in trio's time.
        self.active_at = trio.current_time()
        self._config = config
        self._tls = tls
        self._log = log
        self._session_tracker = SessionTracker(client_listens=False)

    def __repr__(self) -> str:
        return f"<Upstream {self.address}>"

    @property
    def at_rest(self) -> bool:
        """Nothing is owed by either side, and no packet is half-way."""
        return self.tracker.idle and not self.reader.inside_packet and not self.link.has_unsent

    @property
    def has_ended(self) -> bool:
        """The server has ended the link, or broken it: the next :meth:`take_replies` raises how, or the one after."""
        return self.tracker.farewell is not None or self.tracker.broken is not None

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
        timeout = self._config.upstream.connect_timeout
        try:
            with trio.fail_after(timeout):
                self.link = Link(await self._open_socket())
                payload = await Conversation(self.link, 0).hear()
        except trio.TooSlowError:
            raise UpstreamUnavailable(f"no answer within {timeout:g} s") from None
        except OSError as error:
            raise UpstreamUnavailable(_describe(error)) from error
        except (LinkLost, ProtocolError) as error:
            raise UpstreamUnavailable(f"{error} before the server's greeting") from error
        if payload[:1] == bytes((ERR_BYTE,)):
            refusal = Err.parse(payload)
            raise ServerError(refusal.code, refusal.message, payload)
        try:
            self.greeting = Greeting.parse(payload)
        except MalformedPacket as error:
            raise UpstreamUnavailable(f"{error}: is this a MySQL server?") from error
        self.link.give_up_after(_UNACKNOWLEDGED_SECONDS)
        return self.greeting

    async def log_in(self, login: ClientLogin) -> bytes:
        """Log in as the client has; return the payload of the server's OK packet, as the client should see it.

        Raises:
            ServerError: the server said no.
            UpstreamUnavailable: the server cannot be talked to.
            Refusal: the guard cannot log in to this account.
        """
        request = upstream_request(login.request, self.greeting)
        self.capabilities = request.capabilities & self.greeting.capabilities
        conversation = Conversation(self.link, 1, encrypt=self._tls.connect)
        dialogue = log_in(
            request,
            login.proof.password,
            self.greeting,
            tls=self._tls.is_wanted(self.greeting),
            private=self.link.is_private,
        )
        try:
            payload = await conversation.run(dialogue)
            self._session_tracker = SessionTracker(
                client_listens=bool(login.request.capabilities & Capability.SESSION_TRACK)
            )
            return await self.begin_session(payload)
        except (LinkLost, ProtocolError) as error:
            raise UpstreamUnavailable(f"{error} during the login") from error

    async def change_user(self, request: ChangeUser, password: bytes) -> bytes:
        """Log in anew on the open link; return the payload of the server's OK packet, as the client should see it.

        Raises:
            ServerError: the server said no; the session goes on as the user it had.
            Refusal: the guard cannot log in to this account.
            LinkLost: the link cannot be used any more.
        """
        dialogue = change_user(request, self.capabilities, password, private=self.link.is_private)
        try:
            payload = await Conversation(self.link, 0).run(dialogue)
        except ProtocolError as error:
            raise LinkLost(self.link, f"it broke the protocol: {error}") from error
        return await self.begin_session(payload)

    async def reset_connection(self) -> bytes:
        """Carry out COM_RESET_CONNECTION; return the reply's payload, OK or ERR, as the client should see it.

        Raises:
            LinkLost: the link cannot be used any more.
        """
        reply = await self.exchange((CommandCode.RESET_CONNECTION, _bare(CommandCode.RESET_CONNECTION)))
        payload = reply[4:]
        return payload if payload[0] == ERR_BYTE else await self.begin_session(payload)

    async def reset_statement(self, statement_id: int) -> None:
        """Have the server forget a statement's long data. Raises LinkLost."""
        payload = bytes((CommandCode.STMT_RESET,)) + statement_id.to_bytes(4, "little")
        await self.exchange((CommandCode.STMT_RESET, build_packet(payload, 0)))

    async def probe(self) -> None:
        """See whether the server still answers.

        Raises:
            LinkLost: it does not, or not in time.
        """
        command = probe_command(self.tracker)
        row_count_is_zero = self.tracker.row_count_is_zero
        timeout = self._config.keepalive.probe_timeout
        self._log.debug("probe", command=command.name)
        with trio.move_on_after(timeout) as scope:
            await self.exchange((command, _bare(command)))
        if scope.cancelled_caught:
            raise LinkLost(self.link, f"no answer to a probe within {timeout:g} s")
        self.tracker.row_count_is_zero = row_count_is_zero

    async def exchange(self, *commands: tuple[CommandCode, bytes]) -> bytes:
        """Send commands of the guard's own, each with its packet, and return all that the server answers.

        Raises:
            LinkLost: the link cannot be used any more.
        """
        for code, _ in commands:
            self.reader.expect_reply(code)
        try:
            await self.link.send(b"".join(packet for _, packet in commands))
            return await self._all_replies()
        finally:
            self.tracker.abandon()  # Where something is still owed, it is not the client who waits for it.

    async def _all_replies(self) -> bytes:
        replies = b""
        while True:
            replies += self.take_replies()
            if self.tracker.idle:
                return replies
            if self.tracker.stage is Stage.LOCAL_INFILE or len(replies) > _REPLY_BYTES:
                raise LinkLost(self.link, "it broke the protocol: its answer has nothing to do with the question")
            if not self.has_ended:
                await self.link.must_receive()

    def take_replies(self) -> bytes:
        """Take what has come for the client out of the link's inbox.

        Raises:
            LinkLost: the server does not speak the protocol, or it has said goodbye.
        """
        try:
            shown, consumed = self.tracker.take(self.link.inbox)
        except ProtocolError as error:
            raise LinkLost(self.link, f"it broke the protocol: {error}") from error
        self.link.take(consumed)
        if not shown and self.tracker.farewell is not None:
            raise LinkLost(self.link, f"it said goodbye: {self.tracker.farewell.message}")
        return shown

    def next_probe(self) -> float:
        """Tell when the link is due for a probe, in trio's time."""
        if self.reader.wait_timeout_set or "wait_timeout" in self._session_tracker.variables:
            return float("inf")  # The client has said itself how long it wants to live.
        return self.clock.next_probe(self.link.heard_at, self.active_at, in_transaction=self.in_transaction)

    def must_validate(self, now: float) -> bool:
        """Tell whether the link must answer a probe before a command is trusted to it."""
        return self.clock.must_validate(self.link.heard_at, now) and self.at_rest

    async def quit(self) -> None:
        """End the session as a client does, so that the server does not count it as aborted, and close the link.

        In the middle of a packet the goodbye is left out: its bytes would pass for those that are missing there, and a
        statement that its client has never finished would be carried out.
        """
        if self.at_rest:
            with trio.move_on_after(1):
                try:
                    await self.link.send(_bare(CommandCode.QUIT))
                except LinkLost as lost:
                    self._log.debug("upstream was gone at quit", reason=str(lost))
        self.close()

    def close(self) -> None:
        """Close the link, if there is one."""
        if hasattr(self, "link"):
            self.link.close()

    async def _open_socket(self) -> socket.socket:
        if isinstance(self.address, UnixAddress):
            stream = await trio.open_unix_socket(self.address.path)
        else:
            # The name is resolved anew each time: behind it may be another machine by now.
            stream = await trio.open_tcp_stream(self.address.host, self.address.port)
        return socket.socket(fileno=stream.socket.detach())

    async def begin_session(self, ok_payload: bytes) -> bytes:
        """Set up what is known about a session that has just begun with this OK packet."""
        ok = Ok.parse(ok_payload)
        self._session_tracker.reset()
        shown = self._session_tracker.note(ok.state) if ok.state else b""
        self.tracker = ReplyTracker(self.capabilities, self._session_tracker)
        self.reader = CommandReader(self.tracker, _UNKNOWN_LIMITS.packet)
        limits = await self._prepare()
        self.tracker.status = ok.status
        own_limit = self._config.guard.max_allowed_packet
        self.reader.limit = limits.packet if own_limit is None else min(own_limit, limits.packet)
        self.clock = KeepaliveClock(self._config.keepalive, limits.wait_timeout)
        return Ok(ok.header, ok.affected_rows, ok.last_insert_id, ok.status, ok.warnings, ok.info, shown).build()

    async def _prepare(self) -> Limits:
        """Ask for the session's limits and for reports of what changes, in one round trip.

        The last statement is a SET, which leaves ROW_COUNT() as a login does.
        """
        statements = (_LIMITS_STATEMENT, _FORGET_FOUND_ROWS_STATEMENT, WATCH_STATEMENT)
        replies = await self.exchange(
            *((CommandCode.QUERY, build_query(statement, self.capabilities)) for statement in statements)
        )
        self._session_tracker.reset()
        answer, *others = parse_results(replies, self.capabilities)
        for other in others:
            if isinstance(other, ServerError):
                self._log.debug("server does not report session state", error=str(other))
        if isinstance(answer, ServerError):
            self._log.warning("limits unknown", error=str(answer), assumed_bytes=_UNKNOWN_LIMITS.packet)
            return _UNKNOWN_LIMITS
        try:
            ((largest, buffer, wait_timeout),) = ((int(value or b"") for value in row) for row in answer)
        except ValueError as error:
            raise MalformedPacket("the server does not give its limits as numbers") from error
        return Limits(max(largest, buffer), wait_timeout)


def _bare(command: CommandCode) -> bytes:
    """Write a command that has nothing but its name."""
    return build_packet(bytes((command,)), 0)


def _describe(error: OSError) -> str:
    """Say in words why there is no connection; trio wraps the reasons of several attempts."""
    if isinstance(error.__cause__, BaseExceptionGroup):
        return "; ".join(
            sorted({_describe(cause) for cause in error.__cause__.exceptions if isinstance(cause, OSError)})
        )
    return (error.strerror or str(error)).lower()
