"""When an idle link to the server is probed, and with what."""

import random

from config import Keepalive
from protocol.constants import CommandCode, Status
from protocol.reply import ReplyTracker

#: Middleboxes forget a silent connection after as little as a few minutes; a minute stays clear of all that are usual.
_LONGEST_SILENCE_SECONDS = 60.0
#: Sessions that began together are not to be probed together.
_JITTER = 0.25


class KeepaliveClock:
    """Decides when the link of one session is due for a probe. All times are trio's, in seconds."""

    def __init__(self, settings: Keepalive, wait_timeout: float) -> None:
        #: After so many seconds of silence, the link must answer before a command is trusted to it.
        self.validate_after = settings.validate_after
        #: How long the server lets this session be idle, in seconds.
        self.wait_timeout = wait_timeout
        #: No link that is to be probed is silent for longer, in seconds.
        self.interval = min(settings.interval or _LONGEST_SILENCE_SECONDS, wait_timeout / 2)

    def __repr__(self) -> str:
        return f"<KeepaliveClock every {self.interval} s>"

    def next_probe(self, heard_at: float, idle_since: float, *, in_transaction: bool) -> float:
        """Tell when the link is due, given when the server was heard last and since when the client has been idle.

        The guard keeps the path open; it does not overrule the server's limit on forgotten transactions. So a session
        in a transaction is probed only while the server would have borne with it anyway.
        """
        due = heard_at + self.interval * (1 - _JITTER * random.random())  # noqa: S311  not a secret
        if in_transaction and due >= idle_since + self.wait_timeout:
            return float("inf")
        return due

    def must_validate(self, heard_at: float, now: float) -> bool:
        """Tell whether the link has been silent for so long that it must answer before a command is trusted to it."""
        return now - heard_at > self.validate_after


def probe_command(tracker: ReplyTracker) -> CommandCode:
    """Choose a probe that the session cannot notice.

    COM_PING makes ROW_COUNT() 0; COM_STATISTICS leaves it alone, but has the server add up the counters of all its
    threads. Neither touches FOUND_ROWS(), LAST_INSERT_ID() or the list of warnings.
    """
    return CommandCode.PING if tracker.row_count == 0 else CommandCode.STATISTICS


def in_transaction(tracker: ReplyTracker) -> bool:
    """Tell whether the session was in a transaction when the server last said."""
    return bool(tracker.status & Status.IN_TRANSACTION)
