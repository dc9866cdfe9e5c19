"""What is left of a lost link: the commands that were not answered, and what shows how far they got."""

import re
from collections.abc import Sequence
from dataclasses import replace

from protocol.constants import ErrorCode, Status
from protocol.effects import Kind
from protocol.fate import Circumstances, Fate, judge_all, kind_of, may_have_ended_transaction, schema_of, text_of
from protocol.looking_back import Leftover
from protocol.memory import SessionMemory
from protocol.named_tables import can_be_rolled_back, engine_questions
from protocol.reply import Expected, Stage
from proxy.errors import LinkEnd, LinkLost
from proxy.fencing import OldThread
from proxy.upstream import Upstream

#: How statements begin that write to tables.
_WRITES = re.compile(rb"\s*+(?:/\*.*?\*/\s*+)*+(?:insert|replace|update|delete|load|with)\b", re.IGNORECASE | re.DOTALL)


class Wreck:
    """Taken down from an upstream that has just lost its link."""

    def __init__(self, upstream: Upstream, lost: LinkLost) -> None:
        tracker = upstream.tracker
        self.commands: Sequence[Expected] = list(tracker.expected)
        self.in_transaction = upstream.in_transaction
        #: Whether that transaction is lost; where it has only read, it can be begun anew unnoticed.
        self.is_rolled_back = False
        #: Whether the old thread is surely gone.
        self.is_fenced = True
        self.leftovers = _leftovers(upstream)
        self.thread = OldThread(upstream.greeting.thread_id, upstream.server, upstream.opened_at)
        self._memory: SessionMemory = upstream.memory
        self._capabilities: int = upstream.capabilities
        self._status = tracker.status
        self._failures = list(tracker.failures)
        self._has_written_for_good = upstream.memory.has_written_for_good
        self._is_loading = tracker.stage is Stage.LOCAL_INFILE
        self._begun = tracker.reply_begun
        self._unexecuted = _count_unexecuted(upstream, lost)

    def __repr__(self) -> str:
        return f"<Wreck with {len(self.commands)} commands, {self._unexecuted} of them surely not carried out>"

    @property
    def doubt(self) -> str:
        """Why it is not certain that the open transaction was rolled back, and all of it; empty if it is."""
        if may_have_ended_transaction(
            self._failures, self._memory, self._circumstances(is_rolled_back=self.in_transaction)
        ):
            return "a statement in it had failed, and may have ended it"
        if self._has_written_for_good:
            return "it has written to a table of an engine without transactions, which keeps what was written"
        return ""

    @property
    def commits_nothing(self) -> bool:
        """Whether the first command is the COMMIT of a transaction that has only read: to send it again is the same."""
        if not self.in_transaction or not self.commands or self._memory.may_have_written or self._failures:
            return False
        return kind_of(self.commands[0], self._memory, self._circumstances(is_rolled_back=True)) is Kind.COMMIT

    def _circumstances(self, *, is_rolled_back: bool) -> Circumstances:
        return Circumstances(
            is_rolled_back,
            bool(self._status & Status.AUTOCOMMIT),
            not self._status & Status.NO_BACKSLASH_ESCAPES,
            self._capabilities,
        )

    def judge(self) -> list[Fate]:
        """Judge the commands."""
        circumstances = replace(self._circumstances(is_rolled_back=self.is_rolled_back), is_certain=not self.doubt)
        fates = judge_all(self.commands, self._memory, circumstances, begun=self._begun, unexecuted=self._unexecuted)
        # A file that has not ended is not loaded; of the statements in front of its own one nothing is known.
        if self._is_loading and b";" not in (self.commands[0].packet or b";"):
            fates[0] = Fate.ROLLED_BACK
        return fates

    async def look_for_remains(self, upstream: Upstream, fates: list[Fate]) -> None:
        """Ask the server whether a rollback undoes what the commands have written; else, their fates become unknown.

        Raises:
            LinkLost: the link cannot be used any more.
        """
        for index in self._writes(fates):
            command = self.commands[index]
            text = text_of(command, self._memory, self._capabilities) or b""
            questions = engine_questions(text, schema_of(command, self._memory))
            if not can_be_rolled_back(await upstream.ask(questions) if questions else []):
                fates[index] = Fate.UNKNOWN

    def doubt_remains(self, fates: list[Fate]) -> None:
        """Do what :meth:`look_for_remains` does where there is no server to be asked."""
        for index in self._writes(fates):
            fates[index] = Fate.UNKNOWN

    def _writes(self, fates: Sequence[Fate]) -> list[int]:
        """List the commands that were sent, are said to be rolled back, and write to tables."""
        sent = len(self.commands) - self._unexecuted
        return [
            index
            for index, (command, fate) in enumerate(zip(self.commands[:sent], fates, strict=False))
            if fate is Fate.ROLLED_BACK and _WRITES.match(text_of(command, self._memory, self._capabilities) or b"")
        ]

    def leaves_open(self, count: int) -> bool:
        """Return whether the client is in a transaction after the first ``count`` commands, for all that it knows."""
        is_open, autocommit = self.in_transaction, bool(self._status & Status.AUTOCOMMIT)
        for command in self.commands[:count]:
            kind = kind_of(command, self._memory, self._circumstances(is_rolled_back=self.in_transaction))
            is_open = kind not in (Kind.COMMIT, Kind.ROLLBACK) and (is_open or kind is Kind.BEGIN or not autocommit)
        return is_open


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
