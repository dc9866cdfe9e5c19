import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import InvalidValue, parse_duration, parse_size
from config.quantities import MAX_DURATION_SECONDS, MAX_SIZE_BYTES


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("5s", 5), ("0s", 0), ("1.5s", 1.5), ("2m", 120), ("1h", 3600), ("5 s", 5), ("8760h", 31536000)],
)
def test_a_duration_is_read_into_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64MiB", 67108864),
        ("16KiB", 16384),
        ("1GiB", 1073741824),
        ("1048576B", 1048576),
        ("1048576", 1048576),
        ("64M", 67108864),
        ("16k", 16384),
        ("1G", 1073741824),
        ("1024 GiB", 1 << 40),
    ],
)
def test_a_size_is_read_into_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_a_forgotten_unit_is_supplied_by_the_hint() -> None:
    with pytest.raises(InvalidValue, match="needs a unit") as caught:
        parse_duration("30")
    assert caught.value.hint == "write 30s"


def test_a_decimal_unit_is_corrected_by_the_hint() -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_size("64MB")
    assert caught.value.hint == "write 64MiB"


@pytest.mark.parametrize(
    "text", ["", "s", "-5s", "nan", "infs", "1e3s", "5d", "5S", "\u0665s", "5s\n", "9" * 5000 + "s", "8761h"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1", "1.5GiB", "1TiB", "nan", "0x10", "\u0665", "1\n", "9" * 5000, "1025GiB"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_size(text)


@given(st.text() | st.from_regex(r"-?[0-9.]*[a-zA-Z]*", fullmatch=True))
def test_any_text_is_a_bounded_quantity_or_a_value_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        pass
    else:
        assert math.isfinite(seconds)
        assert 0 <= seconds <= MAX_DURATION_SECONDS
    try:
        size = parse_size(text)
    except ValueError:
        pass
    else:
        assert 0 <= size <= MAX_SIZE_BYTES
