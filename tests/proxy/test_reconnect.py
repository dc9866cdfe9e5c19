"""The way back to the server, in virtual time."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from protocol.errors import ServerError
from proxy.errors import SessionOver, UpstreamUnavailable
from proxy.reconnect import Reconnector

CONCURRENCY = 4
SESSIONS = 20
ATTEMPT_SECONDS = 10.0
LONGEST_PAUSE = 0.5
JITTER = 0.1

TEMPORARY = [1040, 1041, 1053, 1129, 1135, 1203, 1226, 2003, 3032]


class Server:
    """Counts who tries to get in, and lets them in after ``seconds`` while it is up."""

    def __init__(self, seconds: float = 0.05) -> None:
        self.seconds = seconds
        self.failure: Callable[[], Exception] | None = None
        self.began: list[float] = []
        self.inside = 0
        self.most_inside = 0
        self.let_in = 0

    async def attempt(self) -> None:
        self.began.append(trio.current_time())
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            await trio.sleep(self.seconds)
            if self.failure is not None:
                raise self.failure()
            self.let_in += 1
        finally:
            self.inside -= 1


def down() -> Exception:
    return UpstreamUnavailable("connection refused")


async def reconnect_all(reconnector: Reconnector, server: Server, count: int = SESSIONS) -> list[str]:
    """Have so many sessions come back at once; return what each of them met first."""
    met: list[str] = []

    async def come_back() -> None:
        met.append(await reconnector.reconnect(server.attempt, is_waited_for=False))

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(come_back)
    return met


async def test_a_server_that_is_there_lets_all_in(autojump_clock: MockClock) -> None:
    server = Server()
    started = trio.current_time()
    met = await reconnect_all(Reconnector(CONCURRENCY, ATTEMPT_SECONDS), server)
    assert met == [""] * SESSIONS
    assert len(server.began) == server.let_in == SESSIONS
    assert server.most_inside == CONCURRENCY
    # They do not all come in the same instant, and not much later either.
    first, last = min(server.began) - started, max(server.began) - started
    assert len(set(server.began[:CONCURRENCY])) == CONCURRENCY
    assert 0 <= first <= JITTER
    assert last <= JITTER + SESSIONS / CONCURRENCY * server.seconds


async def test_a_session_that_a_client_waits_for_goes_first(autojump_clock: MockClock) -> None:
    server = Server()
    started = trio.current_time()
    reconnector = Reconnector(CONCURRENCY, ATTEMPT_SECONDS)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reconnect_all, reconnector, server)
        await reconnector.reconnect(server.attempt, is_waited_for=True)
        assert trio.current_time() - started == pytest.approx(server.seconds)


async def test_while_the_server_is_away_one_at_a_time_tries(autojump_clock: MockClock) -> None:
    server = Server(seconds=0.2)
    server.failure = down
    reconnector = Reconnector(CONCURRENCY, ATTEMPT_SECONDS)
    with trio.move_on_after(10):
        await reconnect_all(reconnector, server)
    # Those that were under way when the first one failed have finished their attempts.
    later = [time for time in server.began if time > server.began[0] + server.seconds + JITTER + 2 * LONGEST_PAUSE]
    gaps = [second - first for first, second in pairwise(later)]
    assert min(gaps) >= server.seconds + LONGEST_PAUSE - 1e-6
    assert max(gaps) <= server.seconds + LONGEST_PAUSE + 1e-6
    assert server.most_inside == CONCURRENCY
    assert server.inside == 0


async def test_the_first_one_that_gets_through_opens_the_way_for_the_others(autojump_clock: MockClock) -> None:
    server = Server()
    server.failure = down
    reconnector = Reconnector(CONCURRENCY, ATTEMPT_SECONDS)

    async def come_back_up() -> None:
        await trio.sleep(60)
        server.failure = None
        server.began.clear()
        server.most_inside = 0

    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(come_back_up)
            met = await reconnect_all(reconnector, server)
    assert trio.current_time() <= 60 + LONGEST_PAUSE + (1 + SESSIONS / CONCURRENCY) * (server.seconds + 0.01)
    assert server.let_in == SESSIONS
    assert server.most_inside == CONCURRENCY
    assert set(met) <= {"", "connection refused"}
    # However many they are, it is said once.
    assert [(event["event"], event.get("reason")) for event in logs] == [
        ("server is away", "connection refused"),
        ("server is back", None),
    ]
    assert repr(reconnector) == f"<Reconnector 0 of {CONCURRENCY} places taken>"


async def test_what_was_met_first_is_told(autojump_clock: MockClock) -> None:
    server = Server()
    failures = [UpstreamUnavailable("connection refused"), ServerError(1040, "Too many connections", b"")]

    async def attempt() -> None:
        if failures:
            raise failures.pop(0)
        await server.attempt()

    assert (
        await Reconnector(CONCURRENCY, ATTEMPT_SECONDS).reconnect(attempt, is_waited_for=False) == "connection refused"
    )
    assert server.let_in == 1


@pytest.mark.parametrize("code", TEMPORARY)
async def test_some_refusals_pass(code: int, autojump_clock: MockClock) -> None:
    server = Server()
    refusals = [ServerError(code, "Not now", b"")] * 3

    async def attempt() -> None:
        if refusals:
            raise refusals.pop()
        await server.attempt()

    met = await Reconnector(CONCURRENCY, ATTEMPT_SECONDS).reconnect(attempt, is_waited_for=False)
    assert "Not now" in met
    assert server.let_in == 1


@pytest.mark.parametrize("code", [1045, 1049, 1044, 1251, 1820, 1130])
async def test_others_do_not(code: int, autojump_clock: MockClock) -> None:
    server = Server()
    server.failure = lambda: ServerError(code, "Never", b"")
    reconnector = Reconnector(CONCURRENCY, ATTEMPT_SECONDS)
    with pytest.raises(SessionOver, match=r"does not let it in again: .*Never"):
        await reconnector.reconnect(server.attempt, is_waited_for=False)
    assert len(server.began) == 1
    assert repr(reconnector) == f"<Reconnector 0 of {CONCURRENCY} places taken>"


async def test_what_ends_the_session_is_not_tried_again(autojump_clock: MockClock) -> None:
    server = Server()
    server.failure = lambda: SessionOver("it has other capabilities now")
    with pytest.raises(SessionOver, match="other capabilities"):
        await Reconnector(CONCURRENCY, ATTEMPT_SECONDS).reconnect(server.attempt, is_waited_for=False)
    assert len(server.began) == 1


async def test_a_server_that_does_not_answer_does_not_keep_the_others_waiting(autojump_clock: MockClock) -> None:
    server = Server(seconds=3600)
    reconnector = Reconnector(1, ATTEMPT_SECONDS)
    met: list[str] = []

    async def come_back() -> None:
        met.append(await reconnector.reconnect(server.attempt, is_waited_for=False))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(come_back)
        await trio.sleep(25)
        server.seconds = 0.05
    assert met == ["no session within 10 s"]
    assert len(server.began) == 4
    assert trio.current_time() <= 25 + ATTEMPT_SECONDS + 1


async def test_a_session_that_gives_up_leaves_its_place_to_the_next(autojump_clock: MockClock) -> None:
    server = Server(seconds=5)
    reconnector = Reconnector(1, ATTEMPT_SECONDS)
    with trio.move_on_after(1):
        await reconnector.reconnect(server.attempt, is_waited_for=False)
    server.failure = down
    with trio.move_on_after(5.3):  # in the pause behind a failure
        await reconnector.reconnect(server.attempt, is_waited_for=False)
    server.failure = None
    with trio.fail_after(6):
        await reconnector.reconnect(server.attempt, is_waited_for=False)
    assert server.let_in == 1


async def test_the_pause_grows_up_to_a_limit_and_begins_anew_after_a_success(autojump_clock: MockClock) -> None:
    server = Server(seconds=0)
    server.failure = down
    reconnector = Reconnector(CONCURRENCY, ATTEMPT_SECONDS)
    for _ in range(2):
        server.began.clear()
        with trio.move_on_after(5):
            await reconnector.reconnect(server.attempt, is_waited_for=False)
        gaps = [second - first for first, second in pairwise(server.began)]
        assert gaps[:3] == pytest.approx([0.05, 0.075, 0.1125])
        rounded = [round(gap, 6) for gap in gaps]
        assert rounded == sorted(rounded)
        assert max(gaps) == pytest.approx(LONGEST_PAUSE)
        server.failure = None
        await reconnector.reconnect(server.attempt, is_waited_for=False)
        server.failure = down
