"""Run the ledger test for as long as you like: `python -m tests.chaos [--seconds N] [--server NAME] [--seed N]`."""

import json
import random
import signal
import sys
from typing import TextIO

import click

from tests.chaos.run import run
from tests.conftest import SERVERS
from tests.servers import MySQL


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=600, show_default=True, help="For all servers together."
)
@click.option("--clients", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--server", "servers", type=click.Choice(sorted(SERVERS)), multiple=True, help="Default: all.")
@click.option("--seed", type=int, help="Repeats the choices of an earlier run, though not its timing.")
@click.option("--guard-log", type=click.File("w"), help="Write what the guard has logged there.")
def main(seconds: float, clients: int, servers: tuple[str, ...], seed: int | None, guard_log: TextIO | None) -> None:
    """Let clients write while server and network fail, then compare what they were told with the tables.

    The exit status is 1 if a client was told something that is not true.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    names = list(servers or sorted(SERVERS))
    if "mysql" in names and (reason := MySQL.unavailable()):
        click.echo(f"mysql is left out: {reason}", err=True)
        names.remove("mysql")
    has_failed = not names
    for name in names:
        chosen = random.randrange(1_000_000) if seed is None else seed
        click.echo(f"{name}, seed {chosen} ...", err=True)
        report = run(SERVERS[name](), seconds / len(names), clients, chosen)
        for line in report.lines():
            click.echo(line)
        for event in report.events if guard_log else ():
            click.echo(json.dumps(event), guard_log)
        has_failed |= bool(report.violations)
    sys.exit(has_failed)


main()
