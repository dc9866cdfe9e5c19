"""The steps for the drivers of asyncio, which have the interface of PEP 249 with coroutines."""

from typing import Any

from tests.drivers.python import steps


async def walk(connection: Any) -> None:
    """Take all steps."""

    async def query(sql: str, *parameters: object) -> list[tuple[object, ...]]:
        async with connection.cursor() as cursor:
            await cursor.execute(sql, parameters or None)
            return list(await cursor.fetchall())

    assert await query("SELECT 6 * 7") == [(42,)]
    steps.done("text")

    assert await query(steps.PARCEL.format("%s"), 42) == [(42,)]
    steps.done("prepared")

    assert len(await query(steps.LARGE)) == steps.LARGE_ROWS
    steps.done("large")

    await query(steps.ENTER)
    await connection.rollback()
    await query(steps.ENTER)
    await connection.commit()
    assert await query(steps.COUNT) == [(1,)]
    await connection.commit()
    steps.done("transaction")

    with steps.refused():
        await query(steps.OVERSIZED)
    await query(steps.REMEMBER)
    steps.done("oversized")

    steps.done("idle")
    steps.wait()
    assert await query(steps.RECALL) == [("kept",)]
    assert await query(steps.PARCEL.format("%s"), 43) == [(43,)]
    steps.done("survived")
    connection.close()
