"""What is remembered of a session, exchange by exchange."""

import pytest

from protocol.constants import Capability, Status
from protocol.holds import Hold, HoldKind
from protocol.memory import SessionMemory
from protocol.prepared import NO_STATEMENT_ID
from protocol.statement import classify
from tests.protocol.transcripts import (
    COLUMN,
    EOF,
    EOF_CURSOR,
    ERR,
    FETCH,
    OK,
    OPEN_CURSOR,
    OWN_REPORTS,
    PING,
    PREPARE,
    ROW,
    SCHEMA,
    Wire,
    a_statement,
    ask,
    frames,
    ok_with_state,
)

STATE_CHANGE = b"\x02\x01\x31"
IMPLICIT_READ = b"\x05\x09\x08I_R___S_"
IN_TRANSACTION = 1
FAILED = frames(ERR)
DONE = frames(OK)

EXECUTE_LAST = b"\x17\xff\xff\xff\xff\x00\x01\x00\x00\x00"
EXECUTE_1 = b"\x17\x01\x00\x00\x00\x00\x01\x00\x00\x00"


def changed(*entries: bytes, status: int = 2) -> bytes:
    """Write the reply to a statement after which the server says that something has changed."""
    return frames(ok_with_state(*entries, STATE_CHANGE, status=status))


def prepare_ok(statement_id: int, columns: int = 0, parameters: int = 0) -> bytes:
    return b"\x00" + statement_id.to_bytes(4, "little") + bytes((columns, 0, parameters, 0, 0, 0, 0))


def exchange(wire: Wire, statement: str, reply: bytes = DONE) -> SessionMemory:
    """Have the client run a statement."""
    wire.client_asks(b"\x03" + statement.encode())
    wire.server_says(reply)
    assert wire.tracker.idle
    return wire.memory


def after(*statements: str, reply: bytes = DONE) -> SessionMemory:
    """Give what is known of a session after these statements."""
    wire = Wire()
    for statement in statements:
        exchange(wire, statement, reply)
    return wire.memory


def holds(memory: SessionMemory) -> list[str]:
    return [str(hold) for hold in memory.holds]


# Nothing happens until it has been answered


def test_a_new_session_has_nothing_to_restore() -> None:
    memory = Wire().memory
    assert memory.holds == []
    assert not memory.is_unsettled
    assert repr(memory) == "<SessionMemory held by nothing>"


def test_most_statements_leave_nothing_behind() -> None:
    memory = after("SELECT 1", "INSERT INTO t VALUES (1)", "UPDATE t SET a = 2", "COMMIT", "DROP TABLE t")
    assert memory.holds == []
    assert not memory.is_unsettled


def test_what_a_command_does_counts_when_it_has_been_answered() -> None:
    wire = Wire()
    wire.client_asks(b"\x03SET @a = 1 + 1")
    assert not wire.memory.is_unsettled
    assert not wire.memory.has_news
    wire.server_says(DONE)
    assert wire.memory.unsettled_variables == {b"a"}
    assert wire.memory.has_news
    assert holds(wire.memory) == ["state that was not read back yet (@a)"]
    assert repr(wire.memory) == "<SessionMemory held by state that was not read back yet (@a)>"


def test_reset_forgets_everything() -> None:
    wire = Wire()
    exchange(wire, "SET @a = 1; SELECT GET_LOCK('a', 1); SET ROLE r; PREPARE s FROM 'SELECT 1'", changed(SCHEMA))
    wire.prepare(1)
    wire.memory.lost_transaction = True
    wire.memory.reset()
    fresh = Wire().memory
    fresh.tracked.reset()
    assert vars(wire.memory) | {"tracked": None} == vars(fresh) | {"tracked": None}
    assert vars(wire.memory.tracked) | {"_own": None} == vars(fresh.tracked) | {"_own": None}


# Holds


@pytest.mark.parametrize(
    ("take", "kind", "release"),
    [
        ("CREATE TEMPORARY TABLE a (b INT)", HoldKind.TEMPORARY_TABLE, "DROP TEMPORARY TABLE a"),
        ("LOCK TABLES a WRITE", HoldKind.TABLE_LOCKS, "UNLOCK TABLES"),
        ("FLUSH TABLES WITH READ LOCK", HoldKind.GLOBAL_READ_LOCK, "UNLOCK TABLES"),
        ("SELECT GET_LOCK('\xe4', 1)", HoldKind.USER_LOCK, "SELECT RELEASE_LOCK('\xe4')"),
        ("SELECT GET_LOCK('a', 1)", HoldKind.USER_LOCK, "SELECT RELEASE_ALL_LOCKS()"),
        ("HANDLER a OPEN", HoldKind.HANDLER, "HANDLER a CLOSE"),
    ],
)
def test_holds_are_taken_and_released(take: str, kind: HoldKind, release: str) -> None:
    wire = Wire()
    memory = exchange(wire, take)
    assert [hold.kind for hold in memory.holds] == [kind]
    # What fails does not release anything, and what is of another kind neither.
    exchange(wire, release, FAILED)
    exchange(wire, "SELECT 1")
    assert [hold.kind for hold in memory.holds] == [kind]
    exchange(wire, release)
    assert memory.holds == []


@pytest.mark.parametrize("take", ["CREATE TEMPORARY TABLE a (b INT)", "LOCK TABLES a WRITE", "HANDLER a OPEN"])
def test_what_fails_takes_nothing(take: str) -> None:
    assert after(take, reply=FAILED).holds == []
    # Unless something in front of it has not failed.
    assert after(f"{take}; SELEC 1", reply=FAILED).holds


def test_a_lock_is_taken_even_by_a_statement_that_fails() -> None:
    # An error in a row behind the one for which the function was called.
    assert after("SELECT GET_LOCK('a', 1), nonsense()", reply=FAILED).holds


