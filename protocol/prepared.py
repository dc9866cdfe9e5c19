"""Binary prepared statements: what has to be known of one so that a new link can have it, under the id it had.

The types of the parameters are sent with the first COM_STMT_EXECUTE and may be left out of the following ones. A server
that has just prepared the statement anew does not know them (error 1210), so they are put back in. Layouts: the
manual's pages "COM_STMT_EXECUTE" and MariaDB's "COM_STMT_BULK_EXECUTE".
"""

from dataclasses import dataclass
from typing import NamedTuple

from protocol.constants import CommandCode
from protocol.effects import Statement
from protocol.wire import Cursor

#: What else a statement's text was read by when it was prepared.
Dialect = tuple[str | None, ...]

#: Why a statement is not what it was where the session's mode is another one.
OTHER_DIALECT = "it was prepared under another sql_mode or character set"

#: No statement of a server has this id.
NO_STATEMENT_ID = 0xFFFFFFFE

#: The cursor types among the flags of an execution (``enum_cursor_type``).
_CURSOR_TYPES = 0x07
_PARAMETER_COUNT_AVAILABLE = 0x08
_BULK_SENDS_TYPES = 0x80


@dataclass
class PreparedStatement:
    """A statement that the client has prepared with COM_STMT_PREPARE; it goes by ``client_id`` for the client."""

    client_id: int
    #: Its id on the link at hand; :data:`NO_STATEMENT_ID` where it could not be prepared there.
    server_id: int
    #: None: too large to be kept.
    text: bytes | None
    statement: Statement
    schema: bytes
    dialect: Dialect
    columns: int
    parameters: int
    #: The column definitions, where the client may do without getting them again.
    definitions: bytes
    #: The parameters' types as they were sent last.
    types: bytes = b""
    types_form: tuple[bool, int] = (False, 0)
    #: Whether the server is still to be told the types on the link at hand.
    lacks_types: bool = False
    has_long_data: bool = False
    has_cursor: bool = False
    #: Size in bytes of a piece of long data that was refused.
    refused_size: int | None = None
    #: Why it could not be prepared on a new link as it was; empty if it could.
    broken: str = ""


def settle_dialect(dialect: Dialect, mark: str, settled: Dialect) -> Dialect:
    """Put values that have been found in the place of those that were still to be read back, which the mark shows."""
    return tuple(new if old == mark else old for old, new in zip(dialect, settled, strict=True))


class TypeBlock(NamedTuple):
    """Where an execution says the parameters' types: ``start`` is ``stop`` if it does not.

    ``flag`` is the position of the byte that says so, and ``flagged`` what this byte is with types behind it.
    ``form`` is whether each type has a name, and how many there are: types fit only where these are the same.
    """

    flag: int
    flagged: int
    start: int
    stop: int
    form: tuple[bool, int]


def keep_types(prepared: PreparedStatement, payload: bytes, block: TypeBlock | None) -> bool:
    """Remember the types in an execution; return whether there are any."""
    if block is None or block.start == block.stop:
        return False
    prepared.types, prepared.types_form = payload[block.start : block.stop], block.form
    return True


def asks_for_cursor(payload: bytes) -> bool:
    """Return whether a COM_STMT_EXECUTE asks for a cursor; a COM_STMT_BULK_EXECUTE cannot."""
    return payload[0] == CommandCode.STMT_EXECUTE and bool(payload[5:6]) and payload[5] & _CURSOR_TYPES != 0


def find_types(payload: bytes, parameters: int, *, has_attributes: bool = False) -> TypeBlock | None:
    """Find the types in a COM_STMT_EXECUTE or COM_STMT_BULK_EXECUTE for a statement with so many parameters.

    ``has_attributes``: CLIENT_QUERY_ATTRIBUTES was negotiated. Then the number of parameters and their names are sent
    whenever there are any; the flag only says that there are attributes where the statement has no parameters.

    None: there is no place for types in it.

    Raises:
        MalformedPacket: the payload ends before they do.
    """
    cursor = Cursor(payload, 5)
    if payload[0] == CommandCode.STMT_BULK_EXECUTE:
        flags = cursor.integer(2)
        start = cursor.position
        cursor.take(2 * parameters if flags & _BULK_SENDS_TYPES else 0)
        return TypeBlock(5, payload[5] | _BULK_SENDS_TYPES, start, cursor.position, (False, parameters))
    flags = cursor.integer(1)
    cursor.take(4)
    is_named = has_attributes and bool(parameters or flags & _PARAMETER_COUNT_AVAILABLE)
    count = cursor.lenenc_integer() if is_named else parameters
    if not count:
        return None
    cursor.take((count + 7) // 8)
    flag = cursor.position
    start = flag + 1
    if cursor.integer(1):
        for _ in range(count):
            cursor.take(2)
            if is_named:
                cursor.lenenc_bytes()
    return TypeBlock(flag, 1, start, cursor.position, (is_named, count))
