"""A real server that a test can start, crash, stop, freeze and throw away."""

import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias

import pymysql

from tests.servers.instance import InstanceDirectory
from tests.servers.process import free_port, spawn

Connection: TypeAlias = "pymysql.connections.Connection[Any]"

START_SECONDS = 60.0
STOP_SECONDS = 60.0
PORT_ATTEMPTS = 5
LOG_TAIL_BYTES = 3000

# Run by the server itself before it listens, at its first start only: a test may change any of it and restart.
INIT_SQL = """\
CREATE USER IF NOT EXISTS 'root'@'127.0.0.1';
GRANT ALL PRIVILEGES ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;
CREATE DATABASE IF NOT EXISTS test;
"""


class ServerError(RuntimeError):
    """The server did not do what was asked; the text ends with the tail of its log."""


class PortTakenError(ServerError):
    """Somebody else bound the port between our look and the server's bind."""


class StartServer(Protocol):
    """What the fixture `own_server` gives: starts a server with these options, which ends with the test."""

    def __call__(self, *options: str) -> "Server": ...


class Server(ABC):
    """One throwaway server on 127.0.0.1 with files of its own; root has no password there.

    `options` are added to the command line (`--wait-timeout=2`) and may be changed before a restart. `port` 0 means any
    free one. All methods block; they may be called from any thread, but from one at a time.
    """

    name: str
    host = "127.0.0.1"

    def __init__(self, options: Sequence[str] = (), *, port: int = 0) -> None:
        self.options = tuple(options)
        self.port = port
        self.version = ""
        self._directory: InstanceDirectory | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        state = f"pid {self._process.pid}" if self._process else "not running"
        return f"<{type(self).__name__} {self.version or 'new'} {self.host}:{self.port} {state}>"

    def __enter__(self) -> Self:
        if self._directory is None:
            self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @abstractmethod
    def _template(self) -> Path:
        """Return an initialised data directory to copy, made if need be; raises ServerError if that is impossible."""

    @abstractmethod
    def _instances(self) -> Path:
        """Return the directory that is to hold the instances' directories."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the program and the options that only this kind of server has."""

    @abstractmethod
    def _inside(self, path: Path) -> str:
        """Return `path` as the server itself sees it."""

    @property
    def directory(self) -> Path:
        """The directory of this instance; it exists from start() to close()."""
        if self._directory is None:
            raise ServerError(f"{self!r} has not been started, or is closed")
        return self._directory.path

    @property
    def socket_path(self) -> Path:
        """The server's unix socket, as clients reach it."""
        return self.directory / "m.sock"

    @property
    def error_log(self) -> Path:
        """What the server has said since its first start."""
        return self.directory / "error.log"

    @property
    def pid(self) -> int:
        """The process id of the server itself; raises ServerError if it does not run."""
        return self._running().pid

    def start(self) -> None:
        """Make fresh data, start the server and wait until it answers.

        Raises ServerError, with the tail of its log, if it does not come up; then nothing of it remains.
        """
        if self._directory is not None:
            raise ServerError(f"{self!r} was started before; use restart()")
        template = self._template()
        try:
            self._directory = InstanceDirectory(self._instances())
            shutil.copytree(template, self.directory / "data")
            (self.directory / "tmp").mkdir(mode=0o700)
            init = self.directory / "init.sql"
            init.write_text(INIT_SQL)
            self._start_on_some_port(f"--init-file={self._inside(init)}")
        except BaseException:
            self.close()
            raise

    def restart(self) -> None:
        """Start again on the same port with the same data; a running server is stopped first.

        Raises ServerError if it does not come up; its files then remain until close().
        """
        if self._process is not None:
            self.stop()
        self._launch()

    def stop(self) -> None:
        """End the server as an administrator would (SIGTERM) and wait; raises ServerError if it will not end."""
        process = self._running()
        process.terminate()
        process.send_signal(signal.SIGCONT)  # a paused process does not see the SIGTERM
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise ServerError(f"{self!r} did not end on SIGTERM:\n{self._log_tail()}") from None
        self._process = None

    def crash(self) -> None:
        """Kill the server (SIGKILL) and wait until it is gone."""
        self._running()
        self._kill()

    def pause(self) -> None:
        """Freeze the server (SIGSTOP) and wait until it is frozen: the kernel accepts for it, nothing answers."""
        pid = self.pid
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED)

    def resume(self) -> None:
        """Let a paused server go on."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Kill the server, whatever its state, and remove its files; idempotent."""
        self._kill()
        if self._directory is not None:
            self._directory.remove()
            self._directory = None

    def connect(self, user: str = "root", password: str = "", **kwargs: Any) -> Connection:
        """Return a new PyMySQL connection, directly to the server over TCP; `kwargs` are those of pymysql.connect()."""
        return pymysql.connect(host=self.host, port=self.port, user=user, password=password, **kwargs)

    def execute(self, sql: str, args: Sequence[object] = (), *, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run one statement as root on a connection of its own and return the rows.

        Bounded: what waits for a lock, or for a paused server, fails after some seconds with a pymysql error.
        """
        connection = self.connect(
            database=database, autocommit=True, read_timeout=30, init_command="SET lock_wait_timeout = 10"
        )
        with closing(connection), connection.cursor() as cursor:
            cursor.execute(sql, args or None)
            return list(cursor.fetchall())

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise ServerError(f"{self!r} does not run")
        return self._process

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start_on_some_port(self, *extra: str) -> None:
        fixed = self.port
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self.port = fixed or free_port()
            try:
                self._launch(*extra)
            except PortTakenError:
                if fixed or attempt == PORT_ATTEMPTS:
                    raise
            else:
                return

    def _launch(self, *extra: str) -> None:
        """Start the process and wait until it answers; on any failure it is gone."""
        # What a crash left behind would make MySQL believe that the socket is in use once its pid has been given anew.
        for stale in self.directory.glob("m.sock*"):
            stale.unlink()
        command = [*self._command(), *self._common_options(), *extra, *self.options]
        self.error_log.touch()
        log_start = self.error_log.stat().st_size
        # What is preloaded into the tests and their guards (by `make sanitize`) is none of a server's business.
        self._process = spawn(["env", "-u", "LD_PRELOAD", *command], self.error_log)
        try:
            self._wait_until_up(self._process, log_start)
        except BaseException:
            self._kill()
            raise

    def _common_options(self) -> list[str]:
        """Return the options for both kinds: small, quick, and safe against the crash of the process alone."""
        return [
            f"--datadir={self._inside(self.directory / 'data')}",
            f"--tmpdir={self._inside(self.directory / 'tmp')}",
            f"--secure-file-priv={self._inside(self.directory / 'tmp')}",
            f"--socket={self._inside(self.socket_path)}",
            f"--pid-file={self._inside(self.directory / 'm.pid')}",
            f"--port={self.port}",
            f"--bind-address={self.host}",
            "--skip-name-resolve",
            "--local-infile=ON",
            "--innodb-buffer-pool-size=32M",
            "--innodb-flush-log-at-trx-commit=2",
        ]

    def _wait_until_up(self, process: "subprocess.Popen[bytes]", log_start: int) -> None:
        # Asked over the unix socket, which is surely ours: the TCP port could be another server's.
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.version = self._ask_version()
            except (OSError, pymysql.err.OperationalError) as error:
                if (status := process.poll()) is not None:
                    said = self.error_log.read_bytes()[log_start:]
                    kind = PortTakenError if b"Address already in use" in said else ServerError
                    raise kind(f"{self!r} ended with status {status} while starting:\n{self._log_tail()}") from None
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"{self!r} does not answer after {START_SECONDS:.0f} s ({error}):\n{self._log_tail()}"
                    ) from None
                time.sleep(0.02)
            else:
                return

    def _ask_version(self) -> str:
        # PyMySQL leaks its socket if it cannot connect to a unix socket, so it may try only when that will succeed.
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(self.socket_path))
        connection: Connection = pymysql.connect(unix_socket=str(self.socket_path), user="root", read_timeout=10)
        with closing(connection), connection.cursor() as cursor:
            cursor.execute("SELECT VERSION()")
            ((version,),) = cursor.fetchall()
            return str(version)

    def _log_tail(self) -> str:
        return self.error_log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
