"""Whether the server can be reached, as far as the last attempt tells."""

import trio

from config import Address
from protocol.errors import ServerError
from protocol.handshake import Greeting
from proxy.dialing import dial
from proxy.errors import UpstreamUnavailable
from proxy.link import Link
from proxy.unused_link import leave

#: While nobody else tries, somebody who asks finds out anew, but not more often than this.
_FRESH_SECONDS = 2.0


class Contact:
    """One for all sessions of a server."""

    def __init__(self) -> None:
        #: Why the last attempt has failed; empty if it has not, None if there was none.
        self.trouble: str | None = None
        self._tried_at = float("-inf")
        self._looking = trio.Lock()

    def __repr__(self) -> str:
        return f"<Contact {self.trouble or 'without trouble'}>"

    async def dial(self, address: Address, seconds: float) -> tuple[Link, Greeting]:
        """Do what :func:`dial` does, and remember how it went."""
        try:
            dialled = await dial(address, seconds)
        except (ServerError, UpstreamUnavailable) as error:
            self._note(str(error))
            raise
        self._note("")
        return dialled

    async def look(self, address: Address, seconds: float) -> str:
        """Tell why the server cannot be reached; empty if it can.

        Only where that is not known does it connect.
        """
        async with self._looking:
            if self.trouble is None or (self.trouble and trio.current_time() - self._tried_at > _FRESH_SECONDS):
                try:
                    await leave(*await self.dial(address, seconds))
                except (ServerError, UpstreamUnavailable) as error:
                    return str(error)
            return self.trouble or ""

    def _note(self, trouble: str) -> None:
        self.trouble = trouble
        self._tried_at = trio.current_time()
