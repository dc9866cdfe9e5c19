"""A ring gives back what was put into it, in that order, however often it has been round."""

import os
import resource
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.ring import Ring

#: Numbers of bytes: above zero they are to be appended, below it they are to be taken.
steps = st.lists(st.integers(-40, 40), max_size=60)


@given(steps, st.integers(1, 60))
def test_what_was_appended_first_is_taken_first(steps: list[int], size: int) -> None:
    inside, appended = b"", 0
    with closing(Ring(size, None)) as ring:
        for step in steps:
            if step > 0:
                data = bytes(number % 251 for number in range(appended, appended + min(step, ring.room)))
                ring.append(data)
                inside, appended = inside + data, appended + len(data)
            else:
                taken = ring.take(-step)
                assert inside.startswith(taken)
                assert bool(taken) is bool(step and inside)
                inside = inside[len(taken) :]
            assert (len(ring), ring.room) == (len(inside), size - len(inside))
            assert os.fstat(ring._file.fileno()).st_size <= size


def test_the_file_has_no_name_and_shrinks_when_it_is_empty(tmp_path: Path) -> None:
    with closing(Ring(1000, tmp_path)) as ring:
        assert list(tmp_path.iterdir()) == []
        ring.append(bytes(900))
        assert len(ring.take(900)) == 900
        assert os.fstat(ring._file.fileno()).st_size == 0
        ring.append(b"from the beginning")
        assert os.pread(ring._file.fileno(), 100, 0) == b"from the beginning"


def test_where_there_can_be_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Ring(1000, tmp_path / "gone")


@contextmanager
def no_file_longer_than(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_has_no_room_on_the_disk_was_not_appended() -> None:
    with closing(Ring(1000, None)) as ring:
        ring.append(b"x" * 90)
        with no_file_longer_than(100):
            with pytest.raises(OSError, match="too large"):
                ring.append(b"y" * 50)  # of which 10 bytes are written
            ring.append(b"z" * 10)
        assert ring.take(1000) == b"x" * 90 + b"z" * 10


def test_a_file_that_is_shorter_than_it_was_is_an_error() -> None:
    with closing(Ring(1000, None)) as ring:
        ring.append(bytes(100))
        os.ftruncate(ring._file.fileno(), 50)
        with pytest.raises(OSError, match="50 bytes where 100 were written"):
            ring.take(100)
        assert len(ring) == 100
