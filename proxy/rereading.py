"""Reads whose link was lost: run again, or judged, where the server itself refuses to write."""

from functools import partial

import trio

from protocol.constants import Status
from protocol.errors import ServerError
from protocol.fate import text_of
from protocol.looking_back import Leftover, asked_for
from protocol.packets import Err
from protocol.reply import NO_ROW_COUNT, Expected
from protocol.session_track import is_mariadb
from protocol.statement import read_only_check
from proxy import answers
from proxy.client_end import passing_on_end
from proxy.errors import LinkEnd, LinkLost
from proxy.link import Link
from proxy.session_state import restore_row_count
from proxy.upstream import Upstream

#: For an EXPLAIN, servers carry out subqueries that need no table.
_PATIENCE_SECONDS = 2.0

_BEGIN = ("START TRANSACTION READ ONLY",)
_UNDO = ("ROLLBACK AND NO CHAIN NO RELEASE",)
_END = ("COMMIT AND NO CHAIN NO RELEASE",)  # whatever completion_type is


async def read_again(client: Link, upstream: Upstream, command: Expected, lost: Leftover) -> Err | None:
    """Run a read again on a new link and hand its result on; return what to answer where that cannot be done.

    A statement that turns out to write is refused by the server, and the client is told that its outcome is unknown:
    the first copy may have been carried out. ``lost`` is what it must not ask for, because the new link cannot know it.

    Raises:
        LinkLost: one of the links ended; ``upstream.tracker`` tells how much of the result has been handed on.
    """
    server = str(upstream.address)
    unknown = answers.outcome_unknown(server)
    text = text_of(command, upstream.memory, upstream.capabilities) or b""
    if asked_for(text) & lost:
        return unknown
    if not upstream.lost_autocommit:
        is_read = await _begin_nothing(upstream, text)
        return None if is_read and await _run(client, upstream, command.packet or b"", None) else unknown
    if not await _begin(upstream):
        return unknown
    has_run = await _run(client, upstream, command.packet or b"", unknown)
    left_warnings = upstream.tracker.left_warnings
    try:
        await upstream.ask(_END)
        await restore_row_count(upstream, NO_ROW_COUNT)
    except LinkLost:
        # The client has its result. The relay will find the link gone, and no transaction that anybody would miss.
        upstream.tracker.status &= ~int(Status.IN_TRANSACTION)
        upstream.memory.tracked.forget_transaction()
    if left_warnings and not is_mariadb(upstream.greeting.version):
        # Seen: MySQL forgets them at a COMMIT, MariaDB does not.
        upstream.memory.lost_leftovers |= Leftover.WARNINGS
    return None if has_run else unknown


async def _begin_nothing(upstream: Upstream, text: bytes) -> bool:
    """Return whether a statement that opens a transaction, because autocommit is off, can be run again as it is.

    What the first copy has done in its transaction went with that, but a stored function may also do what is in none.
    So it is run only if the server says that it does not write.
    """
    check = read_only_check(text)
    if check is None:
        return True  # SHOW and its like
    if not await _begin(upstream):
        return False
    (answer, *_) = await upstream.ask((check, *_UNDO))
    if upstream.lost_characteristics:
        await upstream.ask((upstream.lost_characteristics,))  # that transaction has used them up
    return not isinstance(answer, ServerError)


def can_be_judged(upstream: Upstream, command: Expected) -> bool:
    """Return whether the server can be asked if a statement only reads."""
    text = text_of(command, upstream.memory, upstream.capabilities)
    return text is not None and read_only_check(text) is not None


async def judge(upstream: Upstream, command: Expected, answer: Err) -> Err:
    """Give the answer to a statement that is not run again: ``answer`` if it only reads, by the server's own word.

    For an EXPLAIN, a server opens all tables as for the statement itself, those of stored functions included, and so
    refuses in a read-only transaction what would write (seen on MySQL and MariaDB). Raises LinkLost.
    """
    server = str(upstream.address)
    text = text_of(command, upstream.memory, upstream.capabilities)
    check = None if text is None else read_only_check(text)
    if check is None or not await _begin(upstream):
        return answers.outcome_unknown(server)
    with trio.move_on_after(_PATIENCE_SECONDS) as asking:
        (said,) = await upstream.ask((check,))
        await upstream.ask(_END)
    if asking.cancelled_caught:
        upstream.link.give_up()
        raise LinkLost(upstream.link, "no answer to an EXPLAIN in time", LinkEnd.SILENCE)
    return answers.outcome_unknown(server) if isinstance(said, ServerError) else answer


async def _begin(upstream: Upstream) -> bool:
    (answer,) = await upstream.ask(_BEGIN)
    return not isinstance(answer, ServerError)


async def _run(client: Link, upstream: Upstream, packet: bytes, refusal: Err | None) -> bool:
    """Send a read and hand on its result; return whether the server was to be given it at all.

    ``refusal`` is what the client is told if the server refuses to run it in a transaction that only reads.
    """
    tracker, reader = upstream.tracker, upstream.reader
    if reader.take(packet) != len(packet):
        reader.decision = None  # it is too large for the server that is there now
        return False
    tracker.rerun_refusal = None if refusal is None else refusal.build()
    await upstream.link.send(reader.edited(packet))
    await passing_on_end(client, upstream, partial(_hand_on, client, upstream))
    tracker.rerun_refusal = None
    return True


async def _hand_on(client: Link, upstream: Upstream) -> None:
    """Hand on all that the server owes."""
    tracker = upstream.tracker
    while not tracker.idle:
        shown = upstream.take_replies()
        if shown:
            upstream.traffic.bytes_from_server += len(shown)
            await client.post(shown)
        elif not upstream.has_ended and not tracker.idle:
            await upstream.link.must_receive()
