"""A transaction that is lost, and the client that goes on with it because it has not been told yet.

A client may send the statements of a transaction without waiting for the answers. When it is told that the transaction
is lost, the rest of it may have arrived already; outside of the transaction it must not be carried out. So until the
transaction would have ended, each statement that was sent before the client can have been told is refused as well.
"""

from protocol.effects import Kind
from protocol.packets import Err
from proxy import answers
from proxy.link import Link
from proxy.upstream import Upstream


class LostTransaction:
    """The one of one session, if there is one."""

    def __init__(self, client: Link, upstream: Upstream) -> None:
        self._client = client
        self._upstream = upstream
        #: Whether the thread that had it is surely gone.
        self.is_fenced = True
        #: How many bytes the client had sent when it was told; None where it has not been told, or does not pause.
        self._told_at: int | None = None

    def __repr__(self) -> str:
        return f"<LostTransaction {'told' if self._told_at is not None else 'not told'}>"

    def begin(self, doubt: str, *, is_fenced: bool) -> None:
        """Record that a transaction is lost; ``doubt`` is as for :meth:`SessionMemory.lose_transaction`."""
        self.is_fenced = is_fenced
        self._told_at = None
        self._upstream.memory.lose_transaction(doubt)

    def concerns_next_command(self, *, taken_bytes: int = 0) -> bool:
        """Return whether the client sent a command for the lost transaction, before it could know.

        It is the one with which the client's inbox begins, or whose ``taken_bytes`` were taken out of there last.
        """
        memory, client = self._upstream.memory, self._client
        if self._told_at is not None and client.received - len(client.inbox) - taken_bytes >= self._told_at:
            self._told_at = None
            memory.lost_transaction = False
        return memory.lost_transaction

    def refusal(self, kind: Kind) -> Err | None:
        """Choose the answer to a statement of this kind that was sent for it; None where it may be carried out.

        A ROLLBACK asks for what has happened already. A statement that begins a transaction, once the client was told,
        begins another one.
        """
        if kind is Kind.ROLLBACK or (kind is Kind.BEGIN and self._told_at is not None):
            return None
        server, doubt = str(self._upstream.address), self._upstream.memory.loss_doubt
        if doubt:
            return answers.transaction_unknown(server, doubt)
        return answers.rolled_back(server, is_fenced=self.is_fenced)

    async def note_answered(self, *, is_open: bool) -> None:
        """Record that the client is being told.

        ``is_open``: the transaction would go on after the statement that is answered. Then the client is heard out
        before it is told, since it need not send in one go what it sends without waiting for answers.

        Raises:
            LinkLost: the client's link broke.
        """
        client, memory = self._client, self._upstream.memory
        if is_open and self._told_at is None and await client.hear_out():
            self._told_at = client.received
        memory.lost_transaction = is_open and bool(client.inbox)
        if not memory.lost_transaction:
            self._told_at = None
