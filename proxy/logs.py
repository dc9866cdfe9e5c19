"""Where log messages go: to stderr, for people or for programs.

Tracebacks are logged without the values of local variables: among them are passwords and statements.
"""

import logging
import os
import sys
import time
from functools import partial

import structlog
from structlog.typing import EventDict, WrappedLogger

from config import Log, LogFormat, LogLevel
from proxy.log_limit import LogLimit

#: One for the whole process, as the log is.
_limit = LogLimit(time.monotonic)

_LEVELS = logging.getLevelNamesMapping()

_PROCESSORS: list[structlog.typing.Processor] = []


def configure(log: Log) -> None:
    """Set structlog up for the whole process; call it again to change that."""
    last: list[structlog.typing.Processor]
    match log.format:
        case LogFormat.JSON:
            last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        case LogFormat.CONSOLE:
            # With repr even for text, so that a user name cannot write a line of its own into the log.
            console = structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty() and "NO_COLOR" not in os.environ,
                exception_formatter=structlog.dev.plain_traceback,
                repr_native_str=True,
            )
            last = [console]
    # In place, because all loggers that there are already have this list.
    _PROCESSORS[:] = [
        partial(_drop_below, _LEVELS[log.level.upper()]),
        *([] if log.level is LogLevel.DEBUG else [_limit]),  # who asks for everything gets it
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *last,
    ]
    structlog.configure(
        processors=_PROCESSORS,
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _drop_below(level: int, _: WrappedLogger, name: str, event: EventDict) -> EventDict:
    if _LEVELS[name.upper()] < level:
        raise structlog.DropEvent
    return event


def report_left_out() -> None:
    """Say how many messages there were too many of since the last time, if there were any."""
    log = structlog.stdlib.get_logger()
    for name, count in _limit.take_left_out().items():
        log.warning("log messages left out", name=name, count=count)
