"""What a log line looks like, and what must never get into one."""

import json
import re
from collections.abc import Iterator

import pytest
import structlog

from config import Log, LogFormat, LogLevel
from proxy import logs


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def fail() -> None:
    password = "hunter2".upper()
    raise ValueError(len(password))


def test_json_is_one_object_a_line_with_level_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Log(format=LogFormat.JSON))
    structlog.get_logger().info("link lost", upstream="db:3306")
    captured = capsys.readouterr()
    line = json.loads(captured.err)
    assert not captured.out
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line.pop("timestamp"))
    assert line == {"event": "link lost", "level": "info", "upstream": "db:3306"}


def test_the_console_gets_plain_text_where_it_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Log())
    structlog.get_logger().info("link lost", upstream="db:3306")
    line = capsys.readouterr().err
    assert re.match(r"\d{4}-\d\d-\d\dT.*Z \[info +\] link lost +upstream='db:3306'\n", line)


@pytest.mark.parametrize("form", list(LogFormat))
def test_messages_below_the_level_are_not_written(form: LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Log(level=LogLevel.WARNING, format=form))
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    captured = capsys.readouterr().err
    assert "quiet" not in captured
    assert "loud" in captured


@pytest.mark.parametrize("form", list(LogFormat))
def test_a_value_cannot_begin_a_line_of_its_own(form: LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Log(format=form))
    structlog.get_logger().info("login", user="x\n2030-01-01T00:00:00Z [info] all is well\x1b[2J")
    captured = capsys.readouterr().err
    assert captured.count("\n") == 1
    assert "\x1b" not in captured


@pytest.mark.parametrize("form", list(LogFormat))
def test_a_traceback_shows_no_local_variables(form: LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Log(format=form))
    try:
        fail()
    except ValueError:
        structlog.get_logger().exception("failed")
    captured = capsys.readouterr().err
    assert "ValueError: 7" in captured
    assert "HUNTER2" not in captured
