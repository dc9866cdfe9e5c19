"""What a large COM_QUERY may do to the session: its beginning is judged like any other, the whole is searched."""

import re

from protocol.holds import Hold, HoldKind
from protocol.memory import SessionMemory

#: Commands with a payload above this many bytes are collected by somebody else before they go out.
HOLD_ABOVE = 64 * 1024

#: What the rest must not hide, in lower case, by a sign in it.
_NEEDLES = {b":": b":=", b"@": b"into @", b"_": b"_lock("}
_SETS_INSERT_ID = b"last_insert_id("
_LONGEST_NEEDLE = len(_SETS_INSERT_ID)
#: How those begin that may ask for share locks; of those that write, nobody asks what locks they take beside.
_READS = re.compile(rb"[\s(]*(?:select|with|table|values)\b", re.IGNORECASE)
_WRITES = re.compile(rb"\s*(?:insert|replace|update|delete)\b", re.IGNORECASE)


class LargeQuery:
    """Searches the text of one such statement, piece by piece, for what the session's memory has to doubt."""

    def __init__(self, memory: SessionMemory, beginning: bytes) -> None:
        """``beginning`` is that of the text; empty where it is not known where the text begins."""
        self._memory = memory
        self._tail = b""
        self._is_read = _READS.match(beginning) is not None
        memory.has_share_locks |= not (self._is_read or _WRITES.match(beginning))
        self.search(beginning)

    def __repr__(self) -> str:
        return f"<LargeQuery {'read' if self._is_read else 'not a read'}>"

    def search(self, piece: bytes) -> None:
        """Search the next piece of the text."""
        memory = self._memory
        text = self._tail + piece
        self._tail = text[-_LONGEST_NEEDLE:]
        # Of most texts, the signs alone tell, and are found faster.
        if any(sign in text and needle in text.lower() for sign, needle in _NEEDLES.items()):
            self.hold()
        if b"_" in text and _SETS_INSERT_ID in text.lower():
            memory.doubt_insert_id()
        if memory.multi_statements and b";" in text:
            # Another statement may be a CALL, which can leave a transaction open where it fails.
            memory.doubt_insert_id()
            memory.may_have_begun = True
        if self._is_read and b"share" in text.lower():
            memory.has_share_locks = True

    def hold(self) -> None:
        """Hold the session: the statement may have set something that nobody has read."""
        self._memory.hold(Hold(HoldKind.UNSETTLED, f"what a statement of more than {HOLD_ABOVE} bytes may have set"))
