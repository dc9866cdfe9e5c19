"""What servers have answered to the guard's own questions on a new link, so that it need not be read again.

All sessions ask the same, and a server answers with the same bytes until somebody changes one of its settings. What
bytes mean depends on nothing but themselves, the questions and the capabilities.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from protocol.errors import ServerError
from protocol.resultset import ResultSet

Answers: TypeAlias = Sequence[ResultSet | ServerError]

#: Clients of some kinds; each entry takes some kilobytes.
_MOST = 32


@dataclass(frozen=True)
class Known:
    """Replies as they are on the wire, and what they mean."""

    replies: bytes
    answers: Answers

    def may_be(self, begun: bytes) -> bool:
        """Tell whether replies that have begun so may become these: they are not whole then."""
        return len(begun) < len(self.replies) and self.replies.startswith(begun)


class KnownAnswers:
    """Shared by all sessions: what was answered last to the same questions by clients' capabilities."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, bytes], Known] = {}

    def __repr__(self) -> str:
        return f"<KnownAnswers: {len(self._known)}>"

    def find(self, capabilities: int, questions: bytes) -> Known | None:
        """Give what was answered last, if anything was."""
        return self._known.get((capabilities, questions))

    def remember(self, capabilities: int, questions: bytes, known: Known) -> None:
        """Keep what was answered now."""
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[capabilities, questions] = known
