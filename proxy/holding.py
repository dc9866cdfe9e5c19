"""A command that is collected before it goes out: in memory, and what is too much for that in a file without a name."""

import errno
import os
import tempfile
from contextlib import AbstractContextManager
from typing import IO

import trio

from proxy.spool import SpoolSpace

#: What is moved to the file, and from it, at once.
_CHUNK_BYTES = 256 * 1024


class Holding(AbstractContextManager["Holding"]):
    """The payload of one command. It can be read as often as need be."""

    def __init__(self, space: SpoolSpace) -> None:
        self._space = space
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._in_file = 0
        #: On its way to the file.
        self._tail = bytearray()

    def __repr__(self) -> str:
        return f"<Holding {len(self._memory)} bytes in memory, {self._in_file} on disk>"

    def __exit__(self, *exc_info: object) -> None:
        self._space.in_memory -= len(self._memory)
        self._memory.clear()
        if self._file is not None:
            self._file.close()

    async def append(self, piece: bytes) -> None:
        """Append bytes. Raises OSError where there is no room for them."""
        settings = self._space.settings
        if self._file is None and len(self._memory) + len(piece) <= settings.memory and not self._space.is_over:
            self._memory += piece
            self._space.in_memory += len(piece)
            return
        if self._file is None:
            self._file = await trio.to_thread.run_sync(_unnamed_file, settings.directory)
        self._tail += piece
        if len(self._tail) >= _CHUNK_BYTES:
            await self._write(self._file)

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
        in_memory = len(self._memory)
        if position < in_memory or self._file is None:
            return bytes(self._memory[position : position + _CHUNK_BYTES])
        return await trio.to_thread.run_sync(os.pread, self._file.fileno(), _CHUNK_BYTES, position - in_memory)


def _unnamed_file(directory: os.PathLike[str] | None) -> IO[bytes]:
    return tempfile.TemporaryFile(dir=directory, buffering=0)
