"""What an account may learn from a server: limits, counters, sessions, the path to it, and its error log."""

import re
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import pymysql
from pydantic import SecretStr

from config import Config, TcpAddress, TlsMode, UnixAddress
from proxy.doctor.machine import has_gateway
from proxy.tls import UpstreamTls

_Connection: TypeAlias = "pymysql.connections.Connection[Any]"

_VARIABLES = (
    "version",
    "max_allowed_packet",
    "net_buffer_length",
    "wait_timeout",
    "interactive_timeout",
    "idle_transaction_timeout",
    "net_read_timeout",
    "net_write_timeout",
    "max_connections",
    "log_warnings",
    "log_error_verbosity",
    "log_error",
    "query_cache_type",
    "query_cache_size",
)
_COUNTERS = (
    "Uptime",
    "Connections",
    "Threads_connected",
    "Max_used_connections",
    "Aborted_clients",
    "Aborted_connects",
    "Connection_errors_max_connections",
    "Com_kill",
)
_SESSIONS = """
    SELECT COUNT(*), COALESCE(SUM(command = 'Sleep'), 0), COALESCE(MAX(IF(command = 'Sleep', time, NULL)), 0)
    FROM information_schema.processlist WHERE command NOT IN ('Daemon', 'Binlog Dump', 'Binlog Dump GTID')"""
_SEEN_FROM = "SELECT host FROM information_schema.processlist WHERE id = CONNECTION_ID()"
_ERROR_LOG = "SELECT logged, thread_id, prio, data FROM performance_schema.error_log ORDER BY logged"

_ROUND_TRIPS = 20
#: How long the server may take for any answer, in seconds.
_PATIENCE_SECONDS = 15

_DENIED = (1044, 1142, 1143, 1227)
_NOT_THERE = (1109, 1146)

PACKET_TOO_LARGE = "ER_NET_PACKET_TOO_LARGE"
IDLE = "ER_CLIENT_INTERACTION_TIMEOUT"
WRITE_TIMED_OUT = "ER_NET_WRITE_INTERRUPTED"
_ERROR_COUNTERS = """
    SELECT error_name, sum_error_raised FROM performance_schema.events_errors_summary_global_by_error
    WHERE sum_error_raised > 0"""


class CannotExamine(Exception):
    """The server cannot be examined; the text says why."""


class Denied(Exception):
    """The account may not see this."""


@dataclass(frozen=True)
class Account:
    """As whom to log in."""

    user: str
    password: SecretStr


@dataclass(frozen=True)
class Path:
    """The way to the server. Times are in seconds."""

    connect_seconds: float
    #: The median and the longest of a number of round trips.
    round_trip: float
    longest_round_trip: float
    #: It does not leave this machine.
    is_local: bool
    #: Whether there is a router on it; None where that cannot be found out.
    has_gateway: bool | None
    #: Our address as the server sees it, where that is another one than ours.
    translated: str | None


@dataclass(frozen=True)
class Sessions:
    """The sessions that the account may see, our own among them; ``longest_sleep`` is in seconds."""

    visible: int
    sleeping: int
    longest_sleep: int


@dataclass(frozen=True)
class Server:
    """All that was found out. None stands for what the account may not see or this server does not have."""

    address: str
    path: Path
    #: As a new session has them; missing where this kind of server has no such variable.
    variables: Mapping[str, str]
    counters: Mapping[str, int]
    sessions: Sessions
    #: How often the server has raised an error since it started, by the error's name.
    errors: Mapping[str, int] | None
    log: tuple[str, ...] | None
    #: What the account may not see, and the right that would show it.
    missing: tuple[str, ...]

    @property
    def version(self) -> str:
        """The version, with the name of the kind of server."""
        return f"{'MariaDB' if self.is_mariadb else 'MySQL'} {self.variables['version']}"

    @property
    def is_mariadb(self) -> bool:
        """It is MariaDB."""
        return _is_mariadb(self.variables)

    @property
    def names_idleness(self) -> bool:
        """It tells connections that were idle from others that have timed out: MySQL 8.0.24 and later."""
        numbers = tuple(int(number) for number in re.findall(r"\d+", self.variables["version"])[:3])
        return not self.is_mariadb and numbers >= (8, 0, 24)

    @property
    def limit(self) -> int:
        """From how many bytes on a command ends the connection."""
        return max(self.number("max_allowed_packet"), self.number("net_buffer_length"))

    @property
    def caches_queries(self) -> bool:
        """It is a MariaDB whose query cache is on, for all statements or for those that ask for it."""
        return self.variables.get("query_cache_type", "OFF") != "OFF" and self.number("query_cache_size") > 0

    def number(self, variable: str) -> int:
        """Give the value of a variable; 0 where there is no such one."""
        return int(float(self.variables.get(variable, "0")))