def test_a_lock_without_a_name_must_be_released_as_often_as_it_was_taken() -> None:
    wire = Wire()
    for _ in range(2):
        exchange(wire, "SELECT GET_LOCK(CONCAT('a'), 1)")
    assert not wire.memory.is_unsettled  # for which one the server would be to be asked, is not known
    for remaining in (["?"], [], []):
        exchange(wire, "SELECT RELEASE_LOCK(CONCAT('a'))")
        assert [hold.name for hold in wire.memory.holds] == remaining


def test_the_server_is_asked_whether_a_lock_was_got_and_released() -> None:
    wire = Wire()
    exchange(wire, "SELECT GET_LOCK('b', 1)")
    for statement in ("SELECT GET_LOCK('a', 1)", "SELECT RELEASE_LOCK('a')"):
        exchange(wire, statement)
        assert wire.memory.user_locks == [Hold(HoldKind.USER_LOCK, "b"), Hold(HoldKind.USER_LOCK, "a")]
        assert wire.memory.is_unsettled
        wire.memory.are_locks_unsettled = False
    exchange(wire, "SELECT RELEASE_ALL_LOCKS()")
    assert wire.memory.holds == []
    assert not wire.memory.is_unsettled


def test_a_part_that_fails_releases_nothing() -> None:
    wire = Wire()
    exchange(wire, "SELECT GET_LOCK('a', 1)")
    exchange(wire, "SELECT RELEASE_LOCK('a'); SELEC 1", FAILED)
    assert [hold.name for hold in wire.memory.holds] == ["a"]


def test_what_can_be_there_only_once_is_taken_once() -> None:
    wire = Wire()
    for _ in range(2):
        exchange(wire, "CREATE TEMPORARY TABLE IF NOT EXISTS a (b INT)")
    exchange(wire, "DROP TEMPORARY TABLE a")
    assert wire.memory.holds == []


def test_table_locks_are_taken_once() -> None:
    wire = Wire()
    exchange(wire, "LOCK TABLES a WRITE")
    exchange(wire, "LOCK TABLES b WRITE")
    exchange(wire, "UNLOCK TABLES")
    assert wire.memory.holds == []


def test_the_server_knows_whether_a_lock_is_held() -> None:
    memory = after("SELECT GET_LOCK('a', 1)", "SELECT GET_LOCK(CONCAT('b', 1), 1)")
    (known,) = memory.user_locks
    memory.release(known)
    assert memory.user_locks == []
    assert [hold.kind for hold in memory.holds] == [HoldKind.USER_LOCK]  # a name that is not known


@pytest.mark.parametrize(
    ("statements", "tables"),
    [
        (["RENAME TABLE x TO y, y TO z"], ["a"]),
        (["ALTER TABLE x RENAME y"], ["a"]),
        (["ALTER TABLE a RENAME b"], ["b"]),
        (["ALTER TABLE A RENAME b"], ["a", "b"]),
        (["ALTER TABLE a RENAME b, RENAME COLUMN c TO d", "DROP TABLE b"], []),
        (["ALTER TABLE a RENAME b", "ALTER TABLE b RENAME a"], ["a"]),
        (["ALTER TABLE a RENAME b; ALTER TABLE b RENAME a"], ["a"]),
        (["ALTER TABLE a RENAME b; DROP TABLE a"], ["b"]),
        (["DROP TABLE b; ALTER TABLE a RENAME b"], ["b"]),
        # MySQL has renamed another table, with the same name.
        (["RENAME TABLE a TO b"], ["a", "b"]),
        (["RENAME TABLE a TO b, b TO c", "DROP TABLE b"], ["a", "c"]),
    ],
)
def test_only_temporary_tables_are_held_when_they_are_renamed(statements: list[str], tables: list[str]) -> None:
    memory = after("CREATE TEMPORARY TABLE a (b INT)", *statements)
    assert sorted(hold.name for hold in memory.holds) == [f".{name}" for name in tables]


def test_a_table_whose_renaming_has_failed_has_its_name() -> None:
    wire = Wire()
    exchange(wire, "CREATE TEMPORARY TABLE a (b INT)")
    exchange(wire, "ALTER TABLE a RENAME b", FAILED)
    assert holds(wire.memory) == ["a temporary table (.a)"]
    exchange(wire, "ALTER TABLE a RENAME b; SELECT nonsense", FAILED)
    assert holds(wire.memory) == ["a temporary table (.a)", "a temporary table (.b)"]


def test_temporary_tables_are_in_schemas() -> None:
    wire = Wire()
    exchange(wire, "USE t", changed(SCHEMA))
    exchange(wire, "CREATE TEMPORARY TABLE a (b INT)", changed())
    exchange(wire, "USE u", changed(b"\x01\x02\x01u"))
    exchange(wire, "DROP TEMPORARY TABLE a")
    assert holds(wire.memory) == ["a temporary table (t.a)"]
    exchange(wire, "DROP TEMPORARY TABLE t.a")
    assert wire.memory.holds == []


def test_holds_of_the_guards_own() -> None:
    memory = Wire().memory
    hold = Hold(HoldKind.UNSETTLED, "something")
    memory.hold(hold)
    memory.hold(hold)
    assert memory.holds == [hold]
    memory.release(hold)
    memory.release(hold)
    assert memory.holds == []


# Changes that the server reports without saying which


@pytest.mark.parametrize("statement", ["SET @a = 1", "USE t", "PREPARE s FROM 'SELECT 1'", "SET sql_mode = ''"])
def test_a_change_that_the_text_explains(statement: str) -> None:
    assert Hold(HoldKind.UNEXPLAINED) not in after(statement, reply=changed()).holds


@pytest.mark.parametrize("statement", ["CALL p()", "SELECT f()", "SELECT 1"])
def test_a_change_that_nothing_explains(statement: str) -> None:
    assert Hold(HoldKind.UNEXPLAINED) in after(statement, reply=changed()).holds


def test_a_change_that_was_explained_is_not_explained_again() -> None:
    wire = Wire()
    exchange(wire, "SET @a = 1", changed())
    exchange(wire, "SELECT 1", frames(ok_with_state(SCHEMA)))
    assert Hold(HoldKind.UNEXPLAINED) not in wire.memory.holds


