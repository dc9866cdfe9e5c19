"""What the load is sent to: the server, and proxies in front of it, on one thread each unless the name says more."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import click
import pymysql

from bench.load import DATABASE, PASSWORD, USER
from tests.servers import MySQL, Server
from tests.servers.instance import InstanceDirectory
from tests.servers.process import find_program, free_port, spawn

HOST = "127.0.0.1"
DIRECT = "direct"
SESSIONS = 2000
READY_SECONDS = 20.0
END_SECONDS = 5.0


class AbsentError(RuntimeError):
    """A target that cannot take part; the text says why."""


@dataclass(frozen=True)
class Target:
    """Where to send the load: to a unix socket if there is a path, else over TCP.

    `pid` is the process to account for, with its children; None: none, or not known.
    """

    name: str
    port: int
    version: str
    pid: int | None = None
    host: str = HOST
    socket: str | None = None


Starter = Callable[[int, Path], AbstractContextManager[Target]]
"""Starts a proxy in front of the server's port, with its files in a directory; raises AbsentError."""


@contextmanager
def guard(  # noqa: PLR0913 - one for each option that is compared
    server_port: int,
    directory: Path,
    *,
    name: str = "stillhere",
    sessions: int = SESSIONS,
    tls: str = "disabled",
    unix: bool = False,
    workers: int = 1,
) -> Iterator[Target]:
    """Run stillhere as it is installed, with passwords from its configuration.

    `tls` is that towards the server; `unix` has clients come over a unix socket.
    """
    port = free_port()
    socket = directory / "stillhere.sock"
    config = directory / "stillhere.yaml"
    config.write_text(
        f"listen: [{{address: '{HOST}:{port}'}}, {{address: 'unix:{socket}'}}]\n"
        f"upstream: {{address: '{HOST}:{server_port}', tls: {{mode: {tls}}}}}\n"
        f"auth: {{mode: users, users: [{{user: {USER}, password: {PASSWORD}}}]}}\n"
        f"limits: {{sessions: {sessions}}}\n"
        f"workers: {workers}\n"
        "log: {level: warning}\n"
    )
    command = [sys.executable, "-m", "proxy", "run", str(config)]
    with _running(command, directory / "stillhere.log", port) as pid:
        yield Target(name, port, metadata.version("stillhere"), pid, socket=str(socket) if unix else None)


@contextmanager
def haproxy(server_port: int, directory: Path) -> Iterator[Target]:
    """Run HAProxy in TCP mode."""
    program = _installed("haproxy")
    port = free_port()
    config = directory / "haproxy.cfg"
    config.write_text(f"""\
global
    nbthread 1
    maxconn {SESSIONS}
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen bench
    bind {HOST}:{port}
    server mariadb {HOST}:{server_port}
""")
    with _running([program, "-db", "-f", str(config)], directory / "haproxy.log", port) as pid:
        yield Target("HAProxy", port, _first_line(program, "-v"), pid)


@contextmanager
def nginx(server_port: int, directory: Path) -> Iterator[Target]:
    """Run nginx's stream proxy."""
    program = _installed("nginx")
    port = free_port()
    log = directory / "nginx.log"
    config = directory / "nginx.conf"
    dynamic = "--with-stream=dynamic" in _output(program, "-V")
    config.write_text(f"""\
{"load_module modules/ngx_stream_module.so;" if dynamic else ""}
daemon off;
master_process off;
pid {directory / "nginx.pid"};
error_log {log};
events {{ worker_connections {2 * SESSIONS}; }}
stream {{
    server {{
        listen {HOST}:{port};
        proxy_pass {HOST}:{server_port};
    }}
}}
""")
    with _running([program, "-e", str(log), "-c", str(config)], log, port) as pid:
        yield Target("nginx stream", port, _first_line(program, "-v"), pid)


