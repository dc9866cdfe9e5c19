"""What can go wrong with bytes.

``ProtocolError`` means that a peer does not speak the protocol: nothing after it can be trusted and the link must end.
``ServerError`` means that a server said no: the link is as good as before. They are different things and share no base.
"""


class ProtocolError(Exception):
    """A peer broke the protocol; the text says how and can be shown to both sides."""


class MalformedPacket(ProtocolError):
    """A packet's content contradicts its own lengths or the protocol's grammar."""


class OutOfSync(ProtocolError):
    """A packet came with a sequence id, or at a moment, at which the protocol does not allow it."""


class ServerError(Exception):
    """A server answered with an ERR packet; ``packet`` is its payload, to be forwarded word for word."""

    def __init__(self, code: int, message: str, packet: bytes) -> None:
        super().__init__(f"({code}) {message}")
        self.code = code
        self.message = message
        self.packet = packet


class Refusal(Exception):
    """The guard itself says no to what a client asked for; the text is for the client."""

    def __init__(self, code: int, sqlstate: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.sqlstate = sqlstate
        self.message = message
