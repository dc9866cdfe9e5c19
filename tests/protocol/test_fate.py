"""What became of commands whose link was lost: the table of recovery, row by row."""

from dataclasses import replace

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from protocol.command import reply_kind
from protocol.constants import Capability
from protocol.effects import Kind
from protocol.fate import Circumstances, Fate, judge_all, kind_of, may_have_ended_transaction, text_of
from protocol.memory import SessionMemory
from protocol.reply import MOST_FAILURES, Expected
from tests.protocol.transcripts import NONE, PING, Wire, a_statement, ask

AGAIN, RERUN, CHECK = Fate.AGAIN, Fate.RERUN, Fate.CHECK
ROLLED_BACK, UNKNOWN = Fate.ROLLED_BACK, Fate.UNKNOWN

OUTSIDE = Circumstances(in_transaction=False, autocommit=True, backslash_escapes=True, capabilities=NONE)
INSIDE = replace(OUTSIDE, in_transaction=True)
NO_AUTOCOMMIT = replace(OUTSIDE, autocommit=False)

READ = "SELECT 1"
CHANGE = "INSERT INTO t VALUES (1)"
DDL = "CREATE TABLE t (a INT)"
SETTING = "SET @a = 1"


def a_command(text: str | bytes, *, is_kept: bool = True) -> Expected:
    """Make a command that waits for its answer: a statement, or a payload."""
    payload = b"\x03" + text.encode() if isinstance(text, str) else text
    return Expected(payload[0], reply_kind(payload[0]), 1, None, ask(payload) if is_kept else None)


def judge(
    *commands: str | bytes,
    circumstances: Circumstances = OUTSIDE,
    begun: bool = False,
    unexecuted: int = 0,
    memory: SessionMemory | None = None,
) -> list[Fate]:
    expected = [a_command(command) for command in commands]
    return judge_all(expected, memory or Wire().memory, circumstances, begun=begun, unexecuted=unexecuted)


def test_where_nothing_was_sent_nothing_is_judged() -> None:
    assert judge() == []


# The server surely has not carried it out


@pytest.mark.parametrize("statement", [READ, CHANGE, DDL, SETTING, "COMMIT", "nonsense"])
def test_what_was_never_carried_out_is_sent_outside_of_transactions(statement: str) -> None:
    assert judge(statement, unexecuted=1) == [AGAIN]
    assert judge(statement, unexecuted=1, circumstances=NO_AUTOCOMMIT) == [AGAIN]


@pytest.mark.parametrize("statement", [READ, CHANGE, DDL, SETTING, "COMMIT", "BEGIN", "nonsense"])
def test_in_a_transaction_all_of_it_is_rolled_back(statement: str) -> None:
    assert judge(statement, unexecuted=1, circumstances=INSIDE) == [ROLLED_BACK]


def test_a_rollback_asks_for_what_has_happened_already() -> None:
    for unexecuted in (0, 1):
        for circumstances in (OUTSIDE, INSIDE):
            assert judge("ROLLBACK", unexecuted=unexecuted, circumstances=circumstances) == [AGAIN]


def test_what_was_not_kept_cannot_be_sent_again() -> None:
    command = a_command(CHANGE, is_kept=False)
    for circumstances in (OUTSIDE, INSIDE):
        assert judge_all([command], Wire().memory, circumstances, begun=False, unexecuted=1) == [ROLLED_BACK]


# No answer, outside of a transaction


def test_a_read_is_run_again_where_it_cannot_write() -> None:
    assert judge(READ) == [RERUN]
    assert judge(READ, circumstances=NO_AUTOCOMMIT) == [RERUN]


def test_a_read_of_which_the_client_has_a_part_is_only_checked() -> None:
    assert judge(READ, begun=True) == [CHECK]


@pytest.mark.parametrize(
    "statement", [CHANGE, DDL, "CALL p()", "SELECT GET_LOCK('a', 1)", "nonsense", "SELECT 1; DO 1"]
)
@pytest.mark.parametrize("begun", [False, True])
def test_of_all_else_nobody_knows(statement: str, *, begun: bool) -> None:
    assert judge(statement, begun=begun) == [UNKNOWN]


def test_without_autocommit_a_change_alone_has_left_nothing() -> None:
    assert judge(CHANGE, circumstances=NO_AUTOCOMMIT) == [ROLLED_BACK]
    assert judge(DDL, circumstances=NO_AUTOCOMMIT) == [UNKNOWN]


