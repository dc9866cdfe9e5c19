"""How a session's position passes between the protocol objects in Python and their native twin.

What is understood here is which moments of a session the walker can take over from: nothing is owed, or a result is
half-way whose command the walker would have admitted itself.
"""

from typing import TypedDict

from protocol.command import CommandReader
from protocol.constants import Capability
from protocol.effects import Effects, Kind, Statement
from protocol.exchanges import Exchanges, LinkKind, find_exchange
from protocol.memory import SessionMemory
from protocol.prepared import PreparedStatement
from protocol.reply import Expected, ReplyKind, ReplyTracker, Stage
from protocol.session_track import NO_TRANSACTION
from protocol.walker import Walker

#: Stands for a number of rows that is not known.
_UNKNOWN = -2

#: What the server may have said of the characteristics of the transaction, None where it has said nothing.
_CHARACTERISTICS = (None, "", "START TRANSACTION;")

#: What the walker can be told. It admits no command that comes near it.
_LARGEST_LIMIT = 0xFFFFFFFF

_STAGES = frozenset({Stage.RESULT, Stage.COLUMNS, Stage.COLUMNS_END, Stage.ROWS})


class Position(TypedDict):
    """Where a session is in its streams, as integers; what is a bool in Python is 0 or 1 here."""

    stage: int
    is_ping: int
    sequence_id: int
    reply_begun: int
    count: int
    unseen: int
    continued: int
    status: int
    row_count: int
    left_warnings: int
    may_have_warnings: int
    insert_id: int
    is_insert_id_unsettled: int
    is_transaction_unsettled: int
    #: The eight letters of the transaction's state, the first one in the lowest byte.
    transaction_state: int
    has_ended_transaction: int
    #: An index of :data:`_CHARACTERISTICS`.
    characteristics: int


