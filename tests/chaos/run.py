"""The ledger test: clients write through the guard while everything behind it fails, then their logs are audited."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from tests.chaos.clients import PATIENCE_SECONDS, SCHEMA, Client, ConnectorClient, PyMySQLClient, make_tables
from tests.chaos.faults import Faults
from tests.chaos.ledger import WRITES, Audit, Log, Outcome, Tables, Transfer, Work, audit
from tests.guard import Guard
from tests.servers import BlackholeRelay, Server

SERVER_OPTIONS = ("--innodb-lock-wait-timeout=5", "--max-connections=400", "--innodb-buffer-pool-size=64M")
READY_SECONDS = 60.0
SETTLING_SECONDS = 60.0
OUTCOME_LENGTH = 80
INCIDENT_EVENTS = ("link lost and restored", "session lost")


@dataclass(frozen=True)
class Report:
    """What a run came to."""

    name: str
    seed: int
    audit: Audit
    faults: Counter[str]
    #: What the guard has logged.
    events: Sequence[dict[str, Any]]

    @property
    def incidents(self) -> Counter[tuple[str, str]]:
        """How often links were lost, by cause and outcome."""
        return Counter(
            (event["cause"], _short(event["outcome"])) for event in self.events if event["event"] in INCIDENT_EVENTS
        )

    @property
    def violations(self) -> list[str]:
        """What must not have happened."""
        return [f"{violation} (seed {self.seed})" for violation in self.audit.violations]

    def lines(self) -> Iterator[str]:
        """Write the report."""
        yield f"{self.name}, seed {self.seed}"
        outcomes = [outcome for outcome in Outcome if any(of is outcome for _, of in self.audit.outcomes)]
        yield from _table(
            ["work", *(outcome.words for outcome in outcomes), "unsure: applied", "not applied"],
            [
                [
                    str(work),
                    *(str(self.audit.outcomes[work, outcome]) for outcome in outcomes),
                    *((str(self.audit.applied[work]), str(self.audit.not_applied[work])) if work in WRITES else "  "),
                ]
                for work in Work
                if any(of is work for of, _ in self.audit.outcomes)
            ],
        )
        yield ""
        yield from _table(["seen by clients", "times"], [[k, str(n)] for k, n in sorted(self.audit.notes.items())])
        yield ""
        yield from _table(["fault", "times"], [[name, str(count)] for name, count in sorted(self.faults.items())])
        yield ""
        rows = [[cause, outcome, str(count)] for (cause, outcome), count in sorted(self.incidents.items())]
        yield from _table(["incident", "outcome", "times"], rows, left=2)
        yield ""
        if self.violations:
            yield f"{len(self.violations)} VIOLATIONS:"
            yield from self.violations[:50]
        else:
            yield "no violation"


def run(
    server: Server,
    seconds: float,
    clients: int,
    seed: int,
    *,
    spool: Mapping[str, str] | None = None,
    relay_kind: str = "auto",
) -> Report:
    """Let clients work for a while in front of a server of its own kind that is not started yet, and audit them.

    ``spool`` and ``relay_kind`` are of the guard's configuration: ``spool`` and ``relay``.
    """
    rng = random.Random(seed)
    name = f"{server.name}, {clients} clients, {seconds:g} s"
    with ExitStack() as stack:
        server.options += SERVER_OPTIONS
        stack.enter_context(server)
        make_tables(server)
        relay = stack.enter_context(BlackholeRelay(server.host, server.port))
        tls = rng.choice(("disabled", "preferred"))
        guard = stack.enter_context(_start_guard(relay, tls, spool or {}, relay_kind))
        logs, faults, late = _work(server, relay, guard, seconds, clients, rng, seed)
        events, failures = guard.events, guard.failures()
        guard.close()
        relay.close()
        result = audit(logs, _read_tables(server))
    result.violations += late
    result.violations += [f"the guard has logged {failure}" for failure in failures]
    return Report(f"{name}, TLS {tls}", seed, result, faults, events)


def _start_guard(relay: BlackholeRelay, tls: str, spool: Mapping[str, str], relay_kind: str) -> Guard:
    return Guard(
        f"{relay.host}:{relay.port}",
        upstream={"address": f"{relay.host}:{relay.port}", "tls": {"mode": tls}, "connect_timeout": "1s"},
        keepalive={"interval": "2s", "probe_timeout": "500ms", "validate_after": "200ms"},
        reconnect={"wait": "60s"},
        spool=dict(spool),
        relay=relay_kind,
        log={"level": "info"},
    )


def _work(
    server: Server, relay: BlackholeRelay, guard: Guard, seconds: float, count: int, rng: random.Random, seed: int
) -> tuple[list[Log], Counter[str], list[str]]:
    """Let clients work; return their logs, the faults that were done, and what is to be said of those that hang."""
    stop = threading.Event()
    clients: list[Client] = [
        (ConnectorClient if index % 10 == 9 else PyMySQLClient)(index, guard, seed, stop) for index in range(count)
    ]
    faults = Faults(server, relay, rng)
    for client in clients:
        client.start()
    try:
        late = [f"{client.name} did not get in" for client in clients if not client.ready.wait(READY_SECONDS)]
        faults.until(time.monotonic() + seconds)
    finally:
        stop.set()
        deadline = time.monotonic() + PATIENCE_SECONDS + 10
        for client in clients:
            client.join(max(0.0, deadline - time.monotonic()))
    late += [f"{client.name} hangs" for client in clients if client.is_alive()]
    return [client.log for client in clients], faults.done, late


def _read_tables(server: Server) -> Tables:
    """Read the tables once nobody works on them any more."""
    deadline = time.monotonic() + SETTLING_SECONDS
    others = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'root' AND id <> CONNECTION_ID()"
    while server.execute(others) != [(0,)]:
        if time.monotonic() > deadline:
            raise AssertionError(f"sessions remain: {server.execute('SHOW PROCESSLIST')}")
        time.sleep(0.1)
    return Tables(
        [number for (number,) in server.execute("SELECT number FROM entries", database=SCHEMA)],
        [
            Transfer(*row)
            for row in server.execute("SELECT number, source, target, amount FROM transfers", database=SCHEMA)
        ],
        dict(server.execute("SELECT id, balance FROM accounts", database=SCHEMA)),
    )


def _short(text: str) -> str:
    return text if len(text) <= OUTCOME_LENGTH else f"{text[: OUTCOME_LENGTH - 4]} ..."


def _table(head: list[str], rows: list[list[str]], left: int = 1) -> Iterator[str]:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        cells = zip(row, widths, strict=True)
        yield "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width) for column, (cell, width) in enumerate(cells)
        ).rstrip()
