"""Clients that write, transfer and read, and keep a log of what they are told."""

import hashlib
import random
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import mysql.connector
import pymysql

from tests.chaos.ledger import BALANCE, Log, Outcome, Work, Write
from tests.e2e import wire
from tests.guard import Guard
from tests.servers import Connection, Server

SCHEMA = "ledger"
ACCOUNTS = 40
PAGES = 2000
#: No fault lasts so long that a client would have to wait for this.
PATIENCE_SECONDS = 120
#: A session is settled once it has been quiet for a moment.
SETTLING_SECONDS = 0.3
LONGEST_PAUSE_SECONDS = 0.04
ATTEMPTS = 100

ROLLED_BACK = 1213
UNKNOWN = 1180
PARTING = 4031
UNREACHABLE = 1040
#: What the server itself says to those that are killed or wait too long for a lock. Each undoes the statement.
SERVERS_OWN = frozenset({1205, 1317, 1927})
#: Why the guard may have to part with a session here: faults may come before it was settled.
EXPLAINED_PARTINGS = ("state that was not read back yet",)

#: Flags, iterations; one byte of NULL bitmap; whether types follow.
_EXECUTE = struct.Struct("<IBIBB")
_TYPES = b"\x08\x00\x08\x00"
_TWO_NUMBERS = struct.Struct("<qq")


def page(number: int) -> str:
    """Return the content of a page, which no other page has."""
    return hashlib.sha256(str(number).encode()).hexdigest() * 15


BODIES = [page(number) for number in range(PAGES)]


def make_tables(server: Server) -> None:
    """Make and fill the tables."""
    server.execute(f"CREATE DATABASE {SCHEMA}")
    with closing(server.connect(database=SCHEMA, autocommit=True)) as connection, connection.cursor() as cursor:
        # Without a unique key: what is applied twice is there twice.
        cursor.execute("CREATE TABLE entries (number BIGINT NOT NULL, client INT NOT NULL, KEY (number))")
        cursor.execute("CREATE TABLE accounts (id INT PRIMARY KEY, balance BIGINT NOT NULL)")
        cursor.execute(
            "CREATE TABLE transfers (number BIGINT PRIMARY KEY, source INT NOT NULL, target INT NOT NULL, "
            "amount INT NOT NULL)"
        )
        cursor.execute("CREATE TABLE pages (id INT PRIMARY KEY, body VARCHAR(1000) NOT NULL)")
        cursor.executemany("INSERT INTO accounts VALUES (%s, %s)", [(number, BALANCE) for number in range(ACCOUNTS)])
        cursor.executemany("INSERT INTO pages VALUES (%s, %s)", list(enumerate(BODIES)))