@pytest.mark.parametrize("statement", [SETTING, "BEGIN", "COMMIT", "ROLLBACK", "SET autocommit = 0"])
def test_what_affects_only_the_session_went_with_it(statement: str) -> None:
    assert judge(statement) == [AGAIN]
    assert judge(statement, begun=True) == [ROLLED_BACK]
    command = a_command(statement, is_kept=False)
    assert judge_all([command], Wire().memory, OUTSIDE, begun=False, unexecuted=0) == [UNKNOWN]


@pytest.mark.parametrize(
    "payload", [PING, b"\x09", b"\x02t", b"\x04t\x00", b"\x16SELECT ?", b"\x1a\x01\0\0\0", b"\x1b\0\0"]
)
def test_commands_that_do_no_harm_can_be_sent_twice(payload: bytes) -> None:
    for circumstances in (OUTSIDE, INSIDE):
        for unexecuted in (0, 1):
            assert judge(payload, circumstances=circumstances, unexecuted=unexecuted) == [AGAIN]
    assert judge(payload, begun=True) == [ROLLED_BACK]


@pytest.mark.parametrize("payload", [b"\x0d", b"\x07\x01", b"\x0c\x07\0\0\0", b"\x1c\x01\0\0\0\x01\0\0\0", b"\x77"])
def test_other_commands_cannot(payload: bytes) -> None:
    assert judge(payload) == [UNKNOWN]


# No answer, in a transaction


@pytest.mark.parametrize("statement", [READ, CHANGE, SETTING])
@pytest.mark.parametrize("begun", [False, True])
def test_the_transaction_takes_with_it_what_was_done_in_it(statement: str, *, begun: bool) -> None:
    assert judge(statement, circumstances=INSIDE, begun=begun) == [ROLLED_BACK]


@pytest.mark.parametrize("statement", ["COMMIT", "BEGIN", DDL, "SET autocommit = 1", "CALL p()", "nonsense"])
def test_unless_it_may_have_been_committed(statement: str) -> None:
    assert judge(statement, circumstances=INSIDE) == [UNKNOWN]


# Several commands


@pytest.mark.parametrize("end", ["COMMIT", DDL, "nonsense", "BEGIN", "SET autocommit = 1"])
def test_what_comes_behind_may_have_committed_what_was_done_before(end: str) -> None:
    assert judge(CHANGE, end, circumstances=INSIDE) == [UNKNOWN, UNKNOWN]
    # But not if it has never been carried out.
    assert judge(CHANGE, end, circumstances=INSIDE, unexecuted=1) == [ROLLED_BACK, ROLLED_BACK]


@pytest.mark.parametrize("end", ["COMMIT", DDL, "nonsense", "SET autocommit = 1", "ROLLBACK"])
def test_behind_the_end_of_a_transaction_a_change_is_in_none(end: str) -> None:
    fates = judge(end, CHANGE, circumstances=INSIDE)
    assert fates[1] is UNKNOWN
    assert fates[0] is UNKNOWN
    assert judge(end, CHANGE, circumstances=INSIDE, unexecuted=1)[1] is ROLLED_BACK


def test_what_switches_autocommit_on_makes_a_change_last() -> None:
    assert judge("SET autocommit = 1", CHANGE, circumstances=NO_AUTOCOMMIT)[1] is UNKNOWN


@pytest.mark.parametrize("end", ["COMMIT", "BEGIN", "SET autocommit = 1"])
def test_a_commit_is_not_repeated_behind_what_it_may_have_committed(end: str) -> None:
    assert judge("BEGIN", CHANGE, end) == [UNKNOWN, UNKNOWN, UNKNOWN]
    assert judge(CHANGE, end, circumstances=NO_AUTOCOMMIT) == [UNKNOWN, UNKNOWN]
    assert judge("SET autocommit = 0", CHANGE, end) == [UNKNOWN, UNKNOWN, UNKNOWN]
    assert judge("CALL p()", end, READ) == [UNKNOWN, UNKNOWN, RERUN]
    # Surely not carried out, it has committed nothing, but it must not say so either.
    assert judge(CHANGE, end, circumstances=NO_AUTOCOMMIT, unexecuted=1) == [ROLLED_BACK, ROLLED_BACK]
    # Where nothing was done there is nothing to commit.
    assert judge(READ, end) == [RERUN, ROLLED_BACK if end == "BEGIN" else AGAIN]