def test_what_the_guard_itself_does_needs_no_explanation() -> None:
    wire = Wire()
    wire.client_asks(b"\x02t")
    wire.server_says(changed(SCHEMA))
    assert wire.memory.holds == []


@pytest.mark.parametrize(("text", "is_explained"), [(b"SET @a = 1", True), (b"CALL p()", False)])
@pytest.mark.parametrize("command", [EXECUTE_1, b"\x17\xff\xff\xff\xff\x00\x01\x00\x00\x00"], ids=["by id", "the last"])
def test_a_prepared_statement_explains_what_its_text_explains(
    command: bytes, text: bytes, *, is_explained: bool
) -> None:
    wire = Wire()
    wire.client_asks(b"\x16" + text)
    wire.server_says(frames(prepare_ok(1)))
    wire.client_asks(command)
    wire.server_says(changed())
    assert (Hold(HoldKind.UNEXPLAINED) not in wire.memory.holds) == is_explained


def test_the_execution_of_what_is_not_known_explains_nothing() -> None:
    wire = Wire()
    wire.client_asks(EXECUTE_1)
    wire.server_says(changed())
    assert wire.memory.holds == [Hold(HoldKind.UNEXPLAINED)]


# Changes of which the server can be asked more


SURVEYED = Hold(HoldKind.UNSETTLED, "what a view, a trigger or a function may have set")


def a_surveyed_session() -> Wire:
    wire = Wire()
    wire.memory.can_be_surveyed = True
    return wire


def test_a_change_that_nothing_explains_is_asked_about_where_the_server_can_be_asked() -> None:
    wire = a_surveyed_session()
    exchange(wire, "SET @a = 1", changed())
    wire.memory.unsettled_variables = frozenset()
    wire.memory.user_variables = {b"a": "1"}
    exchange(wire, "SELECT f()", changed())
    assert wire.memory.holds == [SURVEYED]
    assert wire.memory.is_unsettled
    wire.memory.settle_change(1, [b"b"])
    assert wire.memory.unsettled_variables == {b"a", b"b"}
    assert Hold(HoldKind.UNEXPLAINED) not in wire.memory.holds


@pytest.mark.parametrize("counted", [0, 2])
def test_a_change_is_not_explained_where_the_server_has_counted_another_number(counted: int) -> None:
    wire = a_surveyed_session()
    exchange(wire, "SET @a = 1", changed())
    exchange(wire, "SELECT f()", changed())
    wire.memory.settle_change(counted, [])
    assert Hold(HoldKind.UNEXPLAINED) in wire.memory.holds
    assert SURVEYED not in wire.memory.holds
    # Of what has been counted by now, no later change is made.
    assert wire.memory.counted == counted


def test_a_change_is_not_explained_where_the_server_does_not_say_what_it_has_counted() -> None:
    wire = a_surveyed_session()
    exchange(wire, "SELECT f()", changed())
    wire.memory.cannot_be_surveyed()
    assert wire.memory.holds == [Hold(HoldKind.UNEXPLAINED)]
    assert not wire.memory.is_unsettled


@pytest.mark.parametrize("statement", ["CALL p()", "SELECT 1; CALL p()", "EXECUTE s", "BEGIN NOT ATOMIC SELECT 1; END"])
def test_what_runs_others_may_have_done_what_is_not_counted(statement: str) -> None:
    wire = a_surveyed_session()
    exchange(wire, statement, changed())
    assert Hold(HoldKind.UNEXPLAINED) in wire.memory.holds


def test_so_may_the_execution_of_an_unknown_statement() -> None:
    wire = a_surveyed_session()
    wire.client_asks(EXECUTE_1)
    wire.server_says(changed())
    assert wire.memory.holds == [Hold(HoldKind.UNEXPLAINED)]


@pytest.mark.parametrize(
    ("statement", "counted"),
    [
        ("SELECT 1", 0),
        ("SET @a = 1, @b = 2", 1),
        ("SET @a = 1; SELECT 2; SET NAMES utf8mb4", 2),
        ("CREATE TEMPORARY TABLE t (a INT); DROP TABLE t", 1),
        ("SET STATEMENT a = 1 FOR SELECT 1", 0),
        ("EXECUTE IMMEDIATE 'SET @a = 1'", 1),
        ("PREPARE s FROM 'SET @a = 1'; EXECUTE s; EXECUTE s", 2),
    ],
)
def test_what_servers_count(statement: str, counted: int) -> None:
    assert after(statement).counted == counted


def test_servers_count_com_set_option_as_a_set() -> None:
    wire = Wire()
    wire.client_asks(b"\x1b\x00\x00")
    wire.server_says(frames(EOF))
    assert wire.memory.counted == 1


def test_what_has_failed_may_have_been_counted() -> None:
    wire = a_surveyed_session()
    exchange(wire, "SELECT nonsense", FAILED)
    assert not wire.memory.is_count_lost
    exchange(wire, "SET nonsense = 1", FAILED)
    exchange(wire, "SET @a = 1")
    assert wire.memory.is_count_lost
    assert wire.memory.is_unsettled
    wire.memory.settle_change(7, [])
    assert not wire.memory.is_count_lost
    exchange(wire, "SET nonsense = 1", FAILED)
    exchange(wire, "SELECT f()", changed())
    assert Hold(HoldKind.UNEXPLAINED) in wire.memory.holds


# State that is read back


def test_what_has_to_be_read_back() -> None:
    wire = Wire()
    exchange(wire, "SET @a = 1 + 1, @@sql_mode = ''")
    exchange(wire, "SET ROLE r")
    exchange(wire, "PREPARE s FROM @a")
    wire.server_says(b"")
    assert wire.memory.unsettled_variables == {b"a"}
    assert wire.memory.unsettled_system_variables == {"sql_mode"}
    assert wire.memory.sql_statements.variables == {b"a"}
    assert holds(wire.memory) == [
        f"state that was not read back yet ({what})" for what in ("@a", "@@sql_mode", "PREPARE s", "SET ROLE")
    ]


