"""What ties a session to its link: state that a new link to the server cannot be given."""

from dataclasses import dataclass
from enum import Enum


class HoldKind(Enum):
    """The kinds of such state; the values are the words that error texts use."""

    TEMPORARY_TABLE = "a temporary table"
    TABLE_LOCKS = "LOCK TABLES"
    GLOBAL_READ_LOCK = "FLUSH TABLES WITH READ LOCK"
    USER_LOCK = "GET_LOCK"
    HANDLER = "an open HANDLER"
    XA = "an XA transaction"
    BACKUP_LOCK = "a backup lock"
    REPLAY_VARIABLE = "a variable that cannot be restored"
    CURSOR = "an open cursor"
    LONG_DATA = "long data that was sent ahead"
    LARGE_PREPARE = "a prepared statement too large to be remembered"
    UNSETTLED = "state that was not read back yet"
    PASSTHROUGH = "a login whose password the guard does not know"
    UNEXPLAINED = "a change of session state that the server did not explain"


@dataclass(frozen=True)
class Hold:
    """One piece of such state; ``name`` tells it from others of its kind, and is empty where there can be only one."""

    kind: HoldKind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind.value} ({self.name})" if self.name else self.kind.value
