"""Whatever a session does, and wherever its link is lost: its answers are those of a session that has not lost it."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import hypothesis
import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st

from protocol.constants import CommandCode, Status
from tests.e2e.losses import Direct, Guarded, connect_twins, first_difference, is_error, query, schemas
from tests.guard import Guard
from tests.servers import Server

#: An example has a few losses, and each takes a quarter of a second.
EXAMPLES = 2000 if os.environ.get("HYPOTHESIS_PROFILE") == "fuzz" else 16

SCHEMA = (
    "CREATE TABLE t (id BIGINT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(100)) ENGINE=InnoDB",
    "INSERT INTO t (v) VALUES ('one'), ('two')",
    "CREATE PROCEDURE gives(OUT x BIGINT) SET x = 42",
    "CREATE PROCEDURE several() BEGIN SELECT v FROM t; SELECT 2, 3; END",
    "CREATE TABLE {1}.t (id BIGINT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(100)) ENGINE=InnoDB",
)

LITERALS = (
    "1",
    "-5",
    "18446744073709551615",
    "1.50",
    "2.5e0",
    "NULL",
    "''",
    "'text'",
    "'it''s'",
    "'Größe 🎉'",
    "x'00FF27'",
    "_latin1 0xE9",
    "_utf8mb4 'a' COLLATE utf8mb4_bin",
    "DATE'2024-02-29'",
)
VARIABLES = ("a", "b", "c")
MODES = ("''", "'ANSI_QUOTES'", "'NO_BACKSLASH_ESCAPES'", "'ANSI,STRICT_ALL_TABLES'", "DEFAULT")
LEVELS = ("READ COMMITTED", "SERIALIZABLE", "REPEATABLE READ")

LOOKS_BACK = ("ROW_COUNT", "FOUND_ROWS", "WARNINGS", "ERRORS", "LAST_INSERT_ID")


@dataclass
class World:
    """Two sessions that are told the same, and what a test has to know of them."""

    through: Guarded
    direct: Direct
    #: Something may have to be read back before the session can be restored.
    is_unsettled: bool = True
    #: What is to hold for the next transaction only keeps the guard from looking.
    has_one_shot: bool = False
    schema: str = "{0}"
    #: Schemas in which statements were prepared; executed in another one, they are a hold.
    sql_statements: dict[str, str] = field(default_factory=dict)
    #: Those whose text is to be read back.
    unsettled_statements: set[str] = field(default_factory=set)
    statements: dict[int, "Prepared"] = field(default_factory=dict)
    prepared: int = 0

    def ask(self, payload: bytes) -> bytes:
        """Send a command to both; the answers must be alike."""
        note(f"ask {payload!r}")
        restored, untouched = self.through.ask(payload), self.direct.ask(payload)
        if is_error(restored, 1180):
            assert b"earlier link" in restored
            assert any(word.encode() in payload for word in LOOKS_BACK), payload
            # From here on, both have the same to look back at.
            return self.ask(query("UPDATE t SET v = v WHERE FALSE"))
        assert restored == untouched, (payload, *first_difference(restored, untouched))
        return untouched

    def begin(self) -> None:
        """Give the variables values: one that has none differs a bit from one that is NULL, by its metadata.

        FOUND_ROWS() of a new session, and of one that was reset, is whatever was left behind in the server's thread.
        """
        self.run("SELECT 1")
        self.run("SET @a = 1, @b = 'b', @c = 1.5")
        self.is_unsettled = True

    def run(self, sql: str) -> bytes:
        """Run a statement in both."""
        return self.ask(query(sql))

    @property
    def in_transaction(self) -> bool:
        """Whether the sessions are in a transaction."""
        return bool(self.direct.talk.status & Status.IN_TRANSACTION)

    def change_dialect(self, sql: str) -> None:
        """Change how statements are read. What was prepared before could not be prepared anew."""
        for name in list(self.sql_statements):
            self.run(f"DEALLOCATE PREPARE {name}")
        self.sql_statements.clear()
        self.unsettled_statements.clear()
        for number in list(self.statements):
            self.close(number)
        self.is_unsettled = True
        self.run(sql)

    def close(self, number: int) -> None:
        """Close a binary prepared statement."""
        del self.statements[number]
        for session in (self.through, self.direct):
            session.close_statement(number)

    def settle(self) -> None:
        """Have all that is to be read back read back."""
        if self.has_one_shot:
            self.run("BEGIN")
            self.run("COMMIT")
            self.has_one_shot = False
        self.direct.rows("SET @settled = 1")
        self.through.settle()
        self.is_unsettled = False
        self.unsettled_statements.clear()

    def lose(self, *, settled: bool) -> None:
        """Have the one of them lose its link, if it is to survive that."""
        if self.in_transaction:
            return
        note(f"lose, settled={settled or self.is_unsettled}")
        if settled or self.is_unsettled:
            self.settle()
        self.through.lose()


@dataclass
class Prepared:
    """A statement prepared with COM_STMT_PREPARE."""

    sql: str
    schema: str
    parameters: int
    has_types: bool = False


Operation = Callable[[World], object]


@st.composite
def queries(draw: st.DrawFn) -> Operation:
    """Statements that leave nothing to be read back."""
    literal, number = draw(st.sampled_from(LITERALS)), draw(st.integers(1, 6))
    sql = draw(
        st.sampled_from(
            (
                f"INSERT INTO t (v) VALUES ({literal})",
                f"INSERT INTO t (v) VALUES ({literal}), ('second')",
                f"INSERT INTO t (id, v) VALUES ({number}, 'given')",
                f"INSERT IGNORE INTO t (id, v) VALUES ({number}, 'ignored')",
                f"REPLACE INTO t (id, v) VALUES ({number}, {literal})",
                f"UPDATE t SET v = {literal} WHERE id <= {number}",
                "UPDATE t SET v = v",
                f"DELETE FROM t WHERE id = {number}",
                "SELECT * FROM t ORDER BY id",
                "SELECT SQL_CALC_FOUND_ROWS * FROM t ORDER BY id LIMIT 1",
                "SELECT 1 / 0, CAST('1x' AS UNSIGNED)",
                "SELECT nonsense",
                "nonsense",
                "SELECT 1; SELECT 2",
                "SELECT 1; SELECT nonsense; SELECT 2",
                f"SELECT 1; INSERT INTO t (v) VALUES ({literal}); SELECT LAST_INSERT_ID()",
                "DO 0",
                "BEGIN",
                "START TRANSACTION READ ONLY",
                "COMMIT",
                "COMMIT",
                "ROLLBACK",
                "SAVEPOINT s",
                "ROLLBACK TO s",
                f"SELECT LAST_INSERT_ID({number})",
                f"UPDATE t SET id = LAST_INSERT_ID(id + 10) WHERE id = {number}",
                "SHOW TABLES",
                "CALL several()",
            )
        )
    )
    return lambda world: world.run(sql)


LOOKS = (
    "SELECT @a, @b, @c",
    "SELECT HEX(@a), COLLATION(@a), HEX(@b), COLLATION(@b), HEX(@c), COLLATION(@c)",
    "SELECT @@time_zone, @@autocommit, @@lock_wait_timeout, @@sort_buffer_size, @@unique_checks, @@sql_mode",
    "SELECT @@character_set_client, @@character_set_results, @@character_set_connection, @@collation_connection",
    "SHOW VARIABLES LIKE '%_isolation'",
    "SELECT LAST_INSERT_ID(), DATABASE(), CURRENT_ROLE()",
    "SELECT 'a' = 'A', HEX('é'), LENGTH('\\\\n'), 'a' || 'b'",
    'SELECT "a"',
    "SELECT ROW_COUNT()",
    "SELECT FOUND_ROWS()",
    "SHOW WARNINGS",
    "SHOW COUNT(*) ERRORS",
)


def looks() -> st.SearchStrategy[Operation]:
    """Statements that look at what the session is."""

    def look(sql: str) -> Operation:
        return lambda world: world.run(sql)

    return st.sampled_from(LOOKS).map(look)


@st.composite
def settings_of_session(draw: st.DrawFn) -> Operation:
    """Statements that set system variables."""
    hours, seconds = draw(st.integers(1, 9)), draw(st.integers(1, 999))
    size = draw(st.sampled_from((65536, 131072)))
    sql = draw(
        st.sampled_from(
            (
                f"SET time_zone = '+0{hours}:00'",
                f"SET @@time_zone = '-0{hours}:00'",
                f"SET SESSION lock_wait_timeout = {seconds}",
                f"SET @@session.lock_wait_timeout = {seconds}, @@sort_buffer_size = {size}",
                f"SET @@sort_buffer_size = {size}, unique_checks = 0",
                "SET sort_buffer_size = DEFAULT, @@unique_checks = DEFAULT",
                f"SET time_zone = '+0{hours}:00', no_such_variable = 1",
                f"SET @@lock_wait_timeout = {seconds}; SELECT nonsense",
                "SET autocommit = 0",
                "SET autocommit = 1",
                "SET @@autocommit = 1",
                f"SET SESSION TRANSACTION ISOLATION LEVEL {draw(st.sampled_from(LEVELS))}",
            )
        )
    )

    def operation(world: World) -> None:
        world.is_unsettled |= "@@" in sql or "," in sql or ";" in sql
        world.run(sql)

    return operation


@st.composite
def dialects(draw: st.DrawFn) -> Operation:
    """Statements that change how others are read."""
    sql = draw(
        st.sampled_from(
            (
                f"SET sql_mode = {draw(st.sampled_from(MODES))}",
                f"SET @@sql_mode = {draw(st.sampled_from(MODES))}",
                "SET NAMES latin1",
                "SET NAMES utf8mb4",
                "SET collation_connection = utf8mb4_bin",
                "SET character_set_results = NULL",
                "SET character_set_results = utf8mb4",
            )
        )
    )
    return lambda world: world.change_dialect(sql)


@st.composite
def one_shots(draw: st.DrawFn) -> Operation:
    """Statements for the next transaction."""
    sql = draw(st.sampled_from(("SET TRANSACTION READ ONLY", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")))

    def operation(world: World) -> None:
        world.has_one_shot |= not is_error(world.run(sql), 1568)

    return operation


@st.composite
def assignments(draw: st.DrawFn) -> Operation:
    """Statements that set user variables."""
    name, other = draw(st.sampled_from(VARIABLES)), draw(st.sampled_from(VARIABLES))
    literal = draw(st.sampled_from(LITERALS))
    sql = draw(
        st.sampled_from(
            (
                f"SET @{name} = {literal}",
                f"SET @{name} = {literal}, @{other} = 7",
                f"SET @{name} = @{other}",
                f"SELECT @{name} := {literal}",
                f"SELECT COUNT(*) INTO @{name} FROM t",
                f"CALL gives(@{name})",
                f"SET @{name} = {literal}; SELECT nonsense",
            )
        )
    )

    def operation(world: World) -> None:
        world.is_unsettled = True
        world.run(sql)

    return operation


@st.composite
def schema_changes(draw: st.DrawFn) -> Operation:
    """Choose another schema, or the same."""
    schema = draw(st.sampled_from(("{0}", "{1}")))
    is_statement = draw(st.booleans())

    def operation(world: World) -> None:
        world.ask(query(f"USE {schema}") if is_statement else bytes((CommandCode.INIT_DB,)) + schema.encode())
        world.schema = schema

    return operation


SQL_TEXTS = ("SELECT ? + 1, DATABASE()", "INSERT INTO t (v) VALUES (?)", "SELECT v FROM t WHERE id = ?", "SELECT @a, ?")


@st.composite
def statements_in_sql(draw: st.DrawFn) -> Operation:
    """PREPARE, EXECUTE and DEALLOCATE."""
    name, variable = draw(st.sampled_from(("p", "q"))), draw(st.sampled_from(VARIABLES))
    text = draw(st.sampled_from(SQL_TEXTS))
    kind = draw(st.sampled_from(("literal", "variable", "wrong", "execute", "execute", "deallocate")))

    def operation(world: World) -> None:
        if kind in ("literal", "variable"):
            if kind == "variable":
                world.run(f"SET @text = '{text}'")
                world.is_unsettled = True
            world.run(f"PREPARE {name} FROM " + ("@text" if kind == "variable" else f"'{text}'"))
            world.sql_statements[name] = world.schema
            world.unsettled_statements.discard(name)
            if kind == "variable":
                world.unsettled_statements.add(name)
        elif kind == "wrong":
            world.run(f"PREPARE {name} FROM 'nonsense'")
            world.sql_statements.pop(name, None)
        elif kind == "deallocate":
            world.run(f"DEALLOCATE PREPARE {name}")
            world.sql_statements.pop(name, None)
        elif world.sql_statements.get(name, world.schema) == world.schema:
            if name in world.unsettled_statements:
                if world.in_transaction:
                    return
                world.settle()
            world.is_unsettled = True
            world.run(f"EXECUTE {name} USING @{variable}")

    return operation


PREPARED = (
    ("SELECT ?, v FROM t WHERE id <= ?", 2),
    ("INSERT INTO t (v) VALUES (?)", 1),
    ("SELECT @@autocommit", 0),
    ("UPDATE t SET v = ? WHERE id = ?", 2),
    ("SELECT ? FROM t", 1),
)


@st.composite
def prepared_statements(draw: st.DrawFn) -> Operation:
    """COM_STMT_PREPARE, COM_STMT_EXECUTE, COM_STMT_RESET and COM_STMT_CLOSE."""
    kind = draw(st.sampled_from(("prepare", "prepare", "execute", "execute", "execute", "execute", "reset", "close")))
    sql, parameters = draw(st.sampled_from(PREPARED))
    which, value = draw(st.integers(0, 5)), draw(st.integers(0, 9))
    has_types = draw(st.booleans())
    is_null = draw(st.booleans())

    def operation(world: World) -> None:
        if kind == "prepare":
            world.prepared += 1
            replies = [session.prepare(world.prepared, sql) for session in (world.through, world.direct)]
            assert replies[0] == replies[1]
            if world.prepared in world.direct.statements:
                world.statements[world.prepared] = Prepared(sql, world.schema, parameters)
            return
        if not world.statements:
            return
        number = list(world.statements)[which % len(world.statements)]
        prepared = world.statements[number]
        if kind == "close":
            world.close(number)
            return
        if kind == "reset":
            code, rest = CommandCode.STMT_RESET, b""
        elif prepared.schema != world.schema:
            return
        else:
            code, rest = CommandCode.STMT_EXECUTE, _arguments(prepared, value, has_types=has_types, is_null=is_null)
        note(f"{code.name} of {number}: {prepared.sql} {rest!r}")
        replies = [session.use(number, code, rest) for session in (world.through, world.direct)]
        assert replies[0] == replies[1], (prepared, rest)

    return operation


def _arguments(prepared: Prepared, value: int, *, has_types: bool, is_null: bool) -> bytes:
    """Write what stands behind the id in COM_STMT_EXECUTE. Types may be left out from the second one on."""
    rest = b"\0" + (1).to_bytes(4, "little")
    if not prepared.parameters:
        return rest
    sends_types = has_types or not prepared.has_types
    prepared.has_types = True
    rest += bytes((is_null,)) + bytes((sends_types,))
    if sends_types:
        rest += b"\x08\0" * prepared.parameters
    return rest + value.to_bytes(8, "little") * (prepared.parameters - is_null)


def losses() -> st.SearchStrategy[Operation]:
    """Lose the link."""

    def loss(settled: bool) -> Operation:  # noqa: FBT001  drawn
        return lambda world: world.lose(settled=settled)

    return st.booleans().map(loss)


def resets() -> st.SearchStrategy[Operation]:
    """Reset the session."""

    def reset(world: World) -> None:
        world.ask(bytes((CommandCode.RESET_CONNECTION,)))
        world.sql_statements.clear()
        world.unsettled_statements.clear()
        world.statements.clear()
        for session in (world.through, world.direct):
            session.statements.clear()
        world.has_one_shot = False
        world.begin()

    return st.just(reset)


OPERATIONS = st.one_of(
    queries(),
    queries(),
    looks(),
    looks(),
    settings_of_session(),
    dialects(),
    one_shots(),
    assignments(),
    assignments(),
    schema_changes(),
    statements_in_sql(),
    prepared_statements(),
    prepared_statements(),
    resets(),
)


@st.composite
def lives(draw: st.DrawFn) -> list[Operation]:
    """Lives of a session, with some losses."""
    life: list[Operation] = []
    for _ in range(draw(st.integers(1, 4))):
        life += draw(st.lists(OPERATIONS, min_size=1, max_size=12))
        life.append(draw(losses()))
        life += draw(st.lists(looks(), max_size=4))
    return life


@pytest.mark.timeout(3600 if EXAMPLES > 100 else 240)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    # In CI, always the same sessions: what is new is for the long runs to find.
    derandomize=EXAMPLES <= 100,
    # The guard and the server are shared by all examples, on purpose; each example has schemas of its own.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@hypothesis.given(life=lives())
def test_a_session_does_not_notice_that_its_link_was_lost(guard: Guard, server: Server, life: list[Operation]) -> None:
    with ExitStack() as stack:
        names = stack.enter_context(schemas(server, 2, 2, SCHEMA))
        world = World(*connect_twins(stack, guard, server, names))
        world.begin()
        for operation in life:
            operation(world)
        if world.in_transaction:
            world.run("ROLLBACK")
        for look in LOOKS:
            world.run(look)