def test_literals_are_known_at_once() -> None:
    wire = Wire()
    exchange(wire, "SET @a = -7, @b = NULL, @c = 'text', @@sort_buffer_size = 65536, @@sql_log_off = ON")
    assert not wire.memory.is_unsettled
    assert wire.memory.user_variables == {b"a": "-7", b"b": "NULL", b"c": "'text'"}
    assert wire.memory.tracked.variables == {"sort_buffer_size": "65536", "sql_log_off": "ON"}
    # Under another character set, the text would be another one; numbers would not.
    exchange(wire, "SET NAMES latin1 COLLATE latin1_bin")
    assert wire.memory.doubtful_variables == {b"c"}
    wire.memory.settle_system_variables({"collation_connection": "latin1_bin"})
    assert holds(wire.memory) == ["state that was not read back yet (@c)"]
    wire.memory.settle_variable(b"c", "_utf8mb4 x'74657874'")
    exchange(wire, "SET @a = 1 + 1")
    assert holds(wire.memory) == ["state that was not read back yet (@a)"]
    exchange(wire, "SET @a = 8")
    assert holds(wire.memory) == []
    assert wire.memory.user_variables[b"a"] == "8"


@pytest.mark.parametrize(
    ("statements", "reply"),
    [
        (("SET @a = 7",), FAILED),
        (("SET @a = 7; SELECT 1",), DONE),
        (("SET @a = 7", "SELECT @a := 8"), DONE),
        (("PREPARE s FROM 'SET @a = 7'", "EXECUTE s"), DONE),
        (("SET @@sort_buffer_size = 65536",), FAILED),
        (("SET @@sql_mode = 'ANSI'",), DONE),  # reported, it is a longer list
    ],
)
def test_what_is_no_literal_of_its_own_has_to_be_read_back(statements: tuple[str, ...], reply: bytes) -> None:
    assert after(*statements, reply=reply).is_unsettled


def test_of_many_variables_the_server_is_asked() -> None:
    wire = Wire()
    for number in range(300):
        exchange(wire, f"SET @v{number} = {number}")
    assert len(wire.memory.user_variables) == 256
    assert len(wire.memory.unsettled_variables) == 300 - 256


def test_a_role_makes_it_unsettled() -> None:
    memory = Wire().memory
    memory.is_role_unsettled = True
    assert memory.is_unsettled


def test_reports_that_the_client_has_overruled_are_to_be_had_again() -> None:
    memory = after(
        "SET session_track_schema = OFF", reply=frames(ok_with_state(b"\x00\x19\x14session_track_schema\x03OFF"))
    )
    assert memory.is_unsettled
    assert holds(memory) == ["state that was not read back yet (SET session_track)"]


@pytest.mark.parametrize(
    ("command", "hears"),
    [
        (b"\x03SET session_track_state_change = ON", True),
        (b"\x03SET autocommit = 1, @@local.session_track_state_change = TRUE", True),
        (b'\x03SET SESSION session_track_state_change = "1"', True),
        (EXECUTE_1, True),
        (b"\x03SET session_track_state_change = OFF", False),
        (b"\x03SET session_track_state_change = DEFAULT", False),
        (b"\x03SET session_track_state_change = @a", False),
        (b"\x03SET session_track_system_variables = ''", False),
    ],
)
def test_a_client_hears_what_it_wants_to_where_the_server_does_not_report_that_it_does(
    command: bytes,
    hears: bool,  # noqa: FBT001
) -> None:
    wire = Wire(client_listens=True)
    # MariaDB has no report of SET @@name; and where the client has made a list of its own, this may not be on it.
    wire.prepare(1, text=b"SET @@session_track_state_change = ON", parameters=0)
    wire.client_asks(command)
    assert wire.server_says(changed()) == (changed() if hears else DONE)
    assert wire.memory.is_unsettled == (b"@a" not in command)
    wire.client_asks(b"\x03USE t")
    assert wire.server_says(changed(SCHEMA)) == (changed(SCHEMA) if hears else frames(ok_with_state(SCHEMA)))


def test_what_a_client_wanted_to_hear_and_was_refused_it_does_not_hear() -> None:
    wire = Wire(client_listens=True)
    exchange(wire, "SET session_track_state_change = ON", FAILED)
    wire.client_asks(b"\x03USE t")
    assert wire.server_says(changed(SCHEMA)) == frames(ok_with_state(SCHEMA))


def test_the_id_in_an_ok_packet_is_not_always_that_of_last_insert_id() -> None:
    # For an INSERT that gives the id itself it is that one, and LAST_INSERT_ID() stays as it was.
    memory = after("INSERT INTO t VALUES (7)", reply=frames(b"\x00\x01\x07\x02\x00\x00\x00"))
    assert memory.last_insert_id == 7
    assert memory.is_insert_id_unsettled
    assert memory.holds == []  # a link that is lost meanwhile takes the more likely one with it
    memory.is_insert_id_unsettled = False
    memory.note_insert_id(7)
    assert not memory.is_insert_id_unsettled


def test_the_server_tells_what_last_insert_id_is_when_it_is_set() -> None:
    memory = after(
        "SET last_insert_id = LAST_INSERT_ID()", reply=frames(ok_with_state(b"\x00\x11\x0elast_insert_id\x015"))
    )
    assert memory.last_insert_id == 5
    assert memory.tracked.variables == {}


def test_a_procedure_may_have_inserted_something() -> None:
    assert after("CALL p()").is_insert_id_unsettled
    assert not after("COMMIT").is_insert_id_unsettled


@pytest.mark.parametrize(
    ("text", "is_doubtful"),
    [
        ("INSERT INTO t VALUES (1)", True),
        (" replace INTO t SET a = 1", True),
        ("SELECT nonsense", False),
        ("UPDATE t SET a = 1", False),
    ],
)
def test_an_insert_that_fails_may_have_made_an_id(text: str, *, is_doubtful: bool) -> None:
    assert after(text, reply=FAILED).is_insert_id_unsettled == is_doubtful


