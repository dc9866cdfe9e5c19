"""Measure how sessions come back when a server is restarted, or killed, under many of them at once.

All sessions are idle when the server goes, and each of them sends a statement while it is away. The clock starts when
the server lets somebody in again who asks it directly, without the guard.
"""

import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import pymysql

from bench.cpu import cpu_seconds
from bench.place import allow_open_files
from bench.report import machine_facts, save
from tests.e2e import wire
from tests.guard import Guard
from tests.servers import Connection, MariaDB, MySQL, Server, ServerError
from tests.servers.turnstile import Turnstile

USER = PASSWORD = "storm"  # noqa: S105 - of a throwaway server
SPARE_CONNECTIONS = 50
#: Nobody waits for longer than this.
PATIENCE_SECONDS = 120
ASK_SECONDS = 0.01
#: The guard needs a quiet moment of a session to read back what it has set.
IDLE_SECONDS = 1.0

SERVERS: dict[str, type[Server]] = {"mariadb": MariaDB, "mysql": MySQL}
SCENARIOS: dict[str, Callable[[Server], None]] = {"restart": Server.stop, "kill -9": Server.crash}


@dataclass(frozen=True)
class Storm:
    """What became of the sessions; seconds are counted from the moment when the server was back."""

    sessions: int
    #: How long the server was away.
    away_seconds: float
    #: When each session that was served had its answer, in order.
    served: tuple[float, ...]
    errors: tuple[str, ...]
    #: The most logins that were under way at the same time, and how many were begun.
    most_logins: int
    logins: int
    guard_cpu_seconds: float

    def served_after(self, share: float) -> float:
        """Tell when this share of the sessions had been served; infinity if it never was."""
        count = max(1, round(share * self.sessions))
        return self.served[count - 1] if count <= len(self.served) else float("inf")


