from hypothesis import given
from hypothesis import strategies as st

from protocol.edits import Edit, apply_edits


def test_without_edits_nothing_changes() -> None:
    assert apply_edits(b"abc", []) == b"abc"


def test_what_is_replaced_may_be_longer_or_shorter_or_nothing() -> None:
    edits = [Edit(0, 1, b"A1"), Edit(2, 4, b""), Edit(5, 5, b"+"), Edit(6, 7, b"g")]
    assert apply_edits(b"abcdefg", edits) == b"A1be+fg"


def test_edits_that_touch_come_in_their_order() -> None:
    assert apply_edits(b"ab", [Edit(1, 1, b"1"), Edit(1, 1, b"2"), Edit(1, 2, b"B"), Edit(2, 2, b"3")]) == b"a12B3"


PIECES = st.lists(st.tuples(st.binary(max_size=4), st.none() | st.binary(max_size=4)), max_size=8)


@given(PIECES)
def test_what_is_not_edited_stays_where_it_was(pieces: list[tuple[bytes, bytes | None]]) -> None:
    edits = []
    position = 0
    for piece, replacement in pieces:
        if replacement is not None:
            edits.append(Edit(position, position + len(piece), replacement))
        position += len(piece)
    data = b"".join(piece for piece, _ in pieces)
    assert apply_edits(data, edits) == b"".join(
        piece if replacement is None else replacement for piece, replacement in pieces
    )
