"""What the guard shows of itself is true, and shows nothing that nobody is to see."""

import http.client
import re
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pymysql
import pytest

from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.e2e.guarded import Guarded, in_background, wait_for_statement, wait_until
from tests.e2e.onlooker import Page, ask, ask_for, ask_for_all, metrics
from tests.guard import Guard
from tests.servers import MariaDB, Server

SECRET = "hunter2secret"
LIMIT = 1 << 20
PAGES = ("/", "/metrics", "/overview", "/sessions", "/incidents")


@pytest.fixture
def own_guard(mariadb: Server, start_guard: StartGuard) -> Guard:
    return start_guard(address(mariadb), limits={"sessions": 5}, guard={"max_allowed_packet": f"{LIMIT}"})


@pytest.fixture
def session(own_guard: Guard) -> Iterator[Guarded]:
    with closing(Guarded(own_guard, autocommit=True)) as session:
        yield session


def changes(guard: Guard, before: dict[str, float]) -> dict[str, float]:
    """Tell which of the guard's own metrics have changed."""
    now = metrics(guard)
    assert now.keys() == before.keys(), "a series has come into being"
    return {
        name: now[name] - before[name] for name in now if name.startswith("stillhere_") and now[name] != before[name]
    }


def test_what_passes_is_counted(own_guard: Guard, session: Guarded) -> None:
    before = metrics(own_guard)
    for _ in range(10):
        session.query("SELECT 'abcdefghij'")
    session.query(f"SELECT LENGTH('{'x' * 100_000}')")  # which is held until it is whole
    live = changes(own_guard, before)
    assert live["stillhere_commands_total"] == 11
    sent = 10 * len("\0\0\0\0\3SELECT 'abcdefghij'") + len(f"\3SELECT LENGTH('{'x' * 100_000}')")
    assert live['stillhere_relayed_bytes_total{direction="to_server"}'] == sent
    assert 10 * 50 < live['stillhere_relayed_bytes_total{direction="to_client"}'] < 11 * 150
    session.close()
    total = before["stillhere_commands_total"] + 11
    own_guard.wait_for("session ends", commands=total)
    # What a session has counted stays when it is gone.
    assert metrics(own_guard)["stillhere_commands_total"] == total
    assert metrics(own_guard)['stillhere_sessions{state="restorable"}'] == 0


def test_a_killed_session_is_a_save_and_an_incident(server: Server, start_guard: StartGuard) -> None:
    guard = start_guard(address(server))
    with closing(Guarded(guard)) as session:
        before = metrics(guard)
        server.execute(f"KILL CONNECTION {session.known}")
        session.wait_until_restored()
        counts = changes(guard, before)
        assert counts['stillhere_saves_total{cause="killed"}'] == 1
        assert counts['stillhere_incidents_total{cause="killed",outcome="saved"}'] == 1
        assert counts["stillhere_reconnect_seconds_count"] == 1
        (incident,) = ask_for(guard, "/incidents")["incidents"]
        assert (incident["session"], incident["user"], incident["outcome"]) == (session.id, "root", "saved")
        assert incident["advice"]
        (row,) = ask_for(guard, "/sessions")["sessions"]
        assert (row["losses"], row["known_thread"], row["state"]) == (1, session.known, "restorable")
        assert row["server_thread"] == session.thread()


def test_a_session_that_was_told_and_one_that_was_lost(own_guard: Guard, mariadb: Server, session: Guarded) -> None:
    session.query("BEGIN")
    mariadb.execute(f"KILL CONNECTION {session.known}")
    session.wait_until_restored()
    with closing(Guarded(own_guard)) as held:
        held.query("SELECT GET_LOCK('stillhere', 1)")
        before = metrics(own_guard)
        mariadb.execute(f"KILL CONNECTION {held.known}")
        held.fails("SELECT 1")
        own_guard.wait_for("session lost")
        counts = changes(own_guard, before)
        # Nothing has asked the server how long it has been up, so it could have been a restart.
        assert counts['stillhere_incidents_total{cause="unknown",outcome="closed"}'] == 1
        assert not any(name.startswith("stillhere_saves_total") for name in counts)
    lost, told = ask_for(own_guard, "/incidents")["incidents"]
    assert (told["outcome"], lost["outcome"]) == ("told", "closed")
    threats = ask_for(own_guard, "/overview")["threats"]
    assert [(threat["saved"], threat["told"], threat["lost"]) for threat in threats] == [(0, 1, 0), (0, 0, 1)]


