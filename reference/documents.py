"""What is made: each file's text, by its name in docs/."""

import json
from pathlib import Path

import config
from reference.json_schema import make_schema
from reference.page import make_page
from reference.words import read_words

EXAMPLE = Path(config.__file__).with_name("example.yaml")


def documents() -> dict[str, str]:
    """Make all of them."""
    words = read_words(EXAMPLE.read_text(encoding="utf-8"))
    schema = make_schema(words)
    return {
        "configuration.md": make_page(schema, words),
        "stillhere.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
    }
