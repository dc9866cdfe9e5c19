"""The guard as a process: puts the parts together, listens, reads its configuration again, and stops in good order."""

import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence

import structlog
import trio

from config import Address, Config, ConfigError, changed_keys
from proxy import logs, service_manager
from proxy.admin.server import open_admin, serve_admin
from proxy.entrance import Arrangement, Entrance
from proxy.errors import StartError
from proxy.freed_memory import keep_freed_memory
from proxy.listener import Reception, written
from proxy.passwords import PasswordBook
from proxy.pulse import beat
from proxy.reconnect import Reconnector
from proxy.relays import Relays, choose_relays
from proxy.shared import Shared, attempt_seconds
from proxy.spool import SpoolSpace
from proxy.tls import ClientTls, UpstreamTls, make_certificate
from proxy.welcome import welcome

#: What is set up once, for all sessions: an option, or a whole section.
_FIXED = frozenset({"admin", "relay", "workers"})

log = structlog.stdlib.get_logger()


async def run(config: Config, read_again: Callable[[], Config]) -> None:
    """Guard until SIGINT or SIGTERM; then take no new clients and let each session end at its next quiet point.

    At SIGHUP, ``read_again`` gives the configuration, and raises ConfigError if it cannot be used: then, as when
    something in it cannot be carried out, all stays as it is.

    Sessions that have not ended after ``limits.drain_timeout``, or at a second signal, are cut off.

    Raises:
        StartError: the configuration cannot be carried out on this machine.
    """
    self_signed = make_certificate()
    client_tls, upstream_tls = _set_up_tls(config, self_signed)
    shared = Shared(
        config,
        PasswordBook(config.auth),
        upstream_tls,
        Reconnector(config.reconnect.concurrency, attempt_seconds(config)),
        SpoolSpace(config.spool),
    )
    guard = _Guard(shared, self_signed, read_again, choose_relays(config.relay, config.workers))
    structlog.contextvars.bind_contextvars(server=str(config.upstream.address))
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        admin = await open_admin(config.admin)
        arrangement = await guard.entrance.prepare(_addresses(config), client_tls)
        keep_freed_memory()
        await guard.run(arrangement, admin, signals)
    log.info("stopped")


class _Guard:
    """The parts of a guard that runs."""

    def __init__(self, shared: Shared, self_signed: bytes, read_again: Callable[[], Config], relays: Relays) -> None:
        self._shared = shared
        self._self_signed = self_signed
        self._read_again = read_again
        self._relays = relays
        self._reception = Reception(shared, relays.make)
        self.entrance = Entrance(self._reception)

    async def run(self, arrangement: Arrangement, admin: Sequence[socket.socket], signals: AsyncIterator[int]) -> None:
        async with self._relays.running(), trio.open_nursery() as watch:
            watch.start_soon(service_manager.keep_watchdog_quiet)
            watch.start_soon(beat, self._shared.tally, self._relays.take_lag)
            welcome(self._shared.config, arrangement.listeners, admin)
            self._relays.announce()
            for listener in admin:
                log.info("admin pages", address=f"http://{written(listener)}/")
            if admin:
                watch.start_soon(serve_admin, admin, self._shared, self._reception)
            async with trio.open_nursery() as sessions:
                async with trio.open_nursery() as accepting:
                    self.entrance.adopt(arrangement, accepting, sessions, self._shared.config)
                    service_manager.tell_ready()
                    try:
                        received = await self._obey(signals, accepting, sessions)
                    finally:
                        self.entrance.shut()
                service_manager.tell_stopping()
                name = signal.Signals(received).name
                log.info("draining", signal=name, sessions=len(self._reception.sessions))
                self._reception.drain()
                sessions.cancel_scope.deadline = trio.current_time() + self._shared.config.limits.drain_timeout
                watch.start_soon(_cut_off_at_signal, signals, sessions.cancel_scope)
            if sessions.cancel_scope.cancelled_caught:
                log.warning("sessions cut off")
            watch.cancel_scope.cancel()

    async def _obey(self, signals: AsyncIterator[int], accepting: trio.Nursery, sessions: trio.Nursery) -> int:
        """Read the configuration again at each SIGHUP; return the first other signal."""
        while (number := await anext(signals)) == signal.SIGHUP:
            service_manager.tell_reloading()
            await self._reload(accepting, sessions)
            service_manager.tell_ready()
        return number

    async def _reload(self, accepting: trio.Nursery, sessions: trio.Nursery) -> None:
        """Go by the configuration as it is now: by all of it, or by nothing that is new."""
        try:
            config = self._read_again()
            _refuse_changes_of_fixed_keys(self._shared.config, config)
            client_tls, upstream_tls = _set_up_tls(config, self._self_signed)
            arrangement = await self.entrance.prepare(_addresses(config), client_tls)
        except (ConfigError, StartError) as error:
            reason = "; ".join(str(error).splitlines())
            log.warning("configuration not read again", reason=reason, advice="nothing has changed; mend it first")
            return
        changed = changed_keys(self._shared.config, config)
        logs.configure(config.log)
        self._shared.adopt(config, upstream_tls)
        structlog.contextvars.bind_contextvars(server=str(config.upstream.address))
        self.entrance.adopt(arrangement, accepting, sessions, config)
        log.info("configuration read again", changed=changed)


def _set_up_tls(config: Config, self_signed: bytes) -> tuple[list[ClientTls], UpstreamTls]:
    """Read all certificates. Raises StartError where that fails."""
    try:
        client_tls = [ClientTls(listen.tls, self_signed) for listen in config.listen]
        return client_tls, UpstreamTls(config.upstream.tls, config.upstream.address)
    except OSError as error:
        raise StartError(f"cannot set up TLS: {error}") from error


def _refuse_changes_of_fixed_keys(old: Config, new: Config) -> None:
    fixed = [key for key in changed_keys(old, new) if key.partition(".")[0] in _FIXED]
    if fixed:
        raise StartError(f"{' and '.join(fixed)} cannot change while the guard runs: restart it")


def _addresses(config: Config) -> list[Address]:
    return [listen.address for listen in config.listen]


async def _cut_off_at_signal(signals: AsyncIterator[int], sessions: trio.CancelScope) -> None:
    while await anext(signals) == signal.SIGHUP:
        log.warning("configuration not read again", reason="the guard is about to stop")
    sessions.cancel()
