"""Start programs that die with the process that started them.

The kernel sends the parent-death signal when the *thread* that forked ends, not the process, and a test may well
restart a server from a worker thread that is gone a moment later. So all children are started from one thread that
lives as long as the interpreter. `setpriv` sets the signal and then becomes the program, so the pid is the program's
own, and no Python runs between fork and exec (which is unsafe in a process with threads).
"""

import os
import random
import shutil
import socket
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


def spawn(
    command: Sequence[str], output: Path, *, stdin: int = subprocess.DEVNULL, directory: Path | None = None
) -> "subprocess.Popen[bytes]":
    """Start `command` with its output appended to the file `output`; it is killed when this process ends.

    `stdin` is that of Popen; `directory` is where it is to run, if not where we are. The child is the program itself,
    so its pid can be signalled. Where there is no `setpriv` (not Linux) the child may outlive a parent that was killed.
    Raises OSError if the program cannot be started.
    """
    setpriv = shutil.which("setpriv")
    prefix = [setpriv, "--pdeathsig", "KILL"] if setpriv else []

    def start() -> "subprocess.Popen[bytes]":
        with output.open("ab") as log:
            # A session of its own: Ctrl-C in a terminal must reach us alone, who then end the child in an orderly way.
            return subprocess.Popen(
                [*prefix, *command], stdin=stdin, stdout=log, stderr=log, cwd=directory, start_new_session=True
            )

    return _SPAWNER.submit(start).result()


def find_program(name: str) -> str | None:
    """Return the path of an installed program, also if the user's PATH lacks the directories of daemons."""
    return shutil.which(
        name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    )


def free_port() -> int:
    """Return a loopback TCP port that nobody listens on.

    It lies below the range from which the kernel takes ports for outgoing connections: while a crashed server is down,
    a client that keeps dialling must not be given the server's own port.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            # As servers do, so that a port with connections in TIME_WAIT counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
