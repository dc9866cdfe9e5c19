"""What goes out of a command that was collected, with frames of 255 bytes in place of those of 16 MiB."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from config import Spool
from protocol.command import CommandReader
from protocol.resultset import payloads
from proxy import oversize
from proxy.holding import Holding
from proxy.oversize import send_held
from proxy.spool import SpoolSpace
from proxy.traffic import Traffic
from tests.protocol.transcripts import OK, Wire, frames, small_frames

FULL = 0xFF
TYPES = b"\x08\x00"
BARE = b"\x17\x07\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00"
RESTORED = b"\x17\x2c\x01\x00\x00\x00\x01\x00\x00\x00\x00\x01" + TYPES


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(oversize, "MAX_FRAME_PAYLOAD", FULL)
    monkeypatch.setattr(oversize, "HELD_BEGINNING", 0x40)
    monkeypatch.setattr("proxy.holding._CHUNK_BYTES", 0x20)
    with small_frames(frame_payload=FULL):
        yield


class Sent:
    """The server's link."""

    def __init__(self) -> None:
        self.data = b""

    async def send(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.data += data


async def held(payload: bytes) -> Holding:
    """Collect a command, the most of it in a file."""
    holding = Holding(SpoolSpace(Spool(memory=0x50)))
    for start in range(0, len(payload), 0x30):
        await holding.append(payload[start : start + 0x30])
    await holding.complete()
    return holding


async def send(reader: CommandReader, payload: bytes) -> list[int]:
    """Send a command that was collected; return the lengths of its frames, having seen that they are in order."""
    link = Sent()
    upstream: Any = SimpleNamespace(reader=reader, link=link, traffic=Traffic())
    packet: Any = SimpleNamespace(size=len(payload), sequence_id=len(payload) // FULL + 1)
    with await held(payload) as holding:
        await send_held(upstream, holding, packet, payload[0])
    lengths: list[int] = []
    position, whole = 0, b""
    while position < len(link.data):
        length = int.from_bytes(link.data[position : position + 3], "little")
        assert link.data[position + 3] == len(lengths)
        lengths.append(length)
        whole += link.data[position + 4 : position + 4 + length]
        position += 4 + length
    assert list(payloads(link.data)) == [whole]
    return lengths


@pytest.mark.parametrize("size", [FULL, FULL + 1, 2 * FULL, 2 * FULL + 60, 3 * FULL - 1])
async def test_a_command_goes_out_in_frames_as_it_came(size: int) -> None:
    wire = Wire()
    lengths = await send(wire.reader, b"\x03SELECT ".ljust(size, b"1"))
    assert sum(lengths) == size
    assert set(lengths[:-1]) == {FULL}
    assert lengths[-1] < FULL
    assert [expected.sequence_id for expected in wire.tracker.expected] == [len(lengths)]


async def test_what_it_may_do_is_found_wherever_it_stands() -> None:
    for position in range(10, 590, 7):
        wire = Wire()
        await send(wire.reader, b"\x03SELECT ".ljust(position) + b"@a := 1".ljust(600 - position))
        assert wire.memory.holds, position


async def test_an_execution_goes_out_with_the_id_and_the_types_that_a_new_link_needs() -> None:
    for size in (300, 500):
        wire = Wire()
        wire.prepare(7, 300, types=TYPES, types_form=(False, 1), lacks_types=True)
        rest = bytes(range(256)) * 2
        lengths = await send(wire.reader, BARE + rest[:size])
        assert sum(lengths) == len(RESTORED) + size
        wire.server_says(frames(OK, start=len(lengths)))
        assert wire.tracker.idle


async def test_its_bytes_are_those_of_the_clients_command() -> None:
    wire = Wire()
    wire.prepare(7, 300, types=TYPES, types_form=(False, 1), lacks_types=True)
    link = Sent()
    upstream: Any = SimpleNamespace(reader=wire.reader, link=link, traffic=Traffic())
    rest = bytes(range(256)) * 2
    payload = BARE + rest
    packet: Any = SimpleNamespace(size=len(payload), sequence_id=3)
    with await held(payload) as holding:
        await send_held(upstream, holding, packet, payload[0])
    assert list(payloads(link.data)) == [RESTORED + rest]
