"""All that there is to judge, from the server, its log, this machine and the configuration."""

import shutil
import tempfile
from collections.abc import Iterable

from config import Config
from proxy.doctor.error_log import ErrorLog
from proxy.doctor.judging import Setup
from proxy.doctor.machine import read_machine
from proxy.doctor.server import Account, examine


def examine_setup(config: Config, account: Account, error_log: Iterable[str] | None, *, guarded: bool) -> Setup:
    """Look at the server of a configuration, and at what lies between here and there.

    ``guarded``: applications connect through a guard with this configuration, not directly. ``error_log`` None: as much
    of the log as the account may read at the server.

    Raises:
        CannotExamine: there is no session to be had.
    """
    server = examine(config, account)
    log = ErrorLog(names_idleness=server.names_idleness)
    return Setup(
        server,
        read_machine(),
        config if guarded else None,
        log.read(error_log if error_log is not None else server.log or ()),
        shutil.disk_usage(config.spool.directory or tempfile.gettempdir()).free,
    )
