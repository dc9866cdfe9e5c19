"""Cuts the text of a statement into tokens, and finds that text in a command.

The text is read as both MySQL and MariaDB read it. Where they differ, or where it depends on what is not known here
(a version comment that only some servers execute, a quote that does not end, a character set in which a byte of a
character can be a quote or a backslash), there are no tokens at all: the text is not understood.
"""

import re
from enum import Enum, auto
from typing import NamedTuple

from protocol.errors import MalformedPacket
from protocol.wire import Cursor

#: A text of more tokens is not understood; what a text costs in time and memory is bounded by this.
_MOST_TOKENS = 20_000


class Lexeme(Enum):
    """Kinds of tokens."""

    WORD = auto()  # a keyword or an identifier, in ASCII
    NAME = auto()  # an identifier with other characters in it
    NUMBER = auto()
    STRING = auto()  # '...', or "...", which may be an identifier
    QUOTED = auto()  # `...`
    USER = auto()  # @name, @'name', @"name" or @`name`
    SYSTEM = auto()  # the @@ in front of a system variable
    ASSIGN = auto()  # :=
    MARK = auto()  # a single character of punctuation


class Token(NamedTuple):
    """A token; ``key`` is what a grammar asks for: a word in capitals or a mark, and nothing for values and names."""

    lexeme: Lexeme
    key: str
    text: bytes
    start: int

    @property
    def stop(self) -> int:
        """Where the token ends in the text."""
        return self.start + len(self.text)


_KEYED = frozenset({Lexeme.WORD, Lexeme.SYSTEM, Lexeme.ASSIGN, Lexeme.MARK})
_LEXEMES = {lexeme.name: lexeme for lexeme in Lexeme}


def _quoted(quote: str, *, escapes: bool) -> str:
    """Write the pattern of a quoted token. Possessive throughout: it takes linear time and no memory.

    In what is repeated, only the two bytes at its beginning can fail to match: Python 3.11 before 3.11.5 forgets to go
    back where a possessive repetition fails further on.
    """
    if escapes:
        return rf"{quote}[^{quote}\\]*+(?:(?:\\.|{quote}{quote})[^{quote}\\]*+)*+{quote}"
    return rf"{quote}[^{quote}]*+(?:{quote}{quote}[^{quote}]*+)*+{quote}"


def _pattern(*, backslash_escapes: bool, ansi_quotes: bool) -> re.Pattern[bytes]:
    """Compile the pattern of a token with the whitespace and the comments in front of it."""
    single = _quoted("'", escapes=backslash_escapes)
    double = _quoted('"', escapes=backslash_escapes and not ansi_quotes)
    back = r"`[^`\0]*+(?:``[^`\0]*+)*+`"
    pattern = rf"""
        [\t-\r\x20]*+
        (?:
            (?P<WORD>[A-Za-z_][\w$]*+(?![\x80-\xff]))
            | (?P<NAME>[A-Za-z_\x80-\xff][\w$\x80-\xff]*+)
            | (?P<NUMBER>[0-9]++(?:\.[0-9]*+)?(?:[eE][+-]?[0-9]++)?)
            | (?P<STRING>{single}|{double})
            | (?P<QUOTED>{back})
            | (?P<USER>@(?:[\w.$\x80-\xff]++|{single}|{double}|{back}))
            | (?P<SYSTEM>@@)
            | (?P<ASSIGN>:=)
            | (?P<COMMENT>
                \#[^\n\0]*+
                | --(?:(?=[\0-\x20\x7f])[^\n\0]*+|\Z)
                | /\*(?!M?!|\+).*?\*/
                # An optimizer hint of MySQL. Where a hint with quotes in it ends, depends on the server.
                | /\*\+[^*'"`\\]*+\*/
            )
            # Every server executes comments for versions below 5.7 and those for all; MariaDB skips many of the others.
            | (?P<VERSION>/\*!(?:[0-4][0-9]{{4}}|50[0-6][0-9]{{2}})?(?![0-9]))
            | (?P<CLOSE>\*/)
            | (?P<DOUBT>/\*|--[\x80-\xff])
            | (?P<MARK>[!%&()*+,\-./:;<=>?\\^{{|}}~])
            | (?P<END>\Z)
            | (?P<UNKNOWN>.)
        )"""
    return re.compile(pattern.encode(), re.DOTALL | re.VERBOSE)


_PATTERNS = {
    (escapes, ansi): _pattern(backslash_escapes=escapes, ansi_quotes=ansi)
    for escapes in (False, True)
    for ansi in (False, True)
}