class Rider:
    """Puts the position of one session's link into its walker, and takes it back."""

    def __init__(  # noqa: PLR0913 - the protocol objects of a link, and what its walker may know
        self,
        walker: Walker,
        reader: CommandReader,
        tracker: ReplyTracker,
        memory: SessionMemory,
        *,
        agreed: int,
        exchanges: Exchanges,
    ) -> None:
        """``agreed`` are the capabilities of the link, ``exchanges`` what sessions have in common."""
        self._walker = walker
        self._reader = reader
        self._tracker = tracker
        self._memory = memory
        self._agreed = agreed
        self._exchanges = exchanges
        #: The statements that the walker knows; at first, those of an earlier link.
        self._allowed: list[tuple[int, int, bool, bytes]] | None = None

    def __repr__(self) -> str:
        return f"<Rider of {self._tracker}>"

    def is_of(self, tracker: ReplyTracker) -> bool:
        """Tell whether it rides on the link that a tracker is of."""
        return self._tracker is tracker

    @property
    def can_board(self) -> bool:
        """Whether the walker can take over here."""
        reader, tracker, memory = self._reader, self._tracker, self._memory
        return (
            reader.decision is None
            and not (reader.examines or reader.edits)
            and tracker.rerun_refusal is None
            and tracker.farewell is None
            and tracker.broken is None
            and not memory.lost_leftovers
            and not memory.may_have_begun
            and not tracker.failures
            # What a server may say, but the walker has no room for.
            and (tracker.row_count or 0) < 1 << 63
            and memory.last_insert_id < 1 << 64
            and len(memory.tracked.transaction_state) == len(NO_TRANSACTION)
            and memory.tracked.transaction_state.isascii()
            and (tracker.idle or self._is_in_result)
        )

    @property
    def _is_in_result(self) -> bool:
        tracker = self._tracker
        expected = tracker.expected[0]
        return (
            tracker.stage in _STAGES
            and not tracker.out_params_more
            and len(tracker.expected) == 1
            and expected.kind is ReplyKind.RESULTS
            and expected.packet is not None
            and self._admits(expected.packet)
        )

    def _admits(self, packet: bytes) -> bool:
        self._agree()
        return self._walker.admits(packet)

    def _agree(self) -> None:
        """Tell the walker what holds for all that follows."""
        capabilities = self._agreed
        self._walker.agree(
            deprecates_eof=bool(capabilities & Capability.DEPRECATE_EOF),
            counts_with_metadata_flag=bool(
                capabilities & (Capability.OPTIONAL_METADATA | Capability.MARIADB_CACHE_METADATA)
            ),
            has_attributes=bool(capabilities & Capability.QUERY_ATTRIBUTES),
            hides_reports=self._memory.tracked.hides_usual_reports,
            # It ends locks, where there are such.
            admits_begin=not self._memory.has_holds,
            limit=min(self._reader.limit, _LARGEST_LIMIT),
        )
        self._walker.know(self._exchanges.table(self._link_kind))
        statements = self._memory.recently_executed()
        allowed = [self._rules(prepared) for prepared in statements if self._is_simple(prepared)]
        if allowed != self._allowed:
            self._walker.allow(allowed)
            self._allowed = allowed

    @property
    def _link_kind(self) -> LinkKind:
        return self._agreed, self._memory.tracked.audience

    def note_exchange(self, asked: Expected, reply: bytes, shown: bytes) -> None:
        """Take note of a command that has just been answered, with all of the reply and what the client saw of it."""
        exchange = find_exchange(asked, reply, shown, self._memory, self._agreed)
        if exchange is not None:
            self._exchanges.note(self._link_kind, exchange)

    def _rules(self, prepared: PreparedStatement) -> tuple[int, int, bool, bytes]:
        is_named = bool(prepared.parameters and self._agreed & Capability.QUERY_ATTRIBUTES)
        return prepared.client_id, prepared.parameters, is_named, prepared.types

    def _is_simple(self, prepared: PreparedStatement) -> bool:
        return _is_ready(prepared) and _does_nothing(prepared.statement, has_holds=self._memory.has_holds)

    def board(self) -> bytes:
        """Put the position into the walker; return the command that is being answered, empty where there is none.

        What is owed is forgotten here until :meth:`alight`.
        """
        tracker, memory = self._tracker, self._memory
        self._agree()
        self._walker.position = Position(
            stage=tracker.stage,
            is_ping=0,
            sequence_id=tracker.sequence_id,
            reply_begun=tracker.reply_begun,
            count=tracker.count,
            unseen=tracker.unseen,
            continued=tracker.continued,
            status=tracker.status,
            row_count=_UNKNOWN if tracker.row_count is None else tracker.row_count,
            left_warnings=tracker.left_warnings,
            may_have_warnings=tracker.may_have_warnings,
            insert_id=memory.last_insert_id,
            is_insert_id_unsettled=memory.is_insert_id_unsettled,
            is_transaction_unsettled=memory.is_transaction_unsettled,
            transaction_state=int.from_bytes(memory.tracked.transaction_state.encode("ascii"), "little"),
            has_ended_transaction=0,
            characteristics=0,
        )
        command = b"" if tracker.idle else tracker.expected[0].packet or b""
        tracker.abandon()
        return command

    def alight(self, command: bytes) -> None:
        """Take the position back; ``command`` is what is being answered, or empty."""
        self._read_journal()
        tracker, memory, position = self._tracker, self._memory, self._walker.position
        tracked = memory.tracked
        tracker.status = position["status"]
        tracker.count = position["count"]
        row_count = position["row_count"]
        tracker.row_count = None if row_count == _UNKNOWN else row_count
        tracker.left_warnings = bool(position["left_warnings"])
        tracker.may_have_warnings = bool(position["may_have_warnings"])
        memory.last_insert_id = position["insert_id"]
        memory.is_insert_id_unsettled = bool(position["is_insert_id_unsettled"])
        memory.is_transaction_unsettled = bool(position["is_transaction_unsettled"])
        tracked.transaction_state = position["transaction_state"].to_bytes(8, "little").decode("ascii")
        if position["has_ended_transaction"]:
            memory.has_share_locks = False
        if (characteristics := _CHARACTERISTICS[position["characteristics"]]) is not None:
            tracked.characteristics = characteristics
        if not command:
            return
        self._take_command(command)
        tracker.stage = Stage(position["stage"])
        tracker.sequence_id = position["sequence_id"]
        tracker.reply_begun = bool(position["reply_begun"])
        tracker.unseen = position["unseen"]
        tracker.continued = bool(position["continued"])

    def _read_journal(self) -> None:
        """Read the exchanges that have passed, as if they were just passing."""
        for command, reply, shown, *_ in self._walker.journal:
            self._take_command(command)
            if self._tracker.take(reply) != (shown, len(reply)):
                raise RuntimeError(f"the client was shown another reply to a command than it should be: {command!r}")

    def _take_command(self, command: bytes) -> None:
        # The reader finds the same again as when it lets such a command pass.
        if self._reader.take(command) != len(command) or self._reader.edits:
            raise RuntimeError(f"the walker has let a command pass that the reader would not: {command[:50]!r}")


def _does_nothing(statement: Statement, *, has_holds: bool) -> bool:
    effects = statement.effects
    return effects is None or (not has_holds and effects == Effects(releases=effects.releases))


def _is_ready(prepared: PreparedStatement) -> bool:
    """Tell whether an ordinary execution need not be changed on its way, and leaves nothing to take note of."""
    return (
        prepared.client_id == prepared.server_id
        and prepared.statement.kind is not Kind.OTHER
        and prepared.refused_size is None
        and not (prepared.broken or prepared.lacks_types or prepared.has_long_data or prepared.has_cursor)
        and (not prepared.parameters or prepared.types_form[1] == prepared.parameters)
    )