def test_what_has_failed_is_remembered_until_the_server_says_how_things_stand() -> None:
    wire = Wire()
    exchange(wire, "CREATE TABLE t (a INT)", FAILED)
    exchange(wire, "INSERT INTO t VALUES (1)", FAILED)
    assert [command.packet[5:] for command, _ in wire.tracker.failures if command.packet] == [
        b"CREATE TABLE t (a INT)",
        b"INSERT INTO t VALUES (1)",
    ]
    exchange(wire, "SELECT 1")
    assert wire.tracker.failures == []


# Statements PREPAREd in SQL


def test_a_sql_statement_is_kept_as_it_was_written() -> None:
    wire = Wire()
    exchange(wire, "USE t", changed(SCHEMA))
    exchange(wire, "PREPARE s FROM 'SELECT ''a'''")
    (sql,) = wire.memory.sql_statements.known.values()
    assert (sql.literal, sql.schema) == (b"'SELECT ''a'''", b"t")
    assert wire.memory.holds == []
    exchange(wire, "DEALLOCATE PREPARE s")
    assert wire.memory.sql_statements.known == {}


@pytest.mark.parametrize("source", ["'SELECT 1'", "@a"])
def test_a_sql_statement_is_gone_before_another_one_by_its_name_fails(source: str) -> None:
    wire = Wire()
    exchange(wire, f"PREPARE s FROM {source}")
    exchange(wire, "PREPARE s FROM 'nonsense'", FAILED)
    assert wire.memory.sql_statements.known == {}
    assert wire.memory.sql_statements.unread == {}
    assert wire.memory.holds == []


def test_which_of_several_statements_has_failed_is_not_known() -> None:
    wire = Wire()
    exchange(wire, "PREPARE s FROM 'SELECT 1'; SELEC 1", FAILED)
    assert wire.memory.sql_statements.known == {}
    assert holds(wire.memory) == ["state that was not read back yet (PREPARE s)"]
    exchange(wire, "PREPARE s FROM 'SELECT 1'")
    assert wire.memory.holds == []


def test_the_text_in_a_variable_is_gone_when_the_variable_is_set_again() -> None:
    wire = Wire()
    exchange(wire, "PREPARE s FROM @a")
    exchange(wire, "SET @b = 1")
    assert wire.memory.sql_statements.variables == {b"a"}
    exchange(wire, "SET @a = 1")
    # It cannot be read back any more: nothing is asked for it, and it stays a hold.
    assert wire.memory.sql_statements.unread == {}
    assert "state that was not read back yet (PREPARE s)" in holds(wire.memory)
    exchange(wire, "PREPARE s FROM 'SELECT 1'")
    assert "state that was not read back yet (PREPARE s)" not in holds(wire.memory)


@pytest.mark.parametrize(
    ("assigns", "reply"),
    [("SELECT @a := id FROM t", FAILED), ("EXECUTE other", DONE), ("EXECUTE other", FAILED)],
    ids=["a statement that fails behind it", "another such statement", "another one that fails behind it"],
)
def test_the_text_in_a_variable_is_gone_when_something_may_have_been_assigned_to_it(assigns: str, reply: bytes) -> None:
    wire = Wire()
    exchange(wire, "PREPARE other FROM 'SELECT @a := id FROM t'")
    exchange(wire, "PREPARE s FROM @a")
    exchange(wire, assigns, reply)
    assert wire.memory.sql_statements.unread == {}
    assert wire.memory.sql_statements.lost == {b"s"}
    assert wire.memory.unsettled_variables == {b"a"}


def test_what_fails_because_it_is_not_there_has_assigned_nothing() -> None:
    assert after("EXECUTE s", reply=FAILED).holds == []


def test_a_statement_of_several_that_was_executed_before_one_has_failed() -> None:
    memory = after("PREPARE s FROM 'SET @a = 1'; EXECUTE s; SELEC 1", reply=FAILED)
    assert Hold(HoldKind.UNEXPLAINED) in memory.holds


def test_a_statement_that_is_an_expression_is_lost() -> None:
    wire = Wire()
    exchange(wire, "PREPARE s FROM CONCAT('SELECT', ' 1')")
    assert wire.memory.sql_statements.lost == {b"s"}
    exchange(wire, "DEALLOCATE PREPARE s")
    assert wire.memory.sql_statements.lost == set()


def test_names_that_are_gone_leave_nothing_behind() -> None:
    wire = Wire()
    for number in range(3):
        exchange(wire, f"PREPARE s{number} FROM @a")
        exchange(wire, f"DEALLOCATE PREPARE s{number}")
    statements = wire.memory.sql_statements
    assert not statements.known
    assert not statements.unread
    assert not statements.lost


def test_what_several_statements_together_have_prepared_is_not_known() -> None:
    memory = after("SET @a = 'SELECT 1'; PREPARE s FROM @a")
    assert memory.sql_statements.unread == {}
    assert [hold.name for hold in memory.holds] == ["@a", "PREPARE s"]


@pytest.mark.parametrize(
    ("literal", "unsettled", "held"),
    [
        ("'SELECT 1'", set(), []),
        ("'SELECT @A := @b'", {b"a"}, []),
        ("'SELECT @@sql_mode'", set(), []),
        ("'SELECT @`a` := 1'", {b"a"}, []),
        ("'SELECT @é := 1'", {"é".encode()}, []),
        ("'SELECT ''@b := 1'', \"it''s\"'", set(), []),
        (r"'SELECT \'x\', @a := 1'", {b"a"}, []),
        ("'SELECT GET_LOCK(1, 1)'", set(), [HoldKind.USER_LOCK]),
        ("'LOCK TABLES t WRITE'", set(), [HoldKind.TABLE_LOCKS]),
        ("'FLUSH TABLES WITH READ LOCK'", set(), [HoldKind.GLOBAL_READ_LOCK]),
        ("'HANDLER t OPEN'", set(), [HoldKind.HANDLER]),
        ("\"XA START 'x'\"", set(), [HoldKind.XA]),
        ("'CREATE TEMPORARY TABLE t (a INT)'", set(), [HoldKind.TEMPORARY_TABLE]),
        # What is in the string, and what behind it, depends on sql_mode.
        (r"""'SELECT "\\", @a := 1, "\\"'""", None, [HoldKind.UNEXPLAINED]),
    ],
)
def test_executing_a_sql_statement_does_what_its_text_says(
    literal: str, unsettled: set[bytes] | None, held: list[HoldKind]
) -> None:
    wire = Wire()
    exchange(wire, f"PREPARE s FROM {literal}")
    assert not wire.memory.is_unsettled
    exchange(wire, "EXECUTE s")
    assert [hold.kind for hold in wire.memory.holds if hold.kind is not HoldKind.UNSETTLED] == held
    assert unsettled is None or wire.memory.unsettled_variables == unsettled


