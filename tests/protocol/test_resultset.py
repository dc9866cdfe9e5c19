import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.constants import Capability
from protocol.errors import MalformedPacket, ServerError
from protocol.resultset import ResultSet, Row, build_query, parse_results
from tests.protocol.transcripts import COLUMN, END_OK, EOF, ERR, NONE, OK, frames

DEPRECATE_EOF = Capability.DEPRECATE_EOF
ROWS = [b"\x0867108864\x0516384", b"\xfb\x00"]
PARSED: list[Row] = [(b"67108864", b"16384"), (None, b"")]


def results(replies: bytes, capabilities: int = NONE) -> list[object]:
    return list(parse_results(replies, capabilities))


def test_queries_are_written_with_the_attributes_that_were_negotiated() -> None:
    assert build_query("SELECT 1", NONE) == b"\x09\x00\x00\x00\x03SELECT 1"
    assert build_query("SELECT 1", Capability.QUERY_ATTRIBUTES) == b"\x0b\x00\x00\x00\x03\x00\x01SELECT 1"


@pytest.mark.parametrize(
    ("capabilities", "reply"),
    [
        (NONE, [b"\x02", COLUMN, COLUMN, EOF, *ROWS, EOF]),
        (DEPRECATE_EOF, [b"\x02", COLUMN, COLUMN, *ROWS, END_OK]),
        (Capability.OPTIONAL_METADATA, [b"\x02\x01", COLUMN, COLUMN, EOF, *ROWS, EOF]),
        (Capability.OPTIONAL_METADATA, [b"\x02\x00", EOF, *ROWS, EOF]),
        (Capability.OPTIONAL_METADATA | DEPRECATE_EOF, [b"\x02\x00", *ROWS, END_OK]),
    ],
)
def test_a_result_set(capabilities: int, reply: list[bytes]) -> None:
    has_definitions = COLUMN in reply
    assert results(frames(*reply), capabilities) == [ResultSet([253, 253] if has_definitions else [], PARSED)]


def test_types_are_read_behind_what_mariadb_puts_in_front_of_them() -> None:
    # One more string, in which MariaDB names the type that the server itself gives the column.
    column = COLUMN.replace(b"\x0c\x21\x00", b"\x06\x00\x04json\x0c\x21\x00")
    reply = frames(b"\x01", column, EOF, EOF)
    assert results(reply, Capability.MARIADB_EXTENDED_METADATA) == [ResultSet([253], [])]


def test_several_statements() -> None:
    replies = frames(OK) + frames(b"\x01", COLUMN, EOF, b"\x01a", EOF) + frames(ERR) + frames(b"\x01", COLUMN, EOF, EOF)
    first, second, third, fourth = results(replies)
    assert (first, second, fourth) == (ResultSet([], []), ResultSet([253], [(b"a",)]), ResultSet([253], []))
    assert isinstance(third, ServerError)
    assert (third.code, third.message, third.packet) == (1045, "Access denied", ERR)


def test_an_error_in_the_rows() -> None:
    first, second = results(frames(b"\x01", COLUMN, EOF, b"\x01a", ERR) + frames(OK))
    assert isinstance(first, ServerError)
    assert second == ResultSet([], [])


def test_nothing() -> None:
    assert results(b"") == []


@pytest.mark.parametrize(
    "replies",
    [
        b"\x01",
        frames(OK)[:-1],
        frames(b"\x01"),
        frames(b"\x01", COLUMN),
        frames(b"\x01", COLUMN, EOF),
        frames(b"\x01", COLUMN, EOF, b"\x01a"),
        frames(b"\x02", COLUMN, COLUMN, EOF, b"\x01a", EOF),
        frames(b""),
        frames(b"\xff"),
        # So many columns that counting them would take for ever.
        frames(b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff"),
        frames(b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f\x00", EOF, b"\x01a", EOF),
    ],
)
def test_replies_that_are_cut_off_or_contradict_themselves(replies: bytes) -> None:
    with pytest.raises(MalformedPacket):
        results(replies)


PAYLOADS = st.sampled_from([OK, EOF, END_OK, ERR, COLUMN, b"\x01", b"\x02", b"\x01\x00", b"\x01a", b"\xfb"])


@given(
    st.lists(PAYLOADS | st.binary(max_size=12), max_size=8).map(lambda payloads: frames(*payloads))
    | st.binary(max_size=40),
    st.sampled_from([NONE, DEPRECATE_EOF, Capability.OPTIONAL_METADATA]),
)
def test_any_replies_are_read_or_refused(replies: bytes, capabilities: int) -> None:
    try:
        read = results(replies, capabilities)
    except MalformedPacket:
        return
    assert len(read) <= len(replies)


VALUES = st.none() | st.binary(max_size=300)


@given(st.lists(st.tuples(VALUES, VALUES), max_size=5), st.sampled_from([NONE, DEPRECATE_EOF]))
def test_rows_round_trip(rows: list[tuple[bytes | None, bytes | None]], capabilities: int) -> None:
    def written(value: bytes | None) -> bytes:
        if value is None:
            return b"\xfb"
        return (bytes((len(value),)) if len(value) < 251 else b"\xfc" + len(value).to_bytes(2, "little")) + value

    eof = [] if capabilities else [EOF]
    reply = [
        b"\x02",
        COLUMN,
        COLUMN,
        *eof,
        *(b"".join(map(written, row)) for row in rows),
        END_OK if capabilities else EOF,
    ]
    assert results(frames(*reply), capabilities) == [ResultSet([253, 253], list(rows))]
