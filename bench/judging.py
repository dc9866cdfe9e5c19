"""Judge one command and its reply again and again, to be run by callgrind, which counts the instructions of it."""

import sys

from bench.framing import point_select_reply
from protocol.framing import build_packet
from protocol.walker import Walker


def main(count: int) -> None:
    """Judge a point select and its reply that often."""
    walker = Walker()
    walker.agree(
        deprecates_eof=True,
        counts_with_metadata_flag=False,
        has_attributes=False,
        hides_reports=False,
        admits_begin=True,
        limit=1 << 20,
    )
    command = build_packet(b"\x03SELECT c FROM sbtest1 WHERE id=".ljust(60, b"5"), 0)
    reply = point_select_reply()
    for _ in range(count):
        if not walker.admits(command) or walker.take(reply) != (reply, len(reply), False):
            raise AssertionError("a point select was not let through")


if __name__ == "__main__":
    main(int(sys.argv[1]))
