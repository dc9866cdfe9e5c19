"""A link keeps what was received and what was not sent."""

import socket
import struct
import sys
from collections.abc import Iterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from config import ListenTls, TcpAddress, Tls
from protocol.errors import OutOfSync
from proxy.errors import LinkLost
from proxy.link import Link
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
async def test_tcp_options() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as sock:
        link = Link(sock)
        link.give_up_after(30)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
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