# In some character sets these can be the second byte of a character.
_DECEPTIVE = re.compile(rb"[\x80-\xff][\\`]")


def tokenize(text: bytes, *, backslash_escapes: bool = True, ansi_quotes: bool = False) -> list[Token] | None:
    """Cut a text into its tokens; None if it is not understood.

    A word that begins behind a digit, as in ``1st``, is a token of its own: servers read some as a part of the number.
    """
    tokens = []
    in_version_comment = False
    for match in _PATTERNS[backslash_escapes, ansi_quotes].finditer(text):
        group = match.lastgroup or ""
        lexeme = _LEXEMES.get(group)
        if lexeme is not None:
            piece = match[group]
            key = piece.decode().upper() if lexeme in _KEYED else ""
            tokens.append(Token(lexeme, key, piece, match.end() - len(piece)))
            if len(tokens) > _MOST_TOKENS:
                return None
        elif group == "COMMENT":
            continue
        elif group == "END":
            break
        elif group == ("CLOSE" if in_version_comment else "VERSION"):
            in_version_comment = not in_version_comment
        else:
            return None
    is_understood = not in_version_comment and (text.isascii() or _is_surely_read(text, tokens))
    return tokens if is_understood else None


def _is_surely_read(text: bytes, tokens: list[Token]) -> bool:
    """Tell whether a text that is not all ASCII has the same tokens in whatever character set a server reads it."""
    bare = [token for token in tokens if token.lexeme in (Lexeme.NAME, Lexeme.USER) and not token.text.isascii()]
    if any(b"\xc2\xa0" in token.text for token in bare):
        return False  # a no-break space: a server that takes the text for latin1 sees a space in it
    try:
        text.decode()
    except UnicodeDecodeError:
        return not bare and _DECEPTIVE.search(text) is None
    return True


#: What stands for another character than the one behind the backslash. Two of them stay as they are.
_ESCAPES = {rb"\0": b"\0", rb"\b": b"\b", rb"\n": b"\n", rb"\r": b"\r", rb"\t": b"\t", rb"\Z": b"\x1a"}
_ESCAPES |= {rb"\%": rb"\%", rb"\_": rb"\_"}
#: A pair of bytes that stands for one, by the quotes around it.
_PAIRS = {b"'": re.compile(rb"\\.|''", re.DOTALL), b'"': re.compile(rb'\\.|""', re.DOTALL)}


def unquote(text: bytes, *, backslash_escapes: bool) -> bytes:
    """Give the value of a quoted token, and what is not quoted as it is."""
    quote = text[:1]
    if quote not in (b"'", b'"', b"`"):
        return text
    if backslash_escapes and quote in _PAIRS:
        return _PAIRS[quote].sub(lambda pair: _ESCAPES.get(pair[0], pair[0][1:]), text[1:-1])
    return text[1:-1].replace(quote * 2, quote)


#: Bytes of a value of the binary protocol, by type (``enum_field_types``). All others begin with their length; where it
#: takes one byte (dates and times), that is a length-encoded integer as well.
_VALUE_WIDTHS = {1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 6: 0, 8: 8, 9: 4, 13: 2}


def text_start(payload: bytes, start: int, stop: int) -> int | None:
    """Find the statement in a COM_QUERY behind its query attributes; None if they are malformed.

    ``payload[start:stop]`` is what stands behind the command byte, where CLIENT_QUERY_ATTRIBUTES has been negotiated.
    Source: the manual's pages "COM_QUERY" and "Binary Protocol Value".
    """
    if stop - start >= 2 and payload[start] == 0:
        return start + 2 if payload[start + 1] == 1 else None
    cursor = Cursor(payload[start:stop])
    try:
        _skip_attributes(cursor)
    except MalformedPacket:
        return None
    return start + cursor.position


def _skip_attributes(cursor: Cursor) -> None:
    """Read the query attributes, of which there is at least one."""
    count = cursor.lenenc_integer()
    sets = cursor.lenenc_integer()
    is_null = cursor.take((count + 7) // 8)
    has_types = cursor.integer(1)
    if sets != 1 or has_types != 1:
        raise MalformedPacket("query attributes do not come as one set with types")
    types = []
    for _ in range(count):
        types.append(cursor.integer(2) & 0xFF)
        cursor.lenenc_bytes()
    for index, kind in enumerate(types):
        if is_null[index // 8] >> index % 8 & 1:
            continue
        if kind in _VALUE_WIDTHS:
            cursor.take(_VALUE_WIDTHS[kind])
        else:
            cursor.lenenc_bytes()
