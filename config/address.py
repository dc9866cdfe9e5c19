"""Where to listen and where to connect: TCP and unix socket addresses."""

import ipaddress
import re
from dataclasses import dataclass
from typing import TypeAlias

from config.diagnostics import InvalidValue

# The kernel's sockaddr_un has room for 108 bytes, the last of which is a NUL.
MAX_UNIX_PATH_BYTES = 107

_HINT = "write HOST:PORT, [IPV6]:PORT or unix:/PATH"
_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9A-Za-z:.%_-]*\]|[^:\[\]]*)(?::(?P<port>.*))?")


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host, as a name or an IP address without brackets, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The absolute path of a unix socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address: TypeAlias = TcpAddress | UnixAddress


def is_loopback(host: str) -> bool:
    """Tell whether a host, as a name or an address without brackets, is this machine and no other can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def parse_address(text: str, *, default_port: int) -> Address:
    """Read ``host``, ``host:port``, ``[ipv6]:port`` or ``unix:/path``; ports go from 0 (any free one) to 65535.

    Raises:
        InvalidValue: (a ValueError) it is none of these; the text is not repeated, a URL can hold a password.
    """
    if text.startswith("unix:"):
        return _unix(text.removeprefix("unix:"))
    if "/" in text or "@" in text:
        raise InvalidValue("is a URL or a path, where an address is expected", _HINT)
    if text.count(":") > 1 and not text.startswith("["):
        raise InvalidValue("an IPv6 address must stand in brackets", "write [::1]:3306")
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None:
        raise InvalidValue("is not an address", _HINT)
    return TcpAddress(_host(match["host"]), default_port if match["port"] is None else _port(match["port"]))


def _unix(path: str) -> UnixAddress:
    if not path.startswith("/") or path.startswith("//") or path.endswith("/") or not path.isprintable():
        raise InvalidValue("is not the absolute path of a unix socket", "write unix:/PATH")
    if len(path.encode()) > MAX_UNIX_PATH_BYTES:
        raise InvalidValue(f"the path of a unix socket can have at most {MAX_UNIX_PATH_BYTES} bytes")
    return UnixAddress(path)


def _host(text: str) -> str:
    if not text:
        raise InvalidValue("has no host", _HINT)
    if text.startswith("["):
        try:
            # In its shortest form, so that two ways of writing the same address are equal.
            return str(ipaddress.IPv6Address(text[1:-1]))
        except ValueError:
            raise InvalidValue("is not an IPv6 address", "write [::1]:3306") from None
    if re.fullmatch(r"[0-9.]+", text):
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            raise InvalidValue("is neither a host name nor an IPv4 address", _HINT) from None
    if len(text) > 253 or not re.fullmatch(r"[A-Za-z0-9_.-]+", text):
        raise InvalidValue("is not a host name", _HINT)
    return text


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise InvalidValue("the port must be a number up to 65535", _HINT)
    return int(text)
