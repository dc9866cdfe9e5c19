import time
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.sql import Lexeme, text_start, tokenize, unquote
from protocol.wire import lenenc_bytes, lenenc_integer

#: What means something in SQL, and some that means nothing.
_WRITTEN = (
    rb"""' " ` \ '' \' /* /**/ */ /*! /*!40101 /*!*/ /*M! /*+ /*+' -- # @ @@ @a := ; ( ) a INTO 1 1e 1. . e $ - * /"""
)
PIECES = [*_WRITTEN.split(), b" ", b"\n", b"-- ", b"#\n", b"\0", b"\xc3\xa9", b"\xe9", b"\xa0"]
SQL_BYTES = st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join)


def texts(text: bytes, *, backslash_escapes: bool = True, ansi_quotes: bool = False) -> list[bytes] | None:
    tokens = tokenize(text, backslash_escapes=backslash_escapes, ansi_quotes=ansi_quotes)
    return None if tokens is None else [token.text for token in tokens]


def test_every_kind_of_token() -> None:
    tokens = tokenize("Set é1 1.5e-3 'a' `c` @d @@ := ,".encode())
    assert tokens is not None
    assert [token.lexeme for token in tokens] == list(Lexeme)
    assert [token.key for token in tokens] == ["SET", "", "", "", "", "", "@@", ":=", ","]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b" \t\r\n\f\v", []),
        (b"a-- b\nc", [b"a", b"c"]),
        (b"a--", [b"a"]),
        (b"a--\x01b", [b"a"]),
        (b"1--1", [b"1", b"-", b"-", b"1"]),
        (b"a#b'\nc", [b"a", b"c"]),
        (b"a/* ' \" ` ; */b", [b"a", b"b"]),
        (b"a/**/b", [b"a", b"b"]),
        (b"/*/ a */b", [b"b"]),
        (b"SELECT /*+ MAX_EXECUTION_TIME(1) */ 1", [b"SELECT", b"1"]),
        (b"'it''s' 'a' 'b'", [b"'it''s'", b"'a'", b"'b'"]),
        (rb"'a\'b' 'c\\'", [rb"'a\'b'", rb"'c\\'"]),
        (b"''", [b"''"]),
        (b'"a""b"`c``d`', [b'"a""b"', b"`c``d`"]),
        (rb"`a\`", [rb"`a\`"]),
        (b"@a.b$_1@'x y'@\"z\"@`q``r`", [b"@a.b$_1", b"@'x y'", b'@"z"', b"@`q``r`"]),
        (b"@@session.x@@`y`", [b"@@", b"session", b".", b"x", b"@@", b"`y`"]),
        (b"@a:=1", [b"@a", b":=", b"1"]),
        # Servers end these numbers where they can, and so a keyword may follow at once.
        (b"1e1INTO", [b"1e1", b"INTO"]),
        (b"1.INTO", [b"1.", b"INTO"]),
        (b"1.e5INTO", [b"1.e5", b"INTO"]),
        (b"0x1F", [b"0", b"x1F"]),
        (b"_utf8'a'N'b'", [b"_utf8", b"'a'", b"N", b"'b'"]),
    ],
)
def test_tokens(text: bytes, expected: list[bytes]) -> None:
    assert texts(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"/*! a */ b", [b"a", b"b"]),
        (b"/*!40101 a*/", [b"a"]),
        (b"/*!50699a*/", [b"a"]),
        (b"/*!a /* b */ c */", [b"a", b"c"]),
        # Whether a server executes these is not known.
        (b"/*!50700 a */", None),
        (b"/*!99999 a */", None),
        (b"/*!080000 a */", None),
        (b"/*!401 a */", None),
        (b"/*M! a */", None),
        (b"/*M!100100 a */", None),
        (b"/*!a /*!b */ c */", None),
        (b"/*! a", None),
        (b"a */ b", None),
        # An asterisk and a comment, but so rare that it is not worth a rule of its own.
        (b"a */**/ b", None),
    ],
)
def test_version_comments(text: bytes, expected: list[bytes] | None) -> None:
    assert texts(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        b"'", b"'a''", rb"'a\'", b'"', b"`", b"``a`", b"@'a", b"/*", b"/* a *", b"/*+ ' */", b"@", b"a@ b", b"\0",
        b"`\0`", b"# a\0b", b"$$a$$", b"$a", b"[a]", b"\x7f",
    ],
)  # fmt: skip
def test_what_does_not_end_or_is_no_sql_is_not_understood(text: bytes) -> None:
    assert texts(text) is None


def test_backslashes_by_sql_mode() -> None:
    assert texts(rb"'a\' 'b'", backslash_escapes=False) == [rb"'a\'", b"'b'"]
    assert texts(rb"'a\' 'b'") is None
    assert texts(rb'"a\" "b"', ansi_quotes=True) == [rb'"a\"', b'"b"']
    assert texts(rb'"a\" "b"') is None
    assert texts(rb'"a\" "b"', backslash_escapes=False) == [rb'"a\"', b'"b"']
    assert texts(rb"'a\'b'", ansi_quotes=True) == [rb"'a\'b'"]