@contextmanager
def mysql_router(server_port: int, _directory: Path, *, tls: str = "DISABLED") -> Iterator[Target]:
    """Run MySQL Router out of the root that has MySQL, without connection sharing; `tls` is that towards the server."""
    if reason := MySQL.unavailable():
        raise AbsentError(reason)
    port = free_port()
    program = ["chroot", str(MySQL.root()), "mysqlrouter"]
    instance = InstanceDirectory(MySQL.root() / "instances")
    inside = f"/{instance.path.relative_to(MySQL.root())}"
    try:
        (instance.path / "router.conf").write_text(f"""\
[DEFAULT]
logging_folder=
runtime_folder={inside}
data_folder={inside}
[io]
threads=1
[routing:bench]
bind_address={HOST}
bind_port={port}
destinations={HOST}:{server_port}
routing_strategy=first-available
protocol=classic
client_ssl_mode=DISABLED
server_ssl_mode={tls}
connection_sharing=0
max_connections={SESSIONS}
""")
        with _running([*program, "--config", f"{inside}/router.conf"], instance.path / "router.log", port) as pid:
            yield Target("MySQL Router", port, _first_line(*program, "--version"), pid)
    finally:
        instance.remove()


STARTERS: dict[str, Starter] = {
    "stillhere": guard,
    "HAProxy": haproxy,
    "nginx stream": nginx,
    "MySQL Router": mysql_router,
}

#: Who is compared with whom. In the second, only the link to the server is encrypted, and only for the proxies.
LINEUPS: dict[str, Mapping[str, Starter]] = {
    "peers": STARTERS,
    "tls": {"stillhere": partial(guard, tls="required"), "MySQL Router": partial(mysql_router, tls="REQUIRED")},
    "unix": {"stillhere": guard, "stillhere, unix": partial(guard, name="stillhere, unix", unix=True)},
    "workers": {
        "stillhere": guard,
        "stillhere, 2 workers": partial(guard, name="stillhere, 2 workers", workers=2),
    },
}


def start(
    stack: ExitStack, starters: Mapping[str, Starter], server_port: int, absent: dict[str, str]
) -> Iterator[Target]:
    """Start what can be started until `stack` ends; who cannot take part is put into `absent`, with the reason."""
    for name, starter in starters.items():
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stillhere-bench-")))
        try:
            yield stack.enter_context(starter(server_port, directory))
        except AbsentError as error:
            absent[name] = str(error)
            click.echo(f"{name} is left out: {error}", err=True)


def direct(server: Server) -> Target:
    """Return the server itself, over TCP."""
    return Target(DIRECT, server.port, f"MariaDB {server.version}")


def rotated(targets: Sequence[Target], number: int) -> list[Target]:
    """Return the targets in the order of a round, so that each of them is the first one in turn."""
    turn = number % len(targets)
    return [*targets[turn:], *targets[:turn]]


def peer(name: str, host: str, port: int) -> Target:
    """Return a target that somebody else runs in front of the server; raises AbsentError if it does not serve."""
    _wait_until_it_serves(host, port, lambda: None)
    return Target(name, port, "", host=host)


@contextmanager
def _running(command: Sequence[str], log: Path, port: int) -> Iterator[int]:
    """Run a proxy until the context ends; its pid is given once it serves. Raises AbsentError with its last words."""
    process = spawn(command, log)

    def check() -> None:
        if (status := process.poll()) is not None:
            last_words = " ".join(log.read_text(errors="replace").splitlines()[-3:])
            raise AbsentError(f"ended with status {status} at its start: {last_words}")

    try:
        _wait_until_it_serves(HOST, port, check)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_serves(host: str, port: int, check: Callable[[], None]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            connection = pymysql.connect(
                host=host, port=port, user=USER, password=PASSWORD, database=DATABASE, read_timeout=READY_SECONDS
            )
            with closing(connection), connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                return
        except pymysql.err.MySQLError as error:
            check()
            if time.monotonic() > deadline:
                raise AbsentError(f"does not serve at {host}:{port} after {READY_SECONDS:.0f} s: {error}") from None
            time.sleep(0.1)


def _installed(name: str) -> str:
    if (program := find_program(name)) is None:
        raise AbsentError("not installed")
    return program


def _output(*command: str) -> str:
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


def _first_line(*command: str) -> str:
    return _output(*command).partition("\n")[0].strip()