def test_a_payload_over_the_limit_and_one_close_to_it(own_guard: Guard, session: Guarded) -> None:
    before = metrics(own_guard)
    assert session.fails(f"SELECT '{'x' * LIMIT}'") == 1153
    session.query(f"SELECT LENGTH('{'x' * (LIMIT * 9 // 10)}')")
    session.query(f"SELECT LENGTH('{'x' * (LIMIT // 2)}')")
    counts = changes(own_guard, before)
    assert counts['stillhere_refusals_total{reason="too_large"}'] == 1
    assert counts['stillhere_saves_total{cause="packet_too_large"}'] == 1
    assert counts["stillhere_near_misses_total"] == 1
    assert counts["stillhere_payload_limit_ratio_count"] == 3
    assert counts['stillhere_payload_limit_ratio_bucket{le="1.0"}'] == 2
    near, refused = ask_for(own_guard, "/overview")["large_commands"]
    assert near["size_bytes"] < LIMIT < refused["size_bytes"]
    assert (near["user"], near["command"], near["session"]) == ("root", "COM_QUERY", session.id)


def test_what_a_session_is_doing(own_guard: Guard, mariadb: Server, session: Guarded) -> None:
    session.query("CREATE TEMPORARY TABLE test.basket (n INT)")
    session.query("START TRANSACTION WITH CONSISTENT SNAPSHOT")
    with in_background(session.query, "SELECT SLEEP(1), 'busy'"):
        wait_for_statement(mariadb, "'busy'")
        (row,) = ask_for(own_guard, "/sessions")["sessions"]
        assert (row["state"], row["running"], row["idle_seconds"]) == ("held", "COM_QUERY", 0)
        assert row["holds"] == ["a temporary table (test.basket)"]
        assert row["in_transaction"]
        assert row["client"].startswith("127.0.0.1:")
        counts = metrics(own_guard)
        assert counts['stillhere_sessions{state="held"}'] == 1
        assert counts['stillhere_holds{kind="temporary_table"}'] == 1
        assert counts["stillhere_sessions_in_transaction"] == 1
    assert ask_for(own_guard, "/sessions")["sessions"][0]["running"] == ""


def test_clients_that_do_not_get_in(own_guard: Guard, session: Guarded) -> None:
    before = metrics(own_guard)
    with pytest.raises(pymysql.OperationalError):
        own_guard.connect(user="nobody", password=SECRET)
    others = [own_guard.connect() for _ in range(4)]
    with pytest.raises(pymysql.OperationalError):
        own_guard.connect()
    for other in others:
        other.close()
    counts = changes(own_guard, before)
    assert counts['stillhere_login_failures_total{fault="server"}'] == 1
    assert counts['stillhere_refusals_total{reason="sessions"}'] == 1
    assert counts["stillhere_sessions_begun_total"] == 4


def test_a_session_that_probes_keep_alive_is_a_save(mariadb: Server, start_guard: StartGuard) -> None:
    guard = start_guard(address(mariadb))
    mariadb.execute("SET GLOBAL wait_timeout = 1")
    try:
        session = Guarded(guard)
    finally:
        mariadb.execute("SET GLOBAL wait_timeout = DEFAULT")
    with closing(session):
        saves = 'stillhere_saves_total{cause="idle_timeout"}'
        probes = 'stillhere_probes_total{outcome="answered"}'
        wait_until(lambda: metrics(guard)[saves] == 1, "a save by probes")
        before = metrics(guard)[probes]
        wait_until(lambda: metrics(guard)[probes] >= before + 2, "two more probes")
        # It is counted once for each time that a client is idle.
        assert metrics(guard)[saves] == 1
        assert session.thread() == session.known
        wait_until(lambda: metrics(guard)[saves] == 2, "a second save")
        assert ask_for(guard, "/incidents") == {"incidents": []}


@pytest.fixture
def own_mariadb() -> Iterator[Server]:
    with MariaDB() as server:
        yield server


