"""What systemd, or whoever started the guard, is told of its state: sd_notify(3).

Only where ``NOTIFY_SOCKET`` names a socket. Nothing depends on the message, so a failure is logged and no more.
"""

import os
import socket
import time

import structlog
import trio

log = structlog.stdlib.get_logger()

_MICROSECONDS = 1_000_000


def tell_ready() -> None:
    """Say that clients can connect, after the start or after a reload."""
    _tell("READY=1")


def tell_reloading() -> None:
    """Say that the configuration is being read again. Call :func:`tell_ready` next."""
    _tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def tell_stopping() -> None:
    """Say that the guard has begun to stop."""
    _tell("STOPPING=1")


async def keep_watchdog_quiet() -> None:
    """Show again and again that the event loop runs, if somebody waits for that: twice in each interval."""
    interval = watchdog_seconds()
    while interval is not None:
        _tell("WATCHDOG=1")
        await trio.sleep(interval / 2)


def watchdog_seconds() -> float | None:
    """Tell after how much silence the service manager takes this process for hung; None if it does not watch it."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or not int(microseconds):
        return None
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / _MICROSECONDS


def _tell(state: str) -> None:
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    if path.startswith("@"):  # a socket without a file: in Linux's abstract namespace
        path = f"\0{path[1:]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
        try:
            sock.connect(path)
            sock.sendall(state.encode())
        except OSError as error:
            log.warning("service manager not told", state=state.partition("=")[0], reason=error.strerror or str(error))
