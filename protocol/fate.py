"""What became of a command whose link was lost before it was answered, and what the guard may do about it.

A statement reaches a server at most once, with three exceptions: the first copy is known not to have been carried out;
or it is a read that is run again where the server itself refuses to write; or all that it does is done to the session,
which has ended with its link.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from protocol.constants import HEADER_LENGTH, Capability, CommandCode, ErrorCode
from protocol.effects import Kind
from protocol.memory import SessionMemory
from protocol.reply import MOST_FAILURES, Expected
from protocol.sql import text_start
from protocol.statement import classify


class Fate(Enum):
    """What may be done about an unanswered command."""

    AGAIN = auto()  # it can be sent again as if it had never been sent
    RERUN = auto()  # a read, as far as its text tells: to be run again in a read-only transaction
    CHECK = auto()  # such a read of whose result the client has a part: whether it is a read can be asked of the server
    ROLLED_BACK = auto()  # surely, nothing of it is left
    UNKNOWN = auto()


@dataclass(frozen=True)
class Circumstances:
    """How things stood when the link was lost.

    ``in_transaction``: a transaction was open that cannot be begun anew unnoticed; where that is not ``is_certain``,
    it may have ended before, or may never have been.
    """

    in_transaction: bool
    autocommit: bool
    backslash_escapes: bool
    capabilities: int
    is_certain: bool = True


#: What these do is done to the session alone, or nothing at all.
_HARMLESS = frozenset(
    {
        CommandCode.PING,
        CommandCode.STATISTICS,
        CommandCode.INIT_DB,
        CommandCode.FIELD_LIST,
        CommandCode.STMT_PREPARE,
        CommandCode.STMT_RESET,
        CommandCode.SET_OPTION,
        CommandCode.PROCESS_INFO,
    }
)
_HARMLESS_KINDS = frozenset({Kind.SESSION, Kind.BEGIN, Kind.COMMIT, Kind.ROLLBACK, Kind.AUTOCOMMIT})
#: All that was done in the open transaction, these commit.
_COMMITTING = frozenset({Kind.COMMIT, Kind.BEGIN, Kind.AUTOCOMMIT})
#: With these, servers roll back the whole transaction, or may.
_ROLLING_BACK = frozenset(
    {ErrorCode.LOCK_DEADLOCK, ErrorCode.LOCK_WAIT_TIMEOUT, ErrorCode.CHECKREAD, ErrorCode.LOCK_TABLE_FULL}
)
_STAYS_IN_TRANSACTION = frozenset({Kind.READ, Kind.CHANGE, Kind.SESSION})


def judge_all(
    commands: Sequence[Expected],
    memory: SessionMemory,
    circumstances: Circumstances,
    *,
    begun: bool,
    unexecuted: int,
) -> list[Fate]:
    """Judge the commands that were sent and not answered.

    ``begun``: the client has been given a part of the answer to the first one. ``unexecuted``: how many of the last
    ones have surely not been carried out.
    """
    fates: list[Fate] = []
    sent = commands[: len(commands) - unexecuted]
    kinds = [kind_of(command, memory, circumstances) for command in commands]
    may_end = [
        command.command not in _HARMLESS and kind not in _STAYS_IN_TRANSACTION
        for command, kind in zip(sent, kinds, strict=False)
    ]
    may_commit_something = False
    for index, (command, kind) in enumerate(zip(commands, kinds, strict=True)):
        if index >= len(sent):
            fate = _judge_unexecuted(command, memory, circumstances)
        else:
            fate = _judge(command, kind, circumstances, begun=begun and index == 0)
            # Another one may have ended the transaction: in front of it, so that this one was in none any more, or
            # behind it, together with all that was done in it.
            if fate is Fate.ROLLED_BACK and (any(may_end[:index]) or any(may_end[index + 1 :])):
                fate = Fate.UNKNOWN
        if fate is Fate.AGAIN and kind in _COMMITTING and may_commit_something:
            # Sent again, it would say that what was done before it is committed.
            fate = Fate.UNKNOWN if index < len(sent) else Fate.ROLLED_BACK
        may_commit_something |= fate is not Fate.AGAIN and kind is not Kind.READ
        fates.append(fate)
    for index in reversed(range(len(fates))):
        # What is sent again is so behind all other answers.
        if fates[index] is Fate.AGAIN and any(later is not Fate.AGAIN for later in fates[index + 1 :]):
            fates[index] = Fate.UNKNOWN if index < len(sent) else Fate.ROLLED_BACK
    if fates and fates[0] is not Fate.AGAIN and Kind.BEGIN in kinds:
        # What was sent behind the beginning of a transaction is not to be carried out without it.
        fates = [Fate.ROLLED_BACK if fate is Fate.AGAIN else fate for fate in fates]
    return fates


def text_of(command: Expected, memory: SessionMemory, capabilities: int) -> bytes | None:
    """Give the SQL that a command carries or executes; None if it is not known, or if there is none."""
    packet = command.packet
    if packet is None:
        return None
    if command.command == CommandCode.QUERY:
        start: int | None = HEADER_LENGTH + 1
        if capabilities & Capability.QUERY_ATTRIBUTES:
            start = text_start(packet, HEADER_LENGTH + 1, len(packet))
        return None if start is None else packet[start:]
    if command.command in (CommandCode.STMT_EXECUTE, CommandCode.STMT_BULK_EXECUTE):
        prepared = memory.statements.get(int.from_bytes(packet[5:9], "little"))
        return None if prepared is None else prepared.text
    return None


def schema_of(command: Expected, memory: SessionMemory) -> bytes:
    """Return the schema in which the tables of a command's SQL are that are named without one."""
    if command.command in (CommandCode.STMT_EXECUTE, CommandCode.STMT_BULK_EXECUTE) and command.packet is not None:
        prepared = memory.statements.get(int.from_bytes(command.packet[5:9], "little"))
        if prepared is not None:
            return prepared.schema
    return memory.tracked.schema


