"""The passwords that clients are checked against and that the server is logged in to with. Never shown anywhere."""

from config import Auth, AuthMode
from protocol.auth import PasswordKey
from protocol.login import Passwords


class PasswordBook:
    """Passwords by user name: given by the configuration, or learned from clients whom the server has let in."""

    def __init__(self, auth: Auth) -> None:
        self._learns = auth.mode is AuthMode.LEARN
        self._relays = auth.mode is AuthMode.PASSTHROUGH
        self._known = {user.user.encode(): user.password.get_secret_value().encode() for user in auth.users}
        #: Those that the server has ceased to accept, so that not every session with one of them has to find out.
        self._stale: dict[bytes, bytes] = {}
        self._key = PasswordKey()

    def __repr__(self) -> str:
        return f"<PasswordBook of {len(self._known)} users, {'learning' if self._learns else 'fixed'}>"

    @property
    def for_dialogue(self) -> Passwords:
        """What the login dialogue needs."""
        return Passwords(self._known.get, self._learns, self._relays, self._key)

    def to_try(self, user: bytes, own: bytes) -> list[bytes]:
        """List the passwords with which a session that began with its ``own`` one may be had again, best first."""
        known = self._known.get(user, own)
        return [password for password in dict.fromkeys((known, own)) if password != self._stale.get(user)]

    def note_accepted(self, user: bytes, password: bytes) -> None:
        """Take note that the server has let ``user`` in with ``password``."""
        if self._learns:
            self._known[user] = password
        if self._stale.get(user) == password:
            del self._stale[user]

    def note_refused(self, user: bytes, password: bytes) -> None:
        """Take note that the server has not: a learned password that has been changed since must be asked for again."""
        if self._known.get(user) == password:
            self._stale[user] = password
            if self._learns:
                del self._known[user]
