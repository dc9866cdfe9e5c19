"""Server threads by the ids that clients know: after a reconnect, a session's thread has another one."""

from itertools import count

#: Where ids of our own begin: far above those of a server that has been up for years.
_FIRST_OWN_ID = 0x8000_0000
#: No thread has it, so a server answers a KILL of it as one of a thread that has ended.
_NO_THREAD = 0


class Threads:
    """The threads of all sessions."""

    def __init__(self) -> None:
        self._current: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<Threads of {len(self._current)} sessions>"

    def admit(self, thread_id: int) -> int:
        """Choose the id by which a client is to know the thread of its new session.

        It is the server's, unless another client goes on knowing a thread by it: a server that was restarted counts
        from the beginning.
        """
        known = thread_id
        if known in self._current:
            known = next(own for own in count(_FIRST_OWN_ID) if own not in self._current)
        self._current[known] = thread_id
        return known

    def move(self, known: int, thread_id: int) -> None:
        """Take note that the session has another thread."""
        self._current[known] = thread_id

    def lose(self, known: int) -> None:
        """Take note that the session has no thread at the moment."""
        self._current[known] = _NO_THREAD

    def forget(self, known: int) -> None:
        """Take note that the session has ended."""
        self._current.pop(known, None)

    def current(self, known: int) -> int:
        """Give the id that a thread has now."""
        return self._current.get(known, known)