class Theatre:
    """A server, a guard in front of it, and idle sessions through both. Close it with the stack that is given."""

    def __init__(self, stack: ExitStack, server: Server, sessions: int, concurrency: int) -> None:
        allow_open_files()
        server.options += (f"--max-connections={sessions + SPARE_CONNECTIONS}",)
        self.server = stack.enter_context(server)
        server.execute(f"CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
        self.turnstile = stack.enter_context(Turnstile(server.host, server.port))
        address = f"{self.turnstile.host}:{self.turnstile.port}"
        self.guard = stack.enter_context(
            Guard(
                address,
                # Encrypted, a login could not be told from what follows it.
                upstream={"address": address, "tls": {"mode": "disabled"}},
                reconnect={"concurrency": concurrency, "wait": f"{PATIENCE_SECONDS}s"},
                limits={"sessions": sessions},
                log={"level": "info"},
            )
        )
        self.sessions: list[Connection] = []
        for _ in range(sessions):
            session = self.guard.connect(
                USER, PASSWORD, ssl_disabled=True, autocommit=True, read_timeout=PATIENCE_SECONDS
            )
            self.sessions.append(session)
            stack.callback(_close, session)

    def storm(self, blow: Callable[[Server], None]) -> Storm:
        """End the server with `blow`, have all sessions ask for something, start the server, and see them served."""
        time.sleep(IDLE_SECONDS)
        self.turnstile.most_at_once = 0
        logins = self.turnstile.connections
        cpu = cpu_seconds(self.guard.process.pid)
        gone_at = time.monotonic()
        blow(self.server)
        for number, session in enumerate(self.sessions):
            wire.send(session, wire.COM_QUERY, f"SELECT {number}".encode())
        watch = _Watch(self.server)
        restarting = threading.Thread(target=self.server.restart)
        watch.start()
        restarting.start()
        try:
            served, errors = _collect(self.sessions)
        finally:
            restarting.join()
            watch.join()
        return Storm(
            len(self.sessions),
            watch.back_at - gone_at,
            tuple(sorted(moment - watch.back_at for moment in served)),
            tuple(errors),
            self.turnstile.most_at_once,
            self.turnstile.connections - logins,
            cpu_seconds(self.guard.process.pid) - cpu,
        )


class _Watch(threading.Thread):
    """Asks the server, past the guard, until it answers."""

    def __init__(self, server: Server) -> None:
        super().__init__(name="watch", daemon=True)
        self.back_at = float("inf")
        self._server = server

    def run(self) -> None:
        """Ask."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with suppress(pymysql.Error):
                self._server.connect(connect_timeout=1).close()
                self.back_at = time.monotonic()
                return
            time.sleep(ASK_SECONDS)


def _collect(sessions: Sequence[Connection]) -> tuple[list[float], list[str]]:
    """Wait for an answer to each session; return when the right ones came, and what else came."""
    served: list[float] = []
    errors: list[str] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    with selectors.DefaultSelector() as selector:
        for number, session in enumerate(sessions):
            selector.register(wire.descriptor(session), selectors.EVENT_READ, number)
        while selector.get_map() and time.monotonic() < deadline:
            for key, _ in selector.select(1):
                selector.unregister(key.fileobj)
                try:
                    rows = wire.rows(sessions[key.data])
                except pymysql.Error as error:
                    errors.append(f"session {key.data}: {error!r}")
                    continue
                served.append(time.monotonic())
                if rows != ((key.data,),):
                    errors.append(f"session {key.data} was given {rows!r}")
        errors += [f"session {key.data} was never served" for key in selector.get_map().values()]
    return served, errors


def _close(session: Connection) -> None:
    with suppress(pymysql.Error):
        session.close()


def _show(name: str, storm: Storm) -> None:
    print(
        f"{name:18}{storm.sessions:9}{storm.away_seconds:9.2f}{storm.served_after(0.5):9.2f}"
        f"{storm.served_after(0.9):9.2f}{storm.served_after(1):9.2f}{storm.most_logins:12}{storm.logins:9}"
        f"{storm.guard_cpu_seconds:11.2f}{len(storm.errors):9}",
        flush=True,
    )
    for error in storm.errors[:10]:
        print(f"    {error}")


@click.command()
@click.option("--sessions", type=click.IntRange(min=1), default=500, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Storms of each kind.")
@click.option("--concurrency", type=click.IntRange(min=1), default=32, show_default=True, help="The guard's setting.")
@click.option("--server", "servers", type=click.Choice(sorted(SERVERS)), multiple=True, help="Default: all.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all numbers there.")
def main(sessions: int, rounds: int, concurrency: int, servers: tuple[str, ...], json_file: Path | None) -> None:
    """Restart servers below many idle sessions, and print when these were served again.

    The exit status is 1 if a client saw an error, or more logins were under way at once than there may be.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    print(
        f"{'':18}{'sessions':>9}{'away s':>9}{'50% s':>9}{'90% s':>9}{'100% s':>9}{'most logins':>12}{'logins':>9}"
        f"{'guard CPU':>11}{'errors':>9}"
    )
    storms: list[tuple[str, Storm]] = []
    for name in servers or sorted(SERVERS):
        if name == "mysql" and (reason := MySQL.unavailable()):
            print(f"mysql is left out: {reason}")
            continue
        with ExitStack() as stack:
            try:
                theatre = Theatre(stack, SERVERS[name](), sessions, concurrency)
                for scenario, blow in [*SCENARIOS.items()] * rounds:
                    storms.append((f"{name}, {scenario}", theatre.storm(blow)))
                    _show(*storms[-1])
            except ServerError as error:
                raise click.ClickException(str(error)) from None
    if json_file is not None:
        save(json_file, {"facts": machine_facts(), "storms": [{"name": name, **asdict(s)} for name, s in storms]})
    sys.exit(any(storm.errors or storm.most_logins > concurrency for _, storm in storms))


if __name__ == "__main__":
    main()
