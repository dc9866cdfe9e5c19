"""Fencing: the thread of a link that was lost must be gone before anybody is told what became of its work.

A server may not have noticed that a link has ended: in a black hole, after a reset by something in between, or while it
was frozen. The thread then goes on. It would carry out a statement after its client has looked at the data and repeated
it, or keep the locks of a transaction that its client begins again. So the server is first made to end the old thread,
on a link of its own, because what the session can look back at must not be spoiled.

A thread is ended only where it is surely the session's own: on the server that the old link led to, which has not been
started anew since. As long as a server runs, it does not give the id of a thread to another one.
"""

import re
from dataclasses import dataclass

import trio

from protocol.constants import CommandCode, ErrorCode
from protocol.errors import ServerError
from protocol.framing import build_packet
from proxy.upstream import Upstream

#: How long a thread may take to end: to roll back what it has done.
_PATIENCE_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.005
_LONGEST_PAUSE_SECONDS = 0.25

_STATISTICS = (CommandCode.STATISTICS, build_packet(bytes((CommandCode.STATISTICS,)), 0))
_UPTIME = re.compile(rb"Uptime: (\d+)")


@dataclass(frozen=True)
class OldThread:
    """The thread of a link that was lost. ``opened_at`` is when the link was opened, in trio's time."""

    thread_id: int
    server: tuple[bytes | None, ...]
    opened_at: float

    @property
    def can_be_found(self) -> bool:
        """Whether the server has told enough to find it again. MySQL Router gives the id 0 to all threads."""
        return self.thread_id != 0 and bool(self.server)


async def uptime(upstream: Upstream) -> float | None:
    """Ask for how long the server has been up, in seconds; None where it does not tell. Raises LinkLost."""
    found = _UPTIME.search(await upstream.exchange(_STATISTICS))
    return float(found[1]) if found else None


def was_restarted(seconds: float | None, age: float) -> bool | None:
    """Return whether a server with an uptime of ``seconds`` was started after a link of this age was opened.

    None where that is not sure: servers count their uptime in whole seconds.
    """
    if seconds is None or age - 1 < seconds < age:
        return None
    return seconds < age


async def end_thread(upstream: Upstream, old: OldThread) -> bool:
    """Have the server end a thread; return whether it is gone. The link has to be discarded afterwards.

    An account may end its own threads. A thread that is no more is error 1094, which comes only after all that it had
    open was rolled back and its locks were released. Sources: ``THD::release_resources()`` before ``remove_thd()`` in
    MySQL's ``sql/conn_handler/connection_handler_per_thread.cc``; ``unlink_thd()`` in MariaDB's ``sql/mysqld.cc``.

    Raises:
        LinkLost: the link cannot be used any more.
    """
    if upstream.server != old.server:
        return False  # the old server may still be there, under another address
    seconds, age = await uptime(upstream), trio.current_time() - old.opened_at
    if seconds is None or age - 1 < seconds < age + 1:
        return False  # an uptime is up to a second off either way, so the number may be somebody else's by now
    if seconds < age:
        return True  # the server was started anew, and its threads have ended with the old one
    pause = _FIRST_PAUSE_SECONDS
    with trio.move_on_after(_PATIENCE_SECONDS):
        while True:
            (answer,) = await upstream.ask((f"KILL CONNECTION {old.thread_id}",))
            if isinstance(answer, ServerError):
                return answer.code == ErrorCode.NO_SUCH_THREAD
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
    return False
