"""What can go wrong with links. Errors of the operating system are translated into these once, in :mod:`proxy.link`."""


class StartError(Exception):
    """The guard cannot start; the text says why, for the one who started it."""


class LinkLost(Exception):
    """A link has ended, and nothing more can be sent or received on it; the text says how it ended."""

    def __init__(self, link: object, reason: str) -> None:
        super().__init__(reason)
        self.link = link


class UpstreamUnavailable(Exception):
    """No session can be had from the server; the text says why."""


class CannotHold(Exception):
    """A command could not be kept until it was whole, for want of room. It has been taken from its link."""

    def __init__(self, size: int, next_sequence_id: int, reason: str) -> None:
        super().__init__(reason)
        self.size = size
        self.next_sequence_id = next_sequence_id


class LoginFailed(Exception):
    """There is no session: the client has been told why, or is gone."""