def kind_of(command: Expected, memory: SessionMemory, circumstances: Circumstances) -> Kind:
    """Judge a command's text; what has none that is known is of the kind of which nothing is known."""
    text = text_of(command, memory, circumstances.capabilities)
    if text is None or (memory.is_deceptive and not text.isascii()):
        return Kind.OTHER
    return classify(text, backslash_escapes=circumstances.backslash_escapes).kind


def may_have_ended_transaction(
    failures: Sequence[tuple[Expected, int]], memory: SessionMemory, circumstances: Circumstances
) -> bool:
    """Tell whether commands that have failed may have ended the open transaction, or left one that was not open.

    Nobody has said since how things stand: the answer to a command that fails does not. While autocommit is off, a
    transaction that was rolled back is no matter: whatever came behind it was in the next one.
    """
    return len(failures) >= MOST_FAILURES or any(
        (code in _ROLLING_BACK and circumstances.autocommit)
        or (command.command not in _HARMLESS and kind_of(command, memory, circumstances) not in _STAYS_IN_TRANSACTION)
        for command, code in failures
    )


def _judge_unexecuted(command: Expected, memory: SessionMemory, circumstances: Circumstances) -> Fate:
    if command.packet is None:
        return Fate.ROLLED_BACK
    if not circumstances.in_transaction or command.command in _HARMLESS:
        return Fate.AGAIN
    is_rollback = kind_of(command, memory, circumstances) is Kind.ROLLBACK
    return Fate.AGAIN if is_rollback else Fate.ROLLED_BACK


def _judge(command: Expected, kind: Kind, circumstances: Circumstances, *, begun: bool) -> Fate:
    is_harmless = command.command in _HARMLESS or (kind in _HARMLESS_KINDS and not circumstances.in_transaction)
    if is_harmless or kind is Kind.ROLLBACK:
        if begun:
            return Fate.ROLLED_BACK
        return Fate.UNKNOWN if command.packet is None else Fate.AGAIN
    if circumstances.in_transaction:
        is_lost = kind is Kind.READ or (kind in _STAYS_IN_TRANSACTION and circumstances.is_certain)
        return Fate.ROLLED_BACK if is_lost else Fate.UNKNOWN
    if kind is Kind.READ:
        return Fate.CHECK if begun else Fate.RERUN
    if kind is Kind.CHANGE and not circumstances.autocommit:
        return Fate.ROLLED_BACK
    return Fate.UNKNOWN
