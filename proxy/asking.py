"""Asking the server on a session's link, and taking its replies, the client's as well as the guard's own."""

import re
from collections.abc import Sequence

import trio

from protocol.command import CommandReader
from protocol.constants import CommandCode
from protocol.errors import MalformedPacket, ProtocolError
from protocol.handshake import Greeting
from protocol.memory import SessionMemory
from protocol.notes import Explained
from protocol.reply import ReplyTracker, Stage
from protocol.resultset import build_queries, build_query, parse_results
from proxy.errors import LinkEnd, LinkLost
from proxy.known_answers import Answers, Known
from proxy.link import Link
from proxy.shared import Shared

#: The replies to the guard's own statements are small; the largest have the columns of prepared statements.
_REPLY_BYTES = 16 << 20

#: The packet of what servers count as a SET: a statement, with or without query attributes, or COM_SET_OPTION.
_SET = re.compile(rb".{4}(?:\x03(?:\x00\x01)?SET |\x1b)", re.DOTALL)

#: How the versions end that MySQL Router gives in its greetings.
_ROUTER = b"-router"


class Asking:
    """A link of a session, the protocol objects that judge what passes on it, and how one asks there."""

    link: Link
    greeting: Greeting
    capabilities: int
    tracker: ReplyTracker
    reader: CommandReader
    memory: SessionMemory

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        #: When the server last answered the guard, in trio's time.
        self.answered_at = trio.current_time()

    @property
    def has_ended(self) -> bool:
        """The server has ended the link, or broken it: the next :meth:`take_replies` raises how, or the one after."""
        return self.tracker.farewell is not None or self.tracker.broken is not None

    async def exchange(self, *commands: tuple[CommandCode, bytes]) -> bytes:
        """Send commands of the guard's own, each with its packet, and return all that the server answers.

        Raises:
            LinkLost: the link cannot be used any more.
        """
        # MySQL Router loses count of the packets where it is sent several commands at once.
        together = [commands] if _ROUTER not in self.greeting.version else [(command,) for command in commands]
        replies = b""
        try:
            for batch in together:
                for code, _ in batch:
                    self.reader.expect_reply(code, note=Explained())
                await self.link.send(b"".join(packet for _, packet in batch))
                replies += (await self._all_replies())[1]
                self.answered_at = self.link.heard_at
                self.memory.note_counted(sum(_SET.match(packet) is not None for _, packet in batch))
        finally:
            self.tracker.abandon()  # Where something is still owed, it is not the client who waits for it.
        return replies

    async def _all_replies(self) -> tuple[bytes, bytes]:
        """Return all that the server owes: as it has come, and as it would be shown to a client."""
        came = shown = b""
        while True:
            inbox = self.link.inbox
            shown += self.take_replies()
            came += inbox[: len(inbox) - len(self.link.inbox)]
            if self.tracker.idle:
                return came, shown
            if self.tracker.stage is Stage.LOCAL_INFILE or len(came) > _REPLY_BYTES:
                raise self.broken("its answer has nothing to do with the question")
            if not self.has_ended:
                await self.link.must_receive()

    def take_replies(self) -> bytes:
        """Take what has come for the client out of the link's inbox.

        Raises:
            LinkLost: the server does not speak the protocol, or it has said goodbye.
        """
        try:
            shown, consumed = self.tracker.take(self.link.inbox)
        except ProtocolError as error:
            raise self.broken(error) from error
        self.link.take(consumed)
        if not shown and self.tracker.farewell is not None:
            raise LinkLost(self.link, f"it said goodbye: {self.tracker.farewell.message}", LinkEnd.FAREWELL)
        return shown

    async def ask(self, statements: Sequence[str | bytes]) -> Answers:
        """Run statements of the guard's own; give what each of them brings. Raises LinkLost."""
        packets = ((CommandCode.QUERY, build_query(statement, self.capabilities)) for statement in statements)
        return self._read(await self.exchange(*packets))

    async def ask_as_ever(self, statements: Sequence[str | bytes]) -> Answers:
        """Do what :meth:`ask` does, faster where the same bytes have come back on another link; for new links only."""
        if _ROUTER in self.greeting.version:
            return await self.ask(statements)
        link = self.link
        questions = build_queries(tuple(statements), self.capabilities)
        await link.send(questions)
        known = self._shared.known_answers.find(self.capabilities, questions)
        while known is not None and known.may_be(link.inbox):
            await link.must_receive()
        if known is not None and known.replies == link.inbox:
            link.take(len(link.inbox))
            return known.answers
        schema = self.memory.tracked.schema
        for _ in statements:
            self.reader.expect_reply(CommandCode.QUERY, note=Explained())
        try:
            replies, _ = await self._all_replies()
        finally:
            self.tracker.abandon()
        answers = self._read(replies)
        if self.memory.tracked.schema == schema:  # else they have said something of this session only
            self._shared.known_answers.remember(self.capabilities, questions, Known(replies, answers))
        return answers

    def _read(self, replies: bytes) -> Answers:
        """Read the replies to statements of the guard's own. Raises LinkLost."""
        try:
            return list(parse_results(replies, self.capabilities))
        except MalformedPacket as error:
            raise self.broken(error) from error

    def broken(self, error: object) -> LinkLost:
        """Make the exception for a server that does not speak the protocol."""
        return LinkLost(self.link, f"it broke the protocol: {error}", LinkEnd.BROKEN)
