"""The session's state at the server: reading back what is not known for sure, and giving it to a new link.

What to ask and what to say is decided in :mod:`protocol.settling` and :mod:`protocol.restoring`; here it is done.
"""

from protocol.constants import ERR_BYTE, HEADER_LENGTH, CommandCode, Status
from protocol.errors import MalformedPacket
from protocol.framing import build_packet
from protocol.prepared import PreparedStatement
from protocol.restoring import CannotRestore, Step, note_what_changed, restore_steps, step_to_prepare, take_answers
from protocol.resultset import ResultSet
from protocol.session_track import FOLLOWING_SCHEMA, is_mariadb
from protocol.settling import SURVEY, Settling, find_rows, take_survey
from proxy.errors import SessionOver
from proxy.upstream import Upstream

#: So many commands go out together. Their replies must fit into the kernel's buffers while we are still sending.
_BATCH = 16

#: Sets it to what it is.
_TELL_INSERT_ID = "SET SESSION last_insert_id = LAST_INSERT_ID()"

#: To find so many rows takes neither side long.
_MOST_FOUND_ROWS = 10_000


async def settle(upstream: Upstream) -> None:
    """Read back from the server what is not known for sure of the session. The session must not notice.

    Raises:
        LinkLost: the link cannot be used any more.
    """
    tracker, memory = upstream.tracker, upstream.memory
    row_count = tracker.row_count
    if memory.is_insert_id_unsettled:
        await settle_insert_id(upstream)
    if memory.is_unsettled:
        found_rows = await _found_rows(upstream)
        if memory.is_change_unsettled or memory.is_count_lost:
            await settle_insert_id(upstream)  # whatever else the server has still to report comes with it
            take_survey(memory, *await upstream.ask((SURVEY,)))
        settling = Settling(memory)
        questions = settling.second_questions(await upstream.ask(settling.first_questions()))
        if questions:
            settling.finish(await upstream.ask(questions))
        if memory.tracked.is_overruled:
            await upstream.watch()
        await _restore_found_rows(upstream, found_rows)
    if memory.is_transaction_unsettled and upstream.in_transaction:
        await _ask_for_transaction(upstream)
    memory.is_transaction_unsettled = False
    await restore_row_count(upstream, row_count)
    upstream.log.debug("settled", holds=[str(hold) for hold in memory.holds])


async def settle_insert_id(upstream: Upstream) -> None:
    """Have the server report LAST_INSERT_ID(). Of what can be looked back at, this changes nothing but ROW_COUNT().

    Raises:
        LinkLost: the link cannot be used any more.
    """
    await upstream.ask((_TELL_INSERT_ID,))
    upstream.memory.is_insert_id_unsettled = False


async def _ask_for_transaction(upstream: Upstream) -> None:
    """Have the server say what the open transaction has become.

    MySQL tells it with the next OK packet, MariaDB only with one that has more to say: so the schema is chosen anew.
    """
    memory = upstream.memory
    if not memory.tracked.schema or any(name in memory.tracked.variables for name in FOLLOWING_SCHEMA):
        await upstream.watch()
        return
    payload = bytes((CommandCode.INIT_DB,)) + memory.tracked.schema
    reply = await upstream.exchange((CommandCode.INIT_DB, build_packet(payload, 0)))
    if reply[HEADER_LENGTH] == ERR_BYTE:
        memory.has_share_locks = True  # for all that is known


async def _found_rows(upstream: Upstream) -> int:
    """Ask what FOUND_ROWS() is."""
    (answer,) = await upstream.ask(("SELECT FOUND_ROWS()",))
    return int(answer.rows[0][0] or 0) if isinstance(answer, ResultSet) else 1


async def _restore_found_rows(upstream: Upstream, rows: int) -> None:
    """Make FOUND_ROWS() again what it was, unless that is very much: the guard's own questions have made it 1."""
    if rows != 1 and rows <= _MOST_FOUND_ROWS:
        await upstream.ask((find_rows(rows, is_mariadb=is_mariadb(upstream.greeting.version)),))


async def restore(upstream: Upstream) -> None:
    """Give a new link what the session had.

    Raises:
        SessionOver: something cannot be restored; the text says what.
        LinkLost: the link cannot be used any more.
    """
    memory, capabilities = upstream.memory, upstream.capabilities
    row_count, characteristics = upstream.lost_row_count, upstream.lost_characteristics
    variables = dict(memory.tracked.variables)
    try:
        note_what_changed(memory)
        for steps in _batches(list(restore_steps(memory, capabilities))):
            replies = await upstream.exchange(*((step.code, build_packet(step.payload, 0)) for step in steps))
            take_answers(steps, replies, memory, capabilities)
        if characteristics:
            await upstream.ask([characteristics])
    except CannotRestore as error:
        raise SessionOver(str(error)) from error
    except MalformedPacket as error:
        raise upstream.broken(error) from error
    finally:
        # In the order in which the client has set them, since some change others. Servers report them in their own.
        memory.tracked.variables = variables
    if bool(upstream.tracker.status & Status.AUTOCOMMIT) != upstream.lost_autocommit:
        # Where a procedure has set it, MariaDB does not report it, but the flag shows it.
        await upstream.ask([f"SET SESSION autocommit = {int(upstream.lost_autocommit)}"])
    await restore_row_count(upstream, row_count)


async def prepare_again(upstream: Upstream, prepared: PreparedStatement) -> bytes:
    """Try once more to prepare a statement that is broken; return the payload of the server's ERR packet, if any.

    Raises:
        LinkLost: the link cannot be used any more.
    """
    memory = upstream.memory
    step = step_to_prepare(memory, prepared)
    if step is None:
        return b""
    reply = await upstream.exchange((step.code, build_packet(step.payload, 0)))
    try:
        take_answers((step,), reply, memory, upstream.capabilities)
    except MalformedPacket as error:
        raise upstream.broken(error) from error
    memory.last_is_elsewhere = True
    return reply[HEADER_LENGTH:] if reply[HEADER_LENGTH] == ERR_BYTE else b""


def _batches(steps: list[Step]) -> list[tuple[Step, ...]]:
    return [tuple(steps[start : start + _BATCH]) for start in range(0, len(steps), _BATCH)]


async def restore_row_count(upstream: Upstream, row_count: int | None) -> None:
    """Make ROW_COUNT() again what it was: COM_PING makes it 0, COM_SET_OPTION -1, and neither changes anything else."""
    if row_count == 0:
        command = bytes((CommandCode.PING,))
    elif row_count == -1:
        command = bytes((CommandCode.SET_OPTION, not upstream.memory.multi_statements, 0))
    else:
        return
    await upstream.exchange((CommandCode(command[0]), build_packet(command, 0)))
    upstream.tracker.row_count = row_count
    upstream.tracker.left_warnings = False
