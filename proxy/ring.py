"""A file that is used as a ring: what was taken makes room for what is appended."""

import os
import tempfile
from pathlib import Path


class Ring:
    """A queue of bytes in a file without a name, which is gone with the process however that ends.

    The methods that touch the file block.
    """

    def __init__(self, size: int, directory: Path | None) -> None:
        """``size`` is the most that is in it at once, in bytes. Raises OSError where there can be no such file."""
        self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115  closed by close()
        self._size = size
        self._begin = self._length = 0

    def __repr__(self) -> str:
        return f"<Ring {self._length} of {self._size} bytes>"

    def __len__(self) -> int:
        return self._length

    @property
    def room(self) -> int:
        """How many bytes can be appended."""
        return self._size - self._length

    def append(self, data: bytes) -> None:
        """Append bytes for which there is :attr:`room`. Raises OSError; then nothing has been appended."""
        view, position = memoryview(data), (self._begin + self._length) % self._size
        while view:
            written = os.pwrite(self._file.fileno(), view[: self._size - position], position)
            view, position = view[written:], (position + written) % self._size
        self._length += len(data)

    def take(self, at_most: int) -> bytes:
        """Take the oldest bytes. Raises OSError where they cannot be read."""
        count = min(at_most, self._length, self._size - self._begin)
        data = os.pread(self._file.fileno(), count, self._begin)
        if len(data) != count:
            raise OSError(f"the file has {len(data)} bytes where {count} were written")
        self._length -= count
        # From the beginning where that is possible: a file that has shrunk is one that does not grow for ever.
        self._begin = (self._begin + count) % self._size if self._length else 0
        if not self._length:
            os.ftruncate(self._file.fileno(), 0)
        return data

    def close(self) -> None:
        """Close the file, and so remove it."""
        self._file.close()
