from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MalformedPacket, OutOfSync, ProtocolError
from protocol.framing import Packet, Renumbering, build_packet, first_packet
from tests.protocol.transcripts import frame, frames, small_frames

MANY = 1 << 30
FULL = b"x" * 0xFFFFFF


def test_a_small_packet_is_one_frame() -> None:
    assert build_packet(b"\x03SELECT 1", 7) == b"\x09\x00\x00\x07\x03SELECT 1"
    assert build_packet(b"", 255) == b"\x00\x00\x00\xff"


@pytest.mark.parametrize(
    ("payload", "lengths"),
    [
        (FULL[1:], [b"\xfe\xff\xff"]),
        (FULL, [b"\xff\xff\xff", b"\x00\x00\x00"]),
        (FULL + b"yz", [b"\xff\xff\xff", b"\x02\x00\x00"]),
        (FULL * 2, [b"\xff\xff\xff", b"\xff\xff\xff", b"\x00\x00\x00"]),
    ],
)
def test_a_large_packet_ends_with_a_frame_that_is_not_full(payload: bytes, lengths: list[bytes]) -> None:
    packet = build_packet(payload, 254)
    step = 0xFFFFFF + 4
    # The sequence ids wrap within the packet.
    headers = [length + bytes(((254 + index) & 0xFF,)) for index, length in enumerate(lengths)]
    assert [packet[index * step : index * step + 4] for index in range(len(lengths))] == headers
    assert first_packet(packet + b"next", 254, len(payload)) == Packet(
        payload, (254 + len(lengths)) & 0xFF, len(payload) + 4 * len(lengths)
    )


@pytest.mark.parametrize("size", [253, 254, 255, 256, 508, 509, 510, 511, 765])
def test_an_empty_frame_ends_multiples_of_the_maximum_and_nothing_else(size: int) -> None:
    with small_frames():
        packet = build_packet(b"x" * size, 0)
        full, rest = divmod(size, 255)
        assert packet == frames(*[b"x" * 255] * full, b"x" * rest, start=0)


def test_first_packet_waits_for_all_of_it() -> None:
    data = frame(b"abc", 0)
    for length in range(len(data)):
        assert first_packet(data[:length], 0, MANY) is None
    assert first_packet(data, 0, MANY) == Packet(b"abc", 1, 7)


def test_first_packet_can_begin_anywhere() -> None:
    data = frames(b"abc", b"", b"de", start=0)
    assert first_packet(data, 1, MANY, 7) == Packet(b"", 2, 4)
    assert first_packet(data, 2, MANY, 11) == Packet(b"de", 3, 6)
    assert first_packet(data, 3, MANY, 17) is None


def test_first_packet_refuses_another_sequence_id() -> None:
    with pytest.raises(OutOfSync, match="1 where 0"):
        first_packet(frame(b"abc", 1), 0, MANY)
    with small_frames(), pytest.raises(OutOfSync, match="5 where 4"):
        first_packet(frame(b"x" * 255, 3) + frame(b"y", 5), 3, MANY)


def test_the_limit_is_judged_by_headers() -> None:
    assert first_packet(frame(b"x" * 100, 0), 0, 100) is not None
    with pytest.raises(MalformedPacket, match="101 bytes came where at most 100"):
        first_packet(b"\x65\x00\x00\x00", 0, 100)  # nothing of the payload has arrived
    with small_frames():
        assert first_packet(frame(b"x" * 255, 0) + b"\x05\x00\x00\x01", 0, 260) is None
        with pytest.raises(MalformedPacket, match="261 bytes came where at most 260"):
            first_packet(frame(b"x" * 255, 0) + b"\x06\x00\x00\x01", 0, 260)