def test_whether_the_server_can_be_reached(own_mariadb: Server, start_guard: StartGuard) -> None:
    server = own_mariadb
    guard = start_guard(address(server))
    aborted = "SHOW GLOBAL STATUS LIKE 'Aborted_connects'"
    assert ask(guard, "/readyz") == (HTTPStatus.OK, f"ready: {address(server)} can be reached\n")
    ((_, before),) = server.execute(aborted)
    for _ in range(20):
        assert ask(guard, "/readyz")[0] == HTTPStatus.OK
    # A server shuts out hosts that connect and do not log in.
    ((_, after),) = server.execute(aborted)
    assert int(after) - int(before) <= 1
    with closing(Guarded(guard)) as session:
        server.crash()
        guard.wait_for("server is away")
        status, text = ask(guard, "/readyz")
        assert (status, "refused" in text) == (HTTPStatus.SERVICE_UNAVAILABLE, True)
        assert metrics(guard)["stillhere_upstream_up"] == 0
        assert "refused" in ask_for(guard, "/overview")["trouble"]
        assert ask(guard, "/healthz") == (HTTPStatus.OK, "ok\n")
        server.restart()
        session.wait_until_restored()
        assert ask(guard, "/readyz")[0] == HTTPStatus.OK
    assert metrics(guard)["stillhere_upstream_up"] == 1
    # Trouble that one client has met is not told of for ever, if no other one comes.
    server.crash()
    with pytest.raises(pymysql.OperationalError):
        guard.connect()
    assert metrics(guard)["stillhere_upstream_up"] == 0
    server.restart()
    wait_until(lambda: metrics(guard)["stillhere_upstream_up"] == 1, "the end of the trouble")


def test_a_result_that_is_read_slowly(mariadb: Server, start_guard: StartGuard) -> None:
    guard = start_guard(address(mariadb), spool={"memory": "256KiB", "disk": "1MiB"})
    with closing(Guarded(guard)) as session:
        wire.socket_of(session.connection).sendall(
            b"\x3b\0\0\0\3SELECT seq, REPEAT('x', 1000) FROM test.seq_1_to_50000 -- --"[: 4 + 0x3B]
        )
        guard.wait_for("spool is full")
        counts = metrics(guard)
        assert counts["stillhere_spool_sessions"] == 1
        assert 0 < counts["stillhere_spool_memory_bytes"] < 1 << 20
        assert 0 < counts["stillhere_spool_disk_bytes"] <= 1 << 20
        assert counts["stillhere_spool_written_bytes_total"] >= counts["stillhere_spool_disk_bytes"]
        wait_until(lambda: metrics(guard)["stillhere_spool_longest_stall_seconds"] > 0.2, "a stall that grows")
        (row,) = ask_for(guard, "/sessions")["sessions"]
        assert row["spooled_bytes"] > 1 << 19
        assert row["stalled_seconds"] > 0
        wire.vanish(session.connection)
        wait_until(lambda: metrics(guard)["stillhere_spool_sessions"] == 0, "the end of the spool")
        assert metrics(guard)["stillhere_spool_disk_bytes"] == 0


# Who may see what.


def test_no_page_shows_a_password_or_a_statement(own_guard: Guard, mariadb: Server, session: Guarded) -> None:
    user = "<i>reader</i>"
    mariadb.execute(f"CREATE USER '{user}'@'%' IDENTIFIED BY '{SECRET}'")
    try:
        with closing(Guarded(own_guard, user=user, password=SECRET)) as other:
            other.fails(f"SELECT '{SECRET}{'x' * LIMIT}'")
            other.query("SET @`<script>alert(1)</script>` = 1")
            mariadb.execute(f"KILL CONNECTION {other.known}")
            with suppress(pymysql.MySQLError), in_background(other.query, f"SELECT '{SECRET}', SLEEP(0.3)"):
                for page in PAGES:
                    status, text = ask(own_guard, page)
                    assert status == HTTPStatus.OK
                    assert SECRET not in text
            page = ask(own_guard, "/")[1]
            assert "&lt;i&gt;reader&lt;/i&gt;" in page
            assert "<i>reader" not in page
            assert "<script>alert" not in page
    finally:
        mariadb.execute(f"DROP USER '{user}'@'%'")


