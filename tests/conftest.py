"""Fixtures with real servers. Each pytest-xdist worker has servers of its own."""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.servers import MariaDB, MySQL, Server, StartServer

SERVERS: dict[str, type[Server]] = {"mariadb": MariaDB, "mysql": MySQL}


def skip_unless_available(name: str) -> None:
    """Skip where MySQL cannot be had; MariaDB is a must, so that tests do not vanish quietly."""
    if name == "mysql" and (reason := MySQL.unavailable()):
        pytest.skip(reason)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """Give a running MariaDB, shared by all tests of the worker: leave no change behind."""
    with MariaDB() as server:
        yield server


@pytest.fixture(scope="session")
def mysql() -> Iterator[Server]:
    """Give a running MySQL 9, shared like `mariadb`; skips where it cannot be had."""
    skip_unless_available("mysql")
    with MySQL() as server:
        yield server


@pytest.fixture(scope="session", params=sorted(SERVERS))
def server(request: pytest.FixtureRequest) -> Server:
    """Give the shared MariaDB, then the shared MySQL: for tests that must hold on both."""
    shared: Server = request.getfixturevalue(request.param)
    return shared


@pytest.fixture
def schema(server: Server) -> Iterator[str]:
    """Give the name of a new, empty database on `server`, dropped after the test."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    server.execute(f"CREATE DATABASE {name}")
    yield name
    server.execute(f"DROP DATABASE IF EXISTS {name}")


@pytest.fixture(params=sorted(SERVERS))
def own_server(request: pytest.FixtureRequest) -> Iterator[StartServer]:
    """Give a function that starts a server for this test alone, of both kinds in turn.

    `server = own_server("--wait-timeout=2")`; a test may start several.
    """
    skip_unless_available(request.param)
    with ExitStack() as stack:

        def start(*options: str) -> Server:
            return stack.enter_context(SERVERS[request.param](options))

        yield start
