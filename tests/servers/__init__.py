"""Real servers for tests, the demo and the benches; all of it is synchronous and needs no pytest."""

from tests.servers.base import Connection, Server, ServerError, StartServer
from tests.servers.blackhole import BlackholeRelay
from tests.servers.mariadb import MariaDB
from tests.servers.mysql import MySQL

__all__ = ["BlackholeRelay", "Connection", "MariaDB", "MySQL", "Server", "ServerError", "StartServer"]
