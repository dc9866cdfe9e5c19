"""Fixtures with a guard in front of real servers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import pytest

from tests.e2e.guarded import wait_until_old
from tests.guard import Guard
from tests.servers import Server


class StartGuard(Protocol):
    """Starts a guard, with these sections of configuration, that ends with the test."""

    def __call__(self, upstream: str, /, **config: Any) -> Guard: ...


def address(server: Server) -> str:
    return f"{server.host}:{server.port}"


@pytest.fixture(scope="session")
def guards() -> Iterator[Callable[[Server], Guard]]:
    """Give the guard in front of a shared server, started at first use.

    Its configuration is the default but for one thing: a KILL stands for all that can end a link.
    """
    running: dict[str, Guard] = {}
    with ExitStack() as stack:

        def guard_of(server: Server) -> Guard:
            if server.name not in running:
                wait_until_old(server)  # else the cause of a lost link is not always sure
                running[server.name] = stack.enter_context(Guard(address(server), reconnect={"killed_reads": "rerun"}))
            return running[server.name]

        yield guard_of


@pytest.fixture
def guard(server: Server, guards: Callable[[Server], Guard]) -> Iterator[Guard]:
    """Give a guard with the default configuration in front of `server`; it must not have logged a failure."""
    shared = guards(server)
    yield shared
    assert shared.failures() == []


@pytest.fixture
def start_guard() -> Iterator[StartGuard]:
    """Give a function that starts a guard for this test alone. None of them may log a failure."""
    with ExitStack() as stack:
        started: list[Guard] = []

        def start(upstream: str, /, **config: Any) -> Guard:
            started.append(stack.enter_context(Guard(upstream, **config)))
            return started[-1]

        yield start
        assert [failure for guard in started for failure in guard.failures()] == []
