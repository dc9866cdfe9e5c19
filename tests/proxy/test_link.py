"""A link keeps what was received and what was not sent."""

import random
import socket
import ssl
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import structlog
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from config import ListenTls, TcpAddress, Tls
from config import Spool as SpoolSettings
from protocol.constants import Capability
from protocol.errors import OutOfSync
from protocol.framing import build_packet
from protocol.handshake import Greeting
from proxy.dialing import dial
from proxy.errors import LinkLost
from proxy.link import Link
from proxy.listener import open_listeners
from proxy.spool import Spool, SpoolSpace
from proxy.tls import ClientTls, UpstreamTls, make_certificate


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        yield ours, theirs


def drain(peer: socket.socket) -> bytes:
    received = b""
    while True:
        try:
            received += peer.recv(1 << 20)
        except BlockingIOError:
            return received


async def test_what_a_cancelled_send_has_left_goes_out_first(
    pair: tuple[socket.socket, socket.socket], autojump_clock: MockClock
) -> None:
    link, peer = Link(pair[0]), pair[1]
    first = bytes(range(256)) * 40_000  # more than the kernel takes
    with trio.move_on_after(1) as scope:
        await link.send(first)
    assert scope.cancelled_caught
    assert link.has_unsent
    received = drain(peer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.send, b"second")
        while len(received) < len(first) + len(b"second"):
            await trio.sleep(0.01)
            received += drain(peer)
    assert received == first + b"second"
    assert not link.has_unsent


async def test_a_cancelled_receive_loses_nothing(
    pair: tuple[socket.socket, socket.socket], autojump_clock: MockClock
) -> None:
    link, peer = Link(pair[0]), pair[1]
    with trio.move_on_after(1):
        await link.receive()
    assert link.inbox == b""
    peer.send(b"ab")
    assert await link.receive(1)
    assert await link.receive()
    assert link.inbox == b"ab"
    assert link.take(1) == b"a"
    assert link.inbox == b"b"


async def test_the_end_of_a_link(pair: tuple[socket.socket, socket.socket]) -> None:
    link, peer = Link(pair[0]), pair[1]
    peer.send(b"last words")
    peer.close()
    assert await link.receive()
    assert not await link.receive()
    with pytest.raises(LinkLost) as lost:
        await link.must_receive()
    assert lost.value.link is link
    with pytest.raises(LinkLost):
        await link.send(b"x")


async def test_bytes_from_before_the_handshake_do_not_pass_for_encrypted(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    link, peer = Link(pair[0]), pair[1]
    peer.send(b"\x03DROP DATABASE")
    await link.receive()
    with pytest.raises(OutOfSync):
        await ClientTls(ListenTls(), make_certificate()).accept(link)


@pytest.mark.parametrize("asks_first", [Link.receive, Link.receive_what_is_there])
async def test_a_peer_that_has_said_farewell_has_done_so_whoever_asks(asks_first: Callable[[Link], Any]) -> None:
    ours, theirs = socket.socketpair()
    with closing(Link(ours)) as link, closing(Link(theirs)) as peer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ClientTls(ListenTls(), make_certificate()).accept, link)
            await UpstreamTls(Tls(), TcpAddress("127.0.0.1", 3306)).connect(peer)
        await peer.send(b"SELECT 1")
        await link.must_receive()
        tls = peer.lend()
        assert isinstance(tls, ssl.SSLSocket)
        with pytest.raises(ssl.SSLWantReadError):  # it can still receive, and the socket itself has not ended
            tls.unwrap()
        with trio.fail_after(5):
            if (asked := asks_first(link)) is not None:
                assert not await asked
            assert not await link.receive()
        await link.send(b"answer")
        await peer.must_receive()
        assert (link.inbox, peer.inbox) == (b"SELECT 1", b"answer")


async def test_hang_up_lets_the_peer_read_what_was_sent_last(
    pair: tuple[socket.socket, socket.socket], autojump_clock: MockClock
) -> None:
    link, peer = Link(pair[0]), pair[1]
    peer.send(b"still talking")
    await link.send(b"goodbye")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.hang_up)
        await wait_all_tasks_blocked()
        assert peer.recv(100) == b"goodbye"
        assert peer.recv(100) == b""
        peer.send(b"and on")
        peer.close()
    link.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not have all of these options")
