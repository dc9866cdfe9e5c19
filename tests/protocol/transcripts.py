"""What clients and servers say to each other, byte by byte, and a link on which they say it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from protocol import command, framing, reply
from protocol.command import HELD_BEGINNING, CommandReader, Decision, Verdict
from protocol.constants import HEADER_LENGTH
from protocol.errors import OutOfSync
from protocol.memory import SessionMemory
from protocol.prepared import PreparedStatement
from protocol.reply import ReplyTracker, Stage
from protocol.statement import classify

NONE = 0

#: Lengths of frames that are continued, where the protocol is scaled down and where it is not.
_FULL_FRAMES = (0xFF, 0xFFFFFF)

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
OPEN_CURSOR = b"\x17\x01\x00\x00\x00\x01\x01\x00\x00\x00"
FETCH = b"\x1c\x01\x00\x00\x00\x64\x00\x00\x00"
PREPARE = b"\x16SELECT ?"

#: Entries of a session-track block: what the guard has asked for, and what clients ask for.
HIDDEN = b"\x00\x11\x0cwait_timeout\x03100"
SHOWN = b"\x00\x0f\x0aautocommit\x03OFF"
SCHEMA = b"\x01\x02\x01t"
STATE = b"\x05\x09\x08T_R_____"
NO_STATE = b"\x05\x09\x08________"
NO_CHARACTERISTICS = b"\x04\x01\x00"
STARTED = b"\x04\x13\x12START TRANSACTION;"
READ_ONLY = b"\x04\x1d\x1cSTART TRANSACTION READ ONLY;"
INSERTED = b"\x00\x12\x0elast_insert_id\x0242"
WRITTEN = b"\x00\x10\x09last_gtid\x050-1-7"
#: Entries of session-track blocks that a client does not see of itself.
UNASKED = (HIDDEN, STATE, NO_STATE, NO_CHARACTERISTICS, STARTED, READ_ONLY, INSERTED, WRITTEN)

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
        capabilities: int = NONE,
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
        passed = b""
        while True:
            if self.reader.decision is None:
                count = self.reader.take(self.client_inbox)
                assert count <= len(self.client_inbox)
                passed += self.reader.edited(self._take_from_client(count))
            before = len(passed)
            match self.reader.decision:
                case Decision(Verdict.LOCAL_FILE):
                    self.reader.decision = None
                    passed += self._hand_file_on()
                case Decision(Verdict.COLLECT, code):
                    passed += self._send_collected(code)
            if len(passed) == before:
                return passed

    def _take_from_client(self, count: int) -> bytes:
        taken, self.client_inbox = self.client_inbox[:count], self.client_inbox[count:]
        return taken

    def _send_collected(self, code: int) -> bytes:
        """Do the part of the one who collects large commands: here, those of a single frame, once it is whole."""
        length = int.from_bytes(self.client_inbox[:3], "little")
        if length in _FULL_FRAMES or len(self.client_inbox) < HEADER_LENGTH + length:
            return b""
        payload = self._take_from_client(HEADER_LENGTH + length)[HEADER_LENGTH:]
        sent = self.reader.expect_held(code, payload[:HELD_BEGINNING], 1)
        rest = payload[HELD_BEGINNING:]
        self.reader.look_through(rest)
        self.reader.decision = None
        return frame(sent + rest, 0)

    def _hand_file_on(self) -> bytes:
        """Do the part of the one who hands local files on: here, packet by packet as they come."""
        passed = b""
        while self.tracker.stage is Stage.LOCAL_INFILE and len(self.client_inbox) >= HEADER_LENGTH:
            length = int.from_bytes(self.client_inbox[:3], "little")
            if self.client_inbox[3] != self.tracker.sequence_id:
                raise OutOfSync("a piece of a file has another sequence id")
            if len(self.client_inbox) < HEADER_LENGTH + length:
                break
            self.tracker.sequence_id = (self.tracker.sequence_id + 1) & 0xFF
            if not length:
                self.tracker.local_file_sent()
            passed += self._take_from_client(HEADER_LENGTH + length)
        return passed

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
        patch.setattr(reply, "STREAM_ABOVE", stream_above)
        patch.setattr(command, "HOLD_ABOVE", frame_payload - 1)
        yield
