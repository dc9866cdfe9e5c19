"""Passwords that more people can read than should."""

import stat
from pathlib import Path

from config.schema import Config


def is_exposed(file: Path, config: Config) -> bool:
    """Tell whether a configuration's file holds passwords, and everybody on this machine can read it.

    False where its permissions cannot be seen any more.
    """
    if not any(user.is_written for user in config.auth.users):
        return False
    try:
        return bool(file.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
