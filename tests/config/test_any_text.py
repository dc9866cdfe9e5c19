"""Whatever a file holds, the loader gives a configuration or says what is wrong with it."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import config
from config import Auth, Config, ConfigError, Guard, Keepalive, Limits, Log, Tls, Upstream, load
from config.schema import UserEntry

EXAMPLE = Path(config.__file__).with_name("example.yaml").read_text()

# What means something to YAML, to this program, or to Python's int(), float() and chr().
SNIPPETS = st.sampled_from(
    [
        *(": ", "\n", "  ", "\t", "- ", "? ", "{", "}", "[", "]", ",", "#", "'", '"', "|\n", ">-\n", "---\n", "...\n"),
        *("&a ", "*a ", "! ", "!!int ", "!!python/none ", "%YAML 1.1\n", "<<: ", "=", "~", "@", "`", '"\\U', "\\x"),
        *("0x", "1_000", "1:1", "9" * 40, "-1", ".nan", "1e999", "2001-99-99", "2001-01-01", "null", "yes"),
        *("\0", "\x85", "\u2028", "\ufeff", "\ud800", "\U0010ffff", "é"),
        *("upstream", "password", "users", "auto", "5s", "64MiB", "verify-ca", "unix:/"),
    ]
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "stillhere.yaml"


def refusal(path: Path, content: bytes) -> ConfigError | None:
    path.write_bytes(content)
    try:
        load(path)
    except ConfigError as error:
        return error
    return None


def load_bytes(path: Path, content: bytes) -> None:
    error = refusal(path, content)
    if error is None:
        return
    lines = content.decode(errors="replace").splitlines()
    assert error.problems
    for problem in error.problems:
        assert problem.message
        assert (problem.line is None) == (problem.column is None)
        # One past the last line is where something is missing.
        assert problem.line is None or 1 <= problem.line <= len(lines) + 1
        assert problem.column is None or problem.column >= 1
    # Each is one line of text that every terminal takes.
    assert len(str(error).splitlines()) == len(error.problems)
    assert str(error).encode()


@settings(deadline=None, max_examples=300)
@given(st.binary() | st.text(st.characters(exclude_categories=["Cs"])).map(str.encode))
def test_any_bytes(path: Path, content: bytes) -> None:
    load_bytes(path, content)


@settings(deadline=None, max_examples=500)
@given(st.lists(SNIPPETS | st.text(max_size=3), max_size=30).map("".join))
def test_any_text_made_of_what_yaml_reacts_to(path: Path, text: str) -> None:
    load_bytes(path, text.encode(errors="surrogatepass"))


@settings(deadline=None, max_examples=500)
@given(
    st.lists(st.tuples(st.integers(0, len(EXAMPLE)), st.integers(0, 20), SNIPPETS | st.text(max_size=3)), max_size=6)
)
def test_any_mutation_of_the_example(path: Path, mutations: list[tuple[int, int, str]]) -> None:
    text = EXAMPLE
    for position, removed, inserted in mutations:
        text = text[:position] + inserted + text[position + removed :]
    load_bytes(path, text.encode(errors="surrogatepass"))


SECTIONS = (Auth, Guard, Keepalive, Limits, Log, Tls, Upstream, UserEntry)
KEYS = st.sampled_from([key for section in SECTIONS for key in section.model_fields])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.text()
    | SNIPPETS
    | st.sampled_from(["users", "learn", "db:3306", "5s", "64M", "42000"]),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(KEYS | st.text(max_size=5), below, max_size=6),
    max_leaves=20,
)


@settings(deadline=None, max_examples=500)
@given(st.dictionaries(st.sampled_from(list(Config.model_fields)), VALUES))
def test_any_value_at_any_known_key(path: Path, data: dict[str, object]) -> None:
    load_bytes(path, yaml.safe_dump(data, allow_unicode=False).encode())
