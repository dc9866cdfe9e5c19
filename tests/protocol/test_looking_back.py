"""Which statements ask for what the one before them has left behind."""

import pytest

from protocol.looking_back import Asking, Leftover, asked_for

INSERT_ID, ROW_COUNT, WARNINGS = Leftover.INSERT_ID, Leftover.ROW_COUNT, Leftover.WARNINGS


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (b"SELECT last_insert_id()", INSERT_ID),
        (b"SELECT LAST_INSERT_ID ( )", INSERT_ID),
        (b"SELECT LAST_INSERT_ID(/* none */)", INSERT_ID),
        (b"SELECT @@identity, @@session.last_insert_id", INSERT_ID),
        (b"INSERT INTO child (parent) VALUES (LAST_INSERT_ID())", INSERT_ID),
        (b"UPDATE sequence SET id = LAST_INSERT_ID(id + 1)", Leftover(0)),
        (b"INSERT INTO t VALUES (1); SELECT ROW_COUNT(), LAST_INSERT_ID()", Leftover(0)),
        (b"INSERT INTO child VALUES ('a;b', LAST_INSERT_ID()); SELECT 1", INSERT_ID),
        (b"INSERT INTO child VALUES ('\\';', LAST_INSERT_ID()); SELECT 1", INSERT_ID),
        (b"SELECT 1; SELECT LAST_INSERT_ID()", INSERT_ID),
        (b"SELECT ROW_COUNT(); SELECT 1", ROW_COUNT),
        (b"DO 1; SHOW WARNINGS", WARNINGS),
    ],
)
def test_what_is_asked_for(text: bytes, asked: Leftover) -> None:
    assert asked_for(text) == asked


def test_what_is_asked_for_in_pieces() -> None:
    text = b"INSERT INTO child VALUES (LAST_INSERT_ID(), ROW_COUNT())".ljust(1000)
    for size in (1, 7, 300, 1000):
        asking = Asking()
        for start in range(0, len(text), size):
            asking.look_through(text[start : start + size])
        assert asking.asked == INSERT_ID | ROW_COUNT
    asking.look_through(b"SELECT 1")
    assert Asking().asked == Leftover(0)
