"""What a large COM_QUERY may do to the session: its beginning is judged like any other, the whole is searched."""

import re

from protocol.holds import Hold, HoldKind
from protocol.memory import SessionMemory
from protocol.plain import TELLING_STATEMENT

#: Commands with a payload above this many bytes are collected by somebody else before they go out.
HOLD_ABOVE = 64 * 1024

#: Without any of these a text of which nothing is read does nothing.
_SIGNS = (b"@", b"_", b";")
_SETS_INSERT_ID = b"last_insert_id"
#: Assignments to user variables; a comment may begin in front of the variable, or end there.
_INTO_VARIABLE = re.compile(rb"into[\s\x80-\xff]*+(?:@|/\*|\*/|--|#)")
#: So much is searched again together with what follows: more than the longest of all that is searched for.
_OVERLAP = 256
#: How those begin that may ask for share locks; of those that write, nobody asks what locks they take beside.
_READS = re.compile(rb"[\s(]*(?:select|with|table|values)\b", re.IGNORECASE)
_INSERTS = re.compile(rb"\s*(?:insert|replace)\b", re.IGNORECASE)
_WRITES = re.compile(rb"\s*(?:insert|replace|update|delete)\b", re.IGNORECASE)


class LargeQuery:
    """Searches the text of one such statement, piece by piece, for what the session's memory has to doubt."""

    def __init__(self, memory: SessionMemory, beginning: bytes) -> None:
        """``beginning`` is that of the text; empty where it is not known where the text begins."""
        self._memory = memory
        self._tail = b""
        self._is_read = _READS.match(beginning) is not None
        self._inserts = _INSERTS.match(beginning) is not None
        memory.has_share_locks |= not (self._is_read or _WRITES.match(beginning))
        self.search(beginning)

    def __repr__(self) -> str:
        return f"<LargeQuery {'read' if self._is_read else 'not a read'}>"

    def search(self, piece: bytes) -> None:
        """Search the next piece of the text."""
        memory = self._memory
        text = self._tail + piece
        self._tail = text[-_OVERLAP:]
        # Of most texts, the signs alone tell, and are found many times faster.
        if b":" in text and b":=" in text:
            self.hold()
        is_signed = self._is_read or self._inserts or any(sign in text for sign in _SIGNS)
        lower = text.lower() if is_signed else b""
        if b"@" in lower and b"into" in lower and _INTO_VARIABLE.search(lower):
            self.hold()
        if b"_" in lower and b"_lock" in lower:
            self.hold()
        if (b"_" in lower and _SETS_INSERT_ID in lower) or (self._inserts and b"returning" in lower):
            memory.doubt_insert_id()  # a result set has no id
        if memory.multi_statements and b";" in lower:
            # Another statement may be a CALL, which can leave a transaction open where it fails.
            memory.doubt_insert_id()
            memory.doubt_transaction()
            if TELLING_STATEMENT.search(str(lower, "latin-1")):
                self.hold()
        if self._is_read and b"share" in lower:
            memory.has_share_locks = True

    def hold(self) -> None:
        """Hold the session: the statement may have set something that nobody has read."""
        self._memory.hold(Hold(HoldKind.UNSETTLED, f"what a statement of more than {HOLD_ABOVE} bytes may have set"))
