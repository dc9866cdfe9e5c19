"""asyncmy by its own defaults."""

import asyncio  # noqa: TID251 - what the driver is made for

import asyncmy

from tests.drivers.python import aio, steps


async def main() -> None:
    host, port, user, password, database = steps.account()
    await aio.walk(await asyncmy.connect(host=host, port=port, user=user, password=password, db=database))


asyncio.run(main())
