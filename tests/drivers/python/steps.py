"""What the Python scripts have in common: their arguments, and how they talk to the test."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

#: Twice what the server takes.
OVERSIZED = f"SELECT LENGTH('{'x' * (2 << 20)}')"
LARGE = "SELECT n, filler FROM parcels"
LARGE_ROWS = 20_000
PARCEL = "SELECT n FROM parcels WHERE n = {}"
ENTER = "INSERT INTO entries VALUES (1)"
COUNT = "SELECT COUNT(*) FROM entries"
REMEMBER = "SET @mine = 'kept'"
RECALL = "SELECT @mine"
TOO_LARGE = 1153


class Account(NamedTuple):
    """Where to connect to, and as whom."""

    host: str
    port: int
    user: str
    password: str
    database: str


def account() -> Account:
    host, port, user, password, database = sys.argv[1:6]
    return Account(host, int(port), user, password, database)


def done(step: str) -> None:
    """Tell the test that a step has been taken."""
    print(step, flush=True)  # noqa: T201 - it is read by the test


@contextmanager
def refused() -> Iterator[None]:
    """Expect the error that the guard has for a statement that is too large."""
    try:
        yield
    except Exception as error:
        told = getattr(error, "orig", error)  # SQLAlchemy wraps what a driver raises
        if getattr(told, "errno", told.args[0]) != TOO_LARGE:
            raise
    else:
        raise AssertionError("the oversized statement has been let through")


def wait() -> None:
    """Wait until the test has started the server anew."""
    sys.stdin.readline()
