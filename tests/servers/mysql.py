"""MySQL 9 in a root of its own, which `install_mysql.sh` makes."""

import os
from pathlib import Path

from tests.servers.base import Server, ServerError
from tests.servers.instance import cache_directory


class MySQL(Server):
    """A throwaway MySQL 9. It has made its own certificates, so TLS works (`<directory>/data/ca.pem`)."""

    name = "mysql"

    @staticmethod
    def root() -> Path:
        """Return where the root of MySQL lives on this machine, whether it exists or not."""
        return Path(os.environ.get("STILLHERE_MYSQL_ROOT") or cache_directory() / "mysql")

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why MySQL cannot be had here, or None if it can."""
        if not (cls.root() / "stillhere-ready").exists():
            return "MySQL is not installed; tests/servers/install_mysql.sh does that"
        if os.geteuid() != 0:
            return "MySQL runs in a root of its own, and only root may chroot"
        return None

    def _template(self) -> Path:
        if reason := self.unavailable():
            raise ServerError(reason)
        return self.root() / "data"

    def _instances(self) -> Path:
        return self.root() / "instances"

    def _command(self) -> list[str]:
        # chroot becomes mysqld, so the pid is mysqld's. It stays root: a change of user would cancel the parent-death
        # signal (see process.py).
        return [
            "chroot",
            str(self.root()),
            "mysqld",
            "--no-defaults",
            "--user=root",
            "--mysqlx=OFF",
            "--skip-log-bin",
            "--innodb-redo-log-capacity=8M",
        ]

    def _inside(self, path: Path) -> str:
        return f"/{path.relative_to(self.root())}"
