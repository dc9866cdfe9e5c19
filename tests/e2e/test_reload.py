"""SIGHUP: the configuration is read again, all of it or nothing, and sessions run on."""

import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.e2e.guarded import Guarded, failure
from tests.guard import Guard
from tests.servers import MariaDB, Server
from tests.servers.process import free_port


def limit(guard: Guard) -> int:
    """Tell how large a command of a new session may be."""
    guard.connect().close()
    return int(guard.wait_for("session begins")["limit_bytes"])


def connect(port: int) -> Any:
    return closing(pymysql.connect(host="127.0.0.1", port=port, user="root"))


def test_new_sessions_have_it_and_running_ones_run_on(server: Server, start_guard: StartGuard) -> None:
    guard = start_guard(address(server), log={"level": "info"})
    session = Guarded(guard)
    with closing(session):
        guard.reconfigure(guard={"max_allowed_packet": "4KiB"}, log={"level": "debug", "format": "json"})
        assert guard.wait_for("configuration read again")["changed"] == ["guard.max_allowed_packet", "log.level"]
        assert limit(guard) == 4096
        assert session.query(f"SELECT LENGTH('{'x' * 8192}')") == ((8192,),)
        # Of the level of the log, running sessions have heard, too.
        session.settle()
        guard.reconfigure(guard={"max_allowed_packet": "8KiB"}, log={"level": "info", "format": "json"})
        guard.wait_for("configuration read again")
        assert limit(guard) == 8192
        guard.reconfigure(limits={"sessions": 1})
        guard.wait_for("configuration read again")
        with pytest.raises(pymysql.OperationalError, match="1040"):
            guard.connect()


def test_running_sessions_come_back_where_the_server_is_now(mariadb: Server, start_guard: StartGuard) -> None:
    with MariaDB() as first, closing(Guarded(start_guard(address(first)))) as session:
        guard, second = session.guard, mariadb
        session.query("SET @kept = 42")
        session.settle()
        guard.reconfigure(upstream={"address": address(second)})
        assert guard.wait_for("configuration read again")["changed"] == ["upstream.address"]
        assert session.query("SELECT @@port") == ((first.port,),)
        first.crash()
        session.wait_until_restored()
        assert session.query("SELECT @@port, @kept") == ((second.port, 42),)


def test_listeners_come_and_go_and_those_that_stay_are_the_same(
    mariadb: Server, start_guard: StartGuard, tmp_path: Path
) -> None:
    removed, added, stays = free_port(), free_port(), {"address": "127.0.0.1:0"}
    sock = tmp_path / "guard.sock"
    guard = start_guard(address(mariadb), listen=[stays, {"address": f"127.0.0.1:{removed}"}])
    assert guard.ports[1] == removed
    with connect(removed) as old:
        guard.reconfigure(listen=[{"address": f"127.0.0.1:{added}"}, stays, {"address": f"unix:{sock}"}])
        guard.wait_for("not listening any more", address=f"127.0.0.1:{removed}")
        guard.wait_for("not listening any more", address=f"unix:{guard.socket_path}")
        assert guard.wait_for("configuration read again")["changed"] == ["listen"]
        assert not guard.socket_path.exists()
        with pytest.raises(pymysql.OperationalError, match="refused"):
            connect(removed)
        assert wire.query(old, "SELECT 1") == ((1,),)
        with connect(added) as new, connect(guard.ports[0]) as kept:
            assert wire.query(new, "SELECT 2") == wire.query(kept, "SELECT 2") == ((2,),)
        with closing(pymysql.connect(unix_socket=str(sock), user="root")) as local:
            assert wire.query(local, "SELECT 3") == ((3,),)
    guard.signal(signal.SIGTERM)
    assert guard.process.wait(20) == 0
    assert not sock.exists()


def test_what_cannot_be_had_changes_nothing(mariadb: Server, start_guard: StartGuard, tmp_path: Path) -> None:
    own, other_guard = start_guard(address(mariadb)), start_guard(address(mariadb))
    before = limit(own)
    taken, added = f"127.0.0.1:{other_guard.port}", tmp_path / "added.sock"
    other = {"max_allowed_packet": "4KiB"}
    # The first new address could be had, the second one could not.
    own.reconfigure(guard=other, listen=[{"address": f"unix:{added}"}, {"address": taken}])
    refused = own.wait_for("configuration not read again")
    assert refused["reason"] == f"cannot listen on {taken}: address already in use"
    own.reconfigure(guard=other, workers=2)
    assert "workers cannot change" in own.wait_for("configuration not read again")["reason"]
    own.reconfigure(guard=other, limits={"sesions": 5}, keepalive={"interval": "never"})
    refused = own.wait_for("configuration not read again")
    assert "did you mean 'sessions'?" in refused["reason"]
    assert "keepalive.interval" in refused["reason"]
    assert limit(own) == before
    assert not added.exists()
    own.reconfigure(guard=other)
    own.wait_for("configuration read again")
    assert limit(own) == 4096


def test_accounts_that_are_taken_away_and_added(mariadb: Server, start_guard: StartGuard) -> None:
    users = [{"user": "root", "password": ""}]
    guard = start_guard(address(mariadb), auth={"mode": "users", "users": users})
    with closing(guard.connect()) as old:
        guard.reconfigure(auth={"mode": "users", "users": [{"user": "somebody", "password": "else"}]})
        assert guard.wait_for("configuration read again")["changed"] == ["auth.users"]
        with pytest.raises(pymysql.OperationalError, match="1045"):
            guard.connect()
        assert wire.query(old, "SELECT 1") == ((1,),)
        assert failure(old, "SELECT nothing")[0] == 1054
        guard.reconfigure(auth={"mode": "learn"})
        guard.wait_for("configuration read again")
        guard.connect().close()


def test_a_guard_that_is_about_to_stop_does_not_begin_anew(mariadb: Server, start_guard: StartGuard) -> None:
    guard = start_guard(address(mariadb))
    with closing(guard.connect()) as connection:
        wire.query(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT")
        guard.signal(signal.SIGTERM)
        guard.wait_for("draining")
        guard.reconfigure(listen=[{"address": f"127.0.0.1:{free_port()}"}])
        assert "about to stop" in guard.wait_for("configuration not read again")["reason"]
        connection.rollback()
        assert guard.process.wait(20) == 0
