"""The configuration as a JSON schema: what editors complete, explain and check while a file is written."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from config import Config
from reference.words import Words

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_HEADING = {
    "$schema": _DIALECT,
    "title": "stillhere",
    "description": "The configuration of stillhere, a sidecar for MySQL and MariaDB.",
}


class _AsWritten(GenerateJsonSchema):
    """Leaves out what pydantic knows of the values that become of the file: defaults, and names of its own."""

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - all fields are alike
        return False


def make_schema(words: dict[str, Words]) -> dict[str, Any]:
    """Make the schema, with the example's words and defaults at each option.

    Raises:
        TypeError: an option does not say what the file holds.
    """
    made = Config.model_json_schema(schema_generator=_AsWritten)
    resolved = _resolve(made, made.pop("$defs"))
    _explain(resolved, "", words)
    return _HEADING | {key: value for key, value in resolved.items() if key not in _HEADING}


def _resolve(node: Any, definitions: dict[str, Any]) -> Any:
    """Put each definition where it is referred to: every place has words of its own."""
    if isinstance(node, list):
        return [_resolve(entry, definitions) for entry in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _resolve(definitions[node["$ref"].removeprefix("#/$defs/")], definitions)
    return {key: _resolve(value, definitions) for key, value in node.items()}


def _explain(section: dict[str, Any], above: str, words: dict[str, Words]) -> None:
    """Replace what is meant for those who read the code by the example's words and defaults."""
    for key, option in section["properties"].items():
        name = above + key
        entry = option.get("items", option)
        for part in (option, entry):
            part.pop("description", None)
            if "properties" in part or "enum" in part:
                part.pop("title", None)
        if name in words:
            if words[name].comment:
                option["description"] = "\n".join(words[name].comment)
            if "properties" not in option and key not in section.get("required", ()):
                option["default"] = words[name].default
        if "type" not in option:
            raise TypeError(f"what the file holds at {name} is unknown: say it with config.fields.as_written()")
        if "properties" in entry:
            _explain(entry, f"{name}.", words)
