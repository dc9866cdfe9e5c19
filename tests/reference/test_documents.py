"""What is made of the schema and the example is up to date, complete, and of one mind with the loader."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from config import Config, ConfigError, load
from reference.__main__ import DOCS
from reference.documents import EXAMPLE, documents
from tests.config.test_example import options

DOCUMENTS = documents()
_NAMES = list(options(Config))
#: Without the sections.
OPTIONS = [name for name in _NAMES if name == "auth.users" or not any(other.startswith(f"{name}.") for other in _NAMES)]


@pytest.fixture(scope="module")
def schema() -> Any:
    made = yaml.safe_load(DOCUMENTS["stillhere.schema.json"])
    jsonschema.Draft202012Validator.check_schema(made)
    return made


def is_accepted_by_editors(schema: Any, text: str) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(yaml.safe_load(text))


def is_accepted_by_loader(tmp_path: Path, text: str) -> bool:
    file = tmp_path / "stillhere.yaml"
    file.write_text(text)
    try:
        load(file)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_committed_documents_are_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == DOCUMENTS[name], "run `make docs`"


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_is_in_both(schema: Any, option: str) -> None:
    # What an entry of auth.users has is told at auth.users.
    shown = option.rpartition(".")[2] if option.startswith("auth.users.") else f"`{option}`"
    assert shown in DOCUMENTS["configuration.md"]
    for key in option.split("."):
        schema = schema.get("items", schema)["properties"][key]


def test_the_example_is_accepted_by_editors(schema: Any) -> None:
    assert is_accepted_by_editors(schema, EXAMPLE.read_text())


@pytest.mark.parametrize(
    "text",
    [
        "keepalive: {interval: 20s}",
        "keepalive: {interval: auto, validate_after: 0s}",
        "guard: {max_allowed_packet: 64MiB}",
        "guard: {max_allowed_packet: 1048576}",
        "spool: {memory: 16K, disk: 0}",
        "reconnect: {wait: 1.5m, snapshots: tell}",
        "listen: [{address: 'unix:/run/stillhere/mysql.sock'}]",
        "auth: {mode: users, users: [{user: app, password: 'x'}]}",
    ],
)
def test_what_the_loader_accepts_editors_accept(schema: Any, tmp_path: Path, text: str) -> None:
    text = f"upstream: {{address: db.internal}}\n{text}\n"
    assert is_accepted_by_loader(tmp_path, text)
    assert is_accepted_by_editors(schema, text)


@pytest.mark.parametrize(
    "text",
    [
        "keepalive: {interval: 20}",
        "keepalive: {interval: 0s}",
        "keepalive: {interval: 0.0 ms}",
        "keepalive: {intervall: 20s}",
        "guard: {max_allowed_packet: 64MB}",
        "guard: {max_allowed_packet: 12}",
        "guard: {oversize_sqlstate: 42000}",
        "limits: {sessions: 0}",
        "limits: {sessions: '5'}",
        "reconnect: {snapshots: keep}",
        "auth: {mode: users, users: [{user: app}]}",
        "auth: {mode: users, users: [{user: app, password: x, password_env: HOME}]}",
        "auth: {mode: users, users: [{user: app, password: x, is_written: true}]}",
        "listen: [{adress: '127.0.0.1:3307'}]",
        "listen: {address: '127.0.0.1:3307'}",
    ],
)
def test_what_editors_mark_the_loader_refuses(schema: Any, tmp_path: Path, text: str) -> None:
    text = f"upstream: {{address: db.internal}}\n{text}\n"
    assert not is_accepted_by_editors(schema, text)
    assert not is_accepted_by_loader(tmp_path, text)
