"""A relay between two socket pairs, with a server of our own at the far end, in virtual time."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing

import structlog
import trio

from config import Config
from protocol.constants import Capability
from protocol.framing import build_packet
from protocol.handshake import Greeting, LoginRequest
from protocol.login import ClientLogin, Proof
from protocol.memory import SessionMemory
from protocol.packets import Ok
from proxy.identity import Identity
from proxy.link import Link
from proxy.passwords import PasswordBook
from proxy.reconnect import Reconnector
from proxy.relay import Relay, TrioRelay
from proxy.relays import MakeRelay
from proxy.shared import Shared
from proxy.spool import Spool, SpoolSpace
from proxy.tls import UpstreamTls
from proxy.upstream import Upstream
from tests.servers.scripted import COLUMN, EOF, answer_own_question, packets

__all__ = ["COLUMN", "EOF", "Rig", "ok", "packets", "rigged"]

CAPABILITIES = Capability.LONG_PASSWORD | Capability.PROTOCOL_41 | Capability.SESSION_TRACK


def ok(status: int = 2) -> bytes:
    """Write a reply of one OK packet with these status flags."""
    return packets(Ok(0, 0, 0, status, 0, b"", b"").build())


Answer = Callable[[bytes], bytes]


class FarServer:
    """Answers each command with what ``answer`` makes of its payload; ``heard`` are all commands.

    ``has_heard_end``: the guard has ended its side of the link.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.heard: list[bytes] = []
        self.has_heard_end = False
        self.answer: Answer = lambda _: ok()
        self.sock = trio.socket.from_stdlib_socket(sock)

    async def run(self) -> None:
        data = b""
        while True:
            while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:3], "little"):
                received = await self.sock.recv(65536)
                if not received:
                    self.has_heard_end = True
                    return
                data += received
            end = 4 + int.from_bytes(data[:3], "little")
            command, data = data[4:end], data[end:]
            await self.respond(command)

    async def respond(self, command: bytes) -> None:
        reply = answer_own_question(command)
        if reply is None:
            self.heard.append(command)
            reply = packets(b"Uptime: 1") if command == b"\x09" else self.answer(command)
        await self.send(reply)

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        while data:
            data = data[await self.sock.send(data) :]


class Rig:
    """The client's end (``client``), the relay, and the server behind it."""

    def __init__(
        self, client: socket.socket, relay: Relay, upstream: Upstream, server: FarServer, space: SpoolSpace
    ) -> None:
        self.client = trio.socket.from_stdlib_socket(client)
        self.relay = relay
        self.upstream = upstream
        self.server = server
        self.spool_space = space

    async def ask(self, payload: bytes, count: int = 11) -> bytes:
        """Send a command as the client and receive ``count`` bytes (an OK packet has 11)."""
        await self.client.send(build_packet(payload, 0))
        received = b""
        while len(received) < count:
            received += await self.client.recv(count - len(received))
        return received


@asynccontextmanager
async def rigged(*, make_relay: MakeRelay = TrioRelay, **sections: dict[str, str]) -> AsyncIterator[Rig]:
    """Set a rig up, with a session that has just logged in."""
    config = Config.model_validate({"upstream": {"address": "127.0.0.1:3306"}, **sections})
    near, client = socket.socketpair()
    link, far = socket.socketpair()
    with near, client, link, far:
        for sock in (client, far):
            sock.setblocking(False)
        log = structlog.stdlib.get_logger()
        shared = Shared(
            config,
            PasswordBook(config.auth),
            UpstreamTls(config.upstream.tls, config.upstream.address),
            Reconnector(1, 1),
            SpoolSpace(config.spool),
        )
        upstream = Upstream(shared, log)
        request = LoginRequest(CAPABILITIES, 1 << 24, 45, bytes(19), b"app", b"", None, b"", None)
        upstream.identity = Identity(ClientLogin(request, Proof(b"", proven=True)), shared)
        upstream.link = Link(link)
        upstream.capabilities = CAPABILITIES
        upstream.memory = SessionMemory(client_listens=True, multi_statements=False, keeps_definitions=False)
        upstream.greeting = Greeting(b"8.0", 1, bytes(20), CAPABILITIES, 45, 2, b"mysql_native_password")
        server = FarServer(far)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.run)
            await upstream.begin_session(Ok(0, 0, 0, 2, 0, b"", b"").build())
            with closing(Spool(shared.spool_space, log)) as spool:
                relay = make_relay(Link(near, lambda: spool), upstream)
                yield Rig(client, relay, upstream, server, shared.spool_space)
            nursery.cancel_scope.cancel()
