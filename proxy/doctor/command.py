"""What ``stillhere doctor`` does with a configuration: log in, look, judge and report."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable

import click
from pydantic import SecretStr

from config import Config
from proxy.doctor.error_log import ErrorLog
from proxy.doctor.findings import Verdict
from proxy.doctor.judging import Setup, judge
from proxy.doctor.machine import read_machine
from proxy.doctor.report import as_data, show
from proxy.doctor.server import Account, CannotExamine, examine


def diagnose(config: Config, user: str | None, error_log: Iterable[str] | None, *, guarded: bool, as_json: bool) -> int:
    """Print the report on the server of a configuration; return the exit code.

    ``guarded``: applications connect through a guard with this configuration, not directly. ``user`` None: the first
    one of the configuration. ``error_log`` None: as much of the log as the account may read at the server.
    """
    account = _account(config, user)
    try:
        server = examine(config, account)
    except CannotExamine as error:
        click.echo(str(error), err=True)
        return 2
    drops = ErrorLog(names_idleness=server.names_idleness).read(server.log or () if error_log is None else error_log)
    setup = Setup(server, read_machine(), config if guarded else None, drops, _spool_room(config))
    findings = judge(setup)
    if as_json:
        click.echo(json.dumps(as_data(setup, findings), indent=2))
    else:
        show(setup, findings)
    return int(any(finding.verdict is Verdict.AT_RISK for finding in findings))


def _account(config: Config, name: str | None) -> Account:
    """Find out as whom to log in, and with which password."""
    for user in config.auth.users:
        if name in (user.user, None):
            return Account(user.user, user.password)
    if name is None:
        raise click.UsageError("--user is missing: an account of the server, whose password will be asked for.")
    password = os.environ.get("STILLHERE_PASSWORD")
    if password is None and not sys.stdin.isatty():
        raise click.UsageError("There is no password: set STILLHERE_PASSWORD.")
    if password is None:
        password = click.prompt("Password", hide_input=True, default="", show_default=False, err=True)
    return Account(name, SecretStr(password))


def _spool_room(config: Config) -> int:
    """Count the free bytes where the guard's spool has its files."""
    return shutil.disk_usage(config.spool.directory or tempfile.gettempdir()).free
