"""Who a session is at the server, and how it is logged in there: at first, on a new link, and as another user."""

from protocol.constants import Capability, ErrorCode
from protocol.errors import ServerError
from protocol.handshake import ChangeUser, Greeting, LoginRequest
from protocol.login import ClientLogin, Proof
from protocol.passthrough import PassedLogin
from protocol.server_login import change_user, changed_login, hand_on, log_in, upstream_capabilities, upstream_request
from proxy.dialogue import Conversation
from proxy.errors import SessionOver
from proxy.link import Link
from proxy.passthrough import pass_on
from proxy.passwords import PasswordBook
from proxy.shared import Shared
from proxy.tls import UpstreamTls


class Identity:
    """What a session has said at its login, and what it can be logged in with again.

    Where the login was between the client and the server, the latter is nothing.
    """

    def __init__(self, login: ClientLogin, shared: Shared) -> None:
        self._request = login.request
        self._proof = login.proof
        self._shared = shared

    def __repr__(self) -> str:
        return f"<Identity of {self.user}>"

    @property
    def user(self) -> str:
        """The name of the user, for people."""
        return self._request.user.decode(errors="replace")

    @property
    def _tls(self) -> UpstreamTls:
        return self._shared.upstream_tls

    @property
    def _book(self) -> PasswordBook:
        return self._shared.passwords

    @property
    def can_return(self) -> bool:
        """The guard has a password to log in with again."""
        return self._proof is not None

    @property
    def schema(self) -> bytes:
        """The schema that was asked for at the login; empty if there was none."""
        return self._request.schema or b""

    def capabilities(self, greeting: Greeting) -> int:
        """Tell what the client and a server with this greeting agree on."""
        return upstream_capabilities(self._request, greeting) & greeting.capabilities

    async def log_in(self, link: Link, greeting: Greeting, client: Conversation) -> bytes:
        """Log in for the first time; return the payload of the server's OK packet.

        Where the login is between the two of them, it is carried on with the client: then the link is encrypted only if
        the client's is, unless the configuration demands it. See :class:`PassedLogin`.

        Raises:
            ServerError: the server said no.
            UpstreamUnavailable: the server does not offer the encryption that it should.
            Refusal: the guard cannot log in to this account.
            LinkLost: one of the links ended.
            ProtocolError: the server does not speak the protocol.
        """
        request = upstream_request(self._request, greeting)
        if self._proof is not None:
            return await self._log_in(link, greeting, request, self._proof.password)
        tls = self._tls.is_wanted(greeting) and (client.is_private or self._tls.is_demanded)
        login = PassedLogin(
            knows_plugins=request.plugin is not None,
            client_private=client.is_private,
            server_private=tls or link.is_private,
        )
        login.check_request(request)
        server = Conversation(link, 1, encrypt=self._tls.connect, reads_ahead=True)
        await server.run(hand_on(request, tls=tls))
        return await pass_on(client, server, login)

    def passwords(self) -> list[bytes]:
        """List the passwords to log in with again, best first.

        Raises:
            SessionOver: there are none.
        """
        known = [] if self._proof is None else self._book.to_try(self._request.user, self._proof.password)
        if not known:
            raise SessionOver("the server does not accept its password any more")
        return known

    async def log_in_again(self, link: Link, greeting: Greeting, password: bytes) -> bytes:
        """Log in on a new link, without a schema; return the payload of the server's OK packet.

        That one may take a role, and comes with the rest of what is restored. Raises what :meth:`log_in` raises.
        """
        request = upstream_request(self._request, greeting)
        capabilities = request.capabilities & ~Capability.CONNECT_WITH_DB
        request = request._replace(capabilities=capabilities, schema=None)
        try:
            ok = await self._log_in(link, greeting, request, password)
        except ServerError as error:
            if error.code == ErrorCode.ACCESS_DENIED:
                self._book.note_refused(request.user, password)
            raise
        self._proof = Proof(password, proven=True)
        return ok

    async def change_user(
        self, link: Link, capabilities: int, change: ChangeUser, proof: Proof | None, client: Conversation
    ) -> bytes:
        """Log in anew on the open link; return the payload of the server's OK packet.

        Without a proof, it is between the client and the server. Raises what :meth:`log_in` raises.
        """
        server = Conversation(link, 0, reads_ahead=True)
        if proof is None:
            await server.say(change.build(capabilities))
            login = PassedLogin(
                knows_plugins=change.plugin is not None,
                client_private=client.is_private,
                server_private=link.is_private,
            )
            ok = await pass_on(client, server, login)
        else:
            ok = await server.run(change_user(change, capabilities, proof.password, private=link.is_private))
        self._request, self._proof = changed_login(self._request, change), proof
        return ok

    async def _log_in(self, link: Link, greeting: Greeting, request: LoginRequest, password: bytes) -> bytes:
        dialogue = log_in(request, password, greeting, tls=self._tls.is_wanted(greeting), private=link.is_private)
        return await Conversation(link, 1, encrypt=self._tls.connect, reads_ahead=True).run(dialogue)
