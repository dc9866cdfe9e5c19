"""Doing something for as long as something else takes."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

_T = TypeVar("_T")


async def meanwhile(background: Callable[[], Awaitable[None]], act: Callable[[], Awaitable[_T]]) -> _T:
    """Do ``act``, and ``background`` beside it until that is done; return what it returns, or raise what it raises."""
    results: list[_T] = []
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(background)
        try:
            results.append(await act())
        except Exception as error:  # noqa: BLE001 - raised below, where it is not wrapped into a group
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return results[0]
