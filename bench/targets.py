"""What the load is sent to: the server itself, and proxies in front of it, each on one thread and without TLS."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pymysql

from bench.load import DATABASE, PASSWORD, USER
from tests.servers import MySQL
from tests.servers.instance import InstanceDirectory
from tests.servers.process import find_program, free_port, spawn

HOST = "127.0.0.1"
SESSIONS = 2000
READY_SECONDS = 20.0
END_SECONDS = 5.0


class AbsentError(RuntimeError):
    """A target that cannot take part; the text says why."""


@dataclass(frozen=True)
class Target:
    """Where to send the load. `pid` is the process to account for, with its children; None: none, or not known."""

    name: str
    port: int
    version: str
    pid: int | None = None
    host: str = HOST


Starter = Callable[[int, Path], AbstractContextManager[Target]]
"""Starts a proxy in front of the server's port, with its files in a directory; raises AbsentError."""


@contextmanager
def guard(server_port: int, directory: Path, *, relay: str = "auto", sessions: int = SESSIONS) -> Iterator[Target]:
    """Run stillhere as it is installed, with passwords from its configuration."""
    port = free_port()
    config = directory / "stillhere.yaml"
    config.write_text(
        f"listen: [{{address: '{HOST}:{port}'}}]\n"
        f"upstream: {{address: '{HOST}:{server_port}', tls: {{mode: disabled}}}}\n"
        f"auth: {{mode: users, users: [{{user: {USER}, password: {PASSWORD}}}]}}\n"
        f"limits: {{sessions: {sessions}}}\n"
        f"relay: {relay}\n"
        "log: {level: warning}\n"
    )
    command = [sys.executable, "-m", "proxy", "run", str(config)]
    with _running(command, directory / "stillhere.log", port) as pid:
        yield Target("stillhere", port, metadata.version("stillhere"), pid)


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
def mysql_router(server_port: int, _directory: Path) -> Iterator[Target]:
    """Run MySQL Router, with connection sharing off, out of the root that has MySQL."""
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
server_ssl_mode=DISABLED
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
