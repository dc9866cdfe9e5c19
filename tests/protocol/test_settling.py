"""What is asked of the server about a session, and what becomes of the answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.effects import Effects, SqlPrepare
from protocol.errors import MalformedPacket, ServerError
from protocol.holds import Hold, HoldKind
from protocol.memory import SessionMemory
from protocol.resultset import ResultSet, Row
from protocol.settling import Settling, quote_name, take_survey, text_literal
from protocol.sql_statements import UnreadStatement
from tests.protocol.transcripts import Wire

TEXT = 253
INTEGER = 8
ROLE = "SELECT CURRENT_ROLE()"
FAILED = ServerError(1305, "FUNCTION CURRENT_ROLE does not exist", b"")


def answer(*row: bytes | None, types: list[int] | None = None) -> ResultSet:
    return ResultSet([TEXT] * len(row) if types is None else types, [row])


def fetched(value: bytes | None, collation: bytes = b"binary", kind: int = INTEGER) -> ResultSet:
    """Answer the question for a user variable, as servers do: HEX() of a number is of the number, not of its digits."""
    digits = None if value is None else b"%X" % int(value) if kind == INTEGER else value.hex().encode()
    return answer(value, collation, digits, types=[kind, TEXT, TEXT])


def a_memory(*variables: bytes) -> SessionMemory:
    memory = Wire().memory
    memory.unsettled_variables = frozenset(variables)
    return memory


def settle(
    memory: SessionMemory, *first: ResultSet | ServerError, second: ResultSet | ServerError | None = None
) -> list[str]:
    """Settle with these answers; return the questions of both rounds."""
    settling = Settling(memory)
    questions = settling.first_questions()
    assert len(questions) == len(first)
    more = settling.second_questions(first)
    if more:
        assert second is not None
        settling.finish([second])
    return questions + more


def set_to(kind: int, value: bytes | None, collation: bytes = b"binary") -> str:
    """Give the SQL for a user variable that has been read back."""
    memory = a_memory(b"a")
    settle(memory, answer(b"1"), second=fetched(value, collation, kind))
    assert not memory.is_unsettled
    assert memory.holds == []
    return memory.user_variables[b"a"]


# What is asked


def test_a_settled_session_is_asked_for_nothing() -> None:
    assert settle(Wire().memory) == []


def test_everything_is_asked_for_in_two_rounds() -> None:
    memory = a_memory(b"b", b"a")
    memory.end_command(Effects(prepares=(SqlPrepare(b"s", None, b"c"),)), 0, failed=False)
    memory.unsettled_system_variables = frozenset({"sql_mode", "autocommit"})
    memory.is_role_unsettled = True
    memory.hold(Hold(HoldKind.USER_LOCK, "it's"))
    memory.hold(Hold(HoldKind.USER_LOCK, "?"))
    questions = settle(
        memory,
        answer(b"`r`@`%`"),
        answer(b"ON", None),
        answer(b"1"),
        answer(b"1", b"1", b"8"),
        second=answer(
            *(b"1", b"binary", b"31"),
            *(b"2", b"binary", b"32"),
            *(b"SELECT 1", b"utf8mb4_bin", b"53454c4543542031"),
            types=[INTEGER, TEXT, TEXT] * 2 + [TEXT] * 3,
        ),
    )
    assert questions == [
        ROLE,
        "SELECT @@SESSION.`autocommit`, @@SESSION.`sql_mode`",
        "SELECT IS_USED_LOCK(x'69742773') = CONNECTION_ID()",
        "SELECT COALESCE(LENGTH(@`a`), 0), COALESCE(LENGTH(@`b`), 0), COALESCE(LENGTH(@`c`), 0)",
        "SELECT " + ", ".join(f"@`{name}`, COLLATION(@`{name}`), HEX(@`{name}`)" for name in "abc"),
    ]
    assert not memory.is_unsettled
    assert memory.role == "`r`@`%`"
    assert memory.tracked.variables == {"autocommit": "ON", "sql_mode": ""}
    assert memory.user_variables == {
        b"a": "1",
        b"b": "2",
        b"c": "_utf8mb4 x'53454c4543542031' COLLATE utf8mb4_bin",
    }
    (statement,) = memory.sql_statements.known.values()
    assert statement.literal == b"_utf8mb4 x'53454c4543542031' COLLATE utf8mb4_bin"


def test_names_are_quoted() -> None:
    assert quote_name("a`b") == "`a``b`"
    memory = a_memory(b"a`b c")
    questions = settle(memory, answer(b"1"), second=fetched(b"1"))
    assert questions == [
        "SELECT COALESCE(LENGTH(@`a``b c`), 0)",
        "SELECT @`a``b c`, COLLATION(@`a``b c`), HEX(@`a``b c`)",
    ]


# How values are written


@pytest.mark.parametrize(
    ("kind", "value", "collation", "literal"),
    [
        (8, b"18446744073709551615", b"binary", "18446744073709551615"),
        (8, b"-1", b"binary", "-1"),
        (246, b"1.50", b"binary", "1.50"),
        (246, b"7", b"binary", "CAST(7 AS DECIMAL(65))"),
        (5, b"1.5", b"binary", "1.5e0"),
        (5, b"7", b"binary", "7e0"),
        (5, b"1e300", b"binary", "1e300"),
        (253, b"", b"utf8mb4_bin", "_utf8mb4 '' COLLATE utf8mb4_bin"),
        (250, b"it's", b"latin1_swedish_ci", "_latin1 x'69742773' COLLATE latin1_swedish_ci"),
        (251, b"\x00\xff", b"binary", "_binary x'00ff'"),
        (8, None, b"binary", "NULLIF(1, 1)"),
        (253, None, b"latin1_bin", "NULLIF(_latin1 '' COLLATE latin1_bin, _latin1 '' COLLATE latin1_bin)"),
        (253, None, b"binary", "NULL"),
        (6, None, b"binary", "NULL"),
    ],
)
def test_a_variable_gets_a_value_of_the_type_it_had(
    kind: int, value: bytes | None, collation: bytes, literal: str
) -> None:
    assert set_to(kind, value, collation) == literal


def test_a_literal_is_the_same_whatever_quotes_mean() -> None:
    assert text_literal(b"a'\\\"") == "x'61275c22'"
    assert text_literal(b"") == "''"


# What cannot be read back


def test_a_variable_in_an_unknown_character_set_is_held() -> None:
    memory = a_memory(b"\xe4", b"a")
    questions = settle(memory, answer(b"1"), second=fetched(b"1"))
    assert questions[0] == "SELECT COALESCE(LENGTH(@`a`), 0)"
    assert [hold.name for hold in memory.holds] == ["@\N{REPLACEMENT CHARACTER}"]
    assert list(memory.user_variables) == [b"a"]
    assert not memory.is_unsettled


def test_large_variables_are_held_while_small_ones_still_fit() -> None:
    memory = a_memory(b"a", b"b")
    memory.user_variables = {b"z": "x" * 60_000}
    questions = settle(memory, answer(b"5535", b"100"), second=fetched(b"1"))
    assert questions[-1] == "SELECT @`a`, COLLATION(@`a`), HEX(@`a`)"
    assert [hold.name for hold in memory.holds] == ["@b"]


def test_a_variable_that_is_too_large_is_not_fetched_and_its_hold_ends_when_it_is_small_again() -> None:
    memory = a_memory(b"a")
    memory.user_variables[b"a"] = "1"
    assert len(settle(memory, answer(b"70000"))) == 1
    assert memory.user_variables == {}
    assert not memory.is_unsettled
    assert [hold.name for hold in memory.holds] == ["@a"]
    memory.unsettled_variables = frozenset({b"a"})
    settle(memory, answer(b"1"), second=fetched(b"1"))
    assert memory.holds == []


def test_a_statement_whose_text_is_too_large_is_asked_for_once() -> None:
    # What stays unsettled would be asked for again and again.
    memory = Wire().memory
    memory.sql_statements.unread = {b"s": UnreadStatement(b"a", b"", memory.dialect)}
    settle(memory, answer(b"70000"))
    assert not memory.is_unsettled
    assert [hold.name for hold in memory.holds] == ["@a", "PREPARE s"]


@pytest.mark.parametrize(
    "wrong",
    [FAILED, ResultSet([TEXT], []), answer(b"1", b"2", b"3"), ResultSet([TEXT], [(b"1",), (b"1",)])],
    ids=["an error", "no row", "too wide", "two rows"],
)
def test_whatever_comes_instead_of_an_answer_becomes_a_hold(wrong: ResultSet | ServerError) -> None:
    memory = a_memory(b"a")
    memory.unsettled_system_variables = frozenset({"sql_mode"})
    memory.is_role_unsettled = True
    memory.hold(Hold(HoldKind.USER_LOCK, "l"))
    settle(memory, wrong, wrong, wrong, wrong)
    assert not memory.is_unsettled
    assert [hold.name for hold in memory.holds] == ["l", "SET ROLE", "@@sql_mode", "@a"]


@pytest.mark.parametrize("wrong", [FAILED, answer(b"1"), answer(b"1", b"binary", types=[])])
def test_a_value_that_cannot_be_had_becomes_a_hold(wrong: ResultSet | ServerError) -> None:
    memory = a_memory(b"a")
    memory.sql_statements.unread = {b"s": UnreadStatement(b"a", b"", memory.dialect)}
    settle(memory, answer(b"1"), second=wrong)
    assert not memory.is_unsettled
    assert [hold.name for hold in memory.holds] == ["@a", "PREPARE s"]


def test_a_statement_whose_text_turns_out_to_be_a_number_is_lost() -> None:
    memory = Wire().memory
    memory.sql_statements.unread = {b"s": UnreadStatement(b"a", b"", memory.dialect)}
    settle(memory, answer(b"1"), second=fetched(b"7"))
    assert not memory.is_unsettled
    assert [hold.name for hold in memory.holds] == ["PREPARE s"]


@pytest.mark.parametrize("value", [b"x", b"-1", b"1.5", b"9" * 21, b""])
def test_a_number_that_is_none(value: bytes) -> None:
    settling = Settling(a_memory(b"a"))
    settling.first_questions()
    with pytest.raises(MalformedPacket, match="number"):
        settling.second_questions([answer(value)])


def test_no_role_is_a_role_as_well() -> None:
    # SET ROLE NONE has to be repeated where there is a default role. MariaDB calls it NULL.
    for none in (None, b"NONE"):
        memory = Wire().memory
        memory.is_role_unsettled = True
        settle(memory, answer(none))
        assert memory.role == "NONE"
        assert not memory.is_unsettled


@pytest.mark.parametrize(("is_ours", "is_held"), [(b"1", True), (b"0", False), (None, False)])
def test_locks_that_the_session_does_not_have_are_forgotten(*, is_ours: bytes | None, is_held: bool) -> None:
    memory = Wire().memory
    memory.hold(Hold(HoldKind.USER_LOCK, "a"))
    settle(memory, answer(is_ours))
    assert bool(memory.holds) == is_held


def test_variables_that_come_to_be_unsettled_meanwhile_stay_so() -> None:
    memory = a_memory(b"a")
    settling = Settling(memory)
    settling.first_questions()
    settling.second_questions([answer(b"1")])
    memory.unsettled_variables |= {b"b"}
    settling.finish([fetched(b"1")])
    assert memory.unsettled_variables == {b"b"}


CELLS = st.none() | st.sampled_from([b"0", b"1", b"70000", b"-1", b"x", b"9" * 5000])
TYPES = st.lists(st.sampled_from([INTEGER, TEXT, 5, 246]), max_size=5)
ROWS: st.SearchStrategy[list[Row]] = st.lists(st.lists(CELLS, max_size=5).map(tuple), max_size=2)
ANSWERS = st.just(FAILED) | st.builds(ResultSet, TYPES, ROWS)


@given(
    st.sets(st.sampled_from([b"a", b"b", b"\xff"])),
    st.sets(st.sampled_from(["sql_mode"])),
    st.booleans(),
    st.lists(ANSWERS, min_size=4, max_size=4),
    ANSWERS,
)
def test_any_answers_leave_nothing_to_be_asked_again(
    variables: set[bytes],
    system: set[str],
    role: bool,  # noqa: FBT001  drawn
    first: list[ResultSet | ServerError],
    second: ResultSet | ServerError,
) -> None:
    memory = a_memory(*variables)
    memory.unsettled_system_variables = frozenset(system)
    memory.is_role_unsettled = role
    settling = Settling(memory)
    count = len(settling.first_questions())
    try:
        more = settling.second_questions(first[:count])
    except MalformedPacket:
        return
    if more:
        settling.finish([second])
    assert not memory.is_unsettled
    assert {hold.kind for hold in memory.holds} <= {HoldKind.UNSETTLED}


def a_doubtful_memory() -> SessionMemory:
    memory = Wire().memory
    memory.can_be_surveyed = True
    memory.note_change(None)
    return memory


def survey(*values: bytes | None) -> ResultSet:
    return ResultSet([TEXT], [(value,) for value in values])


def test_a_survey_that_finds_nothing() -> None:
    memory = a_doubtful_memory()
    take_survey(memory, survey(b"0"))
    assert memory.holds == []


def test_a_survey_that_finds_variables() -> None:
    memory = a_doubtful_memory()
    take_survey(memory, survey(b"0", b"A", b"\xc3\xa4"))
    assert memory.unsettled_variables == {b"a", b"\xc3\xa4"}


@pytest.mark.parametrize("answer", [FAILED, survey(), survey(None), survey(b"1.5"), survey(b"a", b"0")])
def test_a_survey_that_is_not_answered(answer: ResultSet | ServerError) -> None:
    memory = a_doubtful_memory()
    take_survey(memory, answer)
    assert memory.holds == [Hold(HoldKind.UNEXPLAINED)]
    assert not memory.is_unsettled
