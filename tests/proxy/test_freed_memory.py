"""Freed memory is kept."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
from proxy.freed_memory import keep_freed_memory

def hold():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pieces = [bytes((number,)) * (512 * 1024) for number in range(32)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if {kept}:
    keep_freed_memory()
hold()
print(hold())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_what_was_held_is_there_for_what_is_held_next() -> None:
    faults = [
        int(subprocess.run([sys.executable, "-c", FAULTS.format(kept=kept)], capture_output=True, check=True).stdout)
        for kept in (False, True)
    ]
    assert faults[0] > 32 * 128 / 2
    assert faults[1] < 100
