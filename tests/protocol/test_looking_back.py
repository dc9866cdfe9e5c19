"""Which statements ask for what the one before them has left behind."""

import pytest

from protocol.looking_back import Asking, Leftover, asked_for, covers

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


@pytest.mark.parametrize(
    ("text", "over_rows", "over_warnings"),
    [
        (b"INSERT INTO t VALUES (1)", True, True),
        (b"update t set a = 1", True, True),
        (b"SELECT * FROM t", True, True),
        (b"SELECT n FROM `t` WHERE n IN (SELECT 1)", True, True),
        (b"INSERT INTO t VALUES (LAST_INSERT_ID())", True, True),
        (b"SELECT 1", True, False),
        (b"SELECT 1 FROM DUAL", True, False),
        (b"SELECT (SELECT n FROM t)", True, False),
        (b"SELECT EXTRACT(YEAR FROM NOW())", True, False),
        (b"COMMIT", True, False),
        (b"SET @a = 1", True, False),
        (b"SELECT ROW_COUNT()", False, False),
        (b"SELECT FOUND_ROWS() FROM t", False, False),
        (b"SHOW WARNINGS", False, False),
        (b"SELECT @@warning_count FROM t", False, False),
        (b"GET DIAGNOSTICS @n = ROW_COUNT", False, False),
        (b"INSERT INTO t VALUES (1); SELECT ROW_COUNT()", False, False),
        (b"CALL p()", False, False),
        (b"EXECUTE s", False, False),
        (b"", False, False),
        (b"SELECT 'open", False, False),
    ],
)
def test_what_covers_all_that_was_before_it(text: bytes, *, over_rows: bool, over_warnings: bool) -> None:
    assert covers(text, has_warnings=False) == over_rows
    assert covers(text, has_warnings=True) == over_warnings


def test_what_is_asked_for_in_pieces() -> None:
    text = b"INSERT INTO child VALUES (LAST_INSERT_ID(), ROW_COUNT())".ljust(1000)
    for size in (1, 7, 300, 1000):
        asking = Asking()
        for start in range(0, len(text), size):
            asking.look_through(text[start : start + size])
        assert asking.asked == INSERT_ID | ROW_COUNT
    asking.look_through(b"SELECT 1")
    assert Asking().asked == Leftover(0)
