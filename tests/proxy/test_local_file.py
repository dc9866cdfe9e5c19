"""A local file on its way to the server: nothing is lost, and no pause is longer than the server bears."""

from types import SimpleNamespace
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from protocol.errors import OutOfSync
from protocol.framing import build_packet
from proxy.errors import LinkEnd, LinkLost
from proxy.local_file import hand_on_local_file
from proxy.traffic import Traffic
from tests.protocol.transcripts import LOCAL_INFILE, OK, QUERY, Wire, frames

PATIENCE = 2.0


class Client:
    """The client's link: each piece of what it sends comes after a pause; what it is sent is kept."""

    def __init__(self, sent: list[tuple[float, bytes]]) -> None:
        self.inbox = b""
        self.shown = b""
        self._sent = sent

    async def must_receive(self, at_most: int = 0) -> None:
        del at_most
        if not self._sent:
            raise LinkLost(self, "closed by the peer", LinkEnd.CLOSED)
        pause, data = self._sent[0]
        begun = trio.current_time()
        try:
            await trio.sleep(pause)
        finally:  # who is cancelled goes on waiting with the next call
            self._sent[0] = (max(0.0, pause - (trio.current_time() - begun)), data)
        self.inbox += data
        del self._sent[0]

    def take(self, count: int) -> bytes:
        taken, self.inbox = self.inbox[:count], self.inbox[count:]
        return taken

    async def send(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.shown += data


class Server:
    """The server's link: it takes a file, and loses its patience; then it says OK."""

    def __init__(self, wire: Wire) -> None:
        self.inbox = b""
        self.file = b""
        self.pieces = 0
        self.longest_wait = 0.0
        self.peer_has_closed = False
        self._wire = wire
        self._heard_at = trio.current_time()

    async def send(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        self.longest_wait = max(self.longest_wait, now - self._heard_at)
        self._heard_at = now
        assert data[3] == (self.pieces + 2) & 0xFF
        self.pieces += 1
        self.file += data[4:]
        if not data[4:]:
            self.inbox += build_packet(OK, (self.pieces + 2) & 0xFF)

    async def must_receive(self) -> None:
        raise AssertionError("there is nothing to wait for")


async def load(sent: list[tuple[float, bytes]], *, limit: int = 1 << 24) -> tuple[Client, Server]:
    """Have a client send what it sends after the server's request."""
    wire = Wire(limit=limit)
    wire.client_asks(QUERY)
    wire.server_says(frames(LOCAL_INFILE))
    client, server = Client(sent), Server(wire)

    def take_replies() -> bytes:
        shown, count = wire.tracker.take(server.inbox)
        server.inbox = server.inbox[count:]
        return shown

    upstream: Any = SimpleNamespace(
        traffic=Traffic(),
        tracker=wire.tracker,
        reader=wire.reader,
        link=server,
        net_read_timeout=PATIENCE,
        take_replies=take_replies,
    )
    near: Any = client
    await hand_on_local_file(near, upstream)
    return client, server


def packets(*pieces: bytes, start: int = 2) -> list[bytes]:
    """Write a file as a client sends it, a packet for each piece, and its end."""
    return [build_packet(piece, index & 0xFF) for index, piece in enumerate([*pieces, b""], start)]


async def test_a_file_arrives_as_it_was(autojump_clock: MockClock) -> None:
    pieces = [bytes((number,)) * size for number, size in enumerate((1, 70_000, 16_384, 200_000, 3))]
    client, server = await load([(0, b"".join(packets(*pieces)))])
    assert server.file == b"".join(pieces)
    assert client.shown == build_packet(OK, 2 + len(pieces) + 1)
    assert client.inbox == b""


async def test_pieces_that_are_too_large_are_cut(autojump_clock: MockClock) -> None:
    client, server = await load([(0, b"".join(packets(b"x" * 5000)))], limit=1024)
    assert server.file == b"x" * 5000
    assert server.pieces == 6
    assert client.shown == build_packet(OK, 4)


async def test_a_refused_file_is_empty(autojump_clock: MockClock) -> None:
    client, server = await load([(0, b"".join(packets()))])
    assert (server.file, server.pieces) == (b"", 1)
    assert client.shown == build_packet(OK, 3)


async def test_pauses_are_bridged(autojump_clock: MockClock) -> None:
    first, second, end = packets(b"1\n" * 50, b"2\n")
    _, server = await load([(1.5, first), (20, second[:3]), (10, second[3:]), (10, end)])
    assert server.file == b"1\n" * 50 + b"2\n"
    assert server.longest_wait < PATIENCE
    # A client that sends a little at a time is no better than one that pauses.
    drops = [(0.1, bytes((byte,))) for byte in b"".join(packets(b"1\n" * 500))]
    _, server = await load(drops)
    assert server.file == b"1\n" * 500
    assert server.longest_wait < PATIENCE


async def test_a_fast_client_is_not_held_up(autojump_clock: MockClock) -> None:
    whole = b"".join(packets(*[b"x" * 60_000] * 50))
    _, server = await load([(0, whole[start : start + 65536]) for start in range(0, len(whole), 65536)])
    assert server.file == b"x" * 3_000_000
    assert server.pieces < 60
    assert server.longest_wait == 0


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5), st.lists(st.integers(1, 400), min_size=1), st.data())
def test_however_it_comes(pieces: list[bytes], sizes: list[int], data: st.DataObject) -> None:
    whole = b"".join(packets(*pieces))
    sent = []
    while whole:
        size = data.draw(st.sampled_from(sizes))
        sent.append((data.draw(st.sampled_from([0.0, 0.3, 1.1, 7.0])), whole[:size]))
        whole = whole[size:]

    async def run() -> None:
        client, server = await load(sent, limit=data.draw(st.sampled_from([64, 1 << 24])))
        assert server.file == b"".join(pieces)
        assert client.shown == build_packet(OK, (len(pieces) + 3) & 0xFF)

    trio.run(run, clock=MockClock(autojump_threshold=0))


async def test_a_wrong_sequence_id(autojump_clock: MockClock) -> None:
    with pytest.raises(OutOfSync, match="sequence id 7 where 3 was expected"):
        await load([(0, build_packet(b"1\n", 2) + build_packet(b"2\n", 7))])


async def test_a_client_that_goes_in_the_middle_has_sent_no_file(autojump_clock: MockClock) -> None:
    with pytest.raises(LinkLost) as lost:
        await load([(0, build_packet(b"1\n", 2))])
    assert isinstance(lost.value.link, Client)