class Client(threading.Thread, ABC):
    """A client: works until it is told to stop, and connects anew where the guard has parted with it."""

    def __init__(self, index: int, guard: Guard, seed: int, stop: threading.Event) -> None:
        super().__init__(name=f"client-{index}", daemon=True)
        self.index = index
        self.log = Log(index)
        self.ready = threading.Event()
        self.rng = random.Random(seed * 1000 + index)
        self._guard = guard
        self._stop_working = stop
        self._is_connected = False

    def run(self) -> None:
        """Work."""
        try:
            while not self._stop_working.is_set():
                if not self._is_connected:
                    self._try_to_connect()
                    continue
                self.ready.set()
                self._do_something()
                time.sleep(LONGEST_PAUSE_SECONDS * self.rng.random() ** 2)
        except Exception as error:  # noqa: BLE001 - an unexpected end of a client is what this is all about
            self.log.object_to(f"ended by {error!r}")
        finally:
            with suppress(Exception):
                self._disconnect()

    @abstractmethod
    def _connect(self) -> None:
        """Open a connection and set up the session."""

    @abstractmethod
    def _disconnect(self) -> None:
        """Close the connection, if there is one."""

    @abstractmethod
    def _do_something(self) -> None:
        """Choose some work and do it."""

    def _try_to_connect(self) -> None:
        try:
            self._connect()
        except (pymysql.Error, mysql.connector.Error) as error:
            code, text = _code(error), _text(error)
            if not (code in (UNREACHABLE, ROLLED_BACK, UNKNOWN) and "stillhere:" in text) and code not in SERVERS_OWN:
                self.judge(error)
            self.log.notes[f"{code} while connecting"] += 1
            self._disconnect()
            time.sleep(0.1)
        else:
            self._is_connected = True

    def judge(self, error: Exception) -> Outcome:
        """Say what a client has been told with an error, and object to what it must never be told."""
        code, text = _code(error), _text(error)
        if code == ROLLED_BACK:
            self.log.notes["1213 by the " + ("guard" if "stillhere:" in text else "server")] += 1
            return Outcome.ROLLED_BACK
        if code == UNKNOWN and "stillhere:" in text:
            return Outcome.UNKNOWN
        if code in SERVERS_OWN:
            self.log.notes[f"{code} by the server"] += 1
            return Outcome.INTERRUPTED
        if code == PARTING and "stillhere:" in text:
            self._is_connected = False
            with suppress(Exception):
                self._disconnect()
            self.log.notes["4031"] += 1
            if not any(words in text for words in EXPLAINED_PARTINGS):
                self.log.object_to(f"parted without need: {text}")
            return Outcome.UNKNOWN_PARTED if "outcome of this command is unknown" in text else Outcome.NOT_DONE_PARTED
        self._is_connected = False
        with suppress(Exception):
            self._disconnect()
        self.log.object_to(f"unexpected {error!r}")
        return Outcome.UNEXPECTED

    def write(self, work: Work, act: Callable[[Write], object]) -> None:
        """Do some writing that is one statement."""
        write = self.log.begin(work)
        try:
            act(write)
        except (pymysql.Error, mysql.connector.Error) as error:
            write.outcome = self.judge(error)
        else:
            write.outcome = Outcome.DONE

    def read(self, work: Work, act: Callable[[], Any], expected: Any) -> None:
        """Do some reading that is one statement, of which the result is known."""
        try:
            result = act()
        except (pymysql.Error, mysql.connector.Error) as error:
            self.log.reads[work, self.judge(error)] += 1
        else:
            self.log.reads[work, Outcome.DONE] += 1
            if result != expected:
                self.log.object_to(f"wrong result of {work}: {_short(result)} where {_short(expected)} is right")


