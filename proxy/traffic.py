"""What has passed through a session, in numbers that cost next to nothing to keep."""


class Traffic:
    """One session's, or that of many sessions together."""

    __slots__ = ("bytes_from_client", "bytes_from_server", "commands")

    def __init__(self) -> None:
        #: Commands that were handed on to the server and that it answers.
        self.commands = 0
        #: Bytes of commands and files that were handed on to the server.
        self.bytes_from_client = 0
        #: Bytes of replies that were handed on to the client, or to its spool.
        self.bytes_from_server = 0

    def __repr__(self) -> str:
        return f"<Traffic of {self.commands} commands, {self.bytes_from_client}/{self.bytes_from_server} bytes>"

    def add(self, other: "Traffic") -> None:
        """Count what another one has counted."""
        self.commands += other.commands
        self.bytes_from_client += other.bytes_from_client
        self.bytes_from_server += other.bytes_from_server
