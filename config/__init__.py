"""How it is configured: the options, how they are read, and what is said about the wrong ones."""

from config.address import Address, TcpAddress, UnixAddress, is_loopback, parse_address
from config.changes import changed_keys
from config.diagnostics import ConfigError, InvalidValue, Problem
from config.exposure import is_exposed
from config.loading import Override, load
from config.quantities import parse_duration, parse_size
from config.schema import (
    Admin,
    Auth,
    AuthMode,
    Config,
    Guard,
    Keepalive,
    KilledReads,
    Limits,
    Listen,
    ListenTls,
    Log,
    LogFormat,
    LogLevel,
    Reconnect,
    RelayKind,
    Snapshots,
    Spool,
    Tls,
    TlsMode,
    Upstream,
    User,
)

__all__ = [
    "Address",
    "Admin",
    "Auth",
    "AuthMode",
    "Config",
    "ConfigError",
    "Guard",
    "InvalidValue",
    "Keepalive",
    "KilledReads",
    "Limits",
    "Listen",
    "ListenTls",
    "Log",
    "LogFormat",
    "LogLevel",
    "Override",
    "Problem",
    "Reconnect",
    "RelayKind",
    "Snapshots",
    "Spool",
    "TcpAddress",
    "Tls",
    "TlsMode",
    "UnixAddress",
    "Upstream",
    "User",
    "changed_keys",
    "is_exposed",
    "is_loopback",
    "load",
    "parse_address",
    "parse_duration",
    "parse_size",
]
