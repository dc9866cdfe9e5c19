"""mysql-connector-python by its own defaults: as Python ("pure"), or with the C library that it brings ("c")."""

import sys

import mysql.connector

from tests.drivers.python import dbapi, steps

host, port, user, password, database = steps.account()
connection = mysql.connector.connect(
    host=host, port=port, user=user, password=password, database=database, use_pure=sys.argv[6] == "pure"
)
dbapi.walk(connection, prepared=connection.cursor(prepared=True))
