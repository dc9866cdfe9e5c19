"""Visits: a client connects, asks for one thing and quits. Made by mysqlclient, in threads."""

import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from statistics import quantiles
from typing import Any, Self

import MySQLdb

from bench.load import PASSWORD, USER
from bench.targets import Target


class VisitError(RuntimeError):
    """Visits of which one failed."""


@dataclass(frozen=True)
class Visits:
    """What visitors came to in `seconds`; `times_us` is how long each visit took."""

    seconds: float
    times_us: tuple[float, ...]

    @property
    def per_second(self) -> float:
        """Visits per second, of all visitors together."""
        return len(self.times_us) / self.seconds

    def percentile_us(self, percent: int) -> float:
        """Return how long that many percent of the visits took at most; raises ValueError if there were too few."""
        if len(self.times_us) < 2:
            raise ValueError(f"a percentile of {len(self.times_us)} visits")
        return quantiles(self.times_us, n=100, method="inclusive")[percent - 1]


def connect(target: Target) -> Any:
    """Return a connection of mysqlclient that has asked for one thing; raises VisitError."""
    try:
        connection = MySQLdb.connect(
            host=target.host, port=target.port, user=USER, password=PASSWORD, ssl_mode="DISABLED"
        )
        connection.query("SELECT 1")
        connection.store_result()
    except MySQLdb.Error as error:
        raise VisitError(f"{target.name}: {error}") from None
    return connection


class Visitors:
    """Threads that visit a target from entering the context to leaving it, one visit after the other.

    With `per_second`, they make so many visits together, evenly spread; a target that is slower gets fewer.
    Leaving raises VisitError if a visit failed.
    """

    def __init__(self, target: Target, threads: int, per_second: float | None = None) -> None:
        self._target = target
        self._interval = threads / per_second if per_second else 0.0
        self._leaving = threading.Event()
        self._times: list[float] = []
        self._errors: list[VisitError] = []
        self._threads = [
            threading.Thread(target=self._visit, args=(number / threads,), daemon=True) for number in range(threads)
        ]
        self._begun = self._ended = 0.0

    def __enter__(self) -> Self:
        self._begun = time.perf_counter()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._leaving.set()
        for thread in self._threads:
            thread.join()
        self._ended = time.perf_counter()
        if self._errors:
            raise self._errors[0]

    def result(self) -> Visits:
        """Return what they came to, once they have left."""
        return Visits(self._ended - self._begun, tuple(self._times))

    def _visit(self, share: float) -> None:
        due = self._begun + share * self._interval
        while not self._leaving.wait(max(0.0, due - time.perf_counter())):
            begun = time.perf_counter()
            try:
                with closing(connect(self._target)):
                    pass
            except VisitError as error:
                self._errors.append(error)
                return
            now = time.perf_counter()
            self._times.append((now - begun) * 1e6)
            # What was missed is not made up for: the next one is due after a whole interval.
            due = max(due + self._interval, now)


def hold(target: Target, count: int, threads: int = 8) -> list[Any]:
    """Return so many connections that have asked for one thing and are idle; raises VisitError."""
    held: list[Any] = []
    errors: list[VisitError] = []

    def fill(numbers: Sequence[int]) -> None:
        try:
            held.extend(connect(target) for _ in numbers)
        except VisitError as error:
            errors.append(error)

    workers = [threading.Thread(target=fill, args=(range(number, count, threads),)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        for connection in held:
            connection.close()
        raise errors[0]
    return held
