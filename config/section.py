"""The base of every section: all problems of a section in one go, in the words of this program.

pydantic stops at the first failing validator of a model and speaks of "extra inputs". Here each section also reports
its unknown keys and what its keys mean together, whether or not the single values are right.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails

from config.diagnostics import MAX_PROBLEMS, InvalidKey, InvalidValue, Location, shown, suggest
from config.fields import kind_of

# One more than is listed in the end, so that it shows that there are more.
_ENOUGH = MAX_PROBLEMS + 1


class Section(BaseModel):
    """A mapping of the file. Each validation error holds an ``InvalidValue``, and none holds what was written."""

    # Hidden, because a traceback would show pydantic's own error with the values.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @classmethod
    def keys(cls) -> list[str]:
        """List the keys that the file can give."""
        return list(cls.model_fields)

    @classmethod
    def conflicts(cls, written: Mapping[str, Any]) -> Iterator[tuple[Location, InvalidValue]]:  # noqa: ARG003 - for subclasses
        """Yield what is wrong between keys, with the place below this section. Values are as written: of any type."""
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _gather(cls, written: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        faults = list(cls.conflicts(written)) if isinstance(written, Mapping) else []
        try:
            section = validate(written)
        except ValidationError as error:
            faults += [(details["loc"], cls._explain(details)) for details in error.errors()[:_ENOUGH]]
        if not faults:
            return section
        # Outside of the except block, so that pydantic's own error, which holds the values, is not chained.
        raise _validation_error(cls.__name__, faults)

    @classmethod
    def _explain(cls, details: ErrorDetails) -> InvalidValue:
        """Put one of pydantic's errors into our words."""
        name = str(details["loc"][-1]) if details["loc"] else ""
        match details["type"]:
            case "value_error":
                fault = details["ctx"]["error"]
                return fault if isinstance(fault, InvalidValue) else InvalidValue(str(fault))
            case "extra_forbidden":
                # "password:x" is a key to YAML.
                hint = "write a space after the colon" if ":" in name else suggest(name, cls.keys())
                return InvalidKey(f"unknown key {shown(name)}", hint)
            case "missing":
                return InvalidValue("is missing", cls.model_fields[name].description)
            case "model_type":
                return InvalidValue(f"must be a mapping of keys to values, not {kind_of(details['input'])}")
            case "tuple_type":
                return InvalidValue(f"must be a list, not {kind_of(details['input'])}")
            case _:
                return InvalidValue(details["msg"].removeprefix("Input "))


def _validation_error(title: str, faults: list[tuple[Location, InvalidValue]]) -> ValidationError:
    """Build pydantic's error from ours; pydantic puts it below the section that is being validated."""
    return ValidationError.from_exception_data(
        title,
        [
            InitErrorDetails(type="value_error", loc=location, input=None, ctx={"error": fault})
            for location, fault in faults[:_ENOUGH]
        ],
    )
