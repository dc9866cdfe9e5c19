"""Fuzz the walker: `python -m tests.fuzz CORPUS [OPTION OF LIBFUZZER]...`, as tests/fuzz/run.sh has it.

What is found has its bytes in a file of the directory where this runs; that file in the place of the corpus plays it
again.
"""

import sys
from pathlib import Path

import atheris
from hypothesis import given, settings

from tests.fuzz.conversation import decode, encode
from tests.protocol.conversations import Conversation, conversations
from tests.protocol.test_conversations import SIZES
from tests.protocol.test_walker import compare


def sow(corpus: Path) -> None:
    """Write the seeds: conversations as they should be."""

    @settings(max_examples=300, database=None, derandomize=True, deadline=None)
    @given(conversations(ordinary=True), SIZES)
    def write(conversation: Conversation, sizes: list[int]) -> None:
        seed = encode(conversation, sizes)
        (corpus / f"seed-{hash(seed) & 0xFFFFFFFF:08x}").write_bytes(seed)

    write()


def judge(data: bytes) -> None:
    """Have both twins play what the bytes say."""
    compare(*decode(data))


def main() -> None:
    """Fuzz until libFuzzer's options end it."""
    corpus = Path(sys.argv[1])
    if corpus.is_dir():
        sow(corpus)
    atheris.Setup(sys.argv, judge)
    atheris.Fuzz()


main()
