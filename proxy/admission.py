"""Letting a client in: it logs in to us, we log in to the server as it, and it learns what the server says."""

import trio
from structlog.stdlib import BoundLogger

from protocol.constants import Capability, ErrorCode
from protocol.errors import ProtocolError, Refusal, ServerError
from protocol.framing import first_packet
from protocol.handshake import ChangeUser, Greeting
from protocol.login import ClientLogin, Proof, greet_client, make_greeting, prove_password, prove_password_natively
from protocol.packets import Err
from protocol.session_track import is_mariadb
from proxy import answers
from proxy.dialogue import Conversation
from proxy.errors import LinkLost, LoginCutOff, LoginFailed, LoginFault, UpstreamUnavailable
from proxy.link import Link
from proxy.reaching import reach_server
from proxy.shared import Shared
from proxy.tls import ClientTls
from proxy.unused_link import leave
from proxy.upstream import Upstream

#: Against a server that greets everybody and lets nobody in.
_LOGIN_ATTEMPTS = 3


class Admission:
    """The door for one client, at which it logs in and may later change its user."""

    def __init__(self, client: Link, tls: ClientTls, upstream: Upstream, shared: Shared, log: BoundLogger) -> None:
        self.user = ""
        self._client = client
        self._tls = tls
        self._upstream = upstream
        self._shared = shared
        self._log = log
        self._capabilities = 0
        self._nonce = b""
        self._is_link_unused = False

    def __repr__(self) -> str:
        return f"<Admission of {self.user or 'nobody yet'}>"

    async def admit(self) -> None:
        """Carry the login through, up to the server's OK packet.

        Raises:
            LoginFailed: the client has been told why, or is gone.
        """
        timeout = self._shared.config.limits.login_timeout
        conversation = Conversation(self._client, 0, encrypt=self._tls.accept)
        try:
            try:
                server = await reach_server(self._client, self._upstream, self._shared)
                self._is_link_unused = True
                with trio.move_on_after(timeout):
                    return await self._log_in(conversation, server)
            except _REFUSALS as refusal:
                with trio.move_on_after(timeout):
                    await conversation.say(self._refusal_packet(refusal, greeted=conversation.sequence_id > 0))
                    await self._client.hang_up()
                raise LoginFailed(str(refusal), _fault(refusal)) from refusal
        except LinkLost as lost:
            raise LoginFailed(f"the client's link has ended: {lost}", LoginFault.GONE) from lost
        finally:
            if self._is_link_unused:
                await leave(self._upstream.link, self._upstream.greeting)
        raise LoginFailed(f"not finished within {timeout:g} s", LoginFault.SLOWNESS)

    async def change_user(self) -> None:
        """Carry out the COM_CHANGE_USER with which the client's inbox begins, up to the answer.

        Raises:
            LinkLost: the client's link ended.
            ProtocolError: the client broke the protocol.
            LoginFailed: the client has been told why the session cannot go on.
        """
        limit = self._upstream.reader.limit
        while (packet := first_packet(self._client.inbox, 0, limit)) is None:
            await self._client.must_receive()
        self._client.take(packet.length)
        request = ChangeUser.parse(packet.payload, self._capabilities)
        conversation = Conversation(self._client, packet.next_sequence_id)
        try:
            await self._change_user(request, conversation)
        except Refusal as refusal:
            await conversation.say(self._refusal_packet(refusal, greeted=True))
            await self._client.hang_up()
            raise LoginFailed(str(refusal), LoginFault.GUARD) from refusal
        except LinkLost as lost:
            if lost.link is self._client:
                raise
            answer = answers.parting(str(self._upstream.address), str(lost), "The user was not changed.")
            await conversation.say(answer.build())
            await self._client.hang_up()
            raise LoginFailed(f"the server's link: {lost}", LoginFault.UNREACHABLE) from lost

    async def _change_user(self, request: ChangeUser, conversation: Conversation) -> None:
        proof = await self._prove_changed_user(request, conversation)
        try:
            ok = await self._upstream.change_user(request, proof, conversation)
        except ServerError as error:
            self._note_refused(request.user, proof, error)
            await conversation.say(error.packet)
            if not is_mariadb(self._upstream.greeting.version):
                # Seen: MySQL ends the session, on MariaDB it goes on as the user that it had.
                await self._client.hang_up()
                raise LoginFailed(f"the server refuses the change of user: {error}", LoginFault.SERVER) from error
            return
        self._note_accepted(request.user, proof)
        await conversation.say(ok)

    async def _prove_changed_user(self, request: ChangeUser, conversation: Conversation) -> Proof | None:
        passwords = self._shared.passwords.for_dialogue
        if passwords.relays:
            return None
        if self._capabilities & Capability.PLUGIN_AUTH:
            return await conversation.run(
                prove_password(request.user, b"", None, passwords, private=self._client.is_private)
            )
        proof = prove_password_natively(request.user, request.auth_response, self._nonce, passwords)
        if proof is None:
            raise answers.no_plugins()
        return proof

    async def _log_in(self, conversation: Conversation, server: Greeting) -> None:
        upstream, passwords = self._upstream, self._shared.passwords.for_dialogue
        upstream.known_thread = self._shared.threads.admit(server.thread_id)
        greeting = make_greeting(server, thread_id=upstream.known_thread, relays=passwords.relays)
        self._nonce = greeting.nonce
        login = await conversation.run(
            greet_client(greeting, passwords, private=self._client.is_private, requires_tls=self._tls.is_required)
        )
        self._capabilities = login.request.capabilities & greeting.capabilities
        try:
            ok = await self._log_in_upstream(login, conversation, server)
        except ServerError as error:
            self._note_refused(login.request.user, login.proof, error)
            raise
        self._note_accepted(login.request.user, login.proof)
        if login.proof is None and not passwords.relays:
            reason = "the client does not support authentication plugins, so its lost links cannot be replaced"
            self._log.warning("password not learned", user=self.user, reason=reason)
        await conversation.say(ok)

    async def _log_in_upstream(self, login: ClientLogin, conversation: Conversation, server: Greeting) -> bytes:
        """Log in to the server, and again if it is lost meanwhile: nothing has been done that would be repeated.

        The client has been greeted as by ``server``, so it has to be the same kind of server.
        """
        upstream = self._upstream
        self._is_link_unused = False
        attempts_left = _LOGIN_ATTEMPTS
        while True:
            attempts_left -= 1
            try:
                return await upstream.log_in(login, conversation)
            except LoginCutOff:
                if login.proof is None or not attempts_left:
                    raise
                upstream.drop_link()
                greeting = await reach_server(self._client, upstream, self._shared)
                if (greeting.version, greeting.capabilities) != (server.version, server.capabilities):
                    raise
                self._shared.threads.move(upstream.known_thread, greeting.thread_id)

    def _note_accepted(self, user: bytes, proof: Proof | None) -> None:
        """Take note that the server has let ``user`` in. Raises Refusal if the client does not know the password."""
        self.user = user.decode(errors="replace")
        if proof is None:
            return
        if not proof.proven:
            raise answers.access_denied(self.user)
        self._shared.passwords.note_accepted(user, proof.password)

    def _note_refused(self, user: bytes, proof: Proof | None, error: ServerError) -> None:
        if proof is not None and error.code == ErrorCode.ACCESS_DENIED:
            self._shared.passwords.note_refused(user, proof.password)

    def _refusal_packet(self, refusal: Exception, *, greeted: bool) -> bytes:
        """Write what to tell a client that does not get in: the server's own words where there are any."""
        if isinstance(refusal, ServerError):
            return refusal.packet
        if isinstance(refusal, Refusal):
            answer = Err(refusal.code, refusal.sqlstate, refusal.message)
        elif isinstance(refusal, UpstreamUnavailable):
            answer = answers.unreachable(str(self._upstream.address), str(refusal))
        else:
            answer = answers.bad_handshake(str(refusal))
        # Before the greeting, neither side knows yet whether the other understands an SQLSTATE.
        return (answer if greeted else answer.without_sqlstate()).build()


_FAULTS: dict[type[Exception], LoginFault] = {
    ServerError: LoginFault.SERVER,
    Refusal: LoginFault.GUARD,
    UpstreamUnavailable: LoginFault.UNREACHABLE,
    ProtocolError: LoginFault.PROTOCOL,
}
_REFUSALS = tuple(_FAULTS)


def _fault(refusal: Exception) -> LoginFault:
    return next(fault for kind, fault in _FAULTS.items() if isinstance(refusal, kind))
