"""The configuration as a page for people, in Markdown."""

import json
import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from reference.words import Words

_INTRODUCTION = """\
# Configuration

<!-- Made by `make docs` from config/schema.py and config/example.yaml. Change those. -->

No file is needed: `stillhere run --upstream db.internal:3306` has the default of every option. Flags go before the
file, the file before the defaults. The file is YAML without tags, anchors and aliases; an unknown key is an error.

- Durations have a unit: `500ms`, `5s`, `2m`, `1h`.
- Sizes are counted in units of 1024: `16KiB`, `64MiB`, `1GiB`; `16K`, `64M` and `1G` mean the same, as for the server.
- Addresses are `HOST:PORT`, `"[IPV6]:PORT"` or `unix:/PATH`.
- Text that looks like a number, a date, or yes/no/on/off must be in quotes: `password: "0123"`.

`stillhere check FILE` lists everything that is wrong with a file, with line, column and a hint.
[`config/example.yaml`](../config/example.yaml) has all options in one file. Editors that know JSON schemas complete
and check the options with [`stillhere.schema.json`](stillhere.schema.json); those with the YAML language server find
it by the first line of the file:

```yaml
# yaml-language-server: $schema=stillhere.schema.json
```
"""


def make_page(schema: dict[str, Any], words: dict[str, Words]) -> str:
    """Make the page, with the options in the order of the schema."""
    parts = [_INTRODUCTION]
    for key, section in schema["properties"].items():
        if not ("properties" in section or "items" in section):
            parts += [f"## `{key}`\n", f"- {_facts(section)}\n", _prose(words[key].comment)]
            continue
        parts.append(f"## {key}\n")
        parts += [_prose(words[key].comment)] if words[key].comment else []
        for options in _together(list(_options(section, key)), words):
            parts.append(f"### {', '.join(f'`{name}`' for name, _ in options)}\n")
            parts.append("".join(f"- {facts}\n" for facts in dict.fromkeys(facts for _, facts in options)))
            parts.append(_prose(words[options[0][0]].comment))
    return "\n".join(part for part in parts if part)


def _options(section: dict[str, Any], above: str) -> Iterator[tuple[str, str]]:
    """Yield the name of each option and what kind of value it takes."""
    entry = section.get("items", section)
    for key, option in entry.get("properties", {}).items():
        name = f"{above}.{key}"
        if "properties" in option:
            yield from _options(option, name)
        else:
            yield name, _facts(option)


def _facts(option: dict[str, Any]) -> str:
    default = f"default: `{_written(option['default'])}`" if "default" in option else "no default"
    return f"{_kind(option)}; {default}"


def _together(options: list[tuple[str, str]], words: dict[str, Words]) -> list[list[tuple[str, str]]]:
    """Put options without words of their own to the one before, which speaks of them too."""
    groups: list[list[tuple[str, str]]] = []
    for option in options:
        if words[option[0]].comment or not groups:
            groups.append([])
        groups[-1].append(option)
    return groups


def _kind(option: dict[str, Any]) -> str:
    if "enum" in option:
        return "one of " + ", ".join(f"`{value}`" for value in option["enum"])
    if "items" in option:
        return "list"
    if option["type"] == "boolean":
        return "`true` or `false`"
    if option["type"] == "integer":
        return f"whole number from {option['minimum']} to {option['maximum']}"
    return str(option["title"])


def _written(value: Any) -> str:
    """Write a value as the file does."""
    return value if isinstance(value, str) and not value.isdigit() else json.dumps(value)


def _prose(comment: tuple[str, ...]) -> str:
    """Put a comment into Markdown: its indented parts, and a sample of the file, stay as they are."""
    blocks = []
    for is_text, lines in groupby(comment, key=bool):
        if not is_text:
            continue
        block = list(lines)
        is_sample = bool(re.fullmatch("[a-z_]+:", block[0]))
        for is_indented, part in groupby(block, key=lambda line: is_sample or line.startswith("  ")):
            text = "\n".join(part)
            blocks.append(f"```{'yaml' if is_sample else 'text'}\n{text}\n```\n" if is_indented else f"{text}\n")
    return "\n".join(blocks)