def test_executing_what_sets_a_system_variable_makes_it_unsettled() -> None:
    memory = after("PREPARE s FROM 'SET @@autocommit = 0, @@sort_buffer_size = 1'", "EXECUTE s")
    assert memory.unsettled_system_variables == {"autocommit", "sort_buffer_size"}


@pytest.mark.parametrize("text", ["EXECUTE s", "CALL p()"])
def test_what_runs_other_statements_may_take_share_locks(text: str) -> None:
    assert after("PREPARE s FROM 'SELECT 1 FROM t LOCK IN SHARE MODE'", text).has_share_locks
    assert not after("SELECT 1", "INSERT INTO t VALUES (1)").has_share_locks


def test_executing_a_sql_statement_that_is_not_known_may_do_anything() -> None:
    assert after("EXECUTE s").holds == [Hold(HoldKind.UNEXPLAINED)]
    assert after("EXECUTE s", reply=FAILED).holds == []


# Binary prepared statements


def test_a_prepared_statement_is_kept_with_all_that_a_new_link_needs() -> None:
    wire = Wire(keeps_definitions=True)
    exchange(wire, "USE t", changed(SCHEMA))
    wire.client_asks(PREPARE)
    wire.server_says(frames(prepare_ok(7, 1, 1), COLUMN, EOF, ROW, EOF))
    assert wire.memory.statements == {7: a_statement(7, text=b"SELECT ?", schema=b"t", definitions=COLUMN + ROW)}
    assert wire.memory.last_prepared is wire.memory.statements[7]


def test_definitions_are_kept_only_for_clients_that_rely_on_them() -> None:
    wire = Wire()
    wire.client_asks(PREPARE)
    wire.server_says(frames(prepare_ok(7, 1, 1), COLUMN, EOF, ROW, EOF))
    assert wire.memory.statements[7].definitions == b""


def test_a_prepare_that_fails_leaves_nothing() -> None:
    wire = Wire()
    wire.client_asks(PREPARE, PREPARE)
    wire.server_says(frames(prepare_ok(7)) + FAILED)
    assert list(wire.memory.statements) == [7]
    assert wire.memory.last_prepared is None
    # Also in the middle of it.
    wire.client_asks(PREPARE)
    wire.server_says(frames(prepare_ok(8, 1, 1), ERR))
    assert list(wire.memory.statements) == [7]
    assert wire.memory.last_prepared is None


def test_a_second_statement_by_an_id_gets_another_one_for_the_client() -> None:
    wire = Wire()
    wire.prepare(7, 1)
    wire.prepare(12, 2)
    wire.client_asks(PREPARE)
    assert wire.server_says(frames(prepare_ok(7))) == frames(prepare_ok(13))
    assert wire.memory.statements[13].server_id == 7


def test_a_closed_statement_is_forgotten() -> None:
    wire = Wire()
    wire.prepare(1)
    wire.client_asks(b"\x19\x01\x00\x00\x00")
    assert wire.memory.statements == {}


def test_a_statement_that_is_too_large_to_be_kept_holds_until_it_is_closed() -> None:
    wire = Wire()
    wire.client_asks(b"\x16SELECT ".ljust(0x10002, b"1"))
    wire.server_says(frames(prepare_ok(1)))
    assert wire.memory.holds == [Hold(HoldKind.LARGE_PREPARE)]
    wire.client_asks(b"\x19\x01\x00\x00\x00")
    assert wire.memory.holds == []


def test_an_open_cursor_holds_until_its_last_row() -> None:
    wire = Wire()
    wire.prepare(1)
    opened = frames(b"\x01", COLUMN, EOF_CURSOR)
    wire.client_asks(OPEN_CURSOR)
    wire.server_says(opened)
    assert wire.memory.holds == [Hold(HoldKind.CURSOR)]
    wire.client_asks(FETCH)
    wire.server_says(frames(ROW, EOF_CURSOR))
    assert wire.memory.holds == [Hold(HoldKind.CURSOR)]
    wire.client_asks(FETCH)
    wire.server_says(frames(ROW, b"\xfe\x00\x00\x82\x00"))
    assert wire.memory.holds == []


@pytest.mark.parametrize("command", [EXECUTE_1, OPEN_CURSOR])
@pytest.mark.parametrize("capabilities", [0, Capability.DEPRECATE_EOF])
def test_the_cursor_of_a_stored_program_holds_nothing(command: bytes, capabilities: int) -> None:
    wire = Wire(capabilities)
    wire.prepare(1, text=b"CALL p()")
    eof, ok = b"\xfe\x00\x00\xca\x00", b"\x00\x00\x00\xc2\x00\x00\x00"
    rows = (ROW, eof + b"\0\0") if capabilities else (eof, ROW, eof)
    wire.client_asks(command)
    wire.server_says(frames(b"\x01", COLUMN, *rows, ok))
    assert wire.tracker.idle
    assert wire.memory.holds == []


