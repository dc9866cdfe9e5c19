"""The command line: what is printed where, and with which exit code."""

import re
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog
import trio
from click.testing import CliRunner, Result

from config import Config, LogLevel, load
from proxy import cli
from proxy.errors import StartError

GOOD = "upstream: {address: db}\nlisten: [{address: a:1}, {address: unix:/run/s}]\n"
BAD = "upstream: {address: db}\nlog: {level: inof}\nupstreem: 1\n"


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    return tmp_path / "stillhere.yaml"


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let neither the surroundings choose colours nor a test leave its log set up."""
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TERM"):
        monkeypatch.delenv(name, raising=False)
    yield
    structlog.reset_defaults()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Give the list of configurations that the guard was started with; it ends at once."""
    configs = []

    async def run(config: Config, read_again: Callable[[], Config]) -> None:
        await trio.lowlevel.checkpoint()
        configs.append(config)

    monkeypatch.setattr("proxy.app", SimpleNamespace(run=run), raising=False)
    return configs


def invoke(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(cli.main, [str(argument) for argument in arguments])
    # A traceback is never the answer.
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_check_says_of_a_good_file_what_it_will_do(config_file: Path) -> None:
    config_file.write_text(GOOD)
    result = invoke("check", config_file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{config_file} is valid",
        "  listen    a:1, unix:/run/s",
        "  upstream  db:3306, TLS preferred",
        "  admin     http://127.0.0.1:8307/",
        "  auth      learn",
    ]


def test_check_names_the_users_and_not_their_passwords(config_file: Path) -> None:
    config_file.write_text("upstream: {address: unix:/s}\nauth: {mode: users, users: [{user: app, password: hunter2}]}")
    result = invoke("check", config_file)
    assert result.stdout.splitlines()[2:] == [
        "  upstream  unix:/s",
        "  admin     http://127.0.0.1:8307/",
        "  auth      users: app",
    ]


@pytest.mark.parametrize(
    ("user", "mode", "is_exposed"),
    [
        ("{user: app, password: hunter2}", 0o644, True),
        ("{user: app, password: hunter2}", 0o640, False),
        ("{user: app, password_env: HOME}", 0o644, False),
    ],
)
def test_passwords_that_everybody_can_read(
    user: str, mode: int, *, is_exposed: bool, config_file: Path, started: list[Config]
) -> None:
    config_file.write_text(f"upstream: {{address: db}}\nauth: {{mode: users, users: [{user}]}}")
    config_file.chmod(mode)
    for command in ("check", "run"):
        result = invoke(command, config_file)
        assert result.exit_code == 0
        assert ("everybody on this machine can read it" in result.stderr) == is_exposed
        assert str(config_file) in result.stderr or not is_exposed
        assert "hunter2" not in result.output
    assert len(started) == 1


def test_passwords_that_everybody_can_read_after_a_reload(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(config: Config, read_again: Callable[[], Config]) -> None:
        await trio.lowlevel.checkpoint()
        change()
        assert read_again().auth.users

    def change() -> None:
        config_file.write_text("upstream: {address: db}\nauth: {mode: users, users: [{user: app, password: hunter2}]}")

    monkeypatch.setattr("proxy.app", SimpleNamespace(run=run), raising=False)
    config_file.write_text(GOOD)
    config_file.chmod(0o644)
    result = invoke("run", config_file)
    assert (result.exit_code, result.stderr.count("everybody on this machine can read it")) == (0, 1)


@pytest.mark.parametrize("command", ["check", "run"])
def test_problems_are_listed_on_stderr_one_a_line(command: str, config_file: Path) -> None:
    config_file.write_text(BAD)
    result = invoke(command, config_file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        f"{config_file}:2:14: log.level: unknown value 'inof' (did you mean 'info'?)",
        f"{config_file}:3:1: upstreem: unknown key 'upstreem' (did you mean 'upstream'?)",
    ]


def test_a_terminal_shows_the_same_problems_with_the_hint_below(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    config_file.write_text(BAD)
    output = CliRunner().invoke(cli.main, ["check", str(config_file)], color=True).stderr
    assert "\x1b[" in output
    assert re.sub(r"\x1b\[[0-9;]*m", "", output).splitlines() == [
        f"{config_file}:2:14: log.level: unknown value 'inof'",
        "    did you mean 'info'?",
        f"{config_file}:3:1: upstreem: unknown key 'upstreem'",
        "    did you mean 'upstream'?",
    ]


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_file_that_is_not_there(command: str, config_file: Path) -> None:
    result = invoke(command, config_file)
    assert result.exit_code == 1
    assert result.stderr == f"{config_file}: cannot be read: No such file or directory\n"


def test_run_needs_a_server_from_somewhere() -> None:
    result = invoke("run")
    assert result.exit_code == 1
    assert "--upstream" in result.stderr


def test_run_tells_problems_of_the_file_and_of_the_flags_at_once(config_file: Path) -> None:
    config_file.write_text(BAD)
    result = invoke(
        "run", config_file, "--upstream", "::1", "--listen", "a:1", "--listen", "a:x", "--log-format", "xml"
    )
    assert result.exit_code == 1
    assert [line.split(": ")[0] for line in result.stderr.splitlines()] == [
        "--listen",
        "--upstream",
        "--log-format",
        f"{config_file}:2:14",
        f"{config_file}:3:1",
    ]


def test_run_starts_the_guard_with_the_flags_over_the_file(config_file: Path, started: list[Config]) -> None:
    config_file.write_text(GOOD)
    result = invoke("run", config_file, "--listen", "b:2", "--upstream", "c:3", "--log-level", "error")
    assert (result.exit_code, result.output) == (0, "")
    (config,) = started
    assert [str(listen.address) for listen in config.listen] == ["b:2"]
    assert (str(config.upstream.address), config.log.level) == ("c:3", LogLevel.ERROR)


def test_run_without_flags_takes_the_file_as_it_is(config_file: Path, started: list[Config]) -> None:
    config_file.write_text(GOOD)
    assert invoke("run", config_file).exit_code == 0
    assert started == [load(config_file)]


def test_a_guard_that_cannot_start_says_why_and_no_more(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(config: Config, read_again: Callable[[], Config]) -> None:
        await trio.lowlevel.checkpoint()
        raise StartError(f"cannot listen on {config.listen[0].address}: in use")

    monkeypatch.setattr("proxy.app", SimpleNamespace(run=run), raising=False)
    config_file.write_text(GOOD)
    result = invoke("run", config_file)
    assert (result.exit_code, result.stderr) == (1, "cannot listen on a:1: in use\n")


def test_the_version_is_that_of_the_package() -> None:
    assert invoke("--version").stdout == f"stillhere {version('stillhere')}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["run", "--help"], ["check", "--help"]])
def test_help_is_there_for_everything(arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 0
    assert "Usage: " in result.stdout