async def test_tcp_options_towards_clients_and_server() -> None:
    (listener,) = await open_listeners(TcpAddress("127.0.0.1", 0))
    place = TcpAddress(*listener.getsockname())
    greeting = Greeting(b"8.0", 1, b"x" * 20, Capability.PLUGIN_AUTH, 45, 2, b"mysql_native_password")
    links: list[Link] = []

    async def call() -> None:
        link, _ = await dial(place, 5)
        links.append(link)

    with listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await trio.lowlevel.wait_readable(listener)
            links.append(Link(listener.accept()[0]))
            await links[0].send(build_packet(greeting.build(), 0))
    for link in links:
        with closing(link):
            sock = link.lend()
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == (30_000 if link is links[1] else 0)
            assert not link.is_private


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what was acknowledged")
@pytest.mark.parametrize("is_encrypted", [True, False])
@pytest.mark.parametrize("is_reset", [True, False])
async def test_only_an_end_in_good_order_tells_what_has_arrived(*, is_encrypted: bool, is_reset: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Link(socket.create_connection(listener.getsockname()))
        theirs, _ = listener.accept()
    server = Link(theirs)
    if is_encrypted:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ClientTls(ListenTls(), make_certificate()).accept, server)
            await UpstreamTls(Tls(), TcpAddress("127.0.0.1", 3306)).connect(client)
    await client.send(b"INSERT")
    await server.must_receive()
    if is_reset:
        server._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()
    with pytest.raises(LinkLost):
        await client.must_receive()
    # A reset acknowledges nothing, so the command might have arrived or not.
    assert client.unacknowledged == (None if is_reset else 0)
    client.close()


SPOOL = SpoolSettings(memory=100_000, disk=300_000)


@contextmanager
def spooling(settings: SpoolSettings = SPOOL) -> Iterator[Spool]:
    space = SpoolSpace(settings)
    with closing(Spool(space, structlog.stdlib.get_logger())) as spool:
        yield spool
    assert space.in_memory == 0


async def test_what_is_posted_does_not_wait_for_the_peer(pair: tuple[socket.socket, socket.socket]) -> None:
    with spooling() as spool:
        link, peer = Link(pair[0], lambda: spool), pair[1]
        expected, received = bytes(range(256)) * 40_000, b""
        position = 0
        while len(spool) < 200_000:
            await link.post(expected[position : position + 10_000])
            position += 10_000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.send, b"behind all of it")
            await wait_all_tasks_blocked()
            assert link.has_unsent
            while link.has_unsent:
                received += drain(peer)
                await trio.lowlevel.checkpoint()
        received += drain(peer)
        assert received == expected[:position] + b"behind all of it"


async def test_there_is_no_more_room_after_a_post_was_cancelled(
    pair: tuple[socket.socket, socket.socket], autojump_clock: MockClock
) -> None:
    with spooling(SpoolSettings(memory=100_000, disk=0)) as spool:
        link, peer = Link(pair[0], lambda: spool), pair[1]
        await link.wait_room()
        with trio.move_on_after(1) as post:
            while True:
                await link.post(bytes(10_000))
        assert post.cancelled_caught
        with trio.move_on_after(1) as waiting:
            await link.wait_room()
        assert waiting.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.flush)
            drain(peer)
            await link.wait_room()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("is_encrypted", [True, False])
async def test_order_however_posts_and_sends_and_flushes_are_cancelled(*, is_encrypted: bool) -> None:
    randomly = random.Random(3)
    expected, received = randomly.randbytes(6_000_000), bytearray()
    with (
        spooling() as spool,
        socket.create_server(("127.0.0.1", 0)) as listener,
        closing(Link(socket.create_connection(listener.getsockname()))) as client,
        closing(Link(listener.accept()[0], lambda: spool)) as server,
    ):
        if is_encrypted:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ClientTls(ListenTls(), make_certificate()).accept, server)
                await UpstreamTls(Tls(), TcpAddress("127.0.0.1", 3306)).connect(client)

        async def write() -> None:
            rest = expected
            while rest:
                say = randomly.choice((server.post, server.post, server.post, server.send))
                count = randomly.randrange(1, 70_000)
                with trio.move_on_after(randomly.random() / 500):
                    # Cancelled, neither has lost anything, and the next one comes behind it.
                    await say(rest[:count])
                rest = rest[count:]
            while server.has_unsent:
                await server.flush()

        async def deliver() -> None:
            while True:
                with trio.move_on_after(randomly.random() / 500):
                    await server.wait_unsent()
                    await server.flush()
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            nursery.start_soon(deliver)
            while len(received) < len(expected):
                await client.must_receive(randomly.randrange(1, 200_000))
                received += client.take(len(client.inbox))
                if not randomly.randrange(3):
                    await trio.sleep(0.002)
            nursery.cancel_scope.cancel()
    assert bytes(received) == expected
