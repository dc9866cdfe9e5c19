"""What a new link is given, in which order, and what becomes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.constants import Capability, CommandCode
from protocol.errors import MalformedPacket
from protocol.memory import SessionMemory
from protocol.prepared import NO_STATEMENT_ID
from protocol.restoring import CannotRestore, Step, note_what_changed, restore_steps, take_answers
from protocol.sql_statements import SqlStatement
from tests.protocol.transcripts import (
    COLUMN,
    EOF,
    ERR,
    NONE,
    OK,
    Wire,
    a_statement,
    frames,
)

DEPRECATE_EOF = Capability.DEPRECATE_EOF
ANSI = ("ANSI", None, None, None)


def payloads(memory: SessionMemory, capabilities: int = NONE) -> list[bytes]:
    return [step.payload for step in restore_steps(memory, capabilities)]


def prepare_ok(statement_id: int, columns: int = 1, parameters: int = 1, metadata: bytes = b"") -> bytes:
    return b"\x00" + statement_id.to_bytes(4, "little") + bytes((columns, 0, parameters, 0, 0, 0, 0)) + metadata


def take(memory: SessionMemory, replies: bytes, capabilities: int = NONE) -> None:
    take_answers(list(restore_steps(memory, capabilities)), replies, memory, capabilities)


# What is given, and in which order


def test_a_session_that_has_changed_nothing_is_given_nothing() -> None:
    assert payloads(Wire().memory) == []


def test_everything_in_its_order() -> None:
    memory = Wire().memory
    memory.tracked.variables = {"sql_mode": "ANSI", "wait_timeout": "100", "session_track_schema": "OFF"}
    memory.tracked.schema = b"t"
    memory.role = "`r`@`%`"
    memory.multi_statements = True
    memory.user_variables = {b"a": "1", b"b`c": "NULL"}
    memory.last_insert_id = 7
    memory.statements = {
        1: a_statement(1, text=b"SELECT 1"),
        2: a_statement(2, text=b"SELECT 2", schema=b"t"),
        3: a_statement(3, text=b"SELECT 3", schema=b"other"),
    }
    memory.sql_statements.known = {
        b"s": SqlStatement(b"'SELECT 4'", b"t", memory.dialect),
        b"u`v": SqlStatement(b"x'00'", b"", memory.dialect),
    }
    steps = list(restore_steps(memory, NONE))
    assert [step.payload for step in steps] == [
        b"\x03SET SESSION sql_mode = 'ANSI', SESSION wait_timeout = 100",
        b"\x03SET ROLE `r`@`%`",
        b"\x1b\x00\x00",
        b"\x03SET @`a` = 1",
        b"\x03SET @`b``c` = NULL",
        b"\x03PREPARE `u``v` FROM x'00'",
        b"\x16SELECT 1",
        b"\x02other",
        b"\x16SELECT 3",
        b"\x02t",
        b"\x03PREPARE `s` FROM 'SELECT 4'",
        b"\x16SELECT 2",
        b"\x03SET last_insert_id = 7",
    ]
    assert [step.code for step in steps] == [step.payload[0] for step in steps]
    assert [step.prepared for step in steps if step.code == CommandCode.STMT_PREPARE] == [
        memory.statements[key] for key in (1, 3, 2)
    ]
    assert [step.what for step in steps] == [
        "the session variables sql_mode, wait_timeout",
        "the role",
        "the multi-statement option",
        "the user variable @a",
        "the user variable @b`c",
        "the statement PREPAREd as u`v",
        "a prepared statement",
        "the schema other",
        "a prepared statement",
        "the schema t",
        "the statement PREPAREd as s",
        "a prepared statement",
        "LAST_INSERT_ID()",
    ]


def test_queries_are_written_for_the_links_capabilities() -> None:
    memory = Wire().memory
    memory.last_insert_id = 7
    assert payloads(memory, Capability.QUERY_ATTRIBUTES) == [b"\x03\x00\x01SET last_insert_id = 7"]


def test_what_was_changed_last_is_set_last() -> None:
    # SET NAMES changes several that depend on each other.
    memory = Wire().memory
    memory.tracked.variables = {"collation_connection": "utf8mb4_bin", "character_set_client": "latin1"}
    assert payloads(memory) == [
        b"\x03SET SESSION collation_connection = 'utf8mb4_bin', SESSION character_set_client = 'latin1'"
    ]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("ON", "'ON'"),
        ("", "''"),
        ("it's", "'it''s'"),
        ("7", "7"),
        ("-7", "-7"),
        ("0.5", "0.5"),
        ("1.", "'1.'"),
        ("7 ", "'7 '"),
        ('a"b', "'a\"b'"),
    ],
)
def test_values_are_quoted_unless_they_are_numbers(value: str, written: str) -> None:
    memory = Wire().memory
    memory.tracked.variables = {"a": value}
    assert payloads(memory) == [f"\x03SET SESSION a = {written}".encode()]


def test_no_character_set_for_results_is_reported_as_an_empty_one() -> None:
    memory = Wire().memory
    memory.tracked.variables = {"character_set_results": ""}
    assert payloads(memory) == [b"\x03SET SESSION character_set_results = NULL"]


@pytest.mark.parametrize("value", ["a\\b", "a\nb", "\0"])
def test_a_value_that_means_different_things_to_servers_cannot_be_written(value: str) -> None:
    memory = Wire().memory
    memory.tracked.variables = {"init_connect": value}
    with pytest.raises(CannotRestore, match="the session variable init_connect"):
        payloads(memory)


@pytest.mark.parametrize(
    ("role", "written"),
    [("NONE", b"NONE"), ("none", b"none"), ("editor", b"`editor`"), ("`a`@`%`,`b`@`%`", b"`a`@`%`,`b`@`%`")],
)
def test_roles_come_as_each_server_writes_them(role: str, written: bytes) -> None:
    memory = Wire().memory
    memory.role = role
    assert payloads(memory) == [b"\x03SET ROLE " + written]


@pytest.mark.parametrize(
    ("is_on", "capabilities", "steps"),
    [
        (False, NONE, []),
        (True, NONE, [b"\x1b\x00\x00"]),
        (True, Capability.MULTI_STATEMENTS, []),
        (False, Capability.MULTI_STATEMENTS, [b"\x1b\x01\x00"]),
    ],
)
def test_the_multi_statement_option(capabilities: int, steps: list[bytes], *, is_on: bool) -> None:
    memory = Wire().memory
    memory.multi_statements = is_on
    assert payloads(memory, capabilities) == steps


def test_a_name_in_any_character_set_is_given_back_as_it_came() -> None:
    memory = Wire().memory
    memory.sql_statements.known = {b"\xe4`": SqlStatement(b"'SELECT 1'", b"", memory.dialect)}
    assert payloads(memory) == [b"\x03PREPARE `\xe4``` FROM 'SELECT 1'"]


def test_what_is_broken_or_too_large_is_not_prepared() -> None:
    memory = Wire().memory
    memory.statements = {1: a_statement(1, broken="it"), 2: a_statement(2, text=None), 3: a_statement(3)}
    assert [step.prepared for step in restore_steps(memory, NONE)] == [memory.statements[3]]


# What cannot be had as it was


def test_a_statement_that_was_read_in_another_way_is_not_prepared() -> None:
    memory = Wire().memory
    memory.statements = {1: a_statement(1, dialect=ANSI), 2: a_statement(2)}
    note_what_changed(memory)
    assert memory.statements[1].broken == "it was prepared under another sql_mode or character set"
    assert memory.statements[2].broken == ""
    # Should the session return to how it was, so does the statement, on the next link.
    memory.tracked.variables["sql_mode"] = "ANSI"
    note_what_changed(memory)
    assert [bool(prepared.broken) for prepared in memory.statements.values()] == [False, True]


def test_a_schema_can_be_left_for_another_one_but_not_for_none() -> None:
    memory = Wire().memory
    memory.statements = {1: a_statement(1, schema=b"t"), 2: a_statement(2)}
    note_what_changed(memory)
    assert memory.statements[1].broken == "it was prepared in another schema"
    assert payloads(memory) == [b"\x16SELECT ?"]
    memory.tracked.schema = b"u"
    note_what_changed(memory)
    assert memory.statements[1].broken == ""
    assert payloads(memory) == [b"\x16SELECT ?", b"\x02t", b"\x16SELECT ?", b"\x02u"]


@pytest.mark.parametrize("change", [{"dialect": ANSI}, {"schema": b"t"}])
def test_a_sql_statement_that_cannot_be_had_takes_the_session_with_it(change: dict[str, object]) -> None:
    # Its name would be unknown, or that of another statement.
    memory = Wire().memory
    fields = {"literal": b"'SELECT 1'", "schema": b"", "dialect": memory.dialect} | change
    memory.sql_statements.known = {b"s": SqlStatement(**fields)}  # type: ignore[arg-type]  # mixed values
    with pytest.raises(CannotRestore, match="s was PREPAREd under another"):
        note_what_changed(memory)


# What becomes of it


def test_the_ids_of_statements_are_mapped() -> None:
    memory = Wire().memory
    memory.statements = {3: a_statement(3), 8: a_statement(8)}
    definitions = (COLUMN, EOF, COLUMN, EOF)
    take(memory, frames(prepare_ok(1), *definitions) + frames(prepare_ok(3), *definitions))
    assert [(prepared.client_id, prepared.server_id) for prepared in memory.statements.values()] == [(3, 1), (8, 3)]
    assert not any(prepared.broken for prepared in memory.statements.values())


@pytest.mark.parametrize(
    ("capabilities", "definitions"),
    [(NONE, [COLUMN, EOF, COLUMN, EOF]), (DEPRECATE_EOF, [COLUMN, COLUMN])],
    ids=["EOF", "end-OK"],
)
def test_the_answers_behind_a_prepare_are_found(capabilities: int, definitions: list[bytes]) -> None:
    memory = Wire().memory
    memory.statements = {1: a_statement(1)}
    memory.last_insert_id = 7
    take(memory, frames(prepare_ok(5), *definitions) + frames(OK), capabilities)
    with pytest.raises(CannotRestore, match=r"LAST_INSERT_ID\(\) could not be restored: Access denied"):
        take(memory, frames(prepare_ok(5), *definitions) + frames(ERR), capabilities)


def test_where_there_is_nothing_to_define_no_eof_comes_either() -> None:
    memory = Wire().memory
    memory.statements = {
        1: a_statement(1, parameters=0),
        2: a_statement(2, columns=0),
        3: a_statement(3, columns=0, parameters=0),
        4: a_statement(4),
    }
    replies = (
        frames(prepare_ok(5, 1, 0), COLUMN, EOF),
        frames(prepare_ok(6, 0, 1), COLUMN, EOF),
        frames(prepare_ok(7, 0, 0)),
        frames(prepare_ok(8), COLUMN, EOF, COLUMN, EOF),
    )
    take(memory, b"".join(replies))
    assert [prepared.server_id for prepared in memory.statements.values()] == [5, 6, 7, 8]
    assert not any(prepared.broken for prepared in memory.statements.values())


@pytest.mark.parametrize("metadata", [b"\x00", b"\x01"])
def test_optional_definitions_that_do_not_come(metadata: bytes) -> None:
    memory = Wire().memory
    memory.statements = {1: a_statement(1), 2: a_statement(2)}
    columns = [] if metadata == b"\x00" else [COLUMN]
    reply = frames(prepare_ok(5, metadata=metadata), *columns, EOF, *columns, EOF)
    take(memory, reply + reply, Capability.OPTIONAL_METADATA)
    assert [prepared.broken for prepared in memory.statements.values()] == ["", ""]


def test_a_statement_that_fails_takes_nothing_but_itself_with_it() -> None:
    memory = Wire().memory
    memory.statements = {1: a_statement(1), 2: a_statement(2, 1)}
    take(memory, frames(ERR) + frames(prepare_ok(1), COLUMN, EOF, COLUMN, EOF))
    first, second = memory.statements.values()
    assert first.broken == "Access denied"
    # Its old id is another statement's by now: who closes it must not close that one.
    assert (first.server_id, second.server_id) == (NO_STATEMENT_ID, 1)


def test_what_was_not_prepared_has_no_id() -> None:
    memory = Wire().memory
    memory.statements = {1: a_statement(1, dialect=ANSI), 2: a_statement(2)}
    note_what_changed(memory)
    take(memory, frames(prepare_ok(1), COLUMN, EOF, COLUMN, EOF))
    assert [prepared.server_id for prepared in memory.statements.values()] == [NO_STATEMENT_ID, 1]


@pytest.mark.parametrize(("columns", "parameters"), [(1, 2), (1, 0), (0, 0)])
def test_a_statement_of_another_shape_is_not_the_same(columns: int, parameters: int) -> None:
    memory = Wire().memory
    memory.statements = {1: a_statement(1)}
    definitions = [*([COLUMN] * parameters), *([EOF] if parameters else []), *([COLUMN] * columns)]
    take(memory, frames(prepare_ok(5, columns, parameters), *definitions, *([EOF] if columns else [])))
    assert memory.statements[1].broken == (f"it had 1 parameters, and now it has {parameters}")
    assert memory.statements[1].server_id == 5  # so that it can be closed


def test_a_client_that_keeps_definitions_must_get_the_same_ones() -> None:
    other = COLUMN.replace(b"\xfd", b"\x03")
    for keeps, is_broken in ((True, True), (False, False)):
        wire = Wire(keeps_definitions=keeps)
        memory = wire.memory
        # It was prepared in a transaction, as the EOFs say.
        in_transaction = b"\xfe\x00\x00\x03\x00"
        wire.client_asks(b"\x16SELECT ?")
        wire.server_says(frames(prepare_ok(1), COLUMN, in_transaction, COLUMN, in_transaction))
        note_what_changed(memory)
        take(memory, frames(prepare_ok(5), COLUMN, EOF, other, EOF))
        assert memory.statements[1].broken == ("its columns are not the same any more" if is_broken else "")
        note_what_changed(memory)
        take(memory, frames(prepare_ok(5), COLUMN, EOF, COLUMN, EOF))
        assert memory.statements[1].broken == ""


def test_a_session_that_cannot_have_its_schema() -> None:
    memory = Wire().memory
    memory.tracked.schema = b"t"
    with pytest.raises(CannotRestore, match="the schema t could not be restored: Access denied"):
        take(memory, frames(ERR))


PACKETS = st.sampled_from([OK, ERR, EOF, COLUMN, prepare_ok(1), prepare_ok(1, 65535 & 0xFF, 0)]) | st.binary(max_size=9)


@given(st.lists(PACKETS, max_size=9).map(lambda packets: frames(*packets)) | st.binary(max_size=30))
def test_any_answers_are_taken_or_refused(replies: bytes) -> None:
    memory = Wire(keeps_definitions=True).memory
    memory.statements = {1: a_statement(1), 2: a_statement(2, parameters=0)}
    memory.last_insert_id = 7
    steps: list[Step] = list(restore_steps(memory, NONE))
    try:
        take_answers(steps, replies, memory, NONE)
    except (CannotRestore, MalformedPacket):
        return
    assert all(prepared.broken or prepared.server_id for prepared in memory.statements.values())