@given(st.binary(max_size=800), st.integers(0, 255), st.integers(0, 8), st.binary(max_size=5))
def test_packets_round_trip(payload: bytes, sequence_id: int, before: int, behind: bytes) -> None:
    with small_frames():
        packet = build_packet(payload, sequence_id)
        count = len(payload) // 255 + 1
        assert len(packet) == len(payload) + 4 * count
        assert first_packet(bytes(before) + packet + behind, sequence_id, len(payload), before) == Packet(
            payload, (sequence_id + count) & 0xFF, len(packet)
        )


@given(st.binary(max_size=40), st.integers(0, 255), st.integers(0, 40))
def test_any_bytes_are_a_packet_or_the_beginning_of_one_or_wrong(data: bytes, sequence_id: int, limit: int) -> None:
    try:
        packet = first_packet(data, sequence_id, limit)
    except ProtocolError:
        return
    if packet is not None:
        assert len(packet.payload) <= limit
        assert packet.length <= len(data)


def hear_all(stream: bytes, sizes: list[int], sequence_id: int) -> tuple[list[bytes], str]:
    """Read packets from a stream that comes in chunks of these sizes, as a login does."""
    payloads = []
    inbox = b""
    chunks = cycle(sizes)
    try:
        while stream:
            size = next(chunks)
            inbox, stream = inbox + stream[:size], stream[size:]
            while (packet := first_packet(inbox, sequence_id, 600)) is not None:
                payloads.append(packet.payload)
                inbox, sequence_id = inbox[packet.length :], packet.next_sequence_id
    except ProtocolError as error:
        return payloads, str(error)
    return payloads, f"{len(inbox)} bytes left"


@given(
    st.lists(st.binary(max_size=700), max_size=4),
    st.lists(st.tuples(st.integers(0, 900), st.integers(0, 2), st.binary(max_size=2)), max_size=2),
    st.lists(st.integers(1, 300), min_size=1, max_size=4),
)
def test_packets_are_the_same_however_the_stream_is_cut(
    payloads: list[bytes], mutations: list[tuple[int, int, bytes]], sizes: list[int]
) -> None:
    with small_frames():
        stream = b""
        sequence_id = 250
        for payload in payloads:
            stream += build_packet(payload, sequence_id)
            sequence_id = (sequence_id + len(payload) // 255 + 1) & 0xFF
        if not mutations and max(map(len, payloads), default=0) <= 600:
            assert hear_all(stream, [len(stream) or 1], 250) == (payloads, "0 bytes left")
        for position, removed, inserted in mutations:
            stream = stream[:position] + inserted + stream[position + removed :]
        whole = hear_all(stream, [len(stream) or 1], 250)
        assert hear_all(stream, sizes, 250) == whole
        assert hear_all(stream, [1], 250) == whole


@given(st.lists(st.binary(max_size=300), max_size=6), st.integers(0, 255), st.data())
def test_renumbering_does_not_depend_on_how_the_stream_is_cut(
    payloads: list[bytes], shift: int, data: st.DataObject
) -> None:
    stream = frames(*payloads, start=250)
    renumbered = frames(*payloads, start=250 + shift)
    # Anywhere but inside a header, as the tracker cuts.
    cuts = [position for position in range(len(stream) + 1) if not _is_inside_header(payloads, position)]
    chosen = sorted(data.draw(st.lists(st.sampled_from(cuts), max_size=6)))
    renumbering = Renumbering(shift)
    pieces = [
        renumbering.apply(stream[start:stop]) for start, stop in zip([0, *chosen], [*chosen, len(stream)], strict=True)
    ]
    assert b"".join(pieces) == renumbered


def _is_inside_header(payloads: list[bytes], position: int) -> bool:
    start = 0
    for payload in payloads:
        if start < position < start + 4:
            return True
        start += 4 + len(payload)
    return False


def test_renumbering_wraps_in_both_directions() -> None:
    assert Renumbering(3).apply(frames(b"a", b"b", start=254)) == frames(b"a", b"b", start=1)
    assert Renumbering(-3).apply(frames(b"a", b"b", start=1)) == frames(b"a", b"b", start=254)