def test_where_a_transaction_may_have_ended_before_nothing_is_said_to_be_rolled_back() -> None:
    doubtful = replace(INSIDE, is_certain=False)
    assert judge(CHANGE, circumstances=doubtful) == [UNKNOWN]
    assert judge("COMMIT", circumstances=doubtful) == [UNKNOWN]
    assert judge(READ, circumstances=doubtful) == [ROLLED_BACK]  # nothing of it could be left
    assert judge(CHANGE, circumstances=doubtful, unexecuted=1) == [ROLLED_BACK]


@pytest.mark.parametrize(
    ("failures", "is_doubtful"),
    [
        ([], False),
        ([(CHANGE, 1062)], False),
        ([(READ, 1146)], False),
        ([(b"\x16nonsense", 1064)], False),
        ([(CHANGE, 1213)], True),
        ([(CHANGE, 1205)], True),
        ([(DDL, 1050)], True),
        ([("CALL p()", 1644), (CHANGE, 1062)], True),
        ([("COMMIT", 1180)], True),
        ([(CHANGE, 1062)] * MOST_FAILURES, True),
    ],
)
def test_what_fails_may_have_ended_the_transaction(
    failures: list[tuple[str | bytes, int]], *, is_doubtful: bool
) -> None:
    commands = [(a_command(command), code) for command, code in failures]
    assert may_have_ended_transaction(commands, Wire().memory, INSIDE) == is_doubtful


def test_while_autocommit_is_off_one_transaction_follows_the_other() -> None:
    without = replace(INSIDE, autocommit=False)
    memory = Wire().memory
    assert not may_have_ended_transaction([(a_command(CHANGE), 1213), (a_command(READ), 1205)], memory, without)
    assert may_have_ended_transaction([(a_command(DDL), 1213)], memory, without)  # it has committed before it failed


def test_a_pipeline_in_a_transaction() -> None:
    assert judge(CHANGE, READ, PING, CHANGE, circumstances=INSIDE) == [ROLLED_BACK, ROLLED_BACK, UNKNOWN, ROLLED_BACK]


def test_what_is_sent_again_comes_behind_all_other_answers() -> None:
    assert judge(PING, CHANGE) == [UNKNOWN, UNKNOWN]
    assert judge(CHANGE, PING) == [UNKNOWN, AGAIN]
    assert judge(PING, SETTING, PING) == [AGAIN, AGAIN, AGAIN]
    assert judge(READ, CHANGE, PING, unexecuted=2) == [RERUN, AGAIN, AGAIN]
    assert judge(CHANGE, CHANGE, CHANGE, unexecuted=3) == [AGAIN, AGAIN, AGAIN]


def test_only_the_first_answer_can_have_begun() -> None:
    assert judge(READ, READ, begun=True) == [CHECK, RERUN]


# The text of a command


def test_the_text_stands_behind_the_attributes() -> None:
    memory = Wire().memory
    command = a_command(b"\x03\x00\x01" + READ.encode())
    assert text_of(command, memory, Capability.QUERY_ATTRIBUTES) == READ.encode()
    assert text_of(a_command(READ), memory, NONE) == READ.encode()
    assert text_of(a_command(b"\x03\x01\x01"), memory, Capability.QUERY_ATTRIBUTES) is None
    assert judge(command.packet[4:] if command.packet else b"") == [UNKNOWN]


@pytest.mark.parametrize("code", [b"\x17", b"\xfa"])
def test_a_prepared_statement_is_what_its_text_says(code: bytes) -> None:
    memory = Wire().memory
    memory.statements = {
        1: a_statement(1, text=READ.encode()),
        2: a_statement(2, text=CHANGE.encode()),
        3: a_statement(3, text=None),
    }
    payloads = [code + bytes((number, 0, 0, 0, 0, 1, 0, 0, 0)) for number in (1, 2, 3, 4)]
    assert [judge(payload, memory=memory) for payload in payloads] == [[RERUN], [UNKNOWN], [UNKNOWN], [UNKNOWN]]
    assert [judge(payload, memory=memory, circumstances=INSIDE) for payload in payloads] == [
        [ROLLED_BACK],
        [ROLLED_BACK],
        [UNKNOWN],
        [UNKNOWN],
    ]
    # Which one was prepared last is not known any more.
    assert judge(code + b"\xff\xff\xff\xff\x00\x01\x00\x00\x00", memory=memory) == [UNKNOWN]


