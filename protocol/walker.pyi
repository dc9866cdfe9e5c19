from collections.abc import Sequence

from protocol.riding import Position

class ExchangeTable:
    exchanges: tuple[tuple[bytes, bytes, bytes, int, bool], ...]
    def __init__(self, exchanges: Sequence[tuple[bytes, bytes, bytes, int, bool]]) -> None: ...

class Walker:
    position: Position
    @property
    def journal(self) -> list[tuple[bytes, bytes, bytes, int, bool]]: ...
    def agree(
        self,
        *,
        deprecates_eof: bool,
        counts_with_metadata_flag: bool,
        has_attributes: bool,
        hides_reports: bool,
        admits_begin: bool,
        limit: int,
    ) -> None: ...
    def allow(self, statements: Sequence[tuple[int, int, bool, bytes]]) -> None: ...
    def know(self, table: ExchangeTable) -> None: ...
    def knows(self, packet: bytes) -> bool: ...
    def admits(self, packet: bytes) -> bool: ...
    def take(self, data: bytes) -> tuple[bytes, int, bool]: ...
