"""The steps for drivers with the interface of PEP 249."""

from typing import Any

from tests.drivers.python import steps


def walk(connection: Any, *, prepared: Any = None, mark: str = "%s") -> None:
    """Take all steps. ``prepared`` is a cursor that prepares statements, where a driver has one."""
    cursor = connection.cursor()
    prepared = prepared or cursor

    cursor.execute("SELECT 6 * 7")
    assert list(cursor.fetchall()) == [(42,)]
    steps.done("text")

    prepared.execute(steps.PARCEL.format(mark), (42,))
    assert list(prepared.fetchall()) == [(42,)]
    steps.done("prepared")

    cursor.execute(steps.LARGE)
    assert len(cursor.fetchall()) == steps.LARGE_ROWS
    steps.done("large")

    cursor.execute(steps.ENTER)
    connection.rollback()
    cursor.execute(steps.ENTER)
    connection.commit()
    cursor.execute(steps.COUNT)
    assert list(cursor.fetchall()) == [(1,)]
    connection.commit()
    steps.done("transaction")

    with steps.refused():
        cursor.execute(steps.OVERSIZED)
    cursor.execute(steps.REMEMBER)
    steps.done("oversized")

    steps.done("idle")
    steps.wait()
    cursor.execute(steps.RECALL)
    assert list(cursor.fetchall()) == [("kept",)]
    prepared.execute(steps.PARCEL.format(mark), (43,))
    assert list(prepared.fetchall()) == [(43,)]
    steps.done("survived")
    connection.close()
