"""The way back to the server for sessions that have lost their link: not too many at once, one at a time if it is away.

Each attempt holds a place of a limiter. While the server cannot be reached, the limiter has one place, and whoever
fails keeps it for a pause; so one session after the other tries, and the first one that gets through opens the way for
the others.
"""

import random
from collections.abc import Awaitable, Callable

import structlog
import trio

from protocol.constants import ErrorCode
from protocol.errors import ServerError
from proxy.errors import SessionOver, UpstreamUnavailable

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 0.5
_PAUSE_GROWTH = 1.5
#: Sessions that were lost together do not come back all in the same instant.
_JITTER_SECONDS = 0.1

#: What a server says that will let us in later.
_TEMPORARY = frozenset(
    {
        ErrorCode.CON_COUNT_ERROR,
        ErrorCode.OUT_OF_RESOURCES,
        ErrorCode.SERVER_SHUTDOWN,
        ErrorCode.HOST_IS_BLOCKED,
        ErrorCode.CANNOT_CREATE_THREAD,
        ErrorCode.TOO_MANY_USER_CONNECTIONS,
        ErrorCode.USER_LIMIT_REACHED,
        ErrorCode.SERVER_OFFLINE_MODE,
        ErrorCode.CANNOT_CONNECT,
    }
)

log = structlog.stdlib.get_logger()


class Reconnector:
    """Shared by all sessions of one server."""

    def __init__(self, concurrency: int, attempt_seconds: float) -> None:
        """``attempt_seconds`` bounds each attempt to get a session from the server."""
        self._concurrency = concurrency
        self._attempt_seconds = attempt_seconds
        self._places = trio.CapacityLimiter(concurrency)
        self._pause = 0.0  # 0: the server can be reached, as far as is known
        self._trouble = ""
        self._troubled_at = float("-inf")

    def adopt(self, concurrency: int, attempt_seconds: float) -> None:
        """Go by other settings from now on; as long as the server is away, one attempt at a time is enough."""
        self._concurrency = concurrency
        self._attempt_seconds = attempt_seconds
        if not self._pause:
            self._places.total_tokens = concurrency

    def __repr__(self) -> str:
        return f"<Reconnector {self._places.borrowed_tokens} of {self._places.total_tokens} places taken>"

    async def reconnect(self, attempt: Callable[[], Awaitable[None]], *, is_waited_for: bool) -> str:
        """Repeat ``attempt`` until it succeeds; return why that took more than one, as :meth:`trouble_since` does.

        A session that nobody waits for lets others go first for a moment.

        Raises:
            SessionOver: the server will not have this session back.
        """
        started = trio.current_time()
        if not is_waited_for:
            await trio.sleep(_JITTER_SECONDS * random.random())  # noqa: S311  not a secret
        while True:
            async with self._places:
                try:
                    with trio.fail_after(self._attempt_seconds):
                        await attempt()
                except trio.TooSlowError:
                    failure = f"no session within {self._attempt_seconds:g} s"
                except UpstreamUnavailable as error:
                    failure = str(error)
                except ServerError as error:
                    if error.code not in _TEMPORARY:
                        self._note_success()  # for the others: the server is there
                        raise SessionOver(f"the server does not let it in again: {error}") from error
                    failure = str(error)
                else:
                    self._note_success()
                    return self.trouble_since(started)
                self._note_failure(failure)
                await trio.sleep(self._pause)

    def trouble_since(self, time: float) -> str:
        """Tell why the server could not be reached by whoever has tried since then; empty if that is not so.

        It is the first reason, or a refusal, which shows a server gone: before, one that was killed may still reset a
        connection or two.
        """
        return self._trouble if self._troubled_at >= time else ""

    def _note_failure(self, reason: str) -> None:
        if not self._pause:
            log.warning("server is away", reason=reason)
        if not self._pause or ("refused" in reason and "refused" not in self._trouble):
            self._trouble = reason
        self._troubled_at = trio.current_time()
        self._places.total_tokens = 1
        self._pause = min(max(self._pause * _PAUSE_GROWTH, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)

    def _note_success(self) -> None:
        if self._pause:
            log.info("server is back")
        self._places.total_tokens = self._concurrency
        self._pause = 0.0
