"""From a file and flags to a configuration, or to all that is wrong with it."""

import os
from pathlib import Path

import pytest

from config import ConfigError, Override, TcpAddress, load
from config.diagnostics import MAX_PROBLEMS
from tests.config.conftest import Load, Refuse

UPSTREAM = "upstream: {address: db}\n"


def test_no_file_is_needed() -> None:
    config = load(None, [Override("--upstream", "upstream.address", "db:1")])
    assert config.upstream.address == TcpAddress("db", 1)
    assert [str(listen.address) for listen in config.listen] == ["127.0.0.1:3307"]


def test_without_a_file_the_missing_server_is_told_with_the_flag_that_names_it() -> None:
    with pytest.raises(ConfigError) as caught:
        load()
    (problem,) = caught.value.problems
    assert (problem.path, problem.line, caught.value.file) == ("upstream", None, None)
    assert "--upstream" in str(caught.value)


def test_flags_go_before_the_file_which_goes_before_the_defaults(load_text: Load) -> None:
    config = load_text(
        "upstream: {address: file, connect_timeout: 1s}\nlisten: [{address: a}, {address: b}]\nlog: {level: error}\n",
        Override("--upstream", "upstream.address", "flag"),
        Override("--listen", "listen", [{"address": "c:1"}]),
        Override("--log-format", "log.format", "json"),
    )
    assert config.upstream.address == TcpAddress("flag", 3306)
    assert config.upstream.connect_timeout == 1
    assert [str(listen.address) for listen in config.listen] == ["c:1"]
    assert (config.log.level, config.log.format) == ("error", "json")
    assert config.limits.sessions == 1000


def test_what_a_flag_replaces_need_not_be_right(load_text: Load) -> None:
    flag = Override("--upstream", "upstream.address", "flag")
    assert load_text("upstream: {address: 3306}", flag).upstream.address == TcpAddress("flag", 3306)


def test_a_problem_in_a_flag_names_the_flag_and_no_line(refuse: Refuse) -> None:
    problems = refuse(
        "log: {level: loud}",
        Override("--upstream", "upstream.address", "::1"),
        Override("--listen", "listen", [{"address": "a:1"}, {"address": "a:1"}]),
    )
    assert [(problem.path, problem.line) for problem in problems] == [
        ("--listen", None),
        ("--upstream", None),
        ("log.level", 1),
    ]


def test_a_flag_for_a_section_that_the_file_spoils(refuse: Refuse) -> None:
    (problem,) = refuse("upstream: db:3306", Override("--upstream", "upstream.address", "flag"))
    assert (problem.path, problem.message) == ("upstream", "must be a mapping of keys to values, not text")


def test_a_conflict_between_a_flag_and_the_file_is_shown_in_the_file(refuse: Refuse) -> None:
    text = "upstream:\n  tls: {mode: verify-ca}"
    (problem,) = refuse(text, Override("--upstream", "upstream.address", "unix:/s"))
    assert (problem.path, problem.line, problem.column) == ("upstream.tls.mode", 2, 15)


EVERYTHING_WRONG = """\
upstreem: x
listen:
  - address: 3306
  - {}
upstream:
  address: "::1"
  tls: {mode: prefered, c a: x}
  connect_timeout: 5
auth:
  users:
    - {user: a, password: 0123}
    - {user: a, password:x}
guard:
  max_allowed_packet: 64MB
  max_allowed_packet: 1
keepalive: off
limits:
  sessions: 0
  ? [x]
  : 1
log: {level: *x, format: &x json}
"""


def test_all_problems_are_told_at_once_each_with_its_place(refuse: Refuse) -> None:
    problems = refuse(EVERYTHING_WRONG)
    assert [(problem.line, problem.column, problem.path) for problem in problems] == [
        (1, 1, "upstreem"),
        (3, 14, "listen[0].address"),
        (4, 5, "listen[1].address"),
        (6, 12, "upstream.address"),
        (7, 15, "upstream.tls.mode"),
        (7, 25, "upstream.tls.c..."),
        (8, 20, "upstream.connect_timeout"),
        (10, 3, "auth.users"),
        (11, 27, "auth.users[0].password"),
        (12, 7, "auth.users[1]"),
        (12, 14, "auth.users[1].user"),
        (12, 17, "auth.users[1].password..."),
        (14, 23, "guard.max_allowed_packet"),
        (15, 3, "guard.max_allowed_packet"),
        (16, 12, "keepalive"),
        (18, 13, "limits.sessions"),
        (19, 5, "limits"),
        (21, 14, ""),
        (21, 26, ""),
    ]


