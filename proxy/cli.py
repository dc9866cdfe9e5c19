"""The ``stillhere`` command."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

import click
import structlog
import trio
from rich.console import Console
from rich.text import Text

from config import AuthMode, Config, ConfigError, LogFormat, LogLevel, Override, UnixAddress, is_exposed, load
from proxy import logs
from proxy.errors import StartError

_EXPOSED = "it holds passwords, and everybody on this machine can read it"
_EXPOSED_HINT = "chmod o-r, or move them to password_file or password_env"

#: What the flags of ``run`` stand for, by their names as click gives them.
_KEYS = {
    "upstream": "upstream.address",
    "admin": "admin.address",
    "log_level": "log.level",
    "log_format": "log.format",
}

CONFIG_FILE = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stillhere", prog_name="stillhere", message="%(prog)s %(version)s")
def main() -> None:
    """Keep "MySQL server has gone away" from an application.

    stillhere stands between an application and its MySQL or MariaDB server. Point the application's connection string
    at it instead of at the server.
    """


@main.command(short_help="Stand between clients and the server.")
@click.argument("config_file", metavar="[CONFIG]", required=False, type=CONFIG_FILE)
@click.option(
    "--listen",
    metavar="ADDRESS",
    multiple=True,
    help="Accept clients at HOST:PORT or unix:/PATH. Can be given several times. Default: 127.0.0.1:3307.",
)
@click.option("--upstream", metavar="ADDRESS", help="The server, as HOST:PORT or unix:/PATH.")
@click.option("--admin", metavar="ADDRESS", help="Show what goes on at HOST:PORT, over HTTP. Default: 127.0.0.1:8307.")
@click.option("--log-level", metavar="LEVEL", help=f"One of {', '.join(LogLevel)}. Default: info.")
@click.option("--log-format", metavar="FORMAT", help=f"One of {', '.join(LogFormat)}. Default: console.")
def run(config_file: Path | None, listen: tuple[str, ...], **flags: str | None) -> None:
    """Run until SIGINT or SIGTERM. SIGHUP has CONFIG read again, all of it or, if something is wrong, nothing.

    CONFIG is a YAML file. The flags go before what it says, and --listen replaces its whole list. No file is needed if
    --upstream is given.
    """
    overrides = [Override("--listen", "listen", [{"address": address} for address in listen])] if listen else []
    overrides += [
        Override(f"--{name.replace('_', '-')}", _KEYS[name], value)
        for name, value in flags.items()
        if value is not None
    ]
    config = _load(config_file, overrides)
    logs.configure(config.log)
    _warn_if_exposed(config_file, config)
    # Here, so that `check` and `--help` do not load the whole proxy.
    from proxy import app  # noqa: PLC0415

    def read_again() -> Config:
        config = load(config_file, overrides)
        _warn_if_exposed(config_file, config)
        return config

    try:
        trio.run(app.run, config, read_again)
    except StartError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


@main.command(short_help="List everything that is wrong with a configuration.")
@click.argument("config_file", metavar="CONFIG", type=CONFIG_FILE)
def check(config_file: Path) -> None:
    """List everything that is wrong with CONFIG, with line and column, and exit with 1; with 0 if nothing is.

    Files and environment variables that it names are read, so check it where it will be used.
    """
    config = _load(config_file)
    name = click.format_filename(config_file)
    click.echo(f"{name} is valid")
    if is_exposed(config_file, config):
        click.echo(f"{name}: warning: {_EXPOSED} ({_EXPOSED_HINT})", err=True)
    click.echo(f"  listen    {', '.join(str(listen.address) for listen in config.listen)}")
    click.echo(f"  upstream  {_upstream(config)}")
    click.echo(f"  admin     {_admin(config)}")
    users = ", ".join(user.user for user in config.auth.users)
    click.echo(f"  auth      {config.auth.mode}{f': {users}' if config.auth.mode == AuthMode.USERS else ''}")


@main.command(short_help="Say what threatens connections to a server, and what to set.")
@click.argument("config_file", metavar="[CONFIG]", required=False, type=CONFIG_FILE)
@click.option("--upstream", metavar="ADDRESS", help="The server, as HOST:PORT or unix:/PATH.")
@click.option("--user", metavar="NAME", help="An account of the server. Default: the first of auth.users.")
@click.option(
    "--error-log",
    metavar="FILE",
    type=click.File("r", encoding="utf-8", errors="replace"),
    help="The server's error log, or - for stdin. Default: as far as the account may read it at the server.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def doctor(
    config_file: Path | None, upstream: str | None, user: str | None, error_log: TextIO | None, *, as_json: bool
) -> None:
    """Say for each cause of lost connections whether it threatens this setup, why, and what to set.

    With CONFIG, applications are taken to connect through a guard that runs with it; without, directly. An ordinary
    account of the server is enough; its password is asked for, or comes from STILLHERE_PASSWORD or from CONFIG.

    Exits with 0 if nothing is at risk, with 1 if something is, and with 2 if that could not be found out.
    """
    flags = () if upstream is None else (Override("--upstream", "upstream.address", upstream),)
    config = _load(config_file, flags, exit_code=2)
    from proxy.doctor.command import diagnose  # noqa: PLC0415  as for `run`

    sys.exit(diagnose(config, user, error_log, guarded=config_file is not None, as_json=as_json))


@main.command(short_help="Show what a running guard does and has done.")
@click.argument("config_file", metavar="[CONFIG]", required=False, type=CONFIG_FILE)
@click.option("--admin", metavar="ADDRESS", help="Where the guard's admin pages are, as HOST:PORT.")
@click.option("--watch", is_flag=True, help="Show it anew every second, until Ctrl-C.")
def status(config_file: Path | None, admin: str | None, *, watch: bool) -> None:
    """Ask a running guard for its sessions, what it has saved and the latest incidents.

    CONFIG is the guard's own file; without it, the guard is looked for at 127.0.0.1:8307. The token, if one is needed,
    comes from CONFIG or from STILLHERE_ADMIN_TOKEN. Exits with 1 if the guard does not answer.
    """
    from proxy import status as terminal  # noqa: PLC0415 - as above

    flags = [Override("--admin", "admin.address", admin)] if admin else []
    # Only the admin section counts, but the file is checked as a whole, and without one there must be a server.
    flags += [] if config_file else [Override("--upstream", "upstream.address", "none")]
    settings = _load(config_file, flags).admin
    if settings.address is None:
        click.echo("the configuration says that there are no admin pages (admin.address: null)", err=True)
        sys.exit(1)
    try:
        terminal.show(settings.address, settings.token, is_watching=watch)
    except terminal.NoAnswer as error:
        click.echo(str(error), err=True)
        sys.exit(1)


def _warn_if_exposed(file: Path | None, config: Config) -> None:
    if file is not None and is_exposed(file, config):
        structlog.stdlib.get_logger().warning(_EXPOSED, file=str(file), hint=_EXPOSED_HINT)


def _upstream(config: Config) -> str:
    address = config.upstream.address
    return str(address) if isinstance(address, UnixAddress) else f"{address}, TLS {config.upstream.tls.mode}"


def _admin(config: Config) -> str:
    address = config.admin.address
    return "none" if address is None else f"http://{address}/{', with a token' if config.admin.token else ''}"


def _load(path: Path | None, flags: Iterable[Override] = (), exit_code: int = 1) -> Config:
    """Load a configuration, or list its problems and exit."""
    try:
        return load(path, flags)
    except ConfigError as error:
        _list_problems(error)
        sys.exit(exit_code)


def _list_problems(error: ConfigError) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        click.echo(str(error), err=True)
        return
    for problem in error.problems:
        line = Text()
        for part, style in ((problem.place(error.file), "cyan"), (problem.path, "bold")):
            if part:
                line.append(part, style).append(": ")
        console.print(line.append(problem.message))
        if problem.hint:
            console.print(Text(f"    {problem.hint}", "green"))