@pytest.mark.parametrize(
    ("command", "reply"),
    [(FETCH, FAILED), (b"\x1a\x01\x00\x00\x00", DONE), (EXECUTE_1, DONE), (EXECUTE_1, FAILED)],
    ids=["an error", "reset", "executed anew", "executed anew in vain"],
)
def test_a_cursor_ends_with(command: bytes, reply: bytes) -> None:
    wire = Wire()
    wire.prepare(1, has_cursor=True)
    assert wire.memory.holds == [Hold(HoldKind.CURSOR)]
    wire.client_asks(command)
    wire.server_says(reply)
    assert wire.memory.holds == []


def test_fetching_does_not_open_a_cursor() -> None:
    wire = Wire()
    wire.prepare(1)
    wire.client_asks(FETCH)
    wire.server_says(frames(EOF))
    assert wire.memory.holds == []


@pytest.mark.parametrize("command", [EXECUTE_1, b"\x1a\x01\x00\x00\x00", b"\x19\x01\x00\x00\x00"])
def test_long_data_holds_until_it_has_been_used_or_dropped(command: bytes) -> None:
    wire = Wire()
    wire.prepare(1)
    wire.client_asks(b"\x18\x01\x00\x00\x00\x00\x00data")
    assert wire.memory.holds == [Hold(HoldKind.LONG_DATA)]
    wire.client_asks(command)
    if command[0] != 0x19:
        assert wire.memory.holds == [Hold(HoldKind.LONG_DATA)]
        wire.server_says(DONE)
    assert wire.memory.holds == []


def test_on_a_new_link_no_statement_knows_the_types_of_its_parameters() -> None:
    wire = Wire()
    wire.prepare(1)
    wire.prepare(2, parameters=0)
    wire.memory.begin_link()
    assert [prepared.lacks_types for prepared in wire.memory.statements.values()] == [True, False]
    # Only an execution that succeeds has told the server.
    for reply, is_lacking in ((FAILED, True), (DONE, False)):
        wire.client_asks(EXECUTE_1 + b"\x00\x01\x08\x00" + bytes(8))
        wire.server_says(reply)
        assert wire.memory.statements[1].lacks_types == is_lacking


def test_on_a_new_link_nothing_has_begun_that_was_under_way_on_the_old_one() -> None:
    wire = Wire()
    wire.client_asks(b"\x03CALL p()")
    wire.tracker.abandon()
    wire.memory.begin_link()
    wire.client_asks(b"\x03SELECT nonsense")
    wire.server_says(FAILED)
    assert not wire.tracker.status & Status.IN_TRANSACTION
    assert not wire.memory.is_transaction_unsettled


def test_the_types_of_the_statement_that_was_prepared_last_are_kept_once_it_is_known() -> None:
    wire = Wire()
    # MariaDB's connectors send both together.
    wire.client_asks(PREPARE, b"\x17\xff\xff\xff\xff\x00\x01\x00\x00\x00\x00\x01\x08\x00" + bytes(8))
    wire.server_says(frames(prepare_ok(7, 0, 1), COLUMN, EOF) + DONE)
    prepared = wire.memory.statements[7]
    assert (prepared.types, prepared.types_form) == (b"\x08\x00", (False, 1))


def test_the_multi_statement_option_is_remembered() -> None:
    wire = Wire()
    wire.client_asks(b"\x1b\x00\x00")
    wire.server_says(FAILED)
    assert not wire.memory.multi_statements
    for option, is_on in ((b"\0\0", True), (b"\1\0", False), (b"\0", True), (b"\1", False), (b"", True)):
        wire.client_asks(b"\x1b" + option)
        wire.server_says(frames(EOF))
        assert wire.memory.multi_statements == is_on


# A transaction that has only read


def reading(*entries: bytes, status: int = IN_TRANSACTION) -> Wire:
    """Give a session in a transaction that autocommit=0 has opened."""
    wire = Wire(Capability.DEPRECATE_EOF)
    wire.memory.isolation = "REPEATABLE-READ"
    wire.client_asks(b"\x03SELECT 1")
    wire.server_says(frames(ok_with_state(IMPLICIT_READ, *entries, status=status)))
    return wire


def test_a_transaction_that_was_opened_implicitly_and_has_only_read() -> None:
    assert reading().memory.has_only_read
    assert not Wire().memory.has_only_read


@pytest.mark.parametrize(
    "state",
    [b"T_R___S_", b"I___W_S_", b"I_Rw__S_", b"________", b"T_______"],
    ids=["begun explicitly", "written", "written to unsafe tables", "none", "begun"],
)
def test_states_of_other_transactions(state: bytes) -> None:
    assert not reading(b"\x05\x09\x08" + state).memory.has_only_read


@pytest.mark.parametrize("state", [b"I_R___S_", b"Ir____S_", b"I_____S_"])
def test_states_of_transactions_that_have_only_read(state: bytes) -> None:
    assert reading(b"\x05\x09\x08" + state).memory.has_only_read


def variable(name: bytes, value: bytes) -> bytes:
    entry = bytes((len(name),)) + name + bytes((len(value),)) + value
    return b"\x00" + bytes((len(entry),)) + entry


@pytest.mark.parametrize("name", [b"transaction_isolation", b"tx_isolation"])
def test_what_a_serializable_transaction_reads_is_locked(name: bytes) -> None:
    assert not reading(variable(name, b"SERIALIZABLE")).memory.has_only_read
    assert reading(variable(name, b"READ-COMMITTED")).memory.has_only_read
    wire = reading()
    for isolation in ("SERIALIZABLE", "serializable", ""):  # the last one: not known
        wire.memory.isolation = isolation
        assert not wire.memory.has_only_read


def test_a_transaction_that_is_to_be_a_special_one() -> None:
    assert not reading(b"\x04\x1c\x1bSTART TRANSACTION READ ONLY").memory.has_only_read


def test_share_locks_are_not_in_the_servers_report() -> None:
    wire = reading()
    wire.client_asks(b"\x03SELECT * FROM t LOCK IN SHARE MODE")
    wire.server_says(frames(b"\x01", COLUMN, b"\xfe\x00\x00\x01\x00\x00\x00"))
    assert not wire.memory.has_only_read
    # They end with the transaction.
    wire.client_asks(b"\x03COMMIT")
    wire.server_says(frames(ok_with_state(b"\x05\x09\x08________")))
    wire.client_asks(b"\x03SELECT 1")
    wire.server_says(frames(ok_with_state(IMPLICIT_READ, status=IN_TRANSACTION)))
    assert wire.memory.has_only_read


