"""Settings against lost connections, as they are written in the place where they belong."""

from collections.abc import Iterator

from proxy.doctor.findings import Advice, Place
from proxy.doctor.server import Server

#: Pools are to let go of a connection when so much is over of the time after which it may be dead.
_POOL_SHARE = 0.75
#: The shortest maxLifetime that HikariCP accepts, in seconds.
_SHORTEST_HIKARI_LIFETIME = 30

#: How pools find out that a connection is dead before they hand it out.
PRE_PING = Advice(
    Place.POOL, "SQLAlchemy: pool_pre_ping=True; Django: CONN_HEALTH_CHECKS=True; HikariCP: keepaliveTime=60000"
)


def pool_lifetimes(timeout: int) -> Iterator[Advice]:
    """Say how pools are kept from handing out connections that are dead after ``timeout`` seconds of idleness."""
    seconds = max(1, int(timeout * _POOL_SHARE))
    yield Advice(Place.POOL, f"SQLAlchemy: create_engine(..., pool_recycle={seconds}, pool_pre_ping=True)")
    yield Advice(
        Place.POOL, f'Django: DATABASES = {{"default": {{"CONN_MAX_AGE": {seconds}, "CONN_HEALTH_CHECKS": True}}}}'
    )
    if seconds >= _SHORTEST_HIKARI_LIFETIME:
        yield Advice(Place.POOL, f"HikariCP: maxLifetime={seconds * 1000}")
    yield Advice(Place.POOL, f"Go: db.SetConnMaxLifetime({seconds} * time.Second)")


def set_global(variable: str, value: int) -> Advice:
    """Say how a variable of the server is set, for now and for good."""
    return Advice(
        Place.SERVER,
        f"SET GLOBAL {variable} = {value};    # and {variable} = {value} below [mysqld] in its option file",
    )


def run_guard(server: Server, what: str) -> Advice:
    """Say how to put a guard in front of a server, and what that does."""
    return Advice(Place.GUARD, f"stillhere run --upstream {server.address}    # {what}")
