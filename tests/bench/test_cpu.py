import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cpu import TICKS_PER_SECOND, cpu_seconds, parse_stat

# Fields 1 to 17 of proc(5), and some more: pid, (name), state, parent ... utime, stime, cutime, cstime ...
STAT = "42 (a (very) odd name) S 7 42 42 0 -1 4194560 100 0 0 0 5 30 200 1000 20 0 3 0 12345 1000000 100\n"

BURN = """
import os, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
"""


def test_parse_stat() -> None:
    assert parse_stat(STAT) == (7, 5 + 30 + 200 + 1000)


def test_own_time_agrees_with_the_other_account_of_the_kernel() -> None:
    times = os.times()
    expected = times.user + times.system + times.children_user + times.children_system
    # Other tests' children may end up here while they live, so a lower bound is all that is certain.
    assert cpu_seconds(os.getpid()) >= expected - 2 / TICKS_PER_SECOND


@pytest.mark.parametrize(
    ("program", "least"),
    [
        pytest.param("burn(0.2)", 0.2, id="own"),
        pytest.param(
            "import threading; t = threading.Thread(target=burn, args=[0.2]); t.start(); t.join()", 0.2, id="thread"
        ),
        pytest.param("if not os.fork(): burn(0.2); os._exit(0)\nos.wait()", 0.2, id="child that was waited for"),
        pytest.param("if not os.fork(): burn(0.2); done(); input()\nos.wait()", 0.2, id="living child"),
        pytest.param(
            "if not os.fork():\n  if not os.fork(): burn(0.2); done(); input()\n  os.wait()\nos.wait()",
            0.2,
            id="grandchild",
        ),
    ],
)
def test_all_of_a_program_counts(program: str, least: float) -> None:
    source = f"{BURN}\ndef done(): print('done', flush=True)\n{program}\ndone()\ninput()\n"
    with subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        assert cpu_seconds(process.pid) >= least - 2 / TICKS_PER_SECOND
        process.stdin.close() if process.stdin else None


def test_no_such_process() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert not Path(f"/proc/{gone.pid}").exists()
    with pytest.raises(ProcessLookupError):
        cpu_seconds(gone.pid)
