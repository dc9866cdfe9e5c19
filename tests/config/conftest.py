"""Loads configurations from text."""

from collections.abc import Callable
from pathlib import Path

import pytest

from config import Config, ConfigError, Override, Problem, load

Load = Callable[..., Config]
Refuse = Callable[..., tuple[Problem, ...]]


@pytest.fixture
def load_text(tmp_path: Path) -> Load:
    """Give a function that loads a text and, if given, overrides."""

    def load_it(text: str, *overrides: Override) -> Config:
        path = tmp_path / "stillhere.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path, overrides)

    return load_it


@pytest.fixture
def refuse(load_text: Load) -> Refuse:
    """Give a function that loads a text which must be refused, and gives the problems."""

    def refuse_it(text: str, *overrides: Override) -> tuple[Problem, ...]:
        with pytest.raises(ConfigError) as caught:
            load_text(text, *overrides)
        return caught.value.problems

    return refuse_it
