import socket
from typing import Any

from protocol.walker import Walker

class Lane(Walker):
    client_failure: Exception | None
    server_failure: Exception | None
    waiter: Any
    def load(
        self,
        client: socket.socket,
        server: socket.socket,
        *,
        heard_at: float,
        validate_after: float,
        received: bytes,
        command: bytes,
        is_unsettled: bool,
        waits_to_settle: bool,
        settles_at: float,
    ) -> None: ...
    def unload(self) -> tuple[bytes, bytes, bytes, bytes]: ...
    @property
    def command(self) -> bytes: ...
    @property
    def running(self) -> int | None: ...
    @property
    def has_ended(self) -> bool: ...
    @property
    def is_interrupted(self) -> bool: ...
    @property
    def heard_at(self) -> tuple[float, float]: ...
    @property
    def traffic(self) -> tuple[int, int, int]: ...
    @property
    def errors(self) -> tuple[int, int]: ...