def examine(config: Config, account: Account) -> Server:
    """Log in to the server of a configuration and look around.

    Raises:
        CannotExamine: there is no session to be had, or it was lost.
    """
    try:
        return _examine(config, account)
    except (OSError, pymysql.Error) as error:
        reason = error.args[1] if len(error.args) > 1 else error
        raise CannotExamine(f"cannot examine {config.upstream.address} as {account.user!r}: {reason}") from error


def _examine(config: Config, account: Account) -> Server:
    began = time.monotonic()
    connection = _connect(config, account)
    connect_seconds = time.monotonic() - began
    missing: list[str] = []
    with closing(connection):
        path = _path(connection, config, connect_seconds)
        variables = dict(_rows(connection, f"SHOW SESSION VARIABLES WHERE Variable_name IN ({_list(_VARIABLES)})"))
        counters = dict.fromkeys(_COUNTERS, 0) | {
            name: int(value)
            for name, value in _rows(connection, f"SHOW GLOBAL STATUS WHERE Variable_name IN ({_list(_COUNTERS)})")
        }
        ((visible, sleeping, longest),) = _rows(connection, _SESSIONS)
        if visible < counters["Threads_connected"]:
            hidden = counters["Threads_connected"] - visible
            missing.append(f"{hidden} of {counters['Threads_connected']} sessions (GRANT PROCESS ON *.* shows them)")
        errors = log = None
        if not _is_mariadb(variables):
            with _noting_denial(missing, "how often it has raised which error"):
                rows = _rows_if_there(connection, _ERROR_COUNTERS)
                errors = None if rows is None else {str(name): int(count) for name, count in rows}
            with _noting_denial(missing, "its error log"):
                rows = _rows_if_there(connection, _ERROR_LOG)
                log = (
                    None if rows is None else tuple(f"{at} {thread} [{kind}] {text}" for at, thread, kind, text in rows)
                )
    sessions = Sessions(visible, int(sleeping), int(longest))
    return Server(
        str(config.upstream.address), path, variables, counters, sessions, errors, log, missing=tuple(missing)
    )


def _connect(config: Config, account: Account) -> _Connection:
    upstream = config.upstream
    options: dict[str, Any] = {
        "user": account.user,
        "password": account.password.get_secret_value(),
        "connect_timeout": max(1, round(upstream.connect_timeout)),
        "read_timeout": _PATIENCE_SECONDS,
        "write_timeout": _PATIENCE_SECONDS,
    }
    if isinstance(upstream.address, UnixAddress):
        return pymysql.connect(unix_socket=upstream.address.path, ssl_disabled=True, **options)
    if upstream.tls.mode is TlsMode.DISABLED:
        options["ssl_disabled"] = True
    elif upstream.tls.mode is not TlsMode.PREFERRED or upstream.tls.cert is not None:
        options["ssl"] = UpstreamTls(upstream.tls, upstream.address).context
    return pymysql.connect(host=upstream.address.host, port=upstream.address.port, **options)


def _path(connection: _Connection, config: Config, connect_seconds: float) -> Path:
    times = []
    for _ in range(_ROUND_TRIPS):
        began = time.monotonic()
        connection.ping(reconnect=False)
        times.append(time.monotonic() - began)
    is_local, gateway, translated = True, None, None
    if isinstance(config.upstream.address, TcpAddress):
        inside: Any = connection  # its types do not say that it has a socket
        sock = inside._sock  # noqa: SLF001  there is no other way to the addresses
        ours, port, *_ = sock.getsockname()
        theirs = sock.getpeername()[0]
        ((seen,),) = _rows(connection, _SEEN_FROM)
        # A server that looks up names gives ours; what is behind the colon is the port as it sees it.
        if seen.rpartition(":")[2] != str(port):
            translated = str(seen)
        is_local = ours == theirs and translated is None
        gateway = None if ours == theirs else has_gateway(theirs)
    return Path(connect_seconds, statistics.median(times), max(times), is_local, gateway, translated)


def _is_mariadb(variables: Mapping[str, str]) -> bool:
    return "mariadb" in variables["version"].lower()


def _rows(connection: _Connection, sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def _rows_if_there(connection: _Connection, sql: str) -> Any:
    """Run a query; give None where this server has no such table. Raises Denied."""
    try:
        return _rows(connection, sql)
    except pymysql.MySQLError as error:
        if error.args[0] in _DENIED:
            raise Denied from error
        if error.args[0] in _NOT_THERE:
            return None
        raise


@contextmanager
def _noting_denial(missing: list[str], what: str) -> Iterator[None]:
    try:
        yield
    except Denied:
        missing.append(f"{what} (GRANT SELECT ON performance_schema.* shows it)")


def _list(names: tuple[str, ...]) -> str:
    """Write names, which are our own, as a list for SQL."""
    return ", ".join(f"'{name}'" for name in names)
