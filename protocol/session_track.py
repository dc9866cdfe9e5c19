"""The session-track block of OK packets: what the server says about the session's own state.

The guard has the server report more than the client asked for. ``SessionTracker`` keeps what the guard needs and gives
back the block that the client should see. Source: the manual's page "OK_Packet", section "Session State Information";
a STATE_CHANGE entry holds one bare byte, all others nest length-encoded strings.
"""

from protocol.constants import SessionTrack
from protocol.wire import Cursor

#: The variables that the guard has reported beyond those that the client hears of.
WATCHED_VARIABLES = ("wait_timeout", "session_track_system_variables")

#: Run on a new link: adds the watched variables to those that the server reports by its own configuration.
WATCH_STATEMENT = (
    "SET SESSION session_track_system_variables = "
    f"CONCAT_WS(',', NULLIF(@@SESSION.session_track_system_variables, ''), '{','.join(WATCHED_VARIABLES)}')"
)


class SessionTracker:
    """What the server has reported about one session."""

    def __init__(self, *, client_listens: bool) -> None:
        """``client_listens`` says whether the client negotiated CLIENT_SESSION_TRACK."""
        self.variables: dict[str, str] = {}
        self._client_listens = client_listens
        self._hidden = frozenset(WATCHED_VARIABLES)

    def reset(self) -> None:
        """Forget everything, as the server does at COM_RESET_CONNECTION and COM_CHANGE_USER."""
        self.variables.clear()
        self._hidden = frozenset(WATCHED_VARIABLES)

    def note(self, block: bytes) -> bytes:
        """Read a block, keep what matters and return the part that is for the client.

        Raises:
            MalformedPacket: the block contradicts its own lengths.
        """
        cursor = Cursor(block)
        for_client = []
        while cursor.remaining:
            start = cursor.position
            kind = cursor.integer(1)
            entry = cursor.lenenc_bytes()
            if kind != SessionTrack.SYSTEM_VARIABLES or not self._note_variable(entry):
                for_client.append(block[start : cursor.position])
        return b"".join(for_client) if self._client_listens else b""

    def _note_variable(self, entry: bytes) -> bool:
        """Keep a variable's value; return whether the client should not hear of it."""
        cursor = Cursor(entry)
        # MySQL spells a name as whoever made the list of names did.
        name = cursor.lenenc_bytes().decode(errors="replace").lower()
        value = cursor.lenenc_bytes().decode(errors="replace")
        if name not in WATCHED_VARIABLES:
            return False
        self.variables[name] = value
        if name == "session_track_system_variables":
            # The client has made a list of its own, with this name in it, for else there were no report (seen on MySQL
            # and MariaDB): from here on it has asked for whatever comes.
            self._hidden = frozenset()
        return name in self._hidden
