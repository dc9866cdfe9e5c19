"""What few drivers use of the protocol passes as well: the same packets, through the guard and directly."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest

from protocol.constants import Capability, CommandCode
from protocol.packets import Err
from protocol.wire import lenenc_bytes
from tests.e2e.conftest import StartGuard, address
from tests.e2e.losses import schemas
from tests.e2e.onlooker import ask_for
from tests.e2e.raw import BASE, Packet, RawClient
from tests.e2e.twins import Command, Twins, assert_alike
from tests.guard import Guard
from tests.servers import Server, StartServer

MULTI_STATEMENTS, MULTI_RESULTS, PS_MULTI_RESULTS = 1 << 16, 1 << 17, 1 << 18
MARIADB_BULK = 1 << 34
COMMON = BASE | Capability.CONNECT_WITH_DB | Capability.LOCAL_FILES | MULTI_RESULTS | PS_MULTI_RESULTS

SCHEMA = (
    "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v LONGTEXT) ENGINE=InnoDB",
    "INSERT INTO t (v) VALUES ('one'), (NULL), (REPEAT('y', 70000))",
    "CREATE PROCEDURE several() BEGIN SELECT 1; SELECT id FROM t LIMIT 0; SELECT v FROM t WHERE id < 3; END",
    (
        "CREATE PROCEDURE gives(IN a BIGINT, OUT b BIGINT, INOUT c TEXT) "
        "BEGIN SELECT a; SET b = a * 2, c = CONCAT(c, '!'); END"
    ),
)

_SUMS_UP = (
    "DECLARE x, s INT DEFAULT 0; DECLARE is_over BOOL DEFAULT FALSE; DECLARE c CURSOR FOR SELECT id FROM t; "
    "DECLARE CONTINUE HANDLER FOR NOT FOUND SET is_over = TRUE; "
    "OPEN c; FETCH c INTO x; WHILE NOT is_over DO SET s = s + x; FETCH c INTO x; END WHILE;"
)
#: Programs with cursors of their own, after which servers leave CURSOR_EXISTS set.
OWN_CURSORS = (
    f"CREATE PROCEDURE sums_up() BEGIN {_SUMS_UP} CLOSE c; SELECT s; END",
    f"CREATE PROCEDURE leaves_open() BEGIN {_SUMS_UP} SELECT s; SELECT id FROM t LIMIT 0; END",
    f"CREATE PROCEDURE says_nothing() BEGIN {_SUMS_UP} END",
    f"CREATE PROCEDURE gives_out(OUT o INT) BEGIN {_SUMS_UP} SELECT 1; SET o = s; END",
    "CREATE PROCEDURE calls_others() BEGIN SELECT 'first'; CALL sums_up(); CALL says_nothing(); CALL several(); END",
    f"CREATE PROCEDURE fails() BEGIN {_SUMS_UP} SELECT s; SELECT nonsense; END",
    f"CREATE FUNCTION total() RETURNS INT DETERMINISTIC READS SQL DATA BEGIN {_SUMS_UP} RETURN s; END",
    f"CREATE FUNCTION total_of(a INT) RETURNS INT READS SQL DATA BEGIN {_SUMS_UP} RETURN s + a; END",
    "CREATE VIEW totals AS SELECT id, total_of(id) FROM t",
)
#: Statements that have such programs run.
RUNNING_CURSORS = (
    "CALL sums_up()",
    "CALL leaves_open()",
    "CALL says_nothing()",
    "CALL calls_others()",
    "CALL gives_out(@o)",
    "CALL fails()",
    "SELECT total()",
    "SELECT total_of(id) FROM t",
    "SELECT id FROM t WHERE total() = id",
    "SELECT * FROM totals",
    "SELECT total_of(1) UNION SELECT total()",
    "DO total()",
)
IN_PLACE = f"BEGIN NOT ATOMIC {_SUMS_UP} CLOSE c; SELECT s; END"

#: The types of parameters.
LONGLONG, VAR_STRING, BLOB = b"\x08\0", b"\xfd\0", b"\xfc\0"
#: What stands behind the id in an execution: flags, and how often.
ONCE = b"\0\1\0\0\0"
CURSOR = b"\1\1\0\0\0"
LAST_PREPARED = b"\xff\xff\xff\xff"


def has_cursor(guard: Guard, twins: Twins) -> bool:
    """Ask the guard whether a cursor holds the session."""
    thread = twins.sides[0].client.greeting.thread_id
    (session,) = (row for row in ask_for(guard, "/sessions")["sessions"] if row["known_thread"] == thread)
    return "an open cursor" in session["holds"]


def opens_cursor(reply: list[Packet], sql: str) -> bool:
    """Return whether a reply to an execution that has asked for a cursor has only definitions."""
    return reply[-1].payload[0] == 0xFE and not sql.startswith(("CALL", "BEGIN"))


MakeTwins = Callable[[int], Twins]


@pytest.fixture(params=[0, Capability.DEPRECATE_EOF], ids=["EOF", "no EOF"])
def make_twins(request: pytest.FixtureRequest, guard: Guard, server: Server) -> Iterator[MakeTwins]:
    """Give a function that logs both in with these capabilities and some more."""
    with ExitStack() as stack:
        names = stack.enter_context(schemas(server, 2, 2, SCHEMA))

        def make(capabilities: int) -> Twins:
            wanted = int(capabilities | request.param)
            # By the lack of this flag, MariaDB knows clients that have more than MySQL's.
            wanted |= 0 if server.name == "mariadb" else Capability.LONG_PASSWORD
            return Twins(stack, guard, server, names, wanted)

        yield make


@pytest.fixture
def twins(make_twins: MakeTwins) -> Iterator[Twins]:
    """Give twins that can do what many drivers can."""
    both = make_twins(COMMON | MULTI_STATEMENTS)
    yield both
    both.assert_in_step()


def only(server: Server, name: str) -> None:
    if server.name != name:
        pytest.skip(f"only {name} has it")


def numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(8, "little") for value in values)


# Results


def test_several_statements_and_results(make_twins: MakeTwins) -> None:
    for more in (0, MULTI_RESULTS, MULTI_STATEMENTS, MULTI_STATEMENTS | MULTI_RESULTS):
        both = make_twins(BASE | Capability.CONNECT_WITH_DB | more)
        for sql in (
            "SELECT 1; DO 0; SELECT nonsense; SELECT 2",
            "SELECT 1; CALL several(); UPDATE t SET v = v; ;",
            "CALL several()",
            "CALL gives(1, @a, @b)",
        ):
            both.run(sql)
        # May be switched on and off later.
        for option in (b"\0\0", b"\1\0", b"\0\0"):
            both.ask(Command(bytes((CommandCode.SET_OPTION,)) + option))
            both.run("SELECT 1; CALL several(); SELECT 2")
        both.assert_in_step()


def test_out_parameters(twins: Twins) -> None:
    assert twins.prepare(1, "CALL gives(?, ?, ?)")
    values = b"\0\1" + LONGLONG * 2 + VAR_STRING + numbers(21, 0) + b"\2hi"
    reply = twins.use(1, CommandCode.STMT_EXECUTE, ONCE + values)
    assert any(b"hi!" in packet.payload for packet in reply)


def test_programs_with_cursors_of_their_own(twins: Twins, guard: Guard, server: Server) -> None:
    twins.run(*OWN_CURSORS)
    statements = RUNNING_CURSORS + ((IN_PLACE,) if server.name == "mariadb" else ())
    twins.run(*statements, "SELECT 1; CALL sums_up(); SELECT total(); CALL calls_others(); SELECT 2")
    for number, sql in enumerate(statements):
        assert twins.prepare(number, sql)
        for flags in (ONCE, CURSOR, ONCE):
            reply = twins.use(number, CommandCode.STMT_EXECUTE, flags)
            if flags is CURSOR and opens_cursor(reply, sql):
                assert has_cursor(guard, twins)
                twins.use(number, CommandCode.STMT_FETCH, b"\2\0\0\0")
                twins.use(number, CommandCode.STMT_FETCH, b"\xff\0\0\0")
            assert not has_cursor(guard, twins), (sql, flags)


# Local files


def test_local_files(twins: Twins) -> None:
    load = "LOAD DATA LOCAL INFILE 'f' INTO TABLE t (v)"
    # Without a piece, it is empty or refused.
    files: tuple[Sequence[bytes], ...] = ((b"a\nb\n",), (b"a", b"\n", b"b\n" * 30_000), (), (b"x" * 65536,))
    for file in files:
        twins.ask(twins.query(load), file=file)
        twins.ask(twins.query(f"SELECT 1; {load}; SELECT COUNT(*) FROM t; {load}"), file=file)
        twins.ask(twins.query("LOAD DATA LOCAL INFILE 'f' INTO TABLE no_such_table"), file=file)
        twins.run("SELECT COUNT(*), SUM(LENGTH(v)) FROM t")


def test_a_local_file_in_pieces_over_the_limit(own_server: StartServer, start_guard: StartGuard) -> None:
    server = own_server("--max-allowed-packet=1M")
    guard = start_guard(address(server))
    line = b"w" * 999 + b"\n"
    with ExitStack() as stack:
        names = stack.enter_context(schemas(server, 2, 1, SCHEMA))
        for more in (0, Capability.DEPRECATE_EOF):
            twins = Twins(stack, guard, server, names, int(COMMON | MULTI_STATEMENTS | Capability.LONG_PASSWORD | more))
            # What the guard cuts is what the server would not have taken whole.
            through, direct = twins.sides
            through.client.file, direct.client.file = [line * 2100, line * 100], [line] * 2200
            load = twins.query("SELECT 1; LOAD DATA LOCAL INFILE 'f' INTO TABLE t (v); SELECT COUNT(*) FROM t")
            for side in twins.sides:
                side.client.send_bytes(side.write(load))
            received = twins.hear(load)
            assert [packet.payload for packet in received[0]] == [packet.payload for packet in received[1]]
            twins.run("SELECT COUNT(*), SUM(LENGTH(v)) FROM t")


def test_local_files_of_a_client_that_cannot(make_twins: MakeTwins) -> None:
    both = make_twins(COMMON & ~Capability.LOCAL_FILES)
    both.run("LOAD DATA LOCAL INFILE 'f' INTO TABLE t (v)")
    both.assert_in_step()


# Prepared statements


def test_cursors(twins: Twins) -> None:
    assert twins.prepare(1, "SELECT id, v FROM t")
    twins.use(1, CommandCode.STMT_EXECUTE, CURSOR)
    for rows in (0, 1, 5, 1):
        twins.use(1, CommandCode.STMT_FETCH, rows.to_bytes(4, "little"))
    twins.use(1, CommandCode.STMT_EXECUTE, CURSOR)
    twins.assert_in_step()
    twins.use(1, CommandCode.STMT_FETCH, b"\1\0\0\0")
    twins.use(1, CommandCode.STMT_RESET)
    twins.use(1, CommandCode.STMT_FETCH, b"\1\0\0\0")
    for number, sql in enumerate(("SHOW TABLES", "DO 1", "SELECT id FROM t WHERE FALSE", "CALL several()"), 2):
        assert twins.prepare(number, sql)
        twins.use(number, CommandCode.STMT_EXECUTE, CURSOR)
        twins.use(number, CommandCode.STMT_FETCH, b"\2\0\0\0")


def test_long_data(twins: Twins) -> None:
    assert twins.prepare(1, "SELECT LENGTH(?), ?")
    execution = ONCE + b"\0\1" + BLOB * 2
    for pieces in ((b"a", b"b" * 70_000), (b"",), (b"c" * 300_000, b"", b"d")):
        for piece in pieces:
            for parameter in (b"\0\0", b"\1\0"):
                twins.use(1, CommandCode.STMT_SEND_LONG_DATA, parameter + piece)
        twins.use(1, CommandCode.STMT_EXECUTE, execution)
    # To a parameter and to a statement that there are not; servers complain later or never.
    twins.use(1, CommandCode.STMT_SEND_LONG_DATA, b"\x09\0data")
    twins.ask(Command(b"\x18\xf0\xff\xff\x7f\0\0data"))
    twins.use(1, CommandCode.STMT_EXECUTE, execution + b"\0\0")
    twins.use(1, CommandCode.STMT_SEND_LONG_DATA, b"\0\0data")
    twins.use(1, CommandCode.STMT_RESET)
    twins.use(1, CommandCode.STMT_EXECUTE, execution + b"\1e\1f")
    twins.close_statement(1)


def test_the_last_prepared_statement(twins: Twins) -> None:
    execute = Command(b"\x17" + LAST_PREPARED + ONCE + b"\0\1" + LONGLONG + numbers(2))
    twins.ask(Command(b"\x16SELECT id, ? FROM t", prepares=1), execute)
    twins.ask(execute, Command(b"\x1a" + LAST_PREPARED))
    # One that could not be prepared is the last one as well, and is none.
    twins.ask(Command(b"\x16SELECT nonsense", prepares=2), execute)
    twins.ask(
        Command(b"\x16SELECT id FROM t WHERE id > ?", prepares=3), Command(b"\x18" + LAST_PREPARED + b"\0\0" + b"1")
    )
    twins.ask(
        Command(b"\x17" + LAST_PREPARED + CURSOR + b"\0\1" + BLOB), Command(b"\x1c" + LAST_PREPARED + b"\1\0\0\0")
    )
    twins.use(1, CommandCode.STMT_EXECUTE, ONCE + b"\0\1" + LONGLONG + numbers(3))


@pytest.mark.parametrize("sql", ["INSERT INTO t (v) VALUES (?)", "INSERT INTO t (v) VALUES (?) RETURNING id, v"])
def test_bulk_executions(make_twins: MakeTwins, server: Server, sql: str) -> None:
    only(server, "mariadb")
    both = make_twins(COMMON | MARIADB_BULK)
    assert both.prepare(1, sql)
    # Each value has an indicator: 0 for a value, 1 for NULL, 2 for the default.
    values = b"\0\3abc" + b"\1" + b"\2" + b"\0" + lenenc_bytes(b"x" * 70_000)
    both.use(1, CommandCode.STMT_BULK_EXECUTE, b"\x80\0" + VAR_STRING + values)
    both.use(1, CommandCode.STMT_BULK_EXECUTE, b"\0\0" + values)
    both.use(1, CommandCode.STMT_BULK_EXECUTE, b"\x40\0" + values)
    both.use(1, CommandCode.STMT_BULK_EXECUTE, b"\x80\0" + VAR_STRING)
    both.ask(Command(b"\xfa" + LAST_PREPARED + b"\x80\0" + VAR_STRING + values))
    both.run("SELECT COUNT(*), SUM(LENGTH(v)) FROM t")


# What clients and servers agree on


@pytest.mark.parametrize("capability", [0, Capability.SESSION_TRACK])
def test_query_attributes(make_twins: MakeTwins, server: Server, capability: int) -> None:
    only(server, "mysql")
    both = make_twins(COMMON | MULTI_STATEMENTS | Capability.QUERY_ATTRIBUTES | capability)
    for attributes in (
        b"\0\1",
        b"\1\1\0\1" + VAR_STRING + b"\4name\5value",
        b"\2\1\1\1" + LONGLONG + b"\0" + BLOB + b"\1b\0",
    ):
        for sql in (
            "SELECT 1",
            "CALL gives(1, @a, @b); SELECT @a",
            "SET @a = 5",
            "SET time_zone = '+01:00'",
            "nonsense",
        ):
            both.ask(both.query(sql, attributes))
    assert both.prepare(1, "SELECT ?")
    named = b"\2\0\1" + LONGLONG + b"\0" + VAR_STRING + b"\4name" + numbers(7) + b"\5value"
    both.use(1, CommandCode.STMT_EXECUTE, b"\x08\1\0\0\0" + named)
    both.use(1, CommandCode.STMT_EXECUTE, b"\0\1\0\0\0" + b"\1\0\0" + numbers(8))
    assert both.prepare(2, "SELECT 1")
    both.use(2, CommandCode.STMT_EXECUTE, ONCE)
    both.use(2, CommandCode.STMT_EXECUTE, b"\x08\1\0\0\0" + b"\1\0\1" + VAR_STRING + b"\4name\5value")
    both.assert_in_step()


def test_optional_metadata(make_twins: MakeTwins, server: Server) -> None:
    only(server, "mysql")
    both = make_twins(COMMON | MULTI_STATEMENTS | Capability.OPTIONAL_METADATA)
    assert both.prepare(1, "SELECT id, ? FROM t")
    for number, metadata in enumerate(("FULL", "NONE", "FULL"), 2):
        both.run(f"SET resultset_metadata = {metadata}")
        assert both.prepare(number, "SELECT id, v, ? FROM t")
        both.run("SELECT * FROM t", "SELECT 1; CALL several()", "SHOW TABLES")
        both.ask(Command(b"\x04t\0%"))
        for flags in (ONCE, CURSOR):
            both.use(1, CommandCode.STMT_EXECUTE, flags + b"\0\1" + LONGLONG + numbers(7))
        both.use(1, CommandCode.STMT_FETCH, b"\2\0\0\0")
    both.assert_in_step()


def test_cached_metadata(make_twins: MakeTwins, server: Server) -> None:
    only(server, "mariadb")
    both = make_twins(COMMON | Capability.MARIADB_CACHE_METADATA | Capability.MARIADB_EXTENDED_METADATA)
    assert both.prepare(1, "SELECT * FROM t WHERE id < 3")
    # The definitions have come with the answer to COM_STMT_PREPARE, and come again when they have changed.
    assert both.use(1, CommandCode.STMT_EXECUTE, ONCE)[0].payload == b"\2\0"
    both.use(1, CommandCode.STMT_EXECUTE, CURSOR)
    both.use(1, CommandCode.STMT_FETCH, b"\2\0\0\0")
    both.run("ALTER TABLE t ADD COLUMN w JSON")
    assert both.use(1, CommandCode.STMT_EXECUTE, ONCE)[0].payload == b"\3\1"
    assert both.use(1, CommandCode.STMT_EXECUTE, ONCE)[0].payload == b"\3\0"
    both.run("SELECT * FROM t WHERE id < 3")
    both.assert_in_step()


def test_reports_of_what_the_client_has_chosen(make_twins: MakeTwins) -> None:
    for names in (None, "time_zone,sql_mode", ""):
        both = make_twins(COMMON | Capability.SESSION_TRACK)
        if names is not None:
            both.run(f"SET session_track_system_variables = '{names}'")
        for choice in (
            "session_track_state_change = ON",
            "@@session_track_state_change = OFF",
            "@@session.session_track_state_change = 1",
            "session_track_schema = OFF",
            "@@session_track_schema = ON",
            "session_track_system_variables = 'autocommit'",
        ):
            both.run(
                f"SET {choice}", "SET @a = 1", "USE {1}", "SET time_zone = '+01:00'", "SET autocommit = 0", "USE {0}"
            )


# Commands


def test_plain_commands(twins: Twins) -> None:
    debug = 0x0D
    for code in (CommandCode.FIELD_LIST, debug, CommandCode.SET_OPTION, CommandCode.INIT_DB):
        for argument in (b"", b"t\0%", b"t\0id", b"no_such_table\0%", b"\0\0", b"\1\0", b"\7\0", b"{1}", b"#" * 70_000):
            twins.ask(Command(bytes((code,)) + argument))


def test_statistics(twins: Twins) -> None:
    ((packet,),) = twins.ask(Command(bytes((CommandCode.STATISTICS,))))
    assert packet.payload.startswith(b"Uptime: N ")


def test_a_new_user_and_a_reset(make_twins: MakeTwins) -> None:
    both = make_twins(COMMON | MULTI_STATEMENTS | Capability.SESSION_TRACK | Capability.CONNECT_ATTRS)
    look = "SELECT @a, @@time_zone, @@autocommit, DATABASE(), @@character_set_client, @@max_allowed_packet"
    for again in range(4):
        both.run("SET @a = 1, time_zone = '+01:00', autocommit = 0", "INSERT INTO t (v) VALUES ('gone')", "USE {1}")
        assert both.prepare(again, "SELECT 1")
        if again % 2:
            both.change_user(0, b"\4_pid\x0212", 8)
        else:
            both.use(again, CommandCode.STMT_EXECUTE, ONCE)
            both.ask(Command(bytes((CommandCode.RESET_CONNECTION,))))
            both.use(again, CommandCode.STMT_EXECUTE, ONCE)
            both.run("USE {0}")
        both.run(look, "SELECT COUNT(*) FROM t", "SELECT 1; SELECT 2")
    both.assert_in_step()


#: What ends the link or the server (0x21 does on MySQL), changes the user, lists or kills threads, dumps a binary log,
#: or flushes and resets what the bits of its argument say (0x07).
NOT_TRIED = frozenset({0x01, 0x07, 0x08, 0x0A, 0x0C, 0x11, 0x12, 0x1E, 0x21})


def test_every_other_command(twins: Twins) -> None:
    for code in sorted(set(range(256)) - NOT_TRIED):
        for argument in (b"", b"\xf0\xff\xff\x7f", b"\xf0\xff\xff\x7fand more"):
            twins.ask(Command(bytes((code,)) + argument))
    twins.ask(Command(b""))


def test_commands_in_one_go(twins: Twins) -> None:
    commands = (
        twins.query("SELECT * FROM t"),
        Command(b"\x0e"),
        Command(b""),
        twins.query("SELECT nonsense"),
        Command(b"\x19\xf0\xff\xff\x7f"),
        twins.query("SELECT 1; SELECT nonsense; SELECT 2"),
        Command(b"\x77"),
        Command(b"\x09"),
        Command(b"\x1f"),
        twins.query("CALL several()"),
        Command(b"\x04t\0%"),
        Command(b"\x13"),
        Command(b"\x02{1}"),
    )
    for cuts in ((), (3, 4, 5, 6), (40, 1, 1, 1, 1)):
        twins.ask(*commands, cuts=cuts)
        twins.run("USE {0}")


# Progress


def test_reports_of_progress(guard: Guard, server: Server, schema: str) -> None:
    only(server, "mariadb")
    server.execute("CREATE TABLE r ENGINE=MyISAM AS SELECT seq FROM seq_1_to_3000000", database=schema)
    capabilities = int(COMMON | Capability.MARIADB_PROGRESS)
    with RawClient(guard.host, guard.port, capabilities, schema=schema) as client:
        for sql in ("SET progress_report_time = 1", "ALTER TABLE r ADD KEY (seq), ENGINE=InnoDB, ALGORITHM=COPY"):
            client.send(b"\3" + sql.encode())
            reply = client.reply(3)
        *reports, last = reply
        assert all(packet.payload.startswith(b"\xff\xff\xff") for packet in reports)
        assert reports
        assert last.payload[0] == 0
        assert [packet.sequence_id for packet in reply] == [index + 1 & 0xFF for index in range(len(reply))]


# Binary logs

NON_BLOCKING = 1


def dump(position: int, flags: int, replica: int, log: bytes) -> bytes:
    """Write a COM_BINLOG_DUMP."""
    return b"\x12" + position.to_bytes(4, "little") + flags.to_bytes(2, "little") + replica.to_bytes(4, "little") + log


def test_a_binary_log(own_server: StartServer, start_guard: StartGuard) -> None:
    server = own_server("--log-bin=log", "--server-id=1")
    guard = start_guard(address(server))
    server.execute("CREATE TABLE test.t (a INT)")
    log = server.execute("SHOW BINARY LOGS")[-1][0].encode()

    def ask(client: RawClient, payload: bytes) -> Packet:
        client.send(payload)
        return client.receive()

    def events(target: Server | Guard, replica: int) -> list[Packet]:
        with RawClient(target.host, target.port, int(BASE | Capability.LONG_PASSWORD)) as client:
            for name in ("master", "source"):
                assert ask(client, f"\3SET @{name}_binlog_checksum = @@global.binlog_checksum".encode()).payload[0] == 0
            received = [ask(client, dump(4, NON_BLOCKING, replica, log))]
            while received[-1].payload[0] == 0:
                received.append(client.receive())
            return received

    through, direct = events(guard, 77), events(server, 78)
    assert_alike(through, direct, Command(b"\x12"))
    assert len(through) > 3
    assert through[-1].payload[0] == 0xFE

    def refusal(target: Server | Guard) -> Packet:
        with RawClient(target.host, target.port, int(BASE | Capability.LONG_PASSWORD)) as client:
            return ask(client, dump(4, NON_BLOCKING, 79, b"no-such-log"))

    assert refusal(guard) == refusal(server)
    assert Err.parse(refusal(guard).payload).code == 1236
