"""What is noted of a command that may change the session, for the memory to take in once it has been answered."""

from dataclasses import dataclass, field
from typing import TypeAlias

from protocol.effects import Effects, Statement
from protocol.prepared import PreparedStatement


@dataclass
class Preparing:
    """Note of a COM_STMT_PREPARE; ``text`` is None where it is too large to be kept."""

    text: bytes | None
    statement: Statement
    definitions: list[bytes] = field(default_factory=list)
    prepared: PreparedStatement | None = None


@dataclass(frozen=True)
class Executing:
    """Note of a COM_STMT_EXECUTE or COM_STMT_BULK_EXECUTE.

    ``prepared`` is None where the command names the statement that was prepared last. It may then have been sent before
    that one was known, so it is kept as ``payload``. ``asks_for_cursor``: the rows are to be had by COM_STMT_FETCH.
    """

    prepared: PreparedStatement | None
    payload: bytes = b""
    asks_for_cursor: bool = False


@dataclass(frozen=True)
class Resetting:
    """Note of a COM_STMT_RESET."""

    prepared: PreparedStatement


@dataclass(frozen=True)
class Fetching:
    """Note of a COM_STMT_FETCH."""

    prepared: PreparedStatement


@dataclass(frozen=True)
class SettingOption:
    """Note of a COM_SET_OPTION."""

    multi_statements: bool


@dataclass(frozen=True)
class Explained:
    """Note of a command whose changes to the session are all reported, or are the guard's own."""


Note: TypeAlias = Effects | Preparing | Executing | Resetting | Fetching | SettingOption | Explained
