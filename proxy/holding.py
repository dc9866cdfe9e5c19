"""A command that is collected before it goes out: in memory, and what is too much for that in a file without a name."""

import errno
import os
import tempfile
from bisect import bisect
from contextlib import AbstractContextManager
from typing import IO

import trio

from proxy.spool import SpoolSpace

#: What is moved to the file, and from it, at once.
_CHUNK_BYTES = 256 * 1024

#: So much of a command is kept in memory while all sessions together use less than this share of the room there. It is
#: whole soon, unless its client is slow, and a file takes its time.
_SHARE = 4
_MEMORY_BYTES = 16 << 20


class Holding(AbstractContextManager["Holding"]):
    """The payload of one command. It can be read as often as need be."""

    def __init__(self, space: SpoolSpace) -> None:
        self._space = space
        self._pieces: list[bytes] = []
        #: Where in the payload they begin, and where the last one ends.
        self._places = [0]
        self._file: IO[bytes] | None = None
        self._in_file = 0
        #: On its way to the file.
        self._tail = bytearray()

    def __repr__(self) -> str:
        return f"<Holding {self._in_memory} bytes in memory, {self._in_file} on disk>"

    def __exit__(self, *exc_info: object) -> None:
        self._space.in_memory -= self._in_memory
        self._pieces.clear()
        if self._file is not None:
            self._file.close()

    @property
    def _in_memory(self) -> int:
        return self._places[-1]

    async def append(self, piece: bytes) -> None:
        """Append bytes. Raises OSError where there is no room for them."""
        settings = self._space.settings
        if self._file is None and self._fits(len(piece)):
            self._pieces.append(piece)
            self._places.append(self._in_memory + len(piece))
            self._space.in_memory += len(piece)
            return
        if self._file is None:
            self._file = await trio.to_thread.run_sync(_unnamed_file, settings.directory)
        self._tail += piece
        if len(self._tail) >= _CHUNK_BYTES:
            await self._write(self._file)

    def _fits(self, count: int) -> bool:
        """Tell whether so many bytes more may be kept in memory."""
        space, length = self._space, self._in_memory + count
        if space.is_over:
            return False
        has_much_room = space.in_memory + count <= space.settings.total_memory // _SHARE
        return length <= space.settings.memory or (length <= _MEMORY_BYTES and has_much_room)

    async def complete(self) -> None:
        """Take note that all has been appended. Raises OSError where there is no room for the last of it."""
        if self._tail and self._file is not None:
            await self._write(self._file)

    async def _write(self, file: IO[bytes]) -> None:
        self._in_file += len(self._tail)
        if self._in_file > self._space.settings.disk:
            raise OSError(errno.ENOSPC, "spool.disk is used up")
        await trio.to_thread.run_sync(file.write, bytes(self._tail))
        self._tail.clear()

    async def read(self, position: int) -> bytes:
        """Give some of the bytes from ``position`` on; none at the end. Raises OSError where they cannot be read."""
        if position < self._in_memory:
            index = bisect(self._places, position) - 1
            return self._pieces[index][position - self._places[index] :]
        if self._file is None:
            return b""
        return await trio.to_thread.run_sync(os.pread, self._file.fileno(), _CHUNK_BYTES, position - self._in_memory)


def _unnamed_file(directory: os.PathLike[str] | None) -> IO[bytes]:
    return tempfile.TemporaryFile(dir=directory, buffering=0)
