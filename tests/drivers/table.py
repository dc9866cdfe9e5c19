"""The drivers under test: the command for each one's script, and what it needs to run."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tests.servers import MySQL
from tests.servers.process import find_program

HERE = Path(__file__).parent
CONNECTOR_C = Path(sys.prefix, "mysql-connector-c")
CONNECTOR_J = Path("/usr/share/java/mariadb-java-client.jar")
GO_PATH = Path("/usr/share/gocode")
MISSING = "is missing (`make drivers` installs it)"


@dataclass(frozen=True)
class Account:
    """Where to connect to and as whom; the database has the user's name."""

    host: str
    port: int
    user: str
    password: str

    @property
    def login(self) -> dict[str, object]:
        """What every client wants to be told, by the usual names."""
        return {"host": self.host, "port": self.port, "user": self.user, "password": self.password}

    @property
    def arguments(self) -> list[str]:
        """What every script wants to be told, in its order."""
        return [self.host, str(self.port), self.user, self.password, self.user]


@dataclass(frozen=True)
class Driver:
    """`command` comes before the account's arguments, `options` behind them.

    `lacking` tells why it cannot run on this machine, if so. `auth` is the guard's mode that it needs. Who
    `knows_the_limit` asks the server for it, and refuses by itself what is larger.
    """

    command: tuple[str, ...]
    lacking: Callable[[], str | None]
    options: tuple[str, ...] = ()
    auth: str = "learn"
    knows_the_limit: bool = False

    def call(self, account: Account) -> list[str]:
        """Give the whole command for an account."""
        return [*self.command, *account.arguments, *self.options]


def _python(script: str, *options: str, package: str = "") -> Driver:
    def lacking() -> str | None:
        return None if find_spec(package or script) else f"the Python package {package or script} {MISSING}"

    return Driver((sys.executable, "-m", f"tests.drivers.python.{script}"), lacking, options)


def _connector_with_c() -> Driver:
    def lacking() -> str | None:
        return None if CONNECTOR_C.is_dir() else f"a mysql-connector-python whose C library runs here {MISSING}"

    pure = _python("mysql_connector", "c", package="mysql.connector")
    return replace(pure, command=("env", f"PYTHONPATH={CONNECTOR_C}", *pure.command), lacking=lacking)


def _node(script: str, auth: str = "learn") -> Driver:
    def lacking() -> str | None:
        if not find_program("node"):
            return f"node {MISSING}"
        return None if (HERE / "node/node_modules" / script).is_dir() else f"the Node package {script} {MISSING}"

    return Driver(("node", str(HERE / f"node/{script}.js")), lacking, auth=auth)


def _php(script: str, extension: str) -> Driver:
    @cache
    def lacking() -> str | None:
        is_loaded = _succeeds("php", "-r", f"exit((int) !extension_loaded('{extension}'));")
        return None if is_loaded else f"PHP's {extension} {MISSING}"

    with_asserts = ("php", "-d", "zend.assertions=1", "-d", "display_errors=stderr")
    return Driver((*with_asserts, str(HERE / f"php/{script}.php")), lacking)


def _perl(module: str) -> Driver:
    @cache
    def lacking() -> str | None:
        return None if _succeeds("perl", f"-MDBD::{module}", "-e", "1") else f"Perl's DBD::{module} {MISSING}"

    return Driver(("perl", str(HERE / "perl/dbd.pl")), lacking, (module,))


def _ruby(script: str) -> Driver:
    @cache
    def lacking() -> str | None:
        return None if _succeeds("ruby", "-r", script, "-e", "") else f"Ruby's {script} {MISSING}"

    return Driver(("ruby", str(HERE / f"ruby/{script}.rb")), lacking)


def _go(package: str) -> Driver:
    def lacking() -> str | None:
        if not find_program("go"):
            return f"go {MISSING}"
        return None if (GO_PATH / "src" / package).is_dir() else f"Go's {package} {MISSING}"

    as_packaged = ("env", "GO111MODULE=off", f"GOPATH={GO_PATH}")
    return Driver((*as_packaged, "go", "run", str(HERE / "go/driver.go")), lacking)


def _java(script: str) -> Driver:
    def lacking() -> str | None:
        if not find_program("javac"):
            return f"a Java that compiles {MISSING}"
        return None if CONNECTOR_J.exists() else f"{CONNECTOR_J} {MISSING}"

    program = ("java", "-cp", str(CONNECTOR_J), str(HERE / f"java/{script}.java"))
    return Driver(program, lacking, knows_the_limit=True)


def _command_line(lacking: Callable[[], str | None], *command: str) -> Driver:
    return Driver(("sh", str(HERE / "shell/command_line.sh")), lacking, command)


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


#: What runs a program of MySQL's in the root that it has.
IN_MYSQLS_ROOT = ("chroot", str(MySQL.root()))

DRIVERS = {
    "PyMySQL": _python("pymysql"),
    "mysqlclient": _python("mysqlclient", package="MySQLdb"),
    "mysql-connector-python": _python("mysql_connector", "pure", package="mysql.connector"),
    "mysql-connector-python-c": _connector_with_c(),
    "aiomysql": _python("aiomysql"),
    "asyncmy": _python("asyncmy"),
    "mariadb-python": _python("mariadb"),
    "SQLAlchemy": _python("sqlalchemy"),
    "Django": _python("django"),
    "node-mysql2": _node("mysql2"),
    "node-mariadb": _node("mariadb"),
    "node-mysql": _node("mysql", auth="users"),
    "php-mysqli": _php("mysqli", "mysqli"),
    "php-pdo": _php("pdo", "pdo_mysql"),
    "DBD-mysql": _perl("mysql"),
    "DBD-MariaDB": _perl("MariaDB"),
    "MariaDB-Connector-J": _java("ConnectorJ"),
    "ruby-mysql2": _ruby("mysql2"),
    "go-sql-driver": _go("github.com/go-sql-driver/mysql"),
    "mysql-command-line": _command_line(MySQL.unavailable, *IN_MYSQLS_ROOT, "mysql"),
    "mariadb-command-line": _command_line(lambda: None, "mariadb"),
}