class PyMySQLClient(Client):
    """Does all kinds of work with PyMySQL, prepared statements with packets of its own."""

    def __init__(self, index: int, guard: Guard, seed: int, stop: threading.Event) -> None:
        super().__init__(index, guard, seed, stop)
        self._connection: Connection | None = None
        self._statement = 0
        self._has_sent_types = False
        #: The server's last word was an error, which does not tell whether there is a transaction.
        self._was_refused = False
        self._work = (
            (4, self._insert),
            (4, self._prepared_insert),
            (5, self._transfer),
            (2, self._sum),
            (3, self._echo),
            (1, self._pages),
            (0.4, self._slow_pages),
            (2, self._state),
        )

    def _connect(self) -> None:
        place = {"unix_socket": str(self._guard.socket_path)} if self.index % 4 == 3 else {}
        self._connection = self._guard.connect(
            database=SCHEMA,
            autocommit=True,
            ssl_disabled=True,
            connect_timeout=PATIENCE_SECONDS,
            read_timeout=PATIENCE_SECONDS,
            **place,
        )
        self._statement = 0
        self._query(f"SET @client = {self.index}, SESSION group_concat_max_len = {5000 + self.index}")
        time.sleep(SETTLING_SECONDS)

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with suppress(pymysql.Error):
                connection.close()

    def _do_something(self) -> None:
        weights, acts = zip(*self._work, strict=True)
        self.rng.choices(acts, weights)[0]()

    @property
    def _open_connection(self) -> Connection:
        if self._connection is None:
            raise AssertionError("not connected")
        return self._connection

    def _query(self, sql: str) -> Any:
        rows = wire.query(self._open_connection, sql)
        self._was_refused = False
        return rows

    def judge(self, error: Exception) -> Outcome:
        """Say what a client has been told with an error, and object to what it must never be told."""
        self._was_refused = self._was_refused or "stillhere:" not in str(error)
        return super().judge(error)

    def _insert(self) -> None:
        self.write(Work.INSERT, lambda write: self._query(f"INSERT INTO entries VALUES ({write.number}, {self.index})"))

    def _prepared_insert(self) -> None:
        if not self._statement:
            try:
                self._prepare()
            except pymysql.Error as error:
                self.judge(error)
                return
        self.write(Work.PREPARED, self._execute)

    def _prepare(self) -> None:
        connection = self._open_connection
        wire.send(connection, wire.COM_STMT_PREPARE, b"INSERT INTO entries VALUES (?, ?)")
        _, answer = wire.receive(connection)
        _raise_if_error(answer)
        for _ in range(2 + 1):  # the definitions of two parameters, and EOF
            wire.receive(connection)
        self._statement = int.from_bytes(answer[1:5], "little")
        self._has_sent_types = False

    def _execute(self, write: Write) -> None:
        """Execute the prepared statement; send the parameters' types the first time only, as drivers do."""
        head = _EXECUTE.pack(self._statement, 0, 1, 0, not self._has_sent_types)
        types = b"" if self._has_sent_types else _TYPES
        argument = head + types + _TWO_NUMBERS.pack(write.number, self.index)
        answer = wire.ask(self._open_connection, wire.COM_STMT_EXECUTE, argument)
        _raise_if_error(answer)
        self._has_sent_types = True

    def _transfer(self) -> None:
        """Transfer money; start again from the beginning as often as need be."""
        is_implicit = self.rng.random() < 0.5
        clause = self.rng.choice(("", "FOR UPDATE", "LOCK IN SHARE MODE"))
        if is_implicit and not self._insist("SET autocommit = 0"):
            return
        for _ in range(ATTEMPTS):
            outcome = self._try_transfer(clause, is_implicit=is_implicit)
            if not self._is_connected:
                return
            if outcome in (Outcome.DONE, Outcome.UNKNOWN):
                break
            # After a 1213 there is nothing left to be undone.
            if outcome is not Outcome.ROLLED_BACK and not self._insist("ROLLBACK"):
                return
        else:
            self.log.object_to(f"a transfer did not succeed in {ATTEMPTS} attempts")
        if is_implicit:
            self._insist("SET autocommit = 1")

    def _try_transfer(self, clause: str, *, is_implicit: bool) -> Outcome:
        source, target = self.rng.sample(range(ACCOUNTS), 2)
        amount = self.rng.randrange(1, 10)
        write = self.log.begin(Work.TRANSFER)
        try:
            if not is_implicit and not self._insist("START TRANSACTION"):
                write.outcome = Outcome.NOT_DONE_PARTED
                return write.outcome
            self._move(write.number, source, target, amount, clause)
        except pymysql.Error as error:
            write.outcome = self.judge(error)
            if write.outcome in (Outcome.UNKNOWN, Outcome.UNKNOWN_PARTED):
                self.log.object_to(f"not sure of what happened in a transaction: {error!r}")
            return write.outcome
        try:
            self._query("COMMIT")
        except pymysql.Error as error:
            write.outcome = self.judge(error)
            if write.outcome is Outcome.INTERRUPTED:
                write.outcome = Outcome.INTERRUPTED_COMMIT
        else:
            write.outcome = Outcome.DONE
        return write.outcome

    def _move(self, number: int, source: int, target: int, amount: int, clause: str) -> None:
        for account, change in sorted(((source, -amount), (target, amount))):
            new = f"balance + {change}"
            if clause:
                # What was read under a lock is still true, or the transaction is lost.
                ((balance,),) = self._query(f"SELECT balance FROM accounts WHERE id = {account} {clause}")
                new = str(balance + change)
            self._query(f"UPDATE accounts SET balance = {new} WHERE id = {account}")
            if self.rng.random() < 0.2:
                time.sleep(LONGEST_PAUSE_SECONDS * self.rng.random())
        self._query(f"INSERT INTO transfers VALUES ({number}, {source}, {target}, {amount})")

    def _insist(self, sql: str) -> bool:
        """Run a statement that changes nothing but the session until the server has done it; False if parted.

        Where the guard cannot know that there is no transaction that this one might commit, it may say so.
        """
        while True:
            try:
                self._query(sql)
            except pymysql.Error as error:
                was_refused = self._was_refused
                outcome = self.judge(error)
                if not self._is_connected:
                    return False
                if outcome is not Outcome.INTERRUPTED and not (
                    outcome in (Outcome.UNKNOWN, Outcome.ROLLED_BACK) and was_refused
                ):
                    self.log.object_to(f"{sql} failed: {error!r}")
            else:
                return True

    def _sum(self) -> None:
        self.read(Work.SUM, lambda: self._query("SELECT SUM(balance) FROM accounts"), expected=((ACCOUNTS * BALANCE,),))

    def _echo(self) -> None:
        token = self.rng.randbytes(self.rng.randrange(1, 40)).hex()
        self.read(Work.ECHO, lambda: self._query(f"SELECT '{token}', {self.index}"), expected=((token, self.index),))

    def _pages(self) -> None:
        first, last = sorted(self.rng.sample(range(PAGES), 2))
        sql = f"SELECT id, body FROM pages WHERE id BETWEEN {first} AND {last} ORDER BY id"
        self.read(Work.PAGES, lambda: self._query(sql), expected=_pages_of(first, last))

    def _slow_pages(self) -> None:
        """Read pages as the server finds them, one after the other."""
        first = self.rng.randrange(PAGES - 100)
        last = first + 99
        sql = (
            f"SELECT id, body FROM pages p WHERE id BETWEEN {first} AND {last} AND "
            "(SELECT COUNT(*) FROM pages q WHERE q.id BETWEEN p.id - 90 AND p.id + 90 AND q.body LIKE '%x%y') = 0 "
            "ORDER BY id"
        )
        self.read(Work.SLOW_PAGES, lambda: self._query(sql), expected=_pages_of(first, last))

    def _state(self) -> None:
        self.read(
            Work.STATE,
            lambda: self._query("SELECT @client, DATABASE(), @@SESSION.group_concat_max_len, @@SESSION.autocommit"),
            expected=((self.index, SCHEMA, 5000 + self.index, 1),),
        )


