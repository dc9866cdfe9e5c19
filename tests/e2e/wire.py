"""What tests say to a guard or a server: whole statements, or single packets that no driver would send."""

import socket
from typing import Any

from protocol.framing import build_packet
from tests.servers import Connection

COM_QUERY = 0x03
COM_PING = 0x0E
COM_CHANGE_USER = 0x11
COM_STMT_PREPARE = 0x16
COM_STMT_EXECUTE = 0x17
COM_STMT_SEND_LONG_DATA = 0x18
COM_STMT_CLOSE = 0x19
COM_STMT_RESET = 0x1A
COM_RESET_CONNECTION = 0x1F


def query(connection: Connection, sql: str) -> Any:
    """Run a statement and return its rows."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def private(connection: object) -> Any:
    """Give a connection or cursor as what it is inside, which PyMySQL's published types do not say."""
    return connection


def socket_of(connection: Connection) -> socket.socket:
    """Return a connection's socket."""
    inside: socket.socket = private(connection)._sock
    return inside


def descriptor(connection: Connection) -> int:
    """Return the file descriptor of a connection's socket, to be waited for."""
    return int(private(connection)._sock.fileno())


def rows(connection: Connection) -> Any:
    """Receive the result of a statement that was sent, and return its rows."""
    inside = private(connection)
    inside._next_seq_id = 1
    inside._read_query_result()
    return inside._result.rows


def thread_id(connection: Connection) -> int:
    """Return the server thread that the server's greeting has named."""
    return int(private(connection).server_thread_id[0])


def vanish(connection: Connection) -> None:
    """Close the socket without a word."""
    private(connection)._force_close()


def write(connection: Connection, data: bytes) -> None:
    """Send bytes as they are."""
    private(connection)._write_bytes(data)


def send(connection: Connection, code: int, argument: bytes = b"") -> None:
    """Send a command of any size."""
    write(connection, build_packet(bytes((code,)) + argument, 0))


def receive(connection: Connection) -> tuple[int, bytes]:
    """Receive one frame: its sequence id and payload."""
    header = private(connection)._read_bytes(4)
    return header[3], private(connection)._read_bytes(int.from_bytes(header[:3], "little"))


def ask(connection: Connection, code: int, argument: bytes = b"") -> bytes:
    """Send a command and return the payload of its answer, which must be a single frame."""
    send(connection, code, argument)
    sequence_id, payload = receive(connection)
    assert sequence_id == (1 + len(argument)) // 0xFFFFFF + 1
    return payload


def error(payload: bytes) -> tuple[int, str, str]:
    """Take an ERR packet apart: code, SQLSTATE, message."""
    assert payload[0] == 0xFF, payload
    return int.from_bytes(payload[1:3], "little"), payload[4:9].decode(), payload[9:].decode()


def prepare(connection: Connection, sql: str) -> int:
    """Prepare a statement without columns and return its id."""
    send(connection, COM_STMT_PREPARE, sql.encode())
    _, payload = receive(connection)
    assert payload[0] == 0, payload
    parameters = int.from_bytes(payload[7:9], "little")
    columns = int.from_bytes(payload[5:7], "little")
    for definitions in (parameters, columns):
        for _ in range(definitions + 1 if definitions else 0):
            receive(connection)
    return int.from_bytes(payload[1:5], "little")


def execute_argument(statement_id: int, *, blobs: int) -> bytes:
    """Write the argument of COM_STMT_EXECUTE for parameters that were sent as long data."""
    head = statement_id.to_bytes(4, "little") + b"\0" + (1).to_bytes(4, "little")
    # No parameter is NULL; their types (BLOB) follow, and no values.
    return head + bytes((blobs + 7) // 8) + b"\1" + b"\xfc\0" * blobs


def long_data_argument(statement_id: int, parameter: int, data: bytes) -> bytes:
    """Write the argument of COM_STMT_SEND_LONG_DATA."""
    return statement_id.to_bytes(4, "little") + parameter.to_bytes(2, "little") + data
