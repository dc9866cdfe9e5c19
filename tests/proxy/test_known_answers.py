"""What a server says on a new link is read once, and anew when it says something else."""

import pytest
import trio

from protocol.packets import Ok
from proxy.known_answers import Known, KnownAnswers
from tests.proxy.rig import Rig, rigged
from tests.servers import scripted

LOGGED_IN = Ok(0, 0, 0, 2, 0, b"", b"").build()
LIMIT = b"max_allowed_packet"


async def limit_of_next_link(rig: Rig) -> int:
    await rig.upstream.begin_session(LOGGED_IN)
    return rig.upstream.limits.packet


async def test_a_changed_setting_is_seen_by_the_next_session(monkeypatch: pytest.MonkeyPatch) -> None:
    async with rigged() as rig:
        limit = await limit_of_next_link(rig)
        for changed in (b"33554432", b"1048576"):  # of the same length, and of another one
            monkeypatch.setitem(scripted.VARIABLES, LIMIT, changed)
            assert await limit_of_next_link(rig) == int(changed)
        monkeypatch.undo()
        assert await limit_of_next_link(rig) == limit


async def test_isolation_level_and_reports_are_those_of_the_answer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with rigged() as rig:
        monkeypatch.setitem(scripted.VARIABLES, b"transaction_isolation", b"READ-COMMITTED")
        for _ in range(2):
            await rig.upstream.begin_session(LOGGED_IN)
            assert rig.upstream.memory.isolation == "READ-COMMITTED"


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_usual_answers_may_come_in_pieces(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    async with rigged() as rig:
        limit = await limit_of_next_link(rig)
        whole = rig.server.send

        async def send(data: bytes) -> None:
            for begin in range(0, len(data), size):
                await whole(data[begin : begin + size])
                await trio.testing.wait_all_tasks_blocked()

        monkeypatch.setattr(rig.server, "send", send)
        assert await limit_of_next_link(rig) == limit
        monkeypatch.setitem(scripted.VARIABLES, LIMIT, b"1048576")
        assert await limit_of_next_link(rig) == 1048576


async def test_usual_answers_are_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with rigged() as rig:
        limit = await limit_of_next_link(rig)
        monkeypatch.delattr(rig.upstream, "tracker")
        monkeypatch.setattr("proxy.asking.parse_results", None)
        assert await limit_of_next_link(rig) == limit


def test_not_more_is_remembered_than_there_are_kinds_of_clients() -> None:
    known_answers = KnownAnswers()
    for capabilities in range(1000):
        known_answers.remember(capabilities, b"?", Known(b"!", ()))
        assert known_answers.find(capabilities, b"?") == Known(b"!", ())
    assert repr(known_answers) in {f"<KnownAnswers: {count}>" for count in range(1, 33)}
