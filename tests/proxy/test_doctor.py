"""What the doctor makes of facts: its verdicts, what it advises, and what it reads in logs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path as File
from typing import Any

import pytest

from config import Auth, AuthMode, Config, Guard, Keepalive, Reconnect, Spool, TcpAddress, Upstream
from proxy.doctor import machine, words
from proxy.doctor.error_log import Drops, ErrorLog
from proxy.doctor.findings import Cause, Finding, Place, Verdict
from proxy.doctor.judging import Setup, given_up, judge
from proxy.doctor.machine import Machine
from proxy.doctor.server import Path, Server, Sessions

SAFE, AT_RISK, UNKNOWN = Verdict.SAFE, Verdict.AT_RISK, Verdict.UNKNOWN
DAY, WEEK = 86400, 7 * 86400

VARIABLES = {
    "version": "8.4.3",
    "max_allowed_packet": str(64 << 20),
    "net_buffer_length": "16384",
    "wait_timeout": "28800",
    "interactive_timeout": "28800",
    "net_read_timeout": "30",
    "net_write_timeout": "60",
    "max_connections": "151",
}
COUNTERS = {
    "Uptime": 30 * DAY,
    "Max_used_connections": 20,
    "Connection_errors_max_connections": 0,
    "Com_kill": 0,
}
#: A server on the same network, whose packets nobody translates.
NEARBY = Path(0.001, 0.0001, 0.0002, is_local=False, has_gateway=False, translated=None)
ROUTED = replace(NEARBY, has_gateway=True)
UPSTREAM = Upstream(address=TcpAddress("db", 3306))
GUARD = Config(upstream=UPSTREAM)


def setup(
    *,
    variables: dict[str, str] | None = None,
    counters: dict[str, int] | None = None,
    errors: dict[str, int] | None = None,
    path: Path = NEARBY,
    guard: Config | None = None,
    drops: tuple[Drops, ...] = (),
    keepalive: int | None = 7200,
) -> Setup:
    server = Server(
        "db:3306",
        path,
        VARIABLES | (variables or {}),
        COUNTERS | (counters or {}),
        Sessions(1, 0, 0),
        errors,
        None,
        (),
    )
    return Setup(server, Machine(keepalive, 675, None), guard, drops, spool_room=10 << 30)


def finding(cause: Cause, **facts: Any) -> Finding:
    (found,) = (found for found in judge(setup(**facts)) if found.cause is cause)
    return found


def test_each_cause_is_judged_once() -> None:
    assert [found.cause for found in judge(setup())] == list(Cause)


@pytest.mark.parametrize(
    ("cause", "facts", "verdict"),
    [
        (Cause.PACKET_TOO_LARGE, {}, UNKNOWN),
        (Cause.PACKET_TOO_LARGE, {"variables": {"max_allowed_packet": str(16 << 20)}}, AT_RISK),
        (Cause.PACKET_TOO_LARGE, {"variables": {"max_allowed_packet": str(1 << 30)}}, SAFE),
        (Cause.PACKET_TOO_LARGE, {"errors": {"ER_NET_PACKET_TOO_LARGE": 1}}, AT_RISK),
        (Cause.PACKET_TOO_LARGE, {"drops": (Drops(Cause.PACKET_TOO_LARGE, "x", 1),)}, AT_RISK),
        (Cause.IDLE_TIMEOUT, {}, AT_RISK),
        (Cause.IDLE_TIMEOUT, {"variables": {"wait_timeout": str(WEEK)}}, SAFE),
        (Cause.IDLE_TIMEOUT, {"variables": {"wait_timeout": str(WEEK), "idle_transaction_timeout": "60"}}, AT_RISK),
        (Cause.KILLED, {}, SAFE),
        (Cause.KILLED, {"counters": {"Uptime": DAY}}, UNKNOWN),
        (Cause.KILLED, {"counters": {"Com_kill": 1}}, AT_RISK),
        (Cause.RESTART, {}, UNKNOWN),
        (Cause.RESTART, {"counters": {"Uptime": DAY}}, AT_RISK),
        (Cause.RESTART, {"counters": {"Max_used_connections": 140}}, AT_RISK),
        (Cause.RESTART, {"counters": {"Connection_errors_max_connections": 1}}, AT_RISK),
        (Cause.NETWORK, {}, SAFE),
        (Cause.NETWORK, {"path": ROUTED}, AT_RISK),
        (Cause.NETWORK, {"path": ROUTED, "keepalive": 60}, UNKNOWN),
        (Cause.NETWORK, {"path": ROUTED, "keepalive": None}, UNKNOWN),
        (Cause.NETWORK, {"path": replace(NEARBY, translated="10.0.0.1:4000")}, AT_RISK),
        (Cause.NETWORK, {"path": replace(NEARBY, has_gateway=None)}, UNKNOWN),
        (Cause.NETWORK, {"path": replace(NEARBY, is_local=True)}, SAFE),
        (Cause.SLOW_APPLICATION, {}, UNKNOWN),
        (Cause.SLOW_APPLICATION, {"variables": {"net_read_timeout": "10"}}, AT_RISK),
        (Cause.SLOW_APPLICATION, {"variables": {"net_read_timeout": "600", "net_write_timeout": "600"}}, SAFE),
        (Cause.SLOW_APPLICATION, {"errors": {"ER_NET_WRITE_INTERRUPTED": 3}}, AT_RISK),
    ],
)
def test_verdicts_without_a_guard(cause: Cause, facts: dict[str, Any], verdict: Verdict) -> None:
    found = finding(cause, **facts)
    assert found.verdict is verdict
    assert bool(found.advice) == (verdict is not SAFE)
    assert found.evidence


def test_a_guard_with_the_default_configuration_leaves_nothing_at_risk() -> None:
    worst = setup(
        variables={"max_allowed_packet": "1048576", "wait_timeout": "60", "net_write_timeout": "5"},
        counters={"Uptime": 60, "Com_kill": 9},
        path=ROUTED,
        guard=GUARD,
        drops=tuple(Drops(cause, "a drop", 3) for cause in Cause),
    )
    findings = judge(worst)
    assert {found.verdict for found in findings} == {SAFE}
    assert not any(found.advice for found in findings)


@pytest.mark.parametrize(
    ("cause", "guard", "facts", "setting"),
    [
        (
            Cause.IDLE_TIMEOUT,
            GUARD,
            {"variables": {"idle_transaction_timeout": "40"}},
            "keepalive: {interval: 20s}",
        ),
        (Cause.KILLED, Config(upstream=UPSTREAM, auth=Auth(mode=AuthMode.PASSTHROUGH)), {}, "auth: {mode: learn}"),
        (Cause.RESTART, Config(upstream=UPSTREAM, auth=Auth(mode=AuthMode.PASSTHROUGH)), {}, "auth: {mode: learn}"),
        (Cause.RESTART, Config(upstream=UPSTREAM, reconnect=Reconnect(wait="0s")), {}, "reconnect: {wait: 30s}"),
        (Cause.RESTART, GUARD, {"counters": {"Max_used_connections": 151}}, "limits: {sessions: 128}"),
        (
            Cause.NETWORK,
            Config(upstream=UPSTREAM, keepalive=Keepalive(interval="10m")),
            {"path": ROUTED},
            "keepalive: {interval: auto}",
        ),
        (Cause.SLOW_APPLICATION, Config(upstream=UPSTREAM, spool=Spool(disk="0")), {}, "spool: {disk: 1GiB}"),
        (
            Cause.SLOW_APPLICATION,
            Config(upstream=UPSTREAM, spool=Spool(disk="1024GiB")),
            {},
            "spool: {directory: /a/directory/with/more/room}",
        ),
    ],
)
def test_what_a_guards_own_settings_leave_open(
    cause: Cause, guard: Config, facts: dict[str, Any], setting: str
) -> None:
    found = finding(cause, guard=guard, **facts)
    assert found.verdict is AT_RISK
    assert setting in [advice.setting for advice in found.advice if advice.place is Place.GUARD]


def test_a_guards_own_limit_is_named() -> None:
    small = Config(upstream=UPSTREAM, guard=Guard(max_allowed_packet="1MiB"))
    assert "1 MiB or more" in finding(Cause.PACKET_TOO_LARGE, guard=small).evidence[0]


def test_pools_let_go_before_the_server_does() -> None:
    settings = [advice.setting for advice in finding(Cause.IDLE_TIMEOUT, variables={"wait_timeout": "600"}).advice]
    assert "SQLAlchemy: create_engine(..., pool_recycle=450, pool_pre_ping=True)" in settings
    assert "HikariCP: maxLifetime=450000" in settings
    assert any('"CONN_MAX_AGE": 450' in setting for setting in settings)
    # HikariCP takes no lifetime below 30 s.
    impatient = finding(Cause.IDLE_TIMEOUT, variables={"wait_timeout": "20"}).advice
    assert not any("HikariCP" in advice.setting for advice in impatient)


def read(text: str, *, names_idleness: bool = False) -> dict[tuple[Cause, str], int]:
    return {
        (drops.cause, drops.last): drops.count
        for drops in ErrorLog(names_idleness=names_idleness).read(text.splitlines())
    }


def test_a_log_of_mysql_5_7() -> None:
    aborted = "Aborted connection {} to db: 'app' user: 'web' host: '10.0.0.9' ({})"
    timeout = aborted.format(7, "Got timeout reading communication packets")
    assert read(f"2020-03-01T10:00:00.123456Z 7 [Note] {timeout}\n") == {
        (Cause.IDLE_TIMEOUT, "2020-03-01T10:00:00.123456Z"): 1
    }


def test_sessions_that_a_shutdown_ends_are_not_called_killed() -> None:
    killed = "[Warning] Aborted connection 5 to db: 'unconnected' user: 'root' host: '127.0.0.1' (KILLED)"
    log = (
        f"2026-11-24 14:00:00 0 {killed}\n"
        "2026-11-24 14:27:57 0 [Note] /usr/sbin/mariadbd (initiated by: unknown): Normal shutdown\n"
        f"2026-11-24 14:27:58 0 {killed}\n"
        "2026-11-24 14:27:59 0 [Note] /usr/sbin/mariadbd: Shutdown complete\n"
        "2026-11-24 14:28:01 0 [Note] Starting MariaDB 10.11.19-MariaDB source revision 5843 as process 946\n"
        f"2026-11-24 14:29:00 0 {killed}\n"
    )
    assert read(log) == {(Cause.RESTART, "2026-11-24 14:27:57"): 1, (Cause.KILLED, "2026-11-24 14:29:00"): 2}


def test_the_first_start_in_a_log_may_follow_anything() -> None:
    start = (
        "2026-11-24T14:27:5{}Z 0 [System] [MY-010116] [Server] /usr/sbin/mysqld (mysqld 9.7.4) starting as process 1\n"
    )
    assert read(start.format(1)) == {}
    assert read(start.format(1) + start.format(2)) == {(Cause.RESTART, "2026-11-24T14:27:52Z"): 1}


def test_what_was_never_a_session_does_not_count() -> None:
    reason = "This connection closed normally without authentication"
    line = "[Warning] Aborted connection 4 to db: 'unconnected' user: 'unauthenticated' host: 'localhost'"
    assert read(f"2026-11-24 14:27:41 4 {line} ({reason})\nnot a line of a log\n") == {}


ROUTES = """\
Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0
eth0 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0
"""


@pytest.mark.parametrize(
    ("routes", "host", "expected"),
    [
        (ROUTES, "192.0.2.77", False),
        (ROUTES, "192.0.3.77", True),
        (ROUTES, "2001:db8::1", None),
        (ROUTES[: ROUTES.index("\n")], "192.0.2.77", None),
    ],
)
def test_routers_on_the_way(
    routes: str, host: str, *, expected: bool | None, tmp_path: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "route"
    file.write_text(routes)
    monkeypatch.setattr(machine, "_ROUTES", file)
    assert machine.has_gateway(host) is expected


@pytest.mark.parametrize(
    ("write", "number", "text"),
    [
        (words.size, 64 << 20, "64 MiB"),
        (words.size, 16384, "16 KiB"),
        (words.size, 1000, "1000 bytes"),
        (words.duration, 28800, "8 h"),
        (words.duration, 90, "1.5 min"),
        (words.duration, 0.00123, "1.2 ms"),
        (words.duration, 0.512, "510 ms"),
        (words.duration, 0, "0 s"),
    ],
)
def test_words(write: Callable[[Any], str], number: float, text: str) -> None:
    assert write(number) == text


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, []),
        ({"query_cache_type": "OFF", "query_cache_size": "1048576"}, []),
        ({"query_cache_type": "ON", "query_cache_size": "0"}, []),
        ({"query_cache_type": "ON", "query_cache_size": "1048576"}, ["the query cache of 1 MiB"]),
        ({"query_cache_type": "DEMAND", "query_cache_size": "67108864"}, ["the query cache of 64 MiB"]),
    ],
)
def test_what_is_given_up_behind_a_guard(variables: dict[str, str], said: list[str]) -> None:
    assert [line.partition(":")[0] for line in given_up(setup(variables=variables))] == said
