"""Exchanges that open session after session: a statement that sets something, and what the server says to it.

Theory of operation
-------------------
Drivers and frameworks begin every session, and often every use of a pooled one, with the same few SETs, and a server
answers them with the same bytes. An exchange that has been seen twice is *known* on links of the same kind: the walker
lets its command pass, compares the answer with what it was before, gives the client what it saw then, and keeps in a
journal that it has passed. At the end of the ride (:mod:`protocol.riding`), command and answer are read as if they were
just passing, so that the session is known to be what it is before anything is done that depends on it.

Only what can wait may become known (:func:`can_wait`): neither the session's next commands nor the walker's own
bookkeeping are judged any differently for it.
"""

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias, TypeGuard

from protocol.constants import HEADER_LENGTH, OK_BYTE, CommandCode, SessionTrack, Status
from protocol.effects import Effects, Kind
from protocol.errors import MalformedPacket
from protocol.fate import text_of
from protocol.memory import SessionMemory
from protocol.packets import Ok
from protocol.reply import Expected
from protocol.session_track import REPORT_VARIABLES, Audience, read_entries, read_variable
from protocol.statement import classify
from protocol.walker import ExchangeTable

#: Longer commands and answers are not the same in every session.
_LONGEST_COMMAND, _LONGEST_REPLY = 256, 512
#: So many exchanges are known on links of a kind, and so many are remembered that were seen once.
_MOST_KNOWN, _MOST_SEEN = 32, 256
#: So many kinds of links there are: clients differ in their capabilities, and in what they want to be told.
_MOST_KINDS = 16

_SETS = frozenset({Kind.SESSION, Kind.AUTOCOMMIT})
#: What the walker keeps account of itself, and what decides what a client is told.
_NOT_FOR_LATER = frozenset({*REPORT_VARIABLES, "last_insert_id"})
_FOR_LATER = frozenset({SessionTrack.SYSTEM_VARIABLES, SessionTrack.SCHEMA, SessionTrack.STATE_CHANGE})


class Exchange(NamedTuple):
    """A command, the reply to it, and what the client sees of that, as packets.

    ``status`` are the flags in the reply. ``unsettles``: the server has to be asked what has become of the session.
    """

    command: bytes
    reply: bytes
    shown: bytes
    status: int
    unsettles: bool


#: What decides how a reply is shown: the capabilities of the link, and what the client wants to be told.
LinkKind: TypeAlias = tuple[int, Audience]


@dataclass
class _Familiar:
    """What has been seen on links of one kind."""

    known: list[Exchange] = field(default_factory=list)
    seen_once: set[tuple[bytes, bytes]] = field(default_factory=set)
    table: ExchangeTable = field(default_factory=lambda: ExchangeTable(()))


class Exchanges:
    """Shared by all sessions."""

    def __init__(self) -> None:
        self._familiar: dict[LinkKind, _Familiar] = {}

    def __repr__(self) -> str:
        return f"<Exchanges known on {len(self._familiar)} kinds of links>"

    def table(self, kind: LinkKind) -> ExchangeTable:
        """Give what is known on links of a kind."""
        return self._of(kind).table

    def note(self, kind: LinkKind, exchange: Exchange) -> None:
        """Take note of an exchange that can wait; seen for the second time, it becomes known."""
        familiar = self._of(kind)
        if exchange in familiar.known:
            return
        key = (exchange.command, exchange.reply)
        if key not in familiar.seen_once:
            if len(familiar.seen_once) >= _MOST_SEEN:
                familiar.seen_once.clear()
            familiar.seen_once.add(key)
            return
        if len(familiar.known) >= _MOST_KNOWN:
            familiar.known.clear()
        familiar.known.append(exchange)
        familiar.known.sort()  # the table wants those of the same command to follow one another
        familiar.table = ExchangeTable(familiar.known)

    def _of(self, kind: LinkKind) -> _Familiar:
        familiar = self._familiar.get(kind)
        if familiar is None:
            if len(self._familiar) >= _MOST_KINDS:
                self._familiar.clear()
            familiar = self._familiar[kind] = _Familiar()
        return familiar


def find_exchange(
    asked: Expected, reply: bytes, shown: bytes, memory: SessionMemory, capabilities: int
) -> Exchange | None:
    """Give what has just passed as an exchange that may become known, None if it may not.

    ``reply`` is all that the server has answered to the command, and ``shown`` what the client was given of it.
    """
    command = asked.packet
    if (
        command is None
        or asked.command != CommandCode.QUERY
        or not _only_sets(asked.note)
        or len(command) > _LONGEST_COMMAND
        or len(reply) > _LONGEST_REPLY
        or len(shown) > len(reply)
    ):
        return None
    text = text_of(asked, memory, capabilities)
    # How other texts are read depends on the SQL mode and on the character set at that moment.
    if text is None or not text.isascii() or b"\\" in text or classify(text).kind not in _SETS:
        return None
    status = _harmless_status(reply)
    return None if status is None else Exchange(command, reply, shown, status, _unsettles(asked.note))


def _only_sets(note: object) -> TypeGuard[Effects]:
    """Tell whether a statement only sets variables, of which the server tells or can be asked."""
    if not isinstance(note, Effects):
        return False
    names, literals = note.system_variables, note.system_literals
    only_sets = Effects(explains_change=True, system_variables=names, system_literals=literals, counted=note.counted)
    return note == only_sets and names.isdisjoint(_NOT_FOR_LATER)


def _unsettles(note: Effects) -> bool:
    """Tell whether a statement sets variables of which neither the server nor its text tells the value."""
    return not note.system_variables.issubset(name for name, _ in note.system_literals)


def _harmless_status(reply: bytes) -> int | None:
    """Give the status flags of a reply that is an OK packet, and says nothing but what was set; None of another one."""
    if len(reply) != HEADER_LENGTH + int.from_bytes(reply[:3], "little") or reply[HEADER_LENGTH] != OK_BYTE:
        return None
    try:
        ok = Ok.parse(reply[HEADER_LENGTH:])
        entries = list(read_entries(ok.state))
        names = {read_variable(entry)[0] for kind, entry, _ in entries if kind == SessionTrack.SYSTEM_VARIABLES}
    except MalformedPacket:
        return None
    is_harmless = (
        not (ok.affected_rows or ok.last_insert_id or ok.warnings or ok.status & Status.MORE_RESULTS)
        and _FOR_LATER.issuperset(kind for kind, _, _ in entries)
        and names.isdisjoint(_NOT_FOR_LATER)
    )
    return ok.status if is_harmless else None
