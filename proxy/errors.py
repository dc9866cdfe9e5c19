"""What can go wrong with links. Errors of the operating system are translated into these once, in :mod:`proxy.link`."""

from enum import Enum, StrEnum


class StartError(Exception):
    """The guard cannot start; the text says why, for the one who started it."""


class LinkEnd(Enum):
    """What was seen of a link's end."""

    CLOSED = "closed"  # the peer's side ended in good order (FIN)
    RESET = "reset"
    SILENCE = "silence"  # no answer where one was due
    BROKEN = "broken"  # the peer does not speak the protocol
    FAREWELL = "farewell"  # the peer has said why
    ERROR = "error"  # anything else that the operating system or TLS has to say


class LinkLost(Exception):
    """A link has ended, and nothing more can be sent or received on it; the text says how it ended."""

    def __init__(self, link: object, reason: str, end: LinkEnd = LinkEnd.ERROR) -> None:
        super().__init__(reason)
        self.link = link
        self.end = end


class UpstreamUnavailable(Exception):
    """No session can be had from the server; the text says why."""


class LoginCutOff(UpstreamUnavailable):
    """The server was lost during a login: nothing says that the next one would fail."""


class SessionOver(Exception):
    """The session cannot go on; the text says why, for the client and the log."""


class CannotHold(Exception):
    """A command could not be kept until it was whole, for want of room. It has been taken from its link."""

    def __init__(self, size: int, next_sequence_id: int, reason: str) -> None:
        super().__init__(reason)
        self.size = size
        self.next_sequence_id = next_sequence_id


class LoginFault(StrEnum):
    """Who or what has kept a client from logging in."""

    SERVER = "server"  # it said no
    GUARD = "guard"  # it would not, or could not, carry the login out
    UNREACHABLE = "unreachable"  # no session could be had from the server
    PROTOCOL = "protocol"  # the client could not be understood
    SLOWNESS = "slowness"  # limits.login_timeout ran out
    GONE = "gone"  # the client left


class LoginFailed(Exception):
    """There is no session: the client has been told why, or is gone."""

    def __init__(self, reason: str, fault: LoginFault) -> None:
        super().__init__(reason)
        self.fault = fault