def test_the_error_lists_a_line_for_each_problem(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("upstream: {address: db}\nlog:\n  level: inof\nupstreem: 1\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).splitlines() == [
        f"{path}:3:10: log.level: unknown value 'inof' (did you mean 'info'?)",
        f"{path}:4:1: upstreem: unknown key 'upstreem' (did you mean 'upstream'?)",
    ]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("log: {levle: info}", "did you mean 'level'?"),
        ("auth: {mode: users, users: [{user: a, password: p, pasword_env: x}]}", "did you mean 'password_env'?"),
        ("upstream: {tls: {mode: VERIFY_CA}, address: db}", "did you mean 'verify-ca'?"),
        ("log: {format: xml}", "choose from console, json"),
        ("log: {level:info}", "write a space after the colon"),
        ("colour: red", None),
    ],
)
def test_an_unknown_word_is_answered_with_the_nearest_known_one(text: str, hint: str | None, refuse: Refuse) -> None:
    (problem,) = refuse(text if "upstream" in text else UPSTREAM + text)
    assert problem.hint == hint


@pytest.mark.parametrize("value", ["3306", "0123", "off", "1.5", "2001-01-01", "1:30", "=", ".inf", "-1"])
def test_text_that_yaml_takes_for_something_else_must_be_in_quotes(value: str, refuse: Refuse, load_text: Load) -> None:
    text = UPSTREAM + "auth: {mode: users, users: [{user: app, password: %s}]}"
    (problem,) = refuse(text % value)
    assert problem.hint == "put the value in quotes"
    assert load_text(text % f'"{value}"').auth.users[0].password.get_secret_value() == value


@pytest.mark.parametrize(
    ("content", "line", "column", "message"),
    [
        (b"", None, None, "holds no settings"),
        (b"# only a comment\n", None, None, "holds no settings"),
        (b"- a\n", 1, 1, "must hold a mapping"),
        (b"just text", 1, 1, "must hold a mapping"),
        (b"log:\n\tlevel: info\n", 2, 1, "cannot start any token"),
        (b"log: {level: info\n", 2, 1, "expected ',' or '}', but got '<stream end>'"),
        (b"log: a: b\n", 1, 7, "mapping values are not allowed here"),
        (b"log: 'x\n", 2, 1, "unexpected end of stream"),
        (b"log: {level: info}\n---\nlog: {}\n", 2, 1, "but found another document"),
        (b"log:\n  level: \xff\xfe\n", 2, 10, "not valid UTF-8"),
        ("log:\n  level: info".encode("utf-16"), 1, 1, "not valid UTF-8"),
        (b"log:\n  level: \x07\n", 2, 10, "control character"),
        (b'log: "\\UFFFFFFFF"\n', 1, 9, "no character"),
        (b"%YAML 1." + b"9" * 5000 + b"\n---\nlog: {}\n", 1, 9, "no character or number"),
        (b"a: " + b"[" * 1000, 1, 19, "nested too deeply"),
        (b"{" * 1_000_000, 1, 17, "nested too deeply"),
        (b"- " * 500_000, 1, 33, "nested too deeply"),
        (b"a: [" + b"x," * 500_000 + b"]", 1, 99999, "more than 50000 values"),
        (b"#" * (1 << 20) + b"\n", None, None, "larger than 1 MiB"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_is_no_readable_file(
    content: bytes, line: int | None, column: int | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (line, column)
    assert message in problem.message
    assert str(caught.value).startswith(f"{path}:")


def test_tabs_are_told_apart_from_other_syntax_errors(refuse: Refuse) -> None:
    (problem,) = refuse("log:\n\tlevel: info\n")
    assert problem.hint == "indent with spaces, not with tabs"


def test_a_byte_order_mark_is_no_problem(load_text: Load) -> None:
    assert load_text("\ufeff" + UPSTREAM).upstream.address == TcpAddress("db", 3306)


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_opened(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / name)


def test_an_endless_file_is_not_read_to_its_end() -> None:
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        load(Path("/dev/zero"))


def test_a_pipe_as_password_file_is_not_waited_for(refuse: Refuse, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (problem,) = refuse(UPSTREAM + f"auth: {{mode: users, users: [{{user: a, password_file: {tmp_path}/pipe}}]}}")
    assert problem.message == "is not a regular file"


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]",
        "a: &a [*a]",
        "<<: &a {b: *a}",
        "log: !!python/object/apply:os.system [id]",
        "log: !unknown {}",
        "*a : b",
        "? &a [x]\n: *a",
    ],
)
def test_anchors_aliases_and_tags_are_refused_without_following_them(text: str, refuse: Refuse) -> None:
    assert any("are not supported" in problem.message for problem in refuse(text))


def test_endless_problems_are_cut_short(refuse: Refuse) -> None:
    problems = refuse(UPSTREAM + "".join(f"key{number}: 1\n" for number in range(20_000)))
    assert len(problems) == MAX_PROBLEMS + 1
    assert "more than" in problems[-1].message
