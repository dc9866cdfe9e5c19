"""Run the demo: `python -m demo [--no-wait]`. Exits with 1 if a scene does not go as it is told."""

import argparse
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import FrameType

import pymysql

from demo import log, losses, scenes
from demo.story import Story
from demo.told import SceneFailed, Verdict
from tests.guard import Guard
from tests.servers import MariaDB, Server, ServerError

PREFERRED_PORT = 3307
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Tell the story, wait on a terminal until Ctrl-C, and clean up; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="The guard at work in front of a real server.")
    parser.add_argument("--no-wait", action="store_true", help="end with the story, on a terminal as well")
    arguments = parser.parse_args()
    story = Story()
    # However we are told to stop, what we have started goes first.
    for number in STOP_SIGNALS:
        signal.signal(number, interrupt)
    try:
        with ExitStack() as stack:
            server, guard = set_up(story, stack)
            tell(story, server, guard)
            if story.is_live and not arguments.no_wait:
                stay(story, server, guard)
                story.line("Server, guard and files are gone.")
    except KeyboardInterrupt:
        story.line("\nInterrupted. Server, guard and files are gone.")
        return 130
    # What the guard's process did not do is an AssertionError of its driver.
    except (SceneFailed, ServerError, AssertionError, pymysql.Error) as failed:
        story.line(f"\nThe demo has failed: {failed}", "bold red")
        return 1
    return 0


def interrupt(_number: int, _frame: FrameType | None) -> None:
    """Stop; what cleans up, which is quick, is not to be interrupted itself."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def set_up(story: Story, stack: ExitStack) -> tuple[Server, Guard]:
    """Start the server, and the guard in front of it, until the stack is closed."""
    story.title("stillhere: MySQL server has NOT gone away")
    story.line()
    # The timeout for interactive clients too, so that it can be tried by hand afterwards.
    timeout = scenes.WAIT_TIMEOUT_SECONDS
    options = (
        f"--max-allowed-packet={scenes.LIMIT_BYTES}",
        f"--wait-timeout={timeout}",
        f"--interactive-timeout={timeout}",
    )
    server = stack.enter_context(MariaDB(options))
    story.fact(
        f"A MariaDB {server.version.partition('-')[0]}",
        f"{server.host}:{server.port}   max_allowed_packet 1 MiB, wait_timeout {timeout} s",
    )
    guard = stack.enter_context(
        Guard(f"{server.host}:{server.port}", port=PREFERRED_PORT if is_free(PREFERRED_PORT) else 0)
    )
    story.fact("The guard in front of it", f"{guard.host}:{guard.port}    default settings")
    return server, guard


def is_free(port: int) -> bool:
    """Tell whether nobody listens on this loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((Guard.host, port))
        except OSError:
            return False
        return True


def tell(story: Story, server: Server, guard: Guard) -> None:
    """Play the scenes and sum up."""
    verdicts = [
        scenes.oversized_packet(story, server, guard),
        scenes.idle_timeout(story, server, guard),
        losses.killed(story, server, guard),
        losses.crashed(story, server, guard),
    ]
    sum_up(story, verdicts, guard)
    if failures := guard.failures():
        raise SceneFailed(f"the guard has logged failures: {failures}")


def sum_up(story: Story, verdicts: Sequence[Verdict], guard: Guard) -> None:
    """Say what it came to, and what the guard has to say about it."""
    story.scene("Summary")
    for verdict in verdicts:
        story.fact(verdict.cause, f"without: {verdict.without_guard}", f"with:    {verdict.with_guard}")
    story.side("From the guard's log")
    log.tell_all(story, guard.events)


def stay(story: Story, server: Server, guard: Guard) -> None:
    """Keep the guard running, and show what it does, until Ctrl-C. Raises SceneFailed if the guard ends by itself."""
    story.scene("Now you")
    at = f"{guard.host}:{guard.port}"
    direct = f"mysql -h {server.host} -P {server.port} -u root"
    story.line("The guard stays. Connect to it:")
    story.line()
    story.fact("mysql", f"mysql -h {guard.host} -P {guard.port} -u root test")
    story.fact("PyMySQL", f'pymysql.connect(host="{guard.host}", port={guard.port}, user="root")')
    story.fact("SQLAlchemy", f"mysql+pymysql://root@{at}/test")
    story.fact("the server, to compare", f"{direct} test")
    story.line()
    seconds = scenes.WAIT_TIMEOUT_SECONDS
    story.line(
        f"Send what is too large, or be silent (outside a transaction) for more than {seconds} s. Or, elsewhere:"
    )
    story.line()
    story.fact("end your session", f'{direct} -e "KILL n"', "n is what SELECT CONNECTION_ID() says")
    story.fact("crash the server", f"kill -9 {server.pid}", "it is started again")
    story.line()
    story.line("Ctrl-C ends everything. The guard's log:", "bold")
    shown = len(guard.events)
    try:
        while guard.process.poll() is None:
            events = guard.events
            for event in events[shown:]:
                if event["level"] != "debug":
                    log.tell_event(story, event)
            shown = len(events)
            if has_ended(server):
                server.restart()
                story.fact("(the server)", f"is started again, as process {server.pid}")
            time.sleep(0.3)
    except KeyboardInterrupt:
        story.line()
        return
    raise SceneFailed(f"the guard has ended by itself, with status {guard.process.returncode}")


def has_ended(server: Server) -> bool:
    """Tell whether the server's process has ended, which its owner does not know yet."""
    return os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


if __name__ == "__main__":
    sys.exit(main())
