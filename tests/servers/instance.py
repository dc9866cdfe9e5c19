"""Directories of running servers: one each, removed at the end, also those that a killed run left behind."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_directory() -> Path:
    """Return this user's cache directory for the project; it may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stillhere"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `path` (made if absent) against other processes and threads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class InstanceDirectory:
    """A new directory below `parent` that belongs to this process as long as it lives."""

    def __init__(self, parent: Path) -> None:
        # The lock on a directory ends with its owner. One without a lock is an orphan; making ours happens under a
        # lock of the parent, so that nobody can take it for an orphan before it has its own.
        with locked(parent / ".lock"):
            for orphan in parent.iterdir():
                if orphan.is_dir():
                    _remove_if_unlocked(orphan)
            self.path = Path(tempfile.mkdtemp(dir=parent, prefix=""))
            self._lock: int | None = os.open(self.path, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Remove the directory with all that is in it; idempotent."""
        if self._lock is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = None


def _remove_if_unlocked(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return  # its owner has just removed it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(descriptor)
