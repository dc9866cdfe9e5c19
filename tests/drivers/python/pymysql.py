"""PyMySQL by its own defaults."""

import pymysql

from tests.drivers.python import dbapi, steps

host, port, user, password, database = steps.account()
dbapi.walk(pymysql.connect(host=host, port=port, user=user, password=password, database=database))
