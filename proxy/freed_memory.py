"""Memory that was freed, and that the process keeps for what it needs next.

A large statement is held in pieces of half a MiB until it is whole. By itself the C library gives each of them back to
the system when it is freed, and the next one comes from there again, page by page and filled with zeros, which takes
half of all the CPU time that such a statement costs.
"""

import ctypes

#: So much is kept: what two of the largest statements take that are usual.
KEPT_BYTES = 32 << 20
#: Smaller blocks come from what is kept.
_LARGE_BYTES = 1 << 20

#: Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Have the C library keep what is freed from now on, if it is glibc; others are left as they are."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.malloc_trim(0)
        library.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
