"""Where an execution says the types of its parameters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MalformedPacket
from protocol.prepared import TypeBlock, find_types

ID = b"\x07\x00\x00\x00"
ONCE = b"\x01\x00\x00\x00"
LONG = b"\x08\x00"
TEXT = b"\xfd\x00"
VALUES = b"\x01\x00\x00\x00\x00\x00\x00\x00\x01a"
BULK_TYPES = 0x80


def types_in(payload: bytes, parameters: int, *, has_attributes: bool = False) -> bytes:
    block = find_types(payload, parameters, has_attributes=has_attributes)
    assert block is not None
    return payload[block.start : block.stop]


def with_types(payload: bytes, parameters: int, types: bytes, *, has_attributes: bool = False) -> bytes:
    """Put types in as the guard does."""
    block = find_types(payload, parameters, has_attributes=has_attributes)
    assert block is not None
    assert block.start == block.stop
    changed = payload[: block.flag] + bytes((block.flagged,)) + payload[block.flag + 1 : block.start]
    return changed + types + payload[block.start :]


def test_an_execution_with_types() -> None:
    payload = b"\x17" + ID + b"\x00" + ONCE + b"\x00\x01" + LONG + TEXT + VALUES
    assert find_types(payload, 2) == TypeBlock(flag=11, flagged=1, start=12, stop=16, form=(False, 2))
    assert types_in(payload, 2) == LONG + TEXT


def test_an_execution_that_relies_on_the_server_to_know_them() -> None:
    payload = b"\x17" + ID + b"\x00" + ONCE + b"\x00\x00" + VALUES
    assert find_types(payload, 2) == TypeBlock(flag=11, flagged=1, start=12, stop=12, form=(False, 2))
    full = b"\x17" + ID + b"\x00" + ONCE + b"\x00\x01" + LONG + TEXT + VALUES
    assert with_types(payload, 2, LONG + TEXT) == full


@pytest.mark.parametrize(("parameters", "null_bytes"), [(1, 1), (8, 1), (9, 2), (300, 38)])
def test_which_parameters_are_null_stands_in_front(parameters: int, null_bytes: int) -> None:
    payload = b"\x17" + ID + b"\x00" + ONCE + b"\xff" * null_bytes + b"\x01" + LONG * parameters
    assert types_in(payload, parameters) == LONG * parameters


@pytest.mark.parametrize("flags", [b"\x00", b"\x08"])
def test_a_statement_without_parameters_has_no_place_for_types(flags: bytes) -> None:
    # With the flag, the number of parameters and attributes is given, and is 0.
    payload = b"\x17" + ID + flags + ONCE + (b"\x00" if flags == b"\x08" else b"")
    assert find_types(payload, 0, has_attributes=True) is None


@pytest.mark.parametrize("flags", [b"\x00", b"\x08"])
def test_where_attributes_may_follow_the_parameters_all_have_names(flags: bytes) -> None:
    # Two parameters and an attribute. The flag PARAMETER_COUNT_AVAILABLE makes no difference where there are any.
    types = LONG + b"\x00" + TEXT + b"\x00" + TEXT + b"\x05trace"
    payload = b"\x17" + ID + flags + ONCE + b"\x03\x00\x01" + types + VALUES + b"\x02id"
    block = find_types(payload, 2, has_attributes=True)
    assert block is not None
    assert block.form == (True, 3)
    assert types_in(payload, 2, has_attributes=True) == types
    bare = b"\x17" + ID + flags + ONCE + b"\x02\x00\x00" + VALUES
    assert with_types(bare, 2, LONG + b"\x00" + TEXT + b"\x00", has_attributes=True) == (
        b"\x17" + ID + flags + ONCE + b"\x02\x00\x01" + LONG + b"\x00" + TEXT + b"\x00" + VALUES
    )


def test_attributes_of_a_statement_without_parameters() -> None:
    payload = b"\x17" + ID + b"\x08" + ONCE + b"\x01\x00\x01" + TEXT + b"\x05trace" + b"\x02id"
    assert types_in(payload, 0, has_attributes=True) == TEXT + b"\x05trace"
    assert find_types(payload, 0) is None  # where they were not negotiated, the flag means nothing


def test_a_bulk_execution() -> None:
    payload = b"\xfa" + ID + b"\x80\x00" + LONG + TEXT + b"\x00" + VALUES
    assert find_types(payload, 2) == TypeBlock(flag=5, flagged=0x80, start=7, stop=11, form=(False, 2))
    assert types_in(payload, 2) == LONG + TEXT


def test_a_bulk_execution_keeps_its_other_flags() -> None:
    # 0x40 asks for the ids that were generated.
    payload = b"\xfa" + ID + b"\x40\x00" + b"\x00" + VALUES
    assert with_types(payload, 2, LONG + TEXT) == b"\xfa" + ID + b"\xc0\x00" + LONG + TEXT + b"\x00" + VALUES


@pytest.mark.parametrize(
    ("payload", "parameters"),
    [
        (b"\x17" + ID, 1),
        (b"\x17" + ID + b"\x00" + ONCE[:3], 0),
        (b"\x17" + ID + b"\x00" + ONCE, 1),
        (b"\x17" + ID + b"\x00" + ONCE + b"\x00", 1),
        (b"\x17" + ID + b"\x00" + ONCE + b"\x00\x01" + LONG, 2),
        (b"\x17" + ID + b"\x08" + ONCE, 0),
        (b"\x17" + ID + b"\x08" + ONCE + b"\x01\x00\x01" + LONG + b"\x05trac", 0),
        (b"\xfa" + ID + b"\x80", 1),
        (b"\xfa" + ID + b"\x80\x00" + LONG, 2),
    ],
)
def test_executions_that_end_too_early(payload: bytes, parameters: int) -> None:
    with pytest.raises(MalformedPacket):
        find_types(payload, parameters, has_attributes=payload[5:6] == b"\x08")


@given(
    st.sampled_from([b"\x17", b"\xfa"]),
    st.binary(max_size=4),
    st.sampled_from([b"\x00", b"\x08", b"\x80", b"\xff"]) | st.binary(max_size=1),
    st.binary(max_size=40) | st.sampled_from([b"\xfe" + b"\xff" * 8, ONCE + b"\xfe" + b"\xff" * 7 + b"\x7f"]),
    st.sampled_from([0, 1, 2, 9, 65535]),
)
def test_any_execution_is_read_or_refused(
    code: bytes, statement_id: bytes, flags: bytes, rest: bytes, parameters: int
) -> None:
    payload = code + statement_id + flags + rest
    try:
        block = find_types(payload, parameters)
    except MalformedPacket:
        return
    if block is not None:
        assert 5 <= block.flag < block.start <= block.stop <= len(payload)
        # Types that are put in are found again.
        if block.start == block.stop and parameters and payload[0] == 0x17 and not payload[5] & 0x08:
            assert types_in(with_types(payload, parameters, LONG * parameters), parameters) == LONG * parameters
