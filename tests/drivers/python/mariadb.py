"""MariaDB Connector/Python by its own defaults."""

import mariadb

from tests.drivers.python import dbapi, steps

host, port, user, password, database = steps.account()
connection = mariadb.connect(host=host, port=port, user=user, password=password, database=database)
dbapi.walk(connection, prepared=connection.cursor(binary=True), mark="?")
