"""What a single value of the file may look like, and what to say of one that does not."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from config.address import Address, TcpAddress, UnixAddress, parse_address
from config.diagnostics import InvalidValue, shown, suggest
from config.quantities import MAX_SIZE_BYTES, UNIT_MISSING, parse_duration, parse_size


@dataclass(frozen=True, slots=True)
class Misread:
    """A value without quotes that YAML takes for something that no option has: a date, a fraction, an octal number.

    ``kind`` is what YAML takes it for. The value itself is not kept: it may be a password.
    """

    kind: str


# bool stands before int, which it is a kind of.
_KINDS = ((bool, "true or false"), (int, "a number"), (str, "text"), (Mapping, "a mapping"), (NoneType, "nothing"))


def kind_of(value: Any) -> str:
    """Name what YAML made of a value."""
    if isinstance(value, Misread):
        return value.kind
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "a list")


def text(value: Any) -> str:
    """Accept text that can be handed to the system and to a server: no NUL, only real characters."""
    if isinstance(value, bool | int | Misread):
        raise InvalidValue(f"YAML reads this as {kind_of(value)}, not as text", "put the value in quotes")
    if not isinstance(value, str):
        raise InvalidValue(f"must be text, not {kind_of(value)}")
    if "\0" in value:
        raise InvalidValue("must not contain a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidValue("is not valid UTF-8")
    return value


def _seconds(value: Any) -> float:
    # A bare number is a duration whose unit was forgotten: quotes would not make it better.
    if kind_of(value) == "a number":
        raise InvalidValue(UNIT_MISSING, f"write {value}s" if isinstance(value, int) else "such as 5s")
    return parse_duration(text(value))


def _not_zero(seconds: float) -> float:
    if not seconds:
        raise InvalidValue("must be more than zero")
    return seconds


def _packet_size(value: Any) -> int:
    size = _size(value)
    if not 1 << 10 <= size <= 1 << 30:
        raise InvalidValue("must be between 1KiB and 1GiB, as for the server")
    return size


def _size(value: Any) -> int:
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return parse_size(str(value) if is_count else text(value))


def _directory(value: Any) -> Path | None:
    """Accept a directory in which files can be made, or null."""
    if value is None:
        return None
    path = Path(text(value))
    if not path.is_dir():
        raise InvalidValue("is not a directory")
    if not os.access(path, os.W_OK | os.X_OK):
        raise InvalidValue("cannot be written to")
    return path


def _or_auto(read: Callable[[Any], Any]) -> BeforeValidator:
    return BeforeValidator(lambda value: None if value == "auto" else read(value))


def _sqlstate(value: Any) -> str:
    state = text(value)
    if len(state) != 5 or not all(character in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ" for character in state):
        raise InvalidValue("must be five characters, each of them 0-9 or A-Z", 'such as "42000"')
    return state


def readable_file(value: Any) -> Path:
    """Accept the path of a file that can be read."""
    path = Path(text(value))
    try:
        # Opening a pipe could keep us waiting for ever.
        if path.exists() and not path.is_file():
            raise InvalidValue("is not a regular file")
        with path.open("rb"):
            return path
    except OSError as error:
        raise InvalidValue(f"cannot be read: {error.strerror}") from None


def _address(value: Any, default_port: int) -> Address:
    if isinstance(value, TcpAddress | UnixAddress):
        return value
    return parse_address(text(value), default_port=default_port)


def listen_address(value: Any) -> Address:
    """Accept an address to listen at; port 0 is any free one."""
    return _address(value, default_port=3307)


def _upstream_address(value: Any) -> Address:
    address = _address(value, default_port=3306)
    if isinstance(address, TcpAddress) and not address.port:
        raise InvalidValue("the port must be a number from 1 to 65535")
    return address


def _admin_address(value: Any) -> TcpAddress | None:
    """Accept an address for HTTP, or null; port 0 is any free one."""
    if value is None:
        return None
    address = _address(value, default_port=8307)
    if isinstance(address, UnixAddress):
        raise InvalidValue("must be HOST:PORT: browsers and Prometheus do not go to unix sockets")
    return address


def one_of(choices: type[StrEnum]) -> BeforeValidator:
    """Accept one of an enum's values, and suggest the nearest one for any other text."""
    names = [str(choice) for choice in choices]
    listed = ", ".join(names)

    def read(value: Any) -> StrEnum:
        if not isinstance(value, str):
            raise InvalidValue(f"must be one of {listed}, not {kind_of(value)}")
        if value not in names:
            raise InvalidValue(f"unknown value {shown(value)}", suggest(value, names) or f"choose from {listed}")
        return choices(value)

    return BeforeValidator(read)


def as_written(title: str, *types: str, **rules: Any) -> WithJsonSchema:
    """Tell editors what the file holds, which is not what comes of it. ``title`` names the kind of value."""
    return WithJsonSchema({"title": title, "type": types[0] if len(types) == 1 else list(types), **rules})


_DURATION = r"[0-9]{1,15}(\.[0-9]{1,9})? ?(ms|s|m|h)"
_POSITIVE_DURATION = rf"(?![0.]+ ?[a-z]){_DURATION}"
_SIZE = r"[0-9]{1,15} ?([Bb]|[KkMmGg]([Ii][Bb])?)?"

Seconds = Annotated[float, BeforeValidator(_seconds), as_written("duration", "string", pattern=f"^{_DURATION}$")]
PositiveSeconds = Annotated[
    Seconds,
    AfterValidator(_not_zero),
    as_written("duration above zero", "string", pattern=f"^{_POSITIVE_DURATION}$"),
]
PositiveSecondsOrAuto = Annotated[
    float | None,
    _or_auto(lambda value: _not_zero(_seconds(value))),
    as_written("duration above zero, or auto", "string", pattern=f"^(auto|{_POSITIVE_DURATION})$"),
]
PacketSizeOrAuto = Annotated[
    int | None,
    _or_auto(_packet_size),
    as_written("size, or auto", "string", "integer", pattern=f"^(auto|{_SIZE})$", minimum=1 << 10, maximum=1 << 30),
]
Size = Annotated[
    int,
    BeforeValidator(_size),
    as_written("size", "string", "integer", pattern=f"^{_SIZE}$", minimum=0, maximum=MAX_SIZE_BYTES),
]
Directory = Annotated[
    Path | None, BeforeValidator(_directory), as_written("path of a directory, or null", "string", "null")
]
SqlState = Annotated[
    str, BeforeValidator(_sqlstate), as_written("SQLSTATE, in quotes", "string", pattern="^[0-9A-Z]{5}$")
]
ListenAddress = Annotated[Address, BeforeValidator(listen_address), as_written("address", "string", minLength=1)]
UpstreamAddress = Annotated[Address, BeforeValidator(_upstream_address), as_written("address", "string", minLength=1)]
AdminAddress = Annotated[
    TcpAddress | None, BeforeValidator(_admin_address), as_written("address, or null", "string", "null")
]
Text = Annotated[str, BeforeValidator(text), as_written("text", "string")]