class ConnectorClient(Client):
    """Inserts with the prepared statements of mysql-connector-python."""

    def __init__(self, index: int, guard: Guard, seed: int, stop: threading.Event) -> None:
        super().__init__(index, guard, seed, stop)
        self._connection: Any = None
        self._cursor: Any = None

    def _connect(self) -> None:
        self._connection = mysql.connector.connect(
            host=self._guard.host,
            port=self._guard.port,
            user="root",
            password="",
            database=SCHEMA,
            autocommit=True,
            ssl_disabled=True,
            use_pure=True,
            connection_timeout=PATIENCE_SECONDS,
            read_timeout=PATIENCE_SECONDS,
        )
        time.sleep(SETTLING_SECONDS)
        self._cursor = self._connection.cursor(prepared=True)

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.disconnect()

    def _do_something(self) -> None:
        if self.rng.random() < 0.7:
            self.write(Work.CONNECTOR, self._insert)
        else:
            token = self.rng.randbytes(20).hex()
            self.read(Work.ECHO, lambda: self._echo(token), expected=[(token, self.index)])

    def _insert(self, write: Write) -> None:
        self._cursor.execute("INSERT INTO entries VALUES (%s, %s)", (write.number, self.index))

    def _echo(self, token: str) -> Any:
        cursor = self._connection.cursor()
        cursor.execute(f"SELECT '{token}', {self.index}")
        return cursor.fetchall()


def _pages_of(first: int, last: int) -> tuple[tuple[int, str], ...]:
    return tuple((number, BODIES[number]) for number in range(first, last + 1))


def _raise_if_error(payload: bytes) -> None:
    if payload[0] == 0xFF:
        code, _, text = wire.error(payload)
        raise pymysql.OperationalError(code, text)


def _code(error: Exception) -> int:
    code = getattr(error, "errno", None) or (error.args[0] if error.args else 0)
    return code if isinstance(code, int) else 0


def _text(error: Exception) -> str:
    return str(error)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 300 else f"{text[:200]} ... {text[-80:]}"
