"""Facts in, findings out: which causes threaten the setup, why, and what to set. No I/O.

Without a guard, a cause is a risk as soon as something points to it; with one, only where the guard's own settings
leave it open. What cannot be seen from here, such as the size of an application's largest statement, makes a cause
unknown.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from config import AuthMode, Config
from proxy.doctor import server as facts
from proxy.doctor.advice import PRE_PING, pool_lifetimes, run_guard, set_global
from proxy.doctor.error_log import Drops
from proxy.doctor.findings import Advice, Cause, Finding, Place, Verdict
from proxy.doctor.machine import Machine
from proxy.doctor.server import Server
from proxy.doctor.words import count, duration, size

#: The largest packet that the protocol's clients can be set to.
_LARGEST_PACKET = 1 << 30
#: What servers are given today by default, or more: less than that is small.
_USUAL_PACKET = 64 << 20
#: Longer than any weekend that an application spends idle.
_LONG_IDLENESS = 7 * 86400
#: What has not happened for so long is not the rule, in seconds.
_LONG_UPTIME = 7 * 86400
#: Cloud load balancers and NAT gateways forget idle connections after as little as this, in seconds.
_FORGETFUL_SECONDS = 240
#: How often the guard probes by itself, in seconds.
_GUARD_INTERVAL_SECONDS = 60
#: So much of max_connections may be in use before it is called scarce.
_SCARCE_SHARE = 0.85
#: What servers wait for applications by default, and what is long, in seconds.
_USUAL_WRITE_TIMEOUT, _USUAL_READ_TIMEOUT, _LONG_WAIT = 60, 30, 600


@dataclass(frozen=True)
class Setup:
    """What there is to judge. ``guard`` is None where applications connect without one."""

    server: Server
    machine: Machine
    guard: Config | None
    drops: tuple[Drops, ...]
    #: Free bytes in the directory of the guard's spool.
    spool_room: int

    def counted(self, cause: Cause) -> Iterator[str]:
        """Say what the log has on a cause."""
        for drops in self.drops:
            if drops.cause is cause:
                yield f"in the log, {count(drops.count, 'time')}: {drops.what}"

    def raised(self, error: str, what: str) -> Iterator[str]:
        """Say how often the server has raised an error since it started."""
        number = (self.server.errors or {}).get(error, 0)
        if number:
            yield f"since it started, the server has raised {count(number, what)}"


def judge(setup: Setup) -> tuple[Finding, ...]:
    """Judge all causes."""
    return tuple(judge_cause(setup) for judge_cause in _JUDGES)


def given_up(setup: Setup) -> Iterator[str]:
    """Say what of the server cannot be had behind a guard."""
    if setup.server.caches_queries:
        room = size(setup.server.number("query_cache_size"))
        yield f"the query cache of {room}: MariaDB does not use it in sessions that report on their transactions"


def _packets(setup: Setup) -> Finding:
    server, limit = setup.server, setup.server.limit
    seen = (
        *setup.raised(facts.PACKET_TOO_LARGE, "error 1153 (packet too large)"),
        *setup.counted(Cause.PACKET_TOO_LARGE),
    )
    boundary = f"a command of {size(limit)} or more (max_allowed_packet) ends the connection and its transaction"
    if setup.guard is not None:
        own = min(setup.guard.guard.max_allowed_packet or limit, limit)
        guarded = f"commands of {size(own)} or more get error 1153 from the guard; connection and transaction live on"
        return Finding(Cause.PACKET_TOO_LARGE, Verdict.SAFE, (guarded, *seen))
    if limit >= _LARGEST_PACKET:
        return Finding(Cause.PACKET_TOO_LARGE, Verdict.SAFE, (boundary, "no client sends more", *seen))
    larger = _USUAL_PACKET if limit < _USUAL_PACKET else _LARGEST_PACKET
    advice = (
        set_global("max_allowed_packet", larger),
        run_guard(server, "answers error 1153 and keeps the connection"),
    )
    if seen or limit < _USUAL_PACKET:
        return Finding(Cause.PACKET_TOO_LARGE, Verdict.AT_RISK, (boundary, *seen), advice)
    unseen = "how large the application's commands are cannot be seen from here"
    return Finding(Cause.PACKET_TOO_LARGE, Verdict.UNKNOWN, (boundary, unseen), advice)


def _idleness(setup: Setup) -> Finding:
    server = setup.server
    timeout = server.number("wait_timeout")
    # In a transaction, MariaDB can have less patience; 0 is none of its own.
    in_transaction = server.number("idle_transaction_timeout")
    evidence = [f"the server ends a connection that is idle for {duration(timeout)} (wait_timeout)"]
    if in_transaction:
        evidence.append(f"in a transaction, for {duration(in_transaction)} (idle_transaction_timeout)")
    if server.number("interactive_timeout") < timeout:
        interactive = duration(server.number("interactive_timeout"))
        evidence.append(f"clients that call themselves interactive have {interactive} (interactive_timeout)")
    if server.sessions.sleeping:
        longest = duration(server.sessions.longest_sleep)
        evidence.append(f"{count(server.sessions.sleeping, 'session')} idle now, the longest for {longest}")
    evidence += setup.raised(facts.IDLE, "error 4031 (idle for too long)")
    evidence += setup.counted(Cause.IDLE_TIMEOUT)
    if setup.guard is not None:
        interval = _probe_interval(setup.guard, timeout)
        evidence.append(f"the guard probes an idle session after {duration(interval)} at the latest")
        if in_transaction and interval >= in_transaction:
            advice = Advice(Place.GUARD, f"keepalive: {{interval: {max(1, in_transaction // 2)}s}}")
            return Finding(Cause.IDLE_TIMEOUT, Verdict.AT_RISK, tuple(evidence), (advice,))
        return Finding(Cause.IDLE_TIMEOUT, Verdict.SAFE, tuple(evidence))
    shortest = min(timeout, in_transaction or timeout)
    if shortest >= _LONG_IDLENESS:
        return Finding(Cause.IDLE_TIMEOUT, Verdict.SAFE, tuple(evidence))
    advice_list = (
        set_global("wait_timeout", _LONG_IDLENESS)
        if shortest == timeout
        else set_global("idle_transaction_timeout", 0),
        *pool_lifetimes(shortest),
        run_guard(server, "keeps idle sessions alive"),
    )
    return Finding(Cause.IDLE_TIMEOUT, Verdict.AT_RISK, tuple(evidence), advice_list)


def _kills(setup: Setup) -> Finding:
    server = setup.server
    used, uptime = server.counters["Com_kill"], server.counters["Uptime"]
    seen = tuple(setup.counted(Cause.KILLED))
    evidence = [f"KILL was used {count(used, 'time')} in {duration(uptime)} (KILL QUERY counts, too)", *seen]
    if not server.is_mariadb:
        evidence.append("MySQL does not log whom a KILL has met")
    if setup.guard is not None:
        return _restored(setup.guard, Cause.KILLED, "a session that is killed comes back", evidence)
    advice = (PRE_PING, run_guard(server, "brings the session back"))
    if used or seen:
        return Finding(Cause.KILLED, Verdict.AT_RISK, tuple(evidence), advice)
    verdict = Verdict.SAFE if uptime >= _LONG_UPTIME else Verdict.UNKNOWN
    return Finding(Cause.KILLED, verdict, tuple(evidence), () if verdict is Verdict.SAFE else advice)


def _restarts(setup: Setup) -> Finding:
    server = setup.server
    uptime, most, places = (
        server.counters["Uptime"],
        server.counters["Max_used_connections"],
        server.number("max_connections"),
    )
    refused = server.counters["Connection_errors_max_connections"]
    scarce = refused > 0 or most >= places * _SCARCE_SHARE
    seen = tuple(setup.counted(Cause.RESTART))
    evidence = [
        f"the server started {duration(uptime)} ago",
        f"{most} of {places} connections were in use at once (max_connections)"
        + (f", {count(refused, 'client')} refused" if refused else ""),
        *seen,
    ]
    more_places = set_global("max_connections", 2 * places)
    if setup.guard is not None:
        guard = setup.guard
        if scarce:
            evidence.append("when all sessions come back at once, some may find no place")
            fewer = Advice(Place.GUARD, f"limits: {{sessions: {max(1, int(places * _SCARCE_SHARE))}}}")
            return Finding(Cause.RESTART, Verdict.AT_RISK, tuple(evidence), (more_places, fewer))
        if not guard.reconnect.wait:
            evidence.append("reconnect.wait is 0s: a command that comes while the server is away fails at once")
            advice = Advice(Place.GUARD, "reconnect: {wait: 30s}")
            return Finding(Cause.RESTART, Verdict.AT_RISK, tuple(evidence), (advice,))
        waits = f"sessions come back, and a command waits up to {duration(guard.reconnect.wait)} for that"
        return _restored(guard, Cause.RESTART, waits, evidence)
    advice_list = (
        *((more_places,) if scarce else ()),
        PRE_PING,
        run_guard(server, "brings sessions back with their state"),
    )
    if scarce or seen or uptime < _LONG_UPTIME:
        return Finding(Cause.RESTART, Verdict.AT_RISK, tuple(evidence), advice_list)
    evidence.append("the next restart ends all connections")
    return Finding(Cause.RESTART, Verdict.UNKNOWN, tuple(evidence), advice_list)


def _network(setup: Setup) -> Finding:
    path, machine = setup.server.path, setup.machine
    seen = tuple(setup.counted(Cause.NETWORK))
    if seen:
        seen += ("by an application that ends without closing, or by the network: the server cannot tell",)
    if path.is_local:
        return Finding(Cause.NETWORK, Verdict.SAFE, ("the server is on this machine", *seen))
    evidence = list(_path_words(setup))
    is_direct = path.translated is None and path.has_gateway is False
    if setup.guard is not None:
        interval = _probe_interval(setup.guard, setup.server.number("wait_timeout"))
        evidence += [f"the guard probes an idle session after {duration(interval)} at the latest", *seen]
        if is_direct or interval <= _FORGETFUL_SECONDS:
            return Finding(Cause.NETWORK, Verdict.SAFE, tuple(evidence))
        advice = Advice(Place.GUARD, "keepalive: {interval: auto}")
        return Finding(Cause.NETWORK, Verdict.AT_RISK, tuple(evidence), (advice,))
    if machine.keepalive_idle is not None and machine.keepalive_patience is not None:
        evidence.append(
            f"TCP keepalive of this machine begins after {duration(machine.keepalive_idle)}, "
            f"and gives up after {duration(machine.keepalive_patience)} more (net.ipv4.tcp_keepalive_*)"
        )
    evidence += seen
    advice_list = (
        Advice(
            Place.MACHINE,
            "sysctl -w net.ipv4.tcp_keepalive_time=60 net.ipv4.tcp_keepalive_intvl=15 net.ipv4.tcp_keepalive_probes=4",
        ),
        *pool_lifetimes(_FORGETFUL_SECONDS),
        run_guard(setup.server, "keeps the path open, and checks a silent link before use"),
    )
    if is_direct:
        return Finding(Cause.NETWORK, Verdict.SAFE, tuple(evidence))
    if machine.keepalive_idle is None or (path.translated is None and path.has_gateway is None):
        return Finding(Cause.NETWORK, Verdict.UNKNOWN, tuple(evidence), advice_list)
    verdict = Verdict.AT_RISK if machine.keepalive_idle > _FORGETFUL_SECONDS else Verdict.UNKNOWN
    return Finding(Cause.NETWORK, verdict, tuple(evidence), advice_list)


def _path_words(setup: Setup) -> Iterator[str]:
    path, machine = setup.server.path, setup.machine
    if path.translated is not None:
        yield f"the server sees us as {path.translated}: NAT or a proxy stands in between"
    elif path.has_gateway:
        yield "a router stands in between"
    elif path.has_gateway is False:
        yield "the server is on the same network, and sees our own address"
        return
    if machine.conntrack_timeout is not None:
        forgets = duration(machine.conntrack_timeout)
        yield f"where this machine tracks connections, it forgets idle ones after {forgets} (nf_conntrack)"
    yield f"others forget them after as little as {duration(_FORGETFUL_SECONDS)} (load balancers and NAT of clouds)"


def _slowness(setup: Setup) -> Finding:
    server = setup.server
    write, read = server.number("net_write_timeout"), server.number("net_read_timeout")
    seen = (
        *setup.raised(facts.WRITE_TIMED_OUT, "error 1161 (timeout while sending)"),
        *setup.counted(Cause.SLOW_APPLICATION),
    )
    waits = (
        f"the server waits {duration(write)} for somebody to read its results (net_write_timeout), "
        f"{duration(read)} for the next piece of a local file (net_read_timeout)"
    )
    evidence = (waits, *seen)
    if setup.guard is not None:
        return _spooled(setup, setup.guard, evidence)
    if min(write, read) >= _LONG_WAIT and not seen:
        return Finding(Cause.SLOW_APPLICATION, Verdict.SAFE, evidence)
    advice = (
        set_global("net_write_timeout", max(_LONG_WAIT, write * 2)),
        set_global("net_read_timeout", max(_LONG_WAIT, read * 2)),
        run_guard(server, "reads ahead for a slow application"),
    )
    if seen or write < _USUAL_WRITE_TIMEOUT or read < _USUAL_READ_TIMEOUT:
        return Finding(Cause.SLOW_APPLICATION, Verdict.AT_RISK, evidence, advice)
    unseen = "whether the application pauses for longer cannot be seen from here"
    return Finding(Cause.SLOW_APPLICATION, Verdict.UNKNOWN, (*evidence, unseen), advice)


def _spooled(setup: Setup, guard: Config, evidence: tuple[str, ...]) -> Finding:
    room = f"the guard reads ahead up to {size(guard.spool.memory + guard.spool.disk)} for each slow client"
    if not guard.spool.disk:
        advice = Advice(Place.GUARD, "spool: {disk: 1GiB}")
        return Finding(Cause.SLOW_APPLICATION, Verdict.AT_RISK, (*evidence, f"{room}, none of it on disk"), (advice,))
    if setup.spool_room < guard.spool.disk:
        short = f"{size(setup.spool_room)} are free where its files are made (spool.directory)"
        advice = Advice(Place.GUARD, "spool: {directory: /a/directory/with/more/room}")
        return Finding(Cause.SLOW_APPLICATION, Verdict.AT_RISK, (*evidence, room, short), (advice,))
    return Finding(Cause.SLOW_APPLICATION, Verdict.SAFE, (*evidence, room))


def _restored(guard: Config, cause: Cause, how: str, evidence: Iterable[str]) -> Finding:
    """Judge what a guard makes good by bringing sessions back."""
    if guard.auth.mode is AuthMode.PASSTHROUGH:
        lost = "with auth.mode passthrough, the guard cannot bring sessions back"
        return Finding(cause, Verdict.AT_RISK, (*evidence, lost), (Advice(Place.GUARD, "auth: {mode: learn}"),))
    return Finding(cause, Verdict.SAFE, (*evidence, how))


def _probe_interval(guard: Config, wait_timeout: int) -> float:
    return min(guard.keepalive.interval or _GUARD_INTERVAL_SECONDS, wait_timeout / 2)


_JUDGES: tuple[Callable[[Setup], Finding], ...] = (_packets, _idleness, _kills, _restarts, _network, _slowness)
