"""mysqlclient by its own defaults."""

import MySQLdb

from tests.drivers.python import dbapi, steps

host, port, user, password, database = steps.account()
dbapi.walk(MySQLdb.connect(host=host, port=port, user=user, password=password, database=database))