def test_a_token_is_needed_where_there_is_one(mariadb: Server, start_guard: StartGuard, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    guard = start_guard(address(mariadb), admin={"address": "127.0.0.1:0", "token_file": str(file)})
    for page in PAGES:
        status, headers, text = ask_for_all(guard, page)
        assert status == HTTPStatus.UNAUTHORIZED
        assert headers["WWW-Authenticate"].startswith("Basic ")
        assert "session" not in text
        for wrong in ("Bearer x", f"Bearer {SECRET}x", f"Basic {SECRET}", "Basic !", "Bearer", f"Digest {SECRET}"):
            assert ask(guard, page, Authorization=wrong)[0] == HTTPStatus.UNAUTHORIZED
        as_password = b64encode(f"anybody:{SECRET}".encode()).decode()
        for right in (f"Bearer {SECRET}", f"bearer {SECRET}", f"Basic {as_password}"):
            assert ask(guard, page, Authorization=right)[0] == HTTPStatus.OK
    for page in ("/healthz", "/readyz"):
        assert ask(guard, page)[0] == HTTPStatus.OK
    assert all(SECRET not in str(event) for event in guard.events)


def test_a_web_page_from_elsewhere_reads_nothing(own_guard: Guard) -> None:
    for host in ("evil.example", "evil.example:8307", "127.0.0.1.evil.example", "", "10.0.0.1", "[2001:db8::1]:8307"):
        for page in (*PAGES, "/healthz"):
            assert ask(own_guard, page, Host=host)[0] == HTTPStatus.MISDIRECTED_REQUEST
    for host in ("localhost", "localhost:8307", "127.0.0.1", "127.8.8.8:1", "[::1]:8307"):
        assert ask(own_guard, "/healthz", Host=host)[0] == HTTPStatus.OK


def test_requests_that_make_no_sense_do_not_hurt(own_guard: Guard) -> None:
    assert ask(own_guard, "/nothing")[0] == HTTPStatus.NOT_FOUND
    connection = http.client.HTTPConnection(own_guard.admin_url.split("/")[2], timeout=20)
    with closing(connection):
        connection.request("POST", "/", body=b"x" * 1000)
        assert connection.getresponse().status == HTTPStatus.METHOD_NOT_ALLOWED
    assert ask(own_guard, "/healthz")[0] == HTTPStatus.OK


# As programs and people see it.


def test_promtool_has_nothing_to_say_against_the_metrics(own_guard: Guard, session: Guarded) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool (Debian's package prometheus has it)")
    text = ask(own_guard, "/metrics")[1]
    outcome = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "", "")


def test_the_page_needs_nothing_from_elsewhere(own_guard: Guard, session: Guarded) -> None:
    status, headers, page = ask_for_all(own_guard, "/")
    assert status == HTTPStatus.OK
    assert re.findall(r'(?:src|href|url\()="?([^")]*)', page) == ["metrics", "sessions", "incidents"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    # Without JavaScript it is all there, and is loaded anew by itself.
    assert f">{session.id} <" in page
    assert '<noscript><meta http-equiv="refresh"' in page


class Replay(BaseHTTPRequestHandler):
    """Gives one page after the other, as the guard did, and the last one again and again."""

    pages: ClassVar[list[Page]]

    def do_GET(self) -> None:
        if self.path != "/":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        status, headers, text = self.pages[0] if len(self.pages) == 1 else self.pages.pop(0)
        self.send_response(status)
        for name in ("Content-Type", "Content-Security-Policy"):
            self.send_header(name, headers[name])
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Be quiet."""


def test_a_browser_shows_the_page_and_keeps_it_up_to_date(own_guard: Guard, mariadb: Server, session: Guarded) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    before = ask_for_all(own_guard, "/")
    mariadb.execute(f"KILL CONNECTION {session.known}")
    session.wait_until_restored()
    Replay.pages = [before, ask_for_all(own_guard, "/")]
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    # Ten seconds of its time, which does not pass while it waits for an answer.
    options += ["--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom"]
    with ThreadingHTTPServer(("127.0.0.1", 0), Replay) as replay, ThreadPoolExecutor(1) as pool:
        pool.submit(replay.serve_forever)
        try:
            command = [chromium, *options, f"http://127.0.0.1:{replay.server_port}/"]
            shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        finally:
            replay.shutdown()
    assert "killed" not in before[2]
    assert "killed" in shown.stdout
    assert "Content Security Policy" not in shown.stderr
    assert "Uncaught" not in shown.stderr
