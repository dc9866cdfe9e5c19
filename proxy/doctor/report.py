"""The doctor's report, for people and for programs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.doctor.error_log import Drops
from proxy.doctor.findings import Finding, Verdict
from proxy.doctor.judging import Setup, given_up
from proxy.doctor.words import count, duration, size

_STYLES = {Verdict.SAFE: "green", Verdict.AT_RISK: "bold red", Verdict.UNKNOWN: "yellow"}
#: A report that goes to a file or a pipe has lines of this length.
_FILE_WIDTH = 120
#: As many clients are named for each kind of drop.
_MOST_CLIENTS = 3
_TIME_LENGTH = len("2026-01-31 23:59:59")


def show(setup: Setup, findings: Sequence[Finding]) -> None:
    """Print the report for people."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_FILE_WIDTH)
    for line in _facts(setup):
        console.print(line, soft_wrap=True)
    console.print(_findings_table(findings))
    if setup.drops:
        console.print(_drops_table(setup.drops))
    # In one line each, however narrow the terminal: they are to be copied.
    for line in (*_advice(findings), *_section("What is given up behind the guard", given_up(setup))):
        console.print(line, soft_wrap=True)
    for line in _section("What could not be seen", _notes(setup)):
        console.print(line, soft_wrap=True)


def as_data(setup: Setup, findings: Sequence[Finding]) -> dict[str, Any]:
    """Give the report as what JSON can hold. Durations are in seconds, sizes in bytes."""
    server = setup.server
    return {
        "server": {
            "address": server.address,
            "version": server.version,
            "variables": dict(server.variables),
            "counters": dict(server.counters),
            "sessions": asdict(server.sessions),
            "errors": None if server.errors is None else dict(server.errors),
        },
        "path": asdict(server.path),
        "machine": asdict(setup.machine),
        "guarded": setup.guard is not None,
        "causes": [
            {
                "cause": finding.cause.label,
                "verdict": finding.verdict.replace(" ", "_"),
                "evidence": list(finding.evidence),
                "advice": [{"place": advice.place, "setting": advice.setting} for advice in finding.advice],
            }
            for finding in findings
        ],
        "drops": [
            {**asdict(drops), "cause": drops.cause.label, "clients": dict(drops.clients)} for drops in setup.drops
        ],
        "given_up": list(given_up(setup)),
        "not_seen": list(_notes(setup)),
    }


def _facts(setup: Setup) -> Iterator[Text]:
    server, path, counters = setup.server, setup.server.path, setup.server.counters
    silent = (
        f"{count(counters['Aborted_clients'], 'connection')} of {counters['Connections']:,} ended without a goodbye"
    )
    limits = (
        f"packets below {size(server.limit)}",
        f"{duration(server.number('wait_timeout'))} idle",
        count(server.number("max_connections"), "connection"),
    )
    facts = {
        "server": f"{server.address}, {server.version}, up for {duration(counters['Uptime'])}",
        "judged": "applications that connect directly" if setup.guard is None else "applications behind the guard",
        "path": f"{duration(path.connect_seconds)} to connect and log in, {duration(path.round_trip)} there and back, "
        f"{duration(path.longest_round_trip)} at most",
        "limits": ", ".join(limits),
        "counters": f"{silent}, {count(counters['Aborted_connects'], 'login')} failed, "
        f"{counters['Max_used_connections']} at once at most",
    }
    for name, value in facts.items():
        yield Text.assemble((f"{name:<12}", "bold"), value)


def _findings_table(findings: Sequence[Finding]) -> Table:
    table = Table("cause", "verdict", "evidence", box=box.ROUNDED, show_lines=True)
    for finding in findings:
        verdict = Text(finding.verdict, _STYLES[finding.verdict])
        table.add_row(finding.cause.words, verdict, Text("\n".join(finding.evidence)))
    return table


def _drops_table(kinds: Sequence[Drops]) -> Table:
    table = Table(title="What the server's log has", title_justify="left", box=box.ROUNDED)
    for heading in ("cause", "what", "times", "last", "whom"):
        table.add_column(heading, justify="right" if heading == "times" else "left")
    for drops in kinds:
        whom = ", ".join(f"{client} ({number})" for client, number in drops.clients.most_common(_MOST_CLIENTS))
        # Without the fraction of a second and the time zone that some logs have.
        table.add_row(*map(Text, (drops.cause.words, drops.what, str(drops.count), drops.last[:_TIME_LENGTH], whom)))
    return table


def _advice(findings: Sequence[Finding]) -> Iterator[Text]:
    for finding in findings:
        if finding.advice:
            yield Text(f"{finding.cause.words}: {finding.verdict}", _STYLES[finding.verdict])
        for advice in finding.advice:
            yield Text.assemble((f"  {advice.place:<14}", "bold"), advice.setting)


def _section(heading: str, lines: Iterable[str]) -> Iterator[Text]:
    """Write lines with a heading, if there are any."""
    for index, line in enumerate(lines):
        if not index:
            yield Text(heading, "bold")
        yield Text(f"  {line}")


def _notes(setup: Setup) -> Iterator[str]:
    """Say what the account may not see, and what the server does not log."""
    server = setup.server
    yield from server.missing
    if server.counters["Aborted_clients"] and not setup.drops and server.log is None:
        file = server.variables.get("log_error", "")
        yield f"why connections ended: the server's log tells (--error-log {file if file.startswith('/') else 'FILE'})"
    if server.is_mariadb and server.number("log_warnings") < 4:
        yield "KILL and slow applications: the server does not log them (SET GLOBAL log_warnings = 4;)"
    if not server.is_mariadb and server.number("log_error_verbosity") < 3:
        yield "dropped connections: the server does not log them (SET GLOBAL log_error_verbosity = 3;)"
