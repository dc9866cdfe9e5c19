"""A connection pool of SQLAlchemy by its own defaults, with PyMySQL."""

import sqlalchemy as sa

from tests.drivers.python import steps

host, port, user, password, database = steps.account()
engine = sa.create_engine(sa.URL.create("mysql+pymysql", user, password, host, port, database))
entries = sa.Table("entries", sa.MetaData(), sa.Column("n", sa.Integer))

with engine.connect() as connection:
    assert connection.scalar(sa.text("SELECT 6 * 7")) == 42
    steps.done("text")
    assert connection.scalar(sa.text(steps.PARCEL.format(":n")), {"n": 42}) == 42
    steps.done("prepared")
    assert len(connection.execute(sa.text(steps.LARGE)).all()) == steps.LARGE_ROWS
    steps.done("large")

with engine.connect() as connection:
    connection.execute(entries.insert().values(n=1))
    connection.rollback()
with engine.begin() as connection:
    connection.execute(entries.insert().values(n=1))
with engine.connect() as connection:
    assert connection.scalar(sa.select(sa.func.count()).select_from(entries)) == 1
    steps.done("transaction")

with engine.connect() as connection:
    with steps.refused():
        connection.execute(sa.text(steps.OVERSIZED))
    connection.execute(sa.text(steps.REMEMBER))
    steps.done("oversized")

steps.done("idle")  # in the pool, which hands out the same connection again, and does not look at it first
steps.wait()
with engine.connect() as connection:
    assert connection.scalar(sa.text(steps.RECALL)) == "kept"
    assert connection.scalar(sa.text(steps.PARCEL.format(":n")), {"n": 43}) == 43
    steps.done("survived")
engine.dispose()
