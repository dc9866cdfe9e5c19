"""Ordinary statements leave a session restorable, whatever the server reports of them to the client's dialect.

MariaDB reports a change of the session for each view and each stored function of another schema than the session's,
MySQL for the functions only. With a binary log, MariaDB reports each write as well. Clients without
CLIENT_DEPRECATE_EOF get no more than a flag behind the rows, and the report with some later answer.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from pymysql.constants import CLIENT

from protocol.constants import Capability, CommandCode
from tests.e2e.conftest import StartGuard, address
from tests.e2e.losses import schemas, with_names
from tests.e2e.onlooker import ask_for
from tests.e2e.raw import RawClient
from tests.guard import Guard
from tests.servers import MariaDB, Server, StartServer

BASE = (
    Capability.PROTOCOL_41
    | Capability.SECURE_CONNECTION
    | Capability.MULTI_STATEMENTS
    | CLIENT.MULTI_RESULTS
    | 1 << 18
    | Capability.PLUGIN_AUTH
    | Capability.CONNECT_WITH_DB
)
DIALECTS = {"EOF": BASE, "no EOF": BASE | Capability.DEPRECATE_EOF}

#: A quiet session is settled after 0.1 s.
SETTLING_SECONDS = 20.0
#: This one the server does not prepare.
CANNOT_PREPARE = 1295

#: Objects of the schema {0}; a session's own schema is {1}.
SCHEMA = (
    "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(20), KEY (v)) ENGINE=InnoDB",
    "INSERT INTO t (v) VALUES ('one'), ('two'), ('three')",
    "CREATE TABLE m (n INT) ENGINE=MyISAM",
    "CREATE TABLE counted (id INT PRIMARY KEY AUTO_INCREMENT, n INT)",
    "CREATE TABLE log (id INT PRIMARY KEY AUTO_INCREMENT, n INT)",
    "CREATE TRIGGER counts AFTER INSERT ON counted FOR EACH ROW INSERT INTO {0}.log (n) VALUES (NEW.n)",
    "CREATE VIEW w AS SELECT id, v FROM {0}.t",
    "CREATE FUNCTION doubles(n INT) RETURNS INT DETERMINISTIC NO SQL RETURN 2 * n",
    "CREATE VIEW calls AS SELECT {0}.doubles(id) AS n FROM {0}.t",
)

MARIADB, MYSQL = "mariadb", "mysql"
TABLE = "a temporary table"


@dataclass(frozen=True)
class Case:
    """Statements of one session, and the beginnings of the holds that they leave; ``only`` is the kind of server."""

    steps: tuple[str, ...]
    holds: tuple[str, ...] = ()
    only: str = ""
    #: The server that reports a change which nobody can tell from one that a new link would lack.
    unexplained_at: str = ""


def ordinary(*steps: str, only: str = "") -> Case:
    return Case(steps, (), only)


CASES = (
    # Reading
    ordinary("SELECT 1"),
    ordinary("SELECT * FROM {0}.t"),
    ordinary("SELECT * FROM {0}.t WHERE FALSE"),
    ordinary("SELECT * FROM {0}.w"),
    ordinary("SELECT SQL_CALC_FOUND_ROWS * FROM {0}.w LIMIT 1"),
    ordinary("SELECT * FROM {0}.w JOIN {0}.t USING (id)"),
    Case(("SELECT * FROM {0}.calls",), unexplained_at=MYSQL),
    ordinary("SELECT v FROM {0}.t UNION SELECT v FROM {0}.w"),
    ordinary("(SELECT 1) UNION (SELECT 2)"),
    ordinary("WITH c AS (SELECT * FROM {0}.w) SELECT * FROM c"),
    ordinary("WITH RECURSIVE c AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM c WHERE n < 3) SELECT * FROM c"),
    ordinary("SELECT * FROM (SELECT * FROM {0}.w) AS d"),
    ordinary("SELECT COUNT(*), MAX(v) FROM {0}.t GROUP BY v WITH ROLLUP"),
    ordinary("SELECT v, ROW_NUMBER() OVER (ORDER BY id) FROM {0}.t"),
    ordinary("SELECT NOW(), USER(), DATABASE(), VERSION(), CONNECTION_ID()"),
    ordinary("SELECT LAST_INSERT_ID(), ROW_COUNT(), FOUND_ROWS()"),
    ordinary("SELECT @@sql_mode, @@SESSION.time_zone, @@GLOBAL.max_connections"),
    ordinary("SELECT SLEEP(0)"),
    ordinary("SELECT RAND(), UUID()"),
    ordinary("SELECT JSON_EXTRACT('[1]', '$[0]')"),
    ordinary("SELECT 1 / 0"),
    ordinary("SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = '{0}'"),
    ordinary("SELECT * FROM information_schema.tables WHERE table_schema = '{0}'"),
    ordinary("SELECT * FROM information_schema.processlist LIMIT 1"),
    ordinary("SELECT * FROM {0}.t WHERE id = 1 FOR UPDATE"),
    ordinary("SELECT * FROM {0}.t WHERE id = 1 LOCK IN SHARE MODE"),
    ordinary("VALUES (1), (2)", only=MARIADB),
    ordinary("VALUES ROW(1), ROW(2)", only=MYSQL),
    ordinary("TABLE {0}.t", only=MYSQL),
    ordinary("DO 0"),
    ordinary("DO SLEEP(0)"),
    ordinary("SELECT 1; SELECT * FROM {0}.w; DO 0"),
    Case(("SELECT {0}.doubles(2)",), unexplained_at=MYSQL),
    Case(("SELECT * FROM {0}.t WHERE id = {0}.doubles(1)",), unexplained_at=MYSQL),
    # Looking at things
    ordinary("SHOW DATABASES"),
    ordinary("SHOW TABLES FROM {0}"),
    ordinary("SHOW FULL TABLES FROM {0}"),
    ordinary("SHOW TABLE STATUS FROM {0}"),
    ordinary("SHOW COLUMNS FROM {0}.t"),
    ordinary("SHOW FULL COLUMNS FROM {0}.w"),
    ordinary("SHOW INDEX FROM {0}.t"),
    ordinary("SHOW CREATE TABLE {0}.t"),
    ordinary("SHOW CREATE VIEW {0}.w"),
    ordinary("SHOW CREATE FUNCTION {0}.doubles"),
    ordinary("SHOW CREATE DATABASE {0}"),
    ordinary("SHOW TRIGGERS FROM {0}"),
    ordinary("SHOW FUNCTION STATUS WHERE Db = '{0}'"),
    ordinary("SHOW VARIABLES LIKE 'max_%'"),
    ordinary("SHOW STATUS LIKE 'Threads%'"),
    ordinary("SHOW PROCESSLIST"),
    ordinary("SHOW GRANTS"),
    ordinary("SHOW ENGINES"),
    ordinary("SHOW CHARACTER SET"),
    ordinary("SHOW COLLATION LIKE 'utf8%'"),
    ordinary("SHOW WARNINGS"),
    ordinary("SHOW ENGINE INNODB STATUS"),
    ordinary("EXPLAIN SELECT * FROM {0}.t"),
    ordinary("EXPLAIN SELECT * FROM {0}.w"),
    ordinary("EXPLAIN UPDATE {0}.t SET v = 'x' WHERE id = 1"),
    ordinary("EXPLAIN FORMAT=JSON SELECT * FROM {0}.w"),
    ordinary("ANALYZE SELECT * FROM {0}.w", only=MARIADB),
    ordinary("EXPLAIN ANALYZE SELECT * FROM {0}.w", only=MYSQL),
    ordinary("DESCRIBE {0}.w"),
    ordinary("HELP 'SELECT'"),
    # Writing
    ordinary("INSERT INTO {0}.t (v) VALUES ('x')"),
    ordinary("INSERT INTO {0}.t (v) SELECT v FROM {0}.w"),
    ordinary("INSERT IGNORE INTO {0}.t (id, v) VALUES (1, 'x')"),
    ordinary("INSERT INTO {0}.t (id, v) VALUES (1, 'x') ON DUPLICATE KEY UPDATE v = 'y'"),
    ordinary("REPLACE INTO {0}.t (id, v) VALUES (1, 'x')"),
    ordinary("UPDATE {0}.t SET v = 'x' WHERE id = 1"),
    ordinary("UPDATE {0}.w SET v = 'x' WHERE id = 1"),
    ordinary("UPDATE {0}.t JOIN {0}.w USING (id) SET t.v = 'x' WHERE id = 1"),
    ordinary("DELETE FROM {0}.t WHERE id = 1000"),
    ordinary("DELETE {0}.t FROM {0}.t JOIN {0}.w USING (id) WHERE id = 1000"),
    ordinary("INSERT INTO {0}.t (v) VALUES ('x'); DELETE FROM {0}.t WHERE v = 'x'"),
    ordinary("INSERT INTO {0}.m VALUES (1)"),
    ordinary("INSERT INTO {0}.t (v) VALUES ('r') RETURNING id", only=MARIADB),
    ordinary("REPLACE INTO {0}.t (v) VALUES ('r') RETURNING id", only=MARIADB),
    ordinary("INSERT INTO {0}.t (v) VALUES ('d')", "DELETE FROM {0}.t WHERE v = 'd' RETURNING id", only=MARIADB),
    Case(("INSERT INTO {0}.counted (n) VALUES (1)",), unexplained_at=MYSQL),
    ordinary("CREATE SEQUENCE {0}.s_#", "SELECT NEXTVAL({0}.s_#)", only=MARIADB),
    ordinary("CREATE SEQUENCE {0}.s_#", "SELECT NEXT VALUE FOR {0}.s_#", "SELECT LASTVAL({0}.s_#)", only=MARIADB),
    ordinary("CREATE SEQUENCE {0}.s_#", "SELECT SETVAL({0}.s_#, 5)", only=MARIADB),
    ordinary("TRUNCATE TABLE {0}.m"),
    # Transactions
    ordinary("BEGIN", "INSERT INTO {0}.t (v) VALUES ('x')", "COMMIT"),
    ordinary("BEGIN", "SELECT * FROM {0}.w", "COMMIT"),
    ordinary("BEGIN", "SELECT * FROM {0}.w", "INSERT INTO {0}.t (v) VALUES ('x')", "ROLLBACK"),
    ordinary("START TRANSACTION READ ONLY", "SELECT * FROM {0}.w", "COMMIT"),
    ordinary("START TRANSACTION WITH CONSISTENT SNAPSHOT", "SELECT * FROM {0}.t", "ROLLBACK"),
    ordinary(
        "BEGIN",
        "SAVEPOINT a",
        "UPDATE {0}.t SET v = 'x' WHERE id = 2",
        "ROLLBACK TO a",
        "RELEASE SAVEPOINT a",
        "COMMIT",
    ),
    ordinary("SET autocommit = 0", "SELECT * FROM {0}.w", "UPDATE {0}.t SET v = 'x' WHERE id = 2", "COMMIT"),
    ordinary("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "SELECT * FROM {0}.w"),
    ordinary("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SELECT * FROM {0}.w"),
    # The session
    ordinary("USE {0}", "SELECT * FROM w"),
    ordinary("SET NAMES utf8mb4"),
    ordinary("SET NAMES latin1 COLLATE latin1_bin"),
    ordinary("SET CHARACTER SET utf8mb4"),
    ordinary("SET sql_mode = '', time_zone = '+01:00'"),
    ordinary("SET @@SESSION.sort_buffer_size = 100000"),
    ordinary("SET @a = 1, @b = 'x'", "SELECT @a, @b", "SELECT * FROM {0}.w"),
    ordinary("SELECT v INTO @v FROM {0}.t WHERE id = 1"),
    ordinary("SELECT @v := v FROM {0}.w WHERE id = 1"),
    ordinary("SET STATEMENT sort_buffer_size = 100000 FOR SELECT * FROM {0}.w", only=MARIADB),
    ordinary("SET ROLE NONE"),
    ordinary("PREPARE p FROM 'SELECT * FROM {0}.w'", "EXECUTE p", "DEALLOCATE PREPARE p", only=MARIADB),
    ordinary("PREPARE p FROM 'SELECT * FROM {0}.w WHERE id = ?'", "SET @i = 1", "EXECUTE p USING @i"),
    ordinary("EXECUTE IMMEDIATE 'SELECT 1'", only=MARIADB),
    ordinary("EXECUTE IMMEDIATE 'UPDATE {0}.t SET v = ''x'' WHERE id = 2'", only=MARIADB),
    ordinary("EXECUTE IMMEDIATE 'SET @a = 1'", only=MARIADB),
    ordinary("SET @i = 1", "EXECUTE IMMEDIATE 'SELECT * FROM {0}.w WHERE id = ?' USING @i", only=MARIADB),
    # Definitions
    ordinary("CREATE TABLE {0}.c_# (i INT)", "ALTER TABLE {0}.c_# ADD COLUMN j INT", "DROP TABLE {0}.c_#"),
    ordinary("CREATE TABLE IF NOT EXISTS {0}.m (n INT)"),
    ordinary("DROP TABLE IF EXISTS {0}.no_such"),
    ordinary("CREATE TABLE {0}.c_# LIKE {0}.t"),
    ordinary("CREATE TABLE {0}.c_# SELECT * FROM {0}.w"),
    ordinary("CREATE TABLE {0}.c_# (i INT)", "RENAME TABLE {0}.c_# TO {0}.d_#"),
    ordinary(
        "CREATE TABLE {0}.c_# (i INT)",
        "CREATE TABLE {0}.d_# (i INT)",
        "RENAME TABLE {0}.c_# TO {0}.e_#, {0}.d_# TO {0}.c_#",
    ),
    ordinary("CREATE TABLE {0}.c_# (i INT)", "ALTER TABLE {0}.c_# RENAME TO {0}.d_#"),
    ordinary("CREATE TABLE {0}.c_# (i INT)", "ALTER TABLE {0}.c_# RENAME {0}.d_#, ADD COLUMN j INT"),
    ordinary("CREATE TABLE {0}.c_# (i INT)", "ALTER TABLE {0}.c_# ADD KEY a (i), ALGORITHM=INPLACE"),
    ordinary("CREATE TABLE {0}.c_# (i INT, KEY a (i))", "ALTER TABLE {0}.c_# RENAME KEY a TO b"),
    ordinary("CREATE TABLE {0}.c_# (i INT)", "ALTER TABLE {0}.c_# RENAME COLUMN i TO j"),
    ordinary("CREATE TABLE {0}.c_# (i INT)", "CREATE INDEX a ON {0}.c_# (i)", "DROP INDEX a ON {0}.c_#"),
    ordinary("CREATE TABLE {0}.c_# (i INT)", "CREATE UNIQUE INDEX a ON {0}.c_# (i)"),
    ordinary("CREATE VIEW {0}.v_# AS SELECT * FROM {0}.t", "ALTER VIEW {0}.v_# AS SELECT 1", "DROP VIEW {0}.v_#"),
    ordinary("CREATE OR REPLACE VIEW {0}.w AS SELECT id, v FROM {0}.t"),
    ordinary("CREATE TRIGGER {0}.g_# BEFORE UPDATE ON {0}.m FOR EACH ROW SET NEW.n = 1", "DROP TRIGGER {0}.g_#"),
    ordinary("CREATE FUNCTION {0}.f_#() RETURNS INT DETERMINISTIC NO SQL RETURN 1", "DROP FUNCTION {0}.f_#"),
    ordinary("CREATE PROCEDURE {0}.p_#() SELECT 1", "DROP PROCEDURE {0}.p_#"),
    ordinary("CREATE DATABASE {0}_#", "ALTER DATABASE {0}_# CHARACTER SET utf8mb4", "DROP DATABASE {0}_#"),
    ordinary("CREATE USER u_#@localhost", "GRANT SELECT ON {0}.* TO u_#@localhost", "DROP USER u_#@localhost"),
    # Upkeep
    ordinary("ANALYZE TABLE {0}.t"),
    ordinary("OPTIMIZE TABLE {0}.t"),
    ordinary("REPAIR TABLE {0}.m"),
    ordinary("CHECK TABLE {0}.t"),
    ordinary("CHECKSUM TABLE {0}.t"),
    ordinary("FLUSH TABLES {0}.m"),
    # Temporary tables, and all that can be done to them
    Case(("CREATE TEMPORARY TABLE {0}.tmp (n INT)",), (TABLE,)),
    Case(("CREATE TEMPORARY TABLE {0}.tmp SELECT * FROM {0}.w",), (TABLE,)),
    Case(("CREATE TEMPORARY TABLE {0}.tmp (n INT)", "CREATE INDEX a ON {0}.tmp (n)"), (TABLE,)),
    Case(
        (
            "CREATE TEMPORARY TABLE {0}.tmp (n INT)",
            "CREATE INDEX a ON {0}.tmp (n)",
            "DROP INDEX a ON {0}.tmp",
            "DROP TABLE {0}.tmp",
        )
    ),
    Case(("CREATE TEMPORARY TABLE {0}.tmp (n INT)", "CREATE UNIQUE INDEX a ON {0}.tmp (n)", "DROP TABLE {0}.tmp")),
    Case(
        (
            "CREATE TEMPORARY TABLE {0}.tmp (n INT)",
            "INSERT INTO {0}.tmp VALUES (1)",
            "SELECT * FROM {0}.tmp, {0}.w",
            "DROP TABLE {0}.tmp",
        )
    ),
    Case(
        ("CREATE TEMPORARY TABLE {0}.tmp (n INT)", "ALTER TABLE {0}.tmp RENAME TO {0}.tmp2"), (TABLE + " ({0}.tmp2)",)
    ),
    Case(("CREATE TEMPORARY TABLE {0}.tmp (n INT)", "ALTER TABLE {0}.tmp RENAME TO {0}.tmp2", "DROP TABLE {0}.tmp2")),
    Case(("CREATE TEMPORARY TABLE {0}.tmp (n INT)", "RENAME TABLE {0}.tmp TO {0}.tmp2"), (TABLE, TABLE), MARIADB),
    # The server's reports on a table of the same name, which is none
    Case(
        ("CREATE TABLE {0}.a_# (n INT)", "CREATE TEMPORARY TABLE {0}.a_# (n INT)", "RENAME TABLE {0}.a_# TO {0}.b_#"),
        (TABLE, TABLE),
        MYSQL,
    ),
)


class Client(RawClient):
    """A session through the guard that runs the statements of a case."""

    def __init__(self, guard: Guard, dialect: str, names: tuple[str, ...], number: int, *, user: str = "root") -> None:
        super().__init__(guard.host, guard.port, DIALECTS[dialect], schema=names[1], user=user)
        self._names = names
        self._number = number

    def run(self, step: str, *, is_prepared: bool) -> None:
        """Run a statement, which must not fail; where it is prepared, it is so if the server can prepare it."""
        sql = with_names(step, self._names).replace("#", str(self._number))
        if not (is_prepared and self._execute(sql)):
            error = self._ask(CommandCode.QUERY, sql.encode())
            assert not error, f"{sql}: error {error}"

    def _execute(self, sql: str) -> bool:
        self.send(bytes((CommandCode.STMT_PREPARE,)) + sql.encode())
        head, *_ = self.reply(CommandCode.STMT_PREPARE)
        if head.payload[0] == 0xFF:
            return False
        error = self._ask(CommandCode.STMT_EXECUTE, head.payload[1:5] + b"\0\1\0\0\0")
        assert error in (0, CANNOT_PREPARE), f"{sql}: error {error}"
        self.send(bytes((CommandCode.STMT_CLOSE,)) + head.payload[1:5])
        return not error

    def _ask(self, code: int, argument: bytes) -> int:
        """Send a command; give the code of the error that it is answered with."""
        self.send(bytes((code,)) + argument)
        errors = [packet.payload for packet in self.reply(code) if packet.payload[0] == 0xFF]
        return int.from_bytes(errors[0][1:3], "little") if errors else 0


def holds_of(guard: Guard, clients: dict[Case, Client]) -> dict[Case, list[str]]:
    """Give what holds sessions once all of them have been settled."""
    deadline = time.monotonic() + SETTLING_SECONDS
    while True:
        held = {row["known_thread"]: row["holds"] for row in ask_for(guard, "/sessions")["sessions"]}
        if not any("not read back yet" in hold for holds in held.values() for hold in holds):
            return {case: held[client.greeting.thread_id] for case, client in clients.items()}
        assert time.monotonic() < deadline, held
        time.sleep(0.1)


@pytest.fixture(params=["no log", "log"])
def logging_server(request: pytest.FixtureRequest, own_server: StartServer) -> Server:
    """Give a server without a binary log, and then one with it: MariaDB reports each write to it."""
    return own_server(*(("--log-bin", "--server-id=1") if request.param == "log" else ()))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("is_prepared", [False, True], ids=["text", "prepared"])
@pytest.mark.parametrize("dialect", list(DIALECTS))
def test_ordinary_statements(
    logging_server: Server, start_guard: StartGuard, stack: ExitStack, dialect: str, *, is_prepared: bool
) -> None:
    server, guard = logging_server, start_guard(address(logging_server))
    ((*names,),) = stack.enter_context(schemas(server, 1, 2, SCHEMA))
    clients = {}
    for number, case in enumerate(case for case in CASES if case.only in ("", server.name)):
        clients[case] = stack.enter_context(Client(guard, dialect, tuple(names), number))
        for step in case.steps:
            clients[case].run(step, is_prepared=is_prepared)
        clients[case].run("DO 0", is_prepared=False)  # so that there is nothing to look back at, and it can be settled
    wrong = {}
    for case, found in holds_of(guard, clients).items():
        expected = [with_names(hold, names) for hold in case.holds]
        expected += ["a change of session state"] if case.unexplained_at == server.name else []
        if len(found) != len(expected) or not all(map(str.startswith, sorted(found), sorted(expected))):
            wrong[case.steps] = found
    assert not wrong, "\n".join(f"{steps}: {found}" for steps, found in wrong.items())


#: What is counted, or may be, between one change that MariaDB reports without a reason and the next.
BETWEEN = {
    "nothing": (),
    "COM_SET_OPTION": (b"\x1b\1\0", b"\x1b\0\0"),
    "COM_PING": (b"\x0e",),
    "settings": (b"\x03SET NAMES latin1", b"\x03SET @a = 1", b"\x03SET @@time_zone = '+01:00'"),
    "settings that fail": (b"\x03SET nonsense = 1", b"\x03SET sql_mode = 'nonsense'", b"\x03DO 0"),
    "a temporary table": (b"\x03CREATE TEMPORARY TABLE a (n INT)", b"\x03DROP TABLE a"),
    "a new id": (b"\x03CREATE TABLE IF NOT EXISTS a (n SERIAL)", b"\x03INSERT INTO a VALUES (NULL)", b"\x03DO 0"),
    "a reset": (b"\x1f",),
}


@pytest.mark.parametrize("between", list(BETWEEN))
@pytest.mark.parametrize("dialect", list(DIALECTS))
def test_views_are_read_again_and_again(
    mariadb: Server, guards: Callable[[Server], Guard], stack: ExitStack, dialect: str, between: str
) -> None:
    guard = guards(mariadb)
    ((*names,),) = stack.enter_context(schemas(mariadb, 1, 2, SCHEMA))
    client = stack.enter_context(Client(guard, dialect, tuple(names), 0))
    for _ in range(3):
        client.run("SELECT * FROM {0}.w", is_prepared=False)
        assert holds_of(guard, {CASES[0]: client}) == {CASES[0]: []}
        for command in BETWEEN[between]:
            client.send(command)
            client.reply(command[0])
        time.sleep(0.3)  # after a SET that has failed, the server is asked what it has counted
        assert holds_of(guard, {CASES[0]: client}) == {CASES[0]: []}


def test_what_a_server_sets_in_each_new_session_is_no_change(start_guard: StartGuard) -> None:
    first = "SET @first = 1; SET sort_buffer_size = 140000"
    with MariaDB((f"--init-connect={first}",)) as server, ExitStack() as stack:
        guard = start_guard(address(server))
        ((*names,),) = stack.enter_context(schemas(server, 1, 2, SCHEMA))
        server.execute("CREATE USER app@'127.0.0.1'")
        server.execute("GRANT ALL ON *.* TO app@'127.0.0.1'")
        server.execute("REVOKE CONNECTION ADMIN, SUPER ON *.* FROM app@'127.0.0.1'")
        clients = [stack.enter_context(Client(guard, "EOF", tuple(names), 0, user="app")) for _ in range(2)]
        quick, slow = clients
        quick.run("SELECT * FROM {0}.w", is_prepared=False)
        time.sleep(0.3)  # in which the server is asked what it has counted
        slow.run("SELECT * FROM {0}.w", is_prepared=False)
        assert holds_of(guard, {CASES[0]: slow}) == {CASES[0]: []}
        assert holds_of(guard, {CASES[0]: quick}) == {
            CASES[0]: ["a change of session state that the server did not explain"]
        }