def test_the_text_of_other_commands_is_none() -> None:
    assert text_of(a_command(b"\x16SELECT ?"), Wire().memory, NONE) is None
    assert text_of(a_command(READ, is_kept=False), Wire().memory, NONE) is None


def test_texts_that_may_not_be_what_they_seem_are_not_judged() -> None:
    memory = Wire().memory
    text = "SELECT '\N{CYRILLIC SMALL LETTER A}'"
    assert judge(text, memory=memory) == [RERUN]
    memory.tracked.variables["character_set_client"] = "gbk"
    assert judge(text, memory=memory) == [UNKNOWN]
    assert judge(READ, memory=memory) == [RERUN]


def test_what_a_backslash_means_is_told_by_the_server() -> None:
    text = r"SELECT '\'; DELETE FROM t; -- '"
    assert judge(text) == [RERUN]
    assert judge(text, circumstances=replace(OUTSIDE, backslash_escapes=False)) == [UNKNOWN]


# In general

TEXTS = st.sampled_from([READ, CHANGE, DDL, SETTING, "COMMIT", "ROLLBACK", "BEGIN", "SET autocommit = 1", "CALL p()"])
EXECUTIONS = st.sampled_from([b"\x17", b"\xfa"]).flatmap(
    lambda code: st.integers(1, 4).map(lambda number: code + bytes((number, 0, 0, 0, 0, 1, 0, 0, 0)))
)
OTHERS = st.sampled_from([PING, b"\x02t", b"\x16SELECT ?", b"\x0d", b"\x1c\x01\0\0\0\x01\0\0\0", b"\x03", b"\x17", b""])
COMMANDS = st.lists((TEXTS | EXECUTIONS | OTHERS).map(lambda text: a_command(text or b"\x00")), max_size=5)
CIRCUMSTANCES = st.builds(Circumstances, st.booleans(), st.booleans(), st.booleans(), st.sampled_from([NONE]))
STATEMENTS = {1: a_statement(1, text=READ.encode()), 2: a_statement(2, text=CHANGE.encode())}


@given(COMMANDS, CIRCUMSTANCES, st.booleans(), st.integers(0, 5), st.booleans())
def test_nothing_that_changes_anything_is_carried_out_twice(
    commands: list[Expected],
    circumstances: Circumstances,
    begun: bool,  # noqa: FBT001  drawn
    unexecuted: int,
    keeps: bool,  # noqa: FBT001  drawn
) -> None:
    if not keeps:
        commands = [command._replace(packet=None) for command in commands]
    memory = Wire().memory
    memory.statements = dict(STATEMENTS)
    unexecuted = min(unexecuted, len(commands))
    fates = judge_all(commands, memory, circumstances, begun=begun, unexecuted=unexecuted)
    assert len(fates) == len(commands)
    sent = len(commands) - unexecuted
    kinds = [kind_of(command, memory, circumstances) for command in commands]
    for index, (command, kind, fate) in enumerate(zip(commands, kinds, fates, strict=True)):
        event(f"{fate.name}")
        is_statement = command.command in (0x03, 0x17, 0xFA)
        if index < sent and is_statement and kind in (Kind.CHANGE, Kind.OTHER):
            assert fate in (ROLLED_BACK, UNKNOWN)
        if fate in (RERUN, CHECK):
            assert kind is Kind.READ
            assert index < sent
        if fate is AGAIN:
            # It can be sent, nothing of it was shown, and nothing in front of it is answered later.
            assert command.packet is not None
            assert not (begun and index == 0 and index < sent)
            assert all(later is AGAIN for later in fates[index:])
        # "Nothing is left of it" is never said of a change that a commit may have followed, or preceded.
        if fate is ROLLED_BACK and index < sent and kind is Kind.CHANGE:
            others = kinds[:index] + kinds[index + 1 : sent]
            codes = [other.command for other in commands]
            ends = {Kind.COMMIT, Kind.AUTOCOMMIT, Kind.BEGIN}
            assert not any(
                other in ends
                for other, code in zip(others, codes[:index] + codes[index + 1 : sent], strict=True)
                if code
            )
