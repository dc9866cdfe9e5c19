"""What goes wrong while clients work."""

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pymysql

from tests.servers import BlackholeRelay, Server

LONGEST_FAULT_SECONDS = 3.0
MEAN_PAUSE_SECONDS = 0.8
LONGEST_PAUSE_SECONDS = 4.0


class Faults:
    """Does one fault after the other, at random, to a server and the network in front of it.

    When `until` returns, the server runs and the network is whole.
    """

    def __init__(self, server: Server, relay: BlackholeRelay, rng: random.Random) -> None:
        self.done: Counter[str] = Counter()
        self._server = server
        self._relay = relay
        self._rng = rng
        self._faults: dict[str, tuple[float, Callable[[], None]]] = {
            "crash": (2, self._crash),
            "restart": (2, self._restart),
            "KILL CONNECTION": (4, lambda: self._kill("CONNECTION")),
            "KILL QUERY": (2, lambda: self._kill("QUERY")),
            "black hole, restored": (3, self._black_hole_restored),
            "black hole, cut": (3, self._black_hole_cut),
            "black hole for the old links": (2, self._black_hole_for_old_links),
            "crash in a black hole": (1, self._crash_in_black_hole),
            "reset": (4, relay.sever),
            "hang-up": (4, relay.hang_up),
            "resets in a row": (2, self._resets_in_a_row),
            "server frozen": (3, self._freeze),
        }

    def until(self, deadline: float) -> None:
        """Do faults until `time.monotonic()` has reached `deadline`, and whole ones."""
        names = list(self._faults)
        weights = [weight for weight, _ in self._faults.values()]
        while True:
            pause = min(self._rng.expovariate(1 / MEAN_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
            if time.monotonic() + pause >= deadline:
                return
            time.sleep(pause)
            (name,) = self._rng.choices(names, weights)
            self._faults[name][1]()
            self.done[name] += 1

    def _linger(self) -> None:
        """Let a fault last."""
        time.sleep(LONGEST_FAULT_SECONDS * self._rng.random() ** 2)

    def _crash(self) -> None:
        self._server.crash()
        self._linger()
        self._server.restart()

    def _restart(self) -> None:
        self._server.stop()
        self._linger()
        self._server.restart()

    def _kill(self, what: str) -> None:
        # A session that is killed may just have ended, or a lock may be in the way of our own statement.
        with suppress(pymysql.Error):
            threads = [
                thread
                for (thread,) in self._server.execute(
                    "SELECT id FROM information_schema.processlist WHERE user = 'root' AND id <> CONNECTION_ID()"
                )
            ]
            for thread in self._rng.sample(threads, min(len(threads), self._rng.randrange(1, 8))):
                with suppress(pymysql.Error):
                    self._server.execute(f"KILL {what} {thread}")

    def _black_hole_restored(self) -> None:
        self._relay.swallow()
        self._linger()
        self._relay.restore()

    def _black_hole_cut(self) -> None:
        self._relay.swallow()
        self._linger()
        self._rng.choice((self._relay.sever, self._relay.hang_up))()
        self._relay.restore()

    def _black_hole_for_old_links(self) -> None:
        self._relay.swallow(new_connections=False)
        self._linger()
        if self._rng.random() < 0.5:
            self._relay.sever()
        self._relay.restore()

    def _crash_in_black_hole(self) -> None:
        self._relay.swallow()
        time.sleep(self._rng.random())
        self._server.crash()
        self._server.restart()
        self._relay.restore()

    def _resets_in_a_row(self) -> None:
        for _ in range(self._rng.randrange(2, 8)):
            self._rng.choice((self._relay.sever, self._relay.hang_up))()
            time.sleep(0.1 * self._rng.random())

    def _freeze(self) -> None:
        self._server.pause()
        self._linger()
        self._server.resume()
