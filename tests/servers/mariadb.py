"""MariaDB as installed on this machine."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.servers.base import Server, ServerError
from tests.servers.instance import cache_directory, locked
from tests.servers.process import find_program


class MariaDB(Server):
    """A throwaway MariaDB, run by the user who runs the tests."""

    name = "mariadb"

    def _template(self) -> Path:
        version = subprocess.run([_program("mariadbd"), "--version"], check=True, capture_output=True, text=True).stdout
        template = cache_directory() / "mariadb-templates" / re.sub(r"[^\w.-]+", "-", version.strip())
        with locked(template.parent / ".lock"):
            if not template.exists():
                _make_template(template)
        return template

    def _instances(self) -> Path:
        return cache_directory() / "mariadb-instances"

    def _command(self) -> list[str]:
        return [_program("mariadbd"), "--no-defaults", *_user_option()]

    def _inside(self, path: Path) -> str:
        return str(path)


def _program(name: str) -> str:
    if (path := find_program(name)) is None:
        raise ServerError(f"{name} is not installed (Debian: apt-get install mariadb-server)")
    return path


def _user_option() -> list[str]:
    # mariadbd refuses to run as root unless told to.
    return ["--user=root"] if os.geteuid() == 0 else []


def _make_template(path: Path) -> None:
    # Renamed when it is whole, so that an interrupted run does not leave half a template.
    work = Path(tempfile.mkdtemp(dir=path.parent))
    try:
        done = subprocess.run(
            [
                _program("mariadb-install-db"),
                "--no-defaults",
                *_user_option(),
                f"--datadir={work}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",  # and no anonymous users
                "--skip-name-resolve",
                "--innodb-log-file-size=8M",
            ],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise ServerError(f"mariadb-install-db failed with status {done.returncode}:\n{done.stdout[-3000:]}")
        work.rename(path)
    finally:
        shutil.rmtree(work, ignore_errors=True)
