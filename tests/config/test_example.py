"""The example file says what is true: it loads, it shows the defaults, and it leaves nothing out."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml

import config
from config import Config, Override, load
from config.section import Section

EXAMPLE = Path(config.__file__).with_name("example.yaml")


def options(section: type[Section], above: str = "") -> Iterator[str]:
    """Yield the dotted name of every key of the schema, without list indexes."""
    for key in section.keys():  # noqa: SIM118 - a class method, no mapping
        yield above + key
        if field := section.model_fields.get(key):
            for kind in (field.annotation, *get_args(field.annotation)):
                if isinstance(kind, type) and issubclass(kind, Section):
                    yield from options(kind, f"{above}{key}.")


def test_the_example_holds_the_defaults() -> None:
    example = load(EXAMPLE)
    assert example == load(None, [Override("--upstream", "upstream.address", str(example.upstream.address))])


@pytest.mark.parametrize("option", [option for option in options(Config) if not option.startswith("auth.users.")])
def test_the_example_gives_every_option_a_value(option: str) -> None:
    data = yaml.safe_load(EXAMPLE.read_text())
    for key in option.split("."):
        data = (data[0] if isinstance(data, list) else data)[key]


@pytest.mark.parametrize("option", [option for option in options(Config) if option.startswith("auth.users.")])
def test_the_example_describes_a_user(option: str) -> None:
    assert (
        f"  {option.rpartition('.')[2]} " in EXAMPLE.read_text()
        or f"{{{option.rpartition('.')[2]}:" in EXAMPLE.read_text()
    )


def test_every_option_of_the_schema_is_looked_for() -> None:
    found = set(options(Config))
    assert {"listen.address", "upstream.tls.mode", "auth.users.password_env", "limits.sessions", "log.format"} <= found
