"""Every session variable of both servers that can be set comes back with the session, or holds it."""

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pymysql

from tests.e2e import wire
from tests.e2e.guarded import Guarded
from tests.guard import Guard
from tests.servers import Connection, Server

FORMS = ("SET {} = {}", "SET SESSION {} = {}", "SET @@{} = {}", "SET @@session.{} = {}", "SET LOCAL {} = {}")

#: By these, binary logs are replayed: what they read is not what they were set to. They hold the session.
HOLDING = frozenset(
    {"timestamp", "insert_id", "rand_seed1", "rand_seed2", "pseudo_thread_id", "gtid_next", "gtid_seq_no"}
)
#: What the guard answers for itself, so that it reads otherwise behind it.
OWN = frozenset(
    {
        "session_track_system_variables",
        "session_track_schema",
        "session_track_state_change",
        "session_track_transaction_info",
    }
)
#: A client that sets these is not kept, or not heard, as others are; they have tests of their own.
OTHERS = frozenset(
    {"max_session_mem_used", "wait_timeout", "interactive_timeout", "net_read_timeout", "net_write_timeout"}
)

#: How many sessions are lost at once.
BATCH = 50

TEXTS = (
    "'latin1'",
    "'latin1_bin'",
    "'de_DE'",
    "'+05:00'",
    "'MyISAM'",
    "'ANSI'",
    "'SERIALIZABLE'",
    "'READ-COMMITTED'",
    "'x'",
    "'3'",
    "''",
    "NULL",
)


def names(server: Server) -> list[str]:
    """List all session variables that are not read-only, as far as the server says so."""
    if server.name == "mariadb":
        question = (
            "SELECT variable_name FROM information_schema.system_variables "
            "WHERE variable_scope LIKE 'SESSION%' AND read_only = 'NO'"
        )
    else:
        question = (
            "SELECT variable_name FROM performance_schema.variables_metadata "
            "WHERE variable_scope IN ('SESSION', 'SESSION_ONLY')"
        )
    return sorted(name.lower() for (name,) in server.execute(question))


def other_values(value: object) -> Iterator[str]:
    """Give values that a variable may have in the place of this one."""
    text = str(value)
    if text.upper() in {"ON", "OFF", "0", "1"}:
        yield str(int(text.upper() in {"OFF", "0"}))
    if text.lstrip("-").isdigit():
        number = int(text)
        yield from map(str, (number + 1, number - 1, number * 2, number // 2, number + 4096, 16384, 2, 3))
    if text.replace(".", "").isdigit():
        yield str(float(text) / 2 + 0.5)
    yield from TEXTS


def current(connection: Connection, name: str) -> object:
    return wire.query(connection, f"SELECT @@SESSION.{name}")[0][0]


def find_value(server: Server, name: str) -> str:
    """Find a value that a session can give to a variable, and that is not the one it has; empty if there is none."""
    with closing(server.connect(database="test")) as connection:
        try:
            before = current(connection, name)
        except pymysql.Error:
            return ""  # it cannot be read
        for value in other_values(before):
            try:
                wire.query(connection, f"SET SESSION {name} = {value}")
            except pymysql.Error:
                continue
            if current(connection, name) != before:
                return value
    return ""


def test_all_session_variables(guard: Guard, server: Server, schema: str) -> None:
    values = {name: find_value(server, name) for name in names(server) if name not in OWN | OTHERS}
    settable = {name: value for name, value in values.items() if value}
    assert len(settable) > 100
    cases = [(name, FORMS[index % len(FORMS)].format(name, settable[name])) for index, name in enumerate(settable)]
    wrong: dict[str, str] = {}
    for start in range(0, len(cases), BATCH):
        with ExitStack() as stack:
            sessions = []
            for name, statement in cases[start : start + BATCH]:
                session = stack.enter_context(closing(Guarded(guard, database=schema)))
                session.query(statement)
                sessions.append((name, statement, session, current(session.connection, name)))
            for _, _, session, _ in sessions:
                server.execute(f"KILL CONNECTION {session.known}")
            for name, statement, session, value in sessions:
                try:
                    restored = current(session.connection, name)
                except pymysql.Error as error:
                    # What cannot be restored, or was not read back yet, is named.
                    if error.args[0] != 4031 or name not in error.args[1]:
                        wrong[statement] = str(error)
                else:
                    if name in HOLDING or restored != value:
                        wrong[statement] = f"{value!r} has become {restored!r}"
    assert wrong == {}


def test_the_character_set_of_a_schema(guard: Guard, server: Server, schema: str) -> None:
    server.execute(f"ALTER DATABASE {schema} CHARACTER SET utf8mb4")
    looks = "SELECT @@character_set_database, @@collation_database"
    with closing(Guarded(guard, database=schema)) as session:
        for statement, expected in (
            ("SET SESSION collation_database = latin1_bin", ("latin1", "latin1_bin")),
            ("SET SESSION character_set_database = latin1", ("latin1", "latin1_swedish_ci")),
        ):
            times = session.times_settled()
            session.query(statement)
            session.query("SELECT COUNT(*) FROM information_schema.engines")  # as a warning is not to be spoiled
            session.wait_until_settled_again(times)
            server.execute(f"KILL CONNECTION {session.thread()}")
            session.wait_until_restored()
            assert session.query(looks) == (expected,)
        # Another schema brings its own.
        session.connection.select_db(schema)
        ((charset, _),) = session.query(looks)
        assert charset == "utf8mb4"
        server.execute(f"KILL CONNECTION {session.thread()}")
        session.wait_until_restored()
        assert session.query(looks)[0][0] == "utf8mb4"
