"""What is left of a lost link: the commands that were not answered, and what shows how far they got."""

from collections.abc import Sequence
from dataclasses import replace

from protocol.constants import ErrorCode, Status
from protocol.fate import Circumstances, Fate, judge_all, may_have_ended_transaction
from protocol.looking_back import Leftover
from protocol.memory import SessionMemory
from protocol.reply import Expected, Stage
from proxy.errors import LinkEnd, LinkLost
from proxy.upstream import Upstream


class Wreck:
    """Taken down from an upstream that has just lost its link."""

    def __init__(self, upstream: Upstream, lost: LinkLost) -> None:
        tracker = upstream.tracker
        self.commands: Sequence[Expected] = list(tracker.expected)
        self.in_transaction = upstream.in_transaction
        self.leftovers = _leftovers(upstream)
        self._memory: SessionMemory = upstream.memory
        self._capabilities: int = upstream.capabilities
        self._status = tracker.status
        self._failures = list(tracker.failures)
        self._is_loading = tracker.stage is Stage.LOCAL_INFILE
        self._begun = tracker.reply_begun
        self._unexecuted = _count_unexecuted(upstream, lost)

    def __repr__(self) -> str:
        return f"<Wreck with {len(self.commands)} commands, {self._unexecuted} of them surely not carried out>"

    @property
    def is_certain(self) -> bool:
        """Whether it is certain that :attr:`in_transaction` says how things stood."""
        circumstances = self._circumstances(is_rolled_back=self.in_transaction)
        return not may_have_ended_transaction(self._failures, self._memory, circumstances)

    def _circumstances(self, *, is_rolled_back: bool) -> Circumstances:
        return Circumstances(
            is_rolled_back,
            bool(self._status & Status.AUTOCOMMIT),
            not self._status & Status.NO_BACKSLASH_ESCAPES,
            self._capabilities,
        )

    def judge(self, *, is_rolled_back: bool) -> list[Fate]:
        """Judge the commands; ``is_rolled_back``: a transaction was open and is lost."""
        circumstances = replace(self._circumstances(is_rolled_back=is_rolled_back), is_certain=self.is_certain)
        fates = judge_all(self.commands, self._memory, circumstances, begun=self._begun, unexecuted=self._unexecuted)
        # A file that has not ended is not loaded; of the statements in front of its own one nothing is known.
        if self._is_loading and b";" not in (self.commands[0].packet or b";"):
            fates[0] = Fate.ROLLED_BACK
        return fates


def _count_unexecuted(upstream: Upstream, lost: LinkLost) -> int:
    """Count the commands, from the last one backwards, that have surely not been carried out."""
    tracker, reader, link = upstream.tracker, upstream.reader, upstream.link
    farewell = tracker.farewell
    if farewell is not None and farewell.code == ErrorCode.CLIENT_INTERACTION_TIMEOUT and not tracker.reply_begun:
        # The server had waited in vain, and said goodbye before it read any of them.
        return len(tracker.expected)
    missing = link.unsent
    if lost.end is LinkEnd.CLOSED and link.unacknowledged is not None:
        if not link.is_encrypted:
            missing += link.unacknowledged
        elif not reader.trailing:  # for how many bytes commands have become is not known
            missing += max(0, link.unacknowledged - link.alert_bytes)
    return int(missing > reader.trailing and not tracker.reply_begun)


def _leftovers(upstream: Upstream) -> Leftover:
    """Tell what the last statement has left behind that a new link cannot know."""
    leftovers = Leftover.FOUND_ROWS
    if not upstream.can_restore_row_count:
        leftovers |= Leftover.ROW_COUNT
    if upstream.tracker.may_have_warnings:
        leftovers |= Leftover.WARNINGS
    return leftovers
