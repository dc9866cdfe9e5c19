import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import TcpAddress, UnixAddress, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("db.internal:3306", TcpAddress("db.internal", 3306)),
        ("my_db-1", TcpAddress("my_db-1", 1234)),
        ("10.0.0.1:1", TcpAddress("10.0.0.1", 1)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("[::1]:65535", TcpAddress("::1", 65535)),
        ("[0:0::1]", TcpAddress("::1", 1234)),
        ("[fe80::1%eth0]:5", TcpAddress("fe80::1%eth0", 5)),
        ("unix:/run/my sql.sock", UnixAddress("/run/my sql.sock")),
    ],
)
def test_an_address_is_read(text: str, address: TcpAddress | UnixAddress) -> None:
    assert parse_address(text, default_port=1234) == address


@pytest.mark.parametrize(
    "address", [TcpAddress("db", 1), TcpAddress("::1", 2), TcpAddress("10.0.0.1", 3), UnixAddress("/run/x")]
)
def test_an_address_is_written_so_that_it_can_be_read(address: TcpAddress | UnixAddress) -> None:
    assert parse_address(str(address), default_port=9) == address


def test_an_ipv6_address_is_written_in_brackets() -> None:
    assert str(TcpAddress("::1", 3306)) == "[::1]:3306"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no host"),
        (":3306", "no host"),
        ("db:", "port"),
        ("db:65536", "port"),
        ("db:-1", "port"),
        ("db:\uff13", "port"),
        ("db:port", "port"),
        ("::1", "brackets"),
        ("db:1:2", "brackets"),
        ("[db]:1", "IPv6"),
        ("[::1]3306", "not an address"),
        ("3306", "neither a host name nor"),
        ("256.0.0.1:1", "neither a host name nor"),
        ("db host:1", "host name"),
        ("münchen:1", "host name"),
        ("a" * 254, "host name"),
        ("db\n:1", "host name"),
        ("mysql://app:pw@db/x", "URL"),
        ("unix:run/x", "absolute path"),
        ("unix:", "absolute path"),
        ("unix:///run/x", "absolute path"),
        ("unix:/run/", "absolute path"),
        ("unix:/run/\0x", "absolute path"),
        ("unix:/run/\ud800", "absolute path"),
        ("unix:/run/\nx", "absolute path"),
        ("unix:/" + "x" * 107, "at most 107"),
        ("unix:/" + "é" * 54, "at most 107"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_address(text, default_port=3306)


@given(st.text() | st.from_regex(r"(unix:/?|\[)?[a-z0-9:.%]*\]?(:[0-9]*)?", fullmatch=True))
def test_any_text_is_an_address_that_survives_writing_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        address = parse_address(text, default_port=3306)
        assert parse_address(str(address), default_port=1) == address
