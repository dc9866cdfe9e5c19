"""What is done once a second, whatever else goes on."""

from collections.abc import Callable

import trio

from proxy import logs
from proxy.tally import Tally

_INTERVAL_SECONDS = 1.0


async def beat(tally: Tally, take_pump_lag: Callable[[], float]) -> None:
    """Measure how long a task that is ready waits for its turn, and say what the log has left out; until cancelled.

    What arrives for a session waits in the same queue, so that much is added to its latency at that moment. (How late a
    timer goes off would tell less: the system rounds it up to whole milliseconds.)
    """
    while True:
        await trio.sleep(_INTERVAL_SECONDS)
        ready_at = trio.current_time()
        await trio.lowlevel.checkpoint()
        tally.note_lag(trio.current_time() - ready_at)
        tally.note_pump_lag(take_pump_lag())
        logs.report_left_out()
