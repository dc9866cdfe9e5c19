"""Accounts that are new to the server and to the guard in front of it."""

import uuid
from collections.abc import Iterator

import pytest

from tests.drivers.table import Account
from tests.e2e.conftest import guard, guards, start_guard
from tests.guard import Guard
from tests.servers import Server

__all__ = ["guard", "guards", "start_guard"]

PASSWORD = "correct horse"


@pytest.fixture
def account(server: Server, guard: Guard) -> Iterator[Account]:
    """Give a new account on the shared server, whose database is empty. Its password is yet to be learned."""
    account = make_account(server, guard, f"u{uuid.uuid4().hex[:12]}")
    yield account
    server.execute(f"DROP DATABASE {account.user}")
    server.execute(f"DROP USER {account.user}")


def make_account(server: Server, guard: Guard, name: str) -> Account:
    """Make a user with all rights, by the server's default plugin, and a database of its name."""
    server.execute(f"CREATE DATABASE `{name}`")
    server.execute(f"CREATE USER `{name}` IDENTIFIED BY '{PASSWORD}'")
    server.execute(f"GRANT ALL ON *.* TO `{name}`")
    return Account(guard.host, guard.port, name, PASSWORD)


def events_of(guard: Guard, user: str) -> list[dict[str, object]]:
    """List what a guard has logged of the sessions of a user."""
    sessions = {event["session"] for event in guard.events if event.get("user") == user}
    return [event for event in guard.events if event.get("session") in sessions]


def log_of(guard: Guard, user: str) -> list[object]:
    """List the names of these events."""
    return [event["event"] for event in events_of(guard, user)]
