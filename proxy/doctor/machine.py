"""What this machine's kernel does with idle connections, and which way it takes to an address. Known on Linux only."""

import ipaddress
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

_KEEPALIVE = Path("/proc/sys/net/ipv4")
_CONNTRACK = Path("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established")
_ROUTES = Path("/proc/net/route")
_IS_UP, _IS_GATEWAY = 1, 2


@dataclass(frozen=True)
class Machine:
    """Settings of the kernel, in seconds; None where they cannot be read."""

    #: After how much silence TCP keepalive sends its first probe.
    keepalive_idle: int | None
    #: How long, from then on, until a peer that does not answer is given up.
    keepalive_patience: int | None
    #: When the kernel's own connection tracking, where it is in use, forgets an idle connection.
    conntrack_timeout: int | None


def read_machine() -> Machine:
    """Read the settings of this machine."""
    idle = _number(_KEEPALIVE / "tcp_keepalive_time")
    interval, probes = _number(_KEEPALIVE / "tcp_keepalive_intvl"), _number(_KEEPALIVE / "tcp_keepalive_probes")
    patience = interval * probes if interval is not None and probes is not None else None
    return Machine(idle, patience, _number(_CONNTRACK))


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def has_gateway(host: str) -> bool | None:
    """Tell whether packets for an IPv4 address go through a router; None where that cannot be found out."""
    address = ipaddress.ip_address(host)
    try:
        lines = _ROUTES.read_text().splitlines()[1:]
    except OSError:
        return None
    if address.version != 4:
        return None
    number = int(address)
    best: tuple[int, int] | None = None
    for line in lines:
        _, destination, _, flags, _, _, _, mask, *_ = line.split()
        netmask, route = _from_hex(mask), int(flags, 16)
        if route & _IS_UP and number & netmask == _from_hex(destination) and (best is None or netmask > best[0]):
            best = (netmask, route)
    return None if best is None else bool(best[1] & _IS_GATEWAY)


def _from_hex(text: str) -> int:
    """Read an address as the kernel shows it: the bytes of the network order as a number of this machine."""
    return socket.ntohl(struct.unpack("=I", struct.pack("=I", int(text, 16)))[0])