@pytest.mark.parametrize(
    ("text", "is_understood"),
    [
        ("SELECT `größe`, 'é\\'', naïve, @é".encode(), True),
        ("SELECT '€\\\\' `é`".encode(), True),
        # In latin1 and the like; in GBK the backslash or the backtick would be half a character.
        (b"SELECT '\xe9'", True),
        (b"SELECT '\xe9\\''", False),
        (b"SELECT `\xe9`", False),
        (b"SELECT na\xefve", False),
        (b"SELECT @\xe9", False),
        # In latin1 a no-break space is a space.
        (b"SELECT 1\xa0INTO\xa0OUTFILE 'x'", False),
        (b"SELECT 1\xc2\xa0INTO\xc2\xa0OUTFILE 'x'", False),
        (b"SELECT 1 --\xc2\xa0x", False),
    ],
)
def test_what_depends_on_the_character_set_is_not_understood(text: bytes, *, is_understood: bool) -> None:
    assert (texts(text) is not None) is is_understood


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"plain", b"plain"),
        (b"`a``b\\`", b"a`b\\"),
        (b"'it''s'", b"it's"),
        (rb"'a\'b\\c\x'", b"a'b\\cx"),
        (rb"'\0\b\n\r\t\Z\%\_'", b"\0\b\n\r\t\x1a\\%\\_"),
        (rb"'\\''n'", rb"\'n"),
        (b'"a""b\'\'"', b"a\"b''"),
    ],
)
def test_unquote(text: bytes, value: bytes) -> None:
    assert unquote(text, backslash_escapes=True) == value


def test_unquote_where_a_backslash_is_nothing_special() -> None:
    assert unquote(rb"'\'''", backslash_escapes=False) == rb"\'"


@given(text=SQL_BYTES | st.binary(max_size=40), escapes=st.booleans(), ansi=st.booleans())
def test_between_the_tokens_are_comments_and_space(*, text: bytes, escapes: bool, ansi: bool) -> None:
    tokens = tokenize(text, backslash_escapes=escapes, ansi_quotes=ansi)
    if tokens is None:
        return
    stops = [0, *(token.stop for token in tokens)]
    starts = [*(token.start for token in tokens), len(text)]
    for stop, start in zip(stops, starts, strict=True):
        gap = text[stop:start].strip()
        assert gap[:1] == b"#" or gap[:2] in (b"", b"--", b"/*", b"*/")
    for token in tokens:
        assert token.text
        assert text[token.start : token.stop] == token.text
        unquote(token.text, backslash_escapes=escapes)


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("head", [b"", b"'", b'"', b"`", b"@'", b"/*", b"/*+"])
def test_hostile_texts_take_linear_time(head: bytes, piece: bytes) -> None:
    text = head + piece * (64 * 1024 // len(piece))
    began = time.process_time()
    tokenize(text)
    # Some milliseconds; a minute if it were quadratic.
    assert time.process_time() - began < 1


def test_a_text_of_very_many_tokens_is_not_understood() -> None:
    assert texts(b"," * 20_000) is not None
    assert texts(b"," * 20_001) is None
    assert texts(b"'" + b"\\'" * 1_000_000 + b"'") is not None


#: Query attributes: type of a value and how it is written.
VALUES = [
    (1, b"\x01"),
    (2, b"\x01\x02"),
    (13, b"\xe9\x07"),
    (3, b"abcd"),
    (9, b"abcd"),
    (4, b"abcd"),
    (5, b"abcdefgh"),
    (8, b"abcdefgh"),
    (6, b""),
    (7, b"\x04\xe9\x07\x01\x02"),
    (10, b"\x00"),
    (11, b"\x08abcdefgh"),
    (12, b"\x0babcdefghijk"),
    (253, lenenc_bytes(b"x" * 300)),
    (246, lenenc_bytes(b"1.5")),
    (245, lenenc_bytes(b"{}")),
]


def attributes(values: list[tuple[int, bytes] | None], *, sets: int = 1, flag: int = 1) -> bytes:
    """Write query attributes; None is NULL."""
    if not values:
        return b"\x00" + lenenc_integer(sets)
    nulls = sum(1 << index for index, value in enumerate(values) if value is None)
    block = lenenc_integer(len(values)) + lenenc_integer(sets) + nulls.to_bytes((len(values) + 7) // 8, "little")
    block += bytes((flag,))
    block += b"".join(pack("<BB", value[0] if value else 253, 0x80) + lenenc_bytes(b"name") for value in values)
    return block + b"".join(value[1] for value in values if value)


@given(st.lists(st.sampled_from(VALUES) | st.none(), max_size=20), st.binary(max_size=3), st.binary(max_size=3))
def test_text_behind_query_attributes(values: list[tuple[int, bytes] | None], front: bytes, behind: bytes) -> None:
    block = attributes(values)
    payload = front + block + b"SELECT 1" + behind
    start = text_start(payload, len(front), len(payload) - len(behind))
    assert start is not None
    assert payload[start:] == b"SELECT 1" + behind
    # A text may be empty, but nothing may be missing in front of it.
    assert text_start(front + block, len(front), len(front) + len(block)) == len(front) + len(block)
    for stop in range(len(front), len(front) + len(block)):
        assert text_start(payload, len(front), stop) is None


def test_attributes_that_are_not_as_they_must_be() -> None:
    assert text_start(b"\x00\x02SELECT", 0, 8) is None
    for block in (attributes([VALUES[0]], sets=2), attributes([VALUES[0]], flag=0), b"\xfb\x01", b"\xff\x01"):
        assert text_start(block + b"SELECT", 0, len(block) + 6) is None
    # So many parameters would take no small time, if they were there.
    assert text_start(b"\xfe" + b"\xff" * 8 + b"\x01", 0, 10) is None


@given(st.binary(max_size=60), st.integers(0, 5))
def test_any_payload(payload: bytes, start: int) -> None:
    position = text_start(payload, start, len(payload))
    assert position is None or start < position <= len(payload)
