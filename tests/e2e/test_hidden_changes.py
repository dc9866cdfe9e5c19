"""What stored functions and triggers do to their session is restored or a hold, never lost without a word."""

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from protocol.constants import ERR_BYTE, Capability, CommandCode
from tests.e2e.losses import CAPABILITIES, Guarded, schemas
from tests.e2e.onlooker import ask_for
from tests.guard import Guard
from tests.servers import Server

DIALECTS = {"EOF": CAPABILITIES, "no EOF": CAPABILITIES | Capability.DEPRECATE_EOF}

#: What functions do, each in the schema {0} and in a view there.
FUNCTIONS = {
    "sets_new": "SET @new = 5;",
    "sets_known": "SET @known = 5;",
    "selects_new": "SELECT 5 INTO @new;",
    "selects_known": "SELECT 5 INTO @known;",
    "sets_variable": "SET sort_buffer_size = 140000;",
    "sets_mode": "SET sql_mode = 'ANSI_QUOTES';",
    "sets_variable_directly": "SET @@sort_buffer_size = 140000;",
    "sets_both": "SET @new = 5, @@sort_buffer_size = 140000;",
    "makes_table": "CREATE TEMPORARY TABLE IF NOT EXISTS {0}.hidden (n INT);",
}
SCHEMA = (
    "CREATE TABLE t (n INT)",
    "CREATE TRIGGER sets BEFORE INSERT ON t FOR EACH ROW SET @new = NEW.n",
    *(
        f"CREATE FUNCTION {name}() RETURNS INT DETERMINISTIC READS SQL DATA BEGIN {body} RETURN 1; END"
        for name, body in FUNCTIONS.items()
    ),
    *(f"CREATE VIEW v_{name} AS SELECT {{0}}.{name}() AS n" for name in FUNCTIONS),
)
#: What leaves no trace where the session is in the same schema, as the guarantees say.
UNSEEN = {"selects_new", "selects_known", "sets_variable_directly"}
#: The same on MySQL for drivers without CLIENT_DEPRECATE_EOF, which reports a change with the next OK packet.
REPORT = "DO 0"

STATEMENTS = {
    **{f"SELECT {{0}}.{name}()": name for name in FUNCTIONS},
    **{f"SELECT * FROM {{0}}.v_{name}": name for name in FUNCTIONS},
    "INSERT INTO {0}.t VALUES (7)": "a trigger",
}
LOOK = "SELECT @new, @known, @@sort_buffer_size, @@sql_mode"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def holds_of(guard: Guard, session: Guarded) -> list[str]:
    rows = ask_for(guard, "/sessions")["sessions"]
    return next(row["holds"] for row in rows if row["id"] == session.number)


@pytest.mark.parametrize("is_prepared", [False, True], ids=["text", "prepared"])
@pytest.mark.parametrize("dialect", list(DIALECTS))
@pytest.mark.parametrize("own_schema", [0, 1], ids=["the same schema", "another schema"])
def test_hidden_changes(
    stack: ExitStack, guard: Guard, server: Server, dialect: str, own_schema: int, *, is_prepared: bool
) -> None:
    ((*names,),) = stack.enter_context(schemas(server, 1, 2, SCHEMA))
    for statement, name in STATEMENTS.items():
        if own_schema == 0 and name in UNSEEN:
            continue
        connection = stack.enter_context(
            closing(
                guard.connect(
                    database=names[own_schema],
                    client_flag=DIALECTS[dialect],
                    ssl_disabled=True,
                    autocommit=None,
                    read_timeout=30,
                )
            )
        )
        session = Guarded(connection, guard, server, DIALECTS[dialect], names)
        session.run("SET @known = 1")
        if is_prepared:
            session.prepare(name, statement)
            reply = session.use(name, CommandCode.STMT_EXECUTE, b"\0\1\0\0\0")
        else:
            (reply,) = session.run(statement)
        assert reply[4] != ERR_BYTE, reply
        session.run(REPORT)
        session.settle()
        if holds_of(guard, session):
            continue
        assert name != "makes_table"
        before = session.run(LOOK)
        session.lose()
        assert session.run(LOOK) == before, statement