def test_an_eof_packet_cannot_say_what_the_result_did_to_the_transaction() -> None:
    wire = Wire()
    wire.memory.isolation = "REPEATABLE-READ"
    wire.memory.tracked.transaction_state = "I_R___S_"
    exchange(wire, "SELECT 1", frames(b"\x01", COLUMN, EOF, ROW, EOF))
    assert wire.memory.has_only_read  # it was in none
    exchange(wire, "SELECT f()", frames(b"\x01", COLUMN, EOF, ROW, b"\xfe\x00\x00\x01\x00"))
    assert wire.memory.is_transaction_unsettled
    assert not wire.memory.has_only_read
    wire.memory.begin_link()
    assert not wire.memory.is_transaction_unsettled


@pytest.mark.parametrize(
    ("text", "may_begin"), [(b"CALL p()", True), (None, True), (b"INSERT INTO t VALUES (1)", False)], ids=repr
)
def test_an_execution_that_fails_may_leave_a_transaction_behind(text: bytes | None, may_begin: bool) -> None:  # noqa: FBT001
    wire = Wire()
    prepared = wire.prepare(1, text=text, parameters=0)
    prepared.statement = classify(text or b"CALL p(1)")
    wire.client_asks(EXECUTE_1)
    wire.server_says(FAILED)
    assert wire.memory.is_transaction_unsettled == may_begin


@pytest.mark.parametrize(("text", "may_begin"), [(b"CALL p()", True), (b"INSERT INTO t VALUES (1)", False)])
def test_so_may_one_of_what_is_just_being_prepared(text: bytes, may_begin: bool) -> None:  # noqa: FBT001
    wire = Wire()
    wire.client_asks(b"\x16" + text, EXECUTE_LAST)
    wire.server_says(frames(prepare_ok(1)) + FAILED)
    assert wire.memory.is_transaction_unsettled == may_begin


def test_so_may_one_that_was_sent_behind_another_command() -> None:
    wire = Wire()
    wire.client_asks(PING, b"\x03CALL p()")
    wire.server_says(DONE + FAILED)
    assert wire.memory.is_transaction_unsettled


def test_an_eof_packet_of_a_cursor_says_no_more_than_others() -> None:
    wire = Wire()
    wire.prepare(1, parameters=0)
    wire.client_asks(EXECUTE_1[:5] + b"\x01" + EXECUTE_1[6:])
    wire.server_says(frames(b"\x01", COLUMN, b"\xfe\x00\x00\x41\x00"))
    assert wire.memory.is_transaction_unsettled


def test_on_a_new_link_what_was_prepared_last_goes_by_its_id() -> None:
    wire = Wire()
    wire.client_asks(PREPARE)
    wire.server_says(frames(prepare_ok(7)))
    wire.memory.begin_link()
    wire.memory.statements[7].server_id = 9
    assert wire.client_says(ask(EXECUTE_LAST))[5:9] == b"\x09\0\0\0"
    wire.server_says(DONE)
    # What is just being prepared has no id yet.
    assert wire.client_says(ask(PREPARE) + ask(EXECUTE_LAST))[-9:-5] == b"\xff" * 4
    wire.server_says(FAILED + FAILED)
    wire.memory.begin_link()
    assert wire.client_says(ask(EXECUTE_LAST))[5:9] == NO_STATEMENT_ID.to_bytes(4, "little")


def test_what_was_prepared_last_on_another_link_may_be_anything() -> None:
    wire = Wire()
    wire.client_asks(EXECUTE_LAST)
    wire.server_says(FAILED)
    assert wire.memory.is_transaction_unsettled


# How texts are read


def test_the_dialect_is_what_decides_how_a_text_is_read() -> None:
    wire = Wire()
    assert set(wire.memory.dialect) == {None}
    wire.memory.tracked.note(variable(b"sql_mode", b"ANSI") + variable(b"wait_timeout", b"7"))
    assert wire.memory.dialect == ("ANSI", None, None, None)


def test_what_was_prepared_before_a_value_is_known_gets_it_later() -> None:
    wire = Wire()

    def prepare(statement_id: int) -> None:
        wire.client_asks(PREPARE)
        wire.server_says(frames(prepare_ok(statement_id)))
        exchange(wire, f"PREPARE s{statement_id} FROM 'SELECT 1'")

    prepare(1)
    exchange(wire, "SET @@sql_mode = 'ANSI'")
    prepare(2)
    exchange(wire, "SET @@sql_mode = ''")
    prepare(3)
    memory = wire.memory
    assert len({prepared.dialect for prepared in memory.statements.values()}) == 3
    memory.settle_system_variables({"sql_mode": ""})
    assert memory.unsettled_system_variables == set()
    assert memory.tracked.variables == {"sql_mode": ""}
    first, second, third = (prepared.dialect for prepared in memory.statements.values())
    assert first == (None, None, None, None)
    assert second not in (first, third)  # what it was then, nobody knows
    assert third == memory.dialect == ("", None, None, None)
    assert [sql.dialect for sql in memory.sql_statements.known.values()] == [first, second, third]


def test_some_character_sets_deceive() -> None:
    memory = Wire().memory
    assert not memory.is_deceptive
    for charset, is_deceptive in ((b"utf8mb4", False), (b"gbk", True), (b"sjis", True), (b"latin1", False)):
        memory.tracked.note(variable(b"character_set_client", charset))
        assert memory.is_deceptive == is_deceptive


def test_a_new_link_has_no_transaction() -> None:
    wire = reading()
    wire.memory.has_share_locks = True
    wire.memory.begin_link()
    wire.memory.tracked.begin_link(OWN_REPORTS)
    assert not wire.memory.has_share_locks
    assert not wire.memory.has_only_read
