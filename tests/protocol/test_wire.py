from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MalformedPacket
from protocol.wire import Cursor, lenenc_bytes, lenenc_integer

Read = Callable[[Cursor], object]

READS: dict[str, Read] = {
    "take 3": lambda cursor: cursor.take(3),
    "integer 1": lambda cursor: cursor.integer(1),
    "integer 4": lambda cursor: cursor.integer(4),
    "lenenc_integer": Cursor.lenenc_integer,
    "lenenc_bytes": Cursor.lenenc_bytes,
    "nul_bytes": Cursor.nul_bytes,
    "take_rest": Cursor.take_rest,
}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, b"\x00"),
        (250, b"\xfa"),
        (251, b"\xfc\xfb\x00"),
        (0xFFFF, b"\xfc\xff\xff"),
        (0x10000, b"\xfd\x00\x00\x01"),
        (0xFFFFFF, b"\xfd\xff\xff\xff"),
        (0x1000000, b"\xfe\x00\x00\x00\x01\x00\x00\x00\x00"),
        (2**64 - 1, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff"),
    ],
)
def test_lenenc_integer_takes_the_shortest_form(value: int, written: bytes) -> None:
    assert lenenc_integer(value) == written
    cursor = Cursor(written + b"next")
    assert cursor.lenenc_integer() == value
    assert cursor.take_rest() == b"next"


@given(st.integers(0, 2**64 - 1))
def test_lenenc_integer_round_trip(value: int) -> None:
    cursor = Cursor(lenenc_integer(value))
    assert cursor.lenenc_integer() == value
    assert not cursor.remaining


@given(st.binary(max_size=300))
def test_lenenc_bytes_round_trip(value: bytes) -> None:
    cursor = Cursor(lenenc_bytes(value))
    assert cursor.lenenc_bytes() == value
    assert not cursor.remaining


def test_integers_are_little_endian() -> None:
    cursor = Cursor(b"\x01\x02\x03\x04\x05\x06\x07")
    assert [cursor.integer(1), cursor.integer(2), cursor.integer(4)] == [0x01, 0x0302, 0x07060504]


def test_nul_bytes_goes_past_the_nul() -> None:
    assert Cursor(b"\x00").nul_bytes() == b""
    cursor = Cursor(b"root\x00\x00rest")
    assert [cursor.nul_bytes(), cursor.nul_bytes(), cursor.take_rest()] == [b"root", b"", b"rest"]


def test_a_cursor_can_begin_behind_the_first_byte() -> None:
    cursor = Cursor(b"\xffab", 1)
    assert (cursor.remaining, cursor.take_rest(), cursor.remaining) == (2, b"ab", 0)


@pytest.mark.parametrize(
    ("read", "data"),
    [
        ("take 3", b"ab"),
        ("integer 1", b""),
        ("integer 4", b"\x01\x02\x03"),
        ("lenenc_integer", b""),
        ("lenenc_integer", b"\xfc\x01"),
        ("lenenc_integer", b"\xfd\x01\x02"),
        ("lenenc_integer", b"\xfe\x01\x02\x03\x04\x05\x06\x07"),
        # In these places the first byte of a lenenc integer means NULL and ERR.
        ("lenenc_integer", b"\xfb\x00\x00\x00\x00\x00\x00\x00\x00"),
        ("lenenc_integer", b"\xff\x00\x00\x00\x00\x00\x00\x00\x00"),
        ("lenenc_bytes", b"\x03ab"),
        ("lenenc_bytes", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xffab"),
        ("nul_bytes", b"root"),
    ],
)
def test_what_ends_too_early_is_refused_and_nothing_is_moved(read: str, data: bytes) -> None:
    cursor = Cursor(b"x" + data, 1)
    with pytest.raises(MalformedPacket):
        READS[read](cursor)
    assert cursor.position == 1


@given(st.binary(max_size=40), st.lists(st.sampled_from(sorted(READS))))
def test_any_reads_of_any_bytes_stay_inside_them(data: bytes, reads: list[str]) -> None:
    cursor = Cursor(data)
    for read in reads:
        before = cursor.position
        try:
            READS[read](cursor)
        except MalformedPacket:
            assert cursor.position == before
        assert before <= cursor.position <= len(data)
        assert cursor.remaining == len(data) - cursor.position
