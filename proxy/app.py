"""The guard as a process: puts the parts together, listens, and stops in good order."""

import signal
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import structlog
import trio

from config import Config, UnixAddress
from proxy.admin.server import open_admin, serve_admin
from proxy.errors import StartError
from proxy.listener import Door, Reception, open_listeners, written
from proxy.passwords import PasswordBook
from proxy.pulse import beat
from proxy.reconnect import Reconnector
from proxy.shared import Shared
from proxy.spool import SpoolSpace
from proxy.tls import ClientTls, UpstreamTls, make_certificate, reload_certificates
from proxy.welcome import welcome

log = structlog.stdlib.get_logger()


async def run(config: Config) -> None:
    """Guard until SIGINT or SIGTERM; then take no new clients and let each session end at its next quiet point.

    SIGHUP has the certificates read again.

    Sessions that have not ended after ``limits.drain_timeout``, or at a second signal, are cut off.

    Raises:
        StartError: the configuration cannot be carried out on this machine.
    """
    self_signed = make_certificate()
    try:
        client_tls = [ClientTls(listen.tls, self_signed) for listen in config.listen]
        upstream_tls = UpstreamTls(config.upstream.tls, config.upstream.address)
    except OSError as error:
        raise StartError(f"cannot set up TLS: {error}") from error
    shared = Shared(
        config,
        PasswordBook(config.auth),
        upstream_tls,
        Reconnector(config.reconnect.concurrency, config.upstream.connect_timeout + config.limits.login_timeout),
        SpoolSpace(config.spool),
    )
    structlog.contextvars.bind_contextvars(server=str(config.upstream.address))
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        admin = await open_admin(config.admin)
        doors = [
            Door(tls, await open_listeners(listen.address))
            for listen, tls in zip(config.listen, client_tls, strict=True)
        ]
        reception = Reception(shared)
        try:
            async with trio.open_nursery() as household:
                household.start_soon(beat, shared.tally)
                welcome(config, [listener for door in doors for listener in door.listeners], admin)
                for listener in admin:
                    log.info("admin pages", address=f"http://{written(listener)}/")
                if admin:
                    household.start_soon(serve_admin, admin, shared, reception)
                await _guard(reception, doors, _obey(signals, [*client_tls, upstream_tls]), config)
                household.cancel_scope.cancel()
        finally:
            _remove_sockets(config)
    log.info("stopped")


async def _obey(signals: AsyncIterator[int], tls: Sequence[ClientTls | UpstreamTls]) -> AsyncIterator[int]:
    """Read the certificates again at each SIGHUP, and give the other signals."""
    async for number in signals:
        if number != signal.SIGHUP:
            yield number
            continue
        try:
            reload_certificates(tls)
        except OSError as error:
            log.warning("certificates not read again", reason=str(error))
        else:
            log.info("certificates read again")


def _remove_sockets(config: Config) -> None:
    for listen in config.listen:
        if isinstance(listen.address, UnixAddress):
            Path(listen.address.path).unlink(missing_ok=True)


async def _guard(reception: Reception, doors: Sequence[Door], signals: AsyncIterator[int], config: Config) -> None:
    async with trio.open_nursery() as watch:
        async with trio.open_nursery() as sessions:
            async with trio.open_nursery() as accepting:
                for door in doors:
                    accepting.start_soon(_accept, reception, door, sessions)
                    for listener in door.listeners:
                        log.info("listening", address=written(listener), upstream=str(config.upstream.address))
                received = await anext(signals)
                accepting.cancel_scope.cancel()
            log.info("draining", signal=signal.Signals(received).name, sessions=len(reception.sessions))
            reception.drain()
            sessions.cancel_scope.deadline = trio.current_time() + config.limits.drain_timeout
            watch.start_soon(_cut_off_at_signal, signals, sessions.cancel_scope)
        if sessions.cancel_scope.cancelled_caught:
            log.warning("sessions cut off")
        watch.cancel_scope.cancel()


async def _accept(reception: Reception, door: Door, sessions: trio.Nursery) -> None:
    await trio.serve_listeners(partial(reception.receive, door.tls), list(door.listeners), handler_nursery=sessions)


async def _cut_off_at_signal(signals: AsyncIterator[int], sessions: trio.CancelScope) -> None:
    await anext(signals)
    sessions.cancel()
