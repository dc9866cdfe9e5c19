from collections.abc import Sequence

from protocol.riding import Position

class Walker:
    position: Position
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
    def admits(self, packet: bytes) -> bool: ...
    def take(self, data: bytes) -> tuple[bytes, int, bool]: ...
