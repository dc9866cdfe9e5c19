"""What clients and servers say to each other, byte by byte, and a link on which they say it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from protocol import command, framing, reply
from protocol.command import CommandReader
from protocol.constants import Capability
from protocol.memory import SessionMemory
from protocol.prepared import PreparedStatement
from protocol.reply import ReplyTracker
from protocol.statement import classify

NONE = Capability(0)

OK = b"\x00\x00\x00\x02\x00\x00\x00"
OK_MORE = b"\x00\x00\x00\x0a\x00\x00\x00"
EOF = b"\xfe\x00\x00\x02\x00"
EOF_MORE = b"\xfe\x00\x00\x0a\x00"
EOF_CURSOR = b"\xfe\x00\x00\x42\x00"
#: What stands in an EOF's place where EOF packets are deprecated: an OK packet with an EOF's first byte.
END_OK = b"\xfe\x00\x00\x02\x00\x00\x00"
END_OK_MORE = b"\xfe\x00\x00\x0a\x00\x00\x00"
END_OK_CURSOR = b"\xfe\x00\x00\x42\x00\x00\x00"
ERR = b"\xff\x15\x04#28000Access denied"
COLUMN = b"\x03def\x00\x00\x00\x01c\x00\x0c\x21\x00\xfd\xff\x02\x00\xfd\x00\x00\x00\x00\x00"
ROW = b"\x03abc"
BINARY_ROW = b"\x00\x00\x03abc"
LOCAL_INFILE = b"\xfb/tmp/file.csv"

QUERY = b"\x03SELECT 1"
PING = b"\x0e"
STATISTICS = b"\x09"
EXECUTE = b"\x17\x01\x00\x00\x00\x00\x01\x00\x00\x00"
FETCH = b"\x1c\x01\x00\x00\x00\x64\x00\x00\x00"
PREPARE = b"\x16SELECT ?"

#: Entries of a session-track block: what the guard has asked for, and what clients ask for.
HIDDEN = b"\x00\x11\x0cwait_timeout\x03100"
SHOWN = b"\x00\x0f\x0aautocommit\x03OFF"
SCHEMA = b"\x01\x02\x01t"

#: What servers report by default.
OWN_REPORTS = {
    "session_track_system_variables": "time_zone,autocommit,character_set_client",
    "session_track_schema": "ON",
    "session_track_state_change": "OFF",
    "session_track_transaction_info": "OFF",
}


def frame(payload: bytes, sequence_id: int) -> bytes:
    """Put a header in front of a payload."""
    return len(payload).to_bytes(3, "little") + bytes((sequence_id & 0xFF,)) + payload


def frames(*payloads: bytes, start: int = 1) -> bytes:
    """Put payloads into frames that are numbered from `start`."""
    return b"".join(frame(payload, start + index) for index, payload in enumerate(payloads))


def ask(payload: bytes) -> bytes:
    """Put a command into its frame."""
    return frame(payload, 0)


def a_statement(
    client_id: int, server_id: int | None = None, text: bytes | None = b"SELECT ?", **fields: Any
) -> PreparedStatement:
    """Make a prepared statement with one column and one parameter."""
    known: dict[str, Any] = {"schema": b"", "dialect": (None,) * 4, "columns": 1, "parameters": 1, "definitions": b""}
    return PreparedStatement(
        client_id,
        client_id if server_id is None else server_id,
        text,
        classify(text or b""),
        **(known | fields),
    )


def ok_with_state(*entries: bytes, info: bytes = b"", status: int = 2) -> bytes:
    """Write an OK packet with a session-track block."""
    block = b"".join(entries)
    return b"".join(
        (
            b"\x00\x00\x00" + (status | 0x4000).to_bytes(2, "little") + b"\x00\x00",
            bytes((len(info),)) + info,
            bytes((len(block),)) + block,
        )
    )


class Wire:
    """A client and a server, with a reader and a tracker between them and nothing else.

    What was not let through yet stays in `client_inbox` and `server_inbox`, as on a link.
    """

    def __init__(
        self,
        capabilities: Capability = NONE,
        *,
        limit: int = 1 << 24,
        client_listens: bool = False,
        keeps_definitions: bool = False,
    ) -> None:
        self.memory = SessionMemory(
            client_listens=client_listens, multi_statements=False, keeps_definitions=keeps_definitions
        )
        # As after a login on a server that reports by itself what servers report by default.
        self.memory.tracked.begin_link(OWN_REPORTS)
        self.tracker = ReplyTracker(capabilities, self.memory)
        #: Ids that threads have now, by those that clients know.
        self.threads: dict[int, int] = {}
        self.reader = CommandReader(
            self.tracker, self.memory, capabilities, limit, lambda known: self.threads.get(known, known)
        )
        self.client_inbox = b""
        self.server_inbox = b""

    @property
    def variables(self) -> dict[str, str]:
        """The session variables that the server has reported."""
        return self.memory.tracked.variables

    def prepare(self, client_id: int, server_id: int | None = None, **fields: Any) -> PreparedStatement:
        """Have the client have prepared a statement before."""
        prepared = self.memory.statements[client_id] = a_statement(client_id, server_id, **fields)
        return prepared

    def client_says(self, data: bytes) -> bytes:
        """Have the client send something; return what goes on to the server."""
        self.client_inbox += data
        if self.reader.decision is not None:
            return b""
        count = self.reader.take(self.client_inbox)
        assert count <= len(self.client_inbox)
        passed, self.client_inbox = self.client_inbox[:count], self.client_inbox[count:]
        return self.reader.edited(passed)

    def server_says(self, data: bytes) -> bytes:
        """Have the server send something; return what goes on to the client."""
        self.server_inbox += data
        shown, count = self.tracker.take(self.server_inbox)
        assert count <= len(self.server_inbox)
        self.server_inbox = self.server_inbox[count:]
        return shown

    def client_asks(self, *payloads: bytes) -> None:
        """Have the client send commands that all go on to the server at once."""
        data = b"".join(map(ask, payloads))
        assert self.client_says(data) == data


@contextmanager
def small_frames(*, frame_payload: int = 0xFF, stream_above: int = 0x40) -> Iterator[None]:
    """Scale the protocol down, so that packets of several frames are a few hundred bytes long.

    `frame_payload`, in place of 0xFFFFFF, must be a mask as well.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module in (command, framing, reply):
            patch.setattr(module, "MAX_FRAME_PAYLOAD", frame_payload)
        for module in (command, reply):
            patch.setattr(module, "STREAM_ABOVE", stream_above)
        yield
