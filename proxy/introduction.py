"""What the guard asks of the server on each new link: the session's limits, and reports of all that changes."""

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from structlog.stdlib import BoundLogger

from protocol.errors import MalformedPacket, ServerError
from protocol.holds import Hold, HoldKind
from protocol.memory import SessionMemory
from protocol.resultset import ResultSet, Row
from protocol.session_track import REPORT_VARIABLES, is_mariadb, names_statements, watch_statement
from protocol.settling import find_rows
from proxy.known_answers import Answers

_LIMIT_VARIABLES = ("max_allowed_packet", "net_buffer_length", "wait_timeout", "net_read_timeout", "net_write_timeout")
#: MariaDB's name first: newer ones have both, and the other is an alias there.
_ISOLATION_VARIABLES = ("tx_isolation", "transaction_isolation")
#: What the server runs in each new session of most accounts; nobody knows how much of it sets something.
_FIRST_STATEMENTS = "init_connect"
#: What tells one server from another. MySQL also has ``server_uuid``.
_SERVER_VARIABLES = ("hostname", "port", "server_id")

#: Without its reports, the guard does not know what the session is.
_UNWATCHED = Hold(HoldKind.UNSETTLED, "whatever the server does not report")


@dataclass(frozen=True)
class Questions:
    """What the servers of one version can be asked: variables, the statement for their values, and the one to watch.

    The last ``server_count`` of the variables tell one server from another.
    """

    asked: tuple[str, ...]
    server_count: int
    values: str
    #: FOUND_ROWS() of a new session is 0; to ask for the values makes it 1.
    forget_found_rows: str
    watch: bytes
    #: The server has told the names of its variables.
    are_known: bool


def _questions_about(names: AbstractSet[str], version: bytes) -> Questions:
    """Ask for the limits, and for what there is of the others among ``names``."""
    asked = (*_LIMIT_VARIABLES, *(name for name in (*REPORT_VARIABLES, *_ISOLATION_VARIABLES) if name in names))
    server = (*_SERVER_VARIABLES, *(("server_uuid",) if names and not is_mariadb(version) else ()))
    of_all = (_FIRST_STATEMENTS, *server)
    values = [*(f"@@SESSION.{name}" for name in asked), *(f"@@GLOBAL.{name}" for name in of_all)]
    return Questions(
        (*asked, *of_all),
        len(server),
        "SELECT " + ", ".join(values),
        find_rows(0, is_mariadb=is_mariadb(version)),
        watch_statement(names, version),
        bool(names),
    )


_NO_NAMES_KNOWN = _questions_about(frozenset(), b"")

#: By the servers' versions: the same for all sessions.
QuestionsByVersion = dict[bytes, Questions]

#: Runs statements of the guard's own and gives what each of them brings; raises LinkLost.
Ask: TypeAlias = Callable[[Sequence[str | bytes]], Awaitable[Answers]]


@dataclass(frozen=True)
class Limits:
    """What the server has set for a session: packets in bytes, time in seconds."""

    packet: int
    wait_timeout: float
    net_read_timeout: float
    net_write_timeout: float


#: For a session that may not even read its variables (an expired password): small enough for any sensible server.
UNKNOWN_LIMITS = Limits(packet=1 << 20, wait_timeout=28800.0, net_read_timeout=30.0, net_write_timeout=60.0)


class Introduction:
    """One session's, with a server of ``version``."""

    def __init__(
        self, ask: Ask, memory: SessionMemory, version: bytes, questions: QuestionsByVersion, log: BoundLogger
    ) -> None:
        self._ask = ask
        self._memory = memory
        self._version = version
        self._questions_by_version = questions
        self._log = log
        #: What tells the server from others, once it has been asked; empty where it does not say.
        self.server: tuple[bytes | None, ...] = ()

    def __repr__(self) -> str:
        return f"<Introduction to {self._version.decode(errors='replace')}>"

    async def introduce(self) -> Limits:
        """Ask all that is to be known of a new link, in one round trip.

        The last statement is a SET, which leaves ROW_COUNT() as a login does.

        Raises:
            LinkLost: the link cannot be used any more.
            MalformedPacket: the answers make no sense.
        """
        self._memory.can_be_surveyed = is_mariadb(self._version)
        self._memory.answers_unreadable = not is_mariadb(self._version)
        tracked = self._memory.tracked
        changed = dict(tracked.variables)
        questions = await self._questions()
        tracked.own_watch = questions.watch
        answer, _, watched = await self._ask((questions.values, questions.forget_found_rows, questions.watch))
        row = _first_row(answer)
        self.server = row[len(questions.asked) - questions.server_count :]
        settings = _read_settings(questions.asked, row)
        tracked.variables = changed
        tracked.begin_link(settings.reports)
        self._memory.isolation = settings.isolation
        self._memory.counted = None if settings.has_first_statements else 1  # the one that asks for reports
        if not questions.are_known or isinstance(watched, ServerError):
            self._log.warning("server does not report session state", reason=str(watched))
            self._memory.hold(_UNWATCHED)
        if isinstance(answer, ServerError):
            self._log.warning("limits unknown", reason=str(answer), assumed_bytes=UNKNOWN_LIMITS.packet)
            return UNKNOWN_LIMITS
        if settings.limits is None:
            raise MalformedPacket("the server does not give its limits as numbers")
        return settings.limits

    async def _questions(self) -> Questions:
        """Give what a server of this version can be asked."""
        if self._version not in self._questions_by_version:
            for statement in names_statements(self._version):
                (answer,) = await self._ask((statement,))
                if isinstance(answer, ResultSet) and answer.rows:
                    names = {_text(row[0]).lower() for row in answer.rows}
                    self._questions_by_version[self._version] = _questions_about(names, self._version)
                    break
        return self._questions_by_version.get(self._version, _NO_NAMES_KNOWN)


async def watch_again(ask: Ask, memory: SessionMemory) -> None:
    """Have the server report again what a client has told it not to. Raises LinkLost."""
    tracked = memory.tracked
    changed = dict(tracked.variables)
    (watched,) = await ask((tracked.own_watch,))
    tracked.watches_again(changed)
    if isinstance(watched, ServerError):
        memory.hold(_UNWATCHED)


def _first_row(answer: ResultSet | ServerError) -> Row:
    """Give the first row of an answer, an empty one if it has none."""
    return answer.rows[0] if isinstance(answer, ResultSet) and answer.rows else ()


class _Settings(NamedTuple):
    """What a server has for a new session; ``limits`` is None where they are no numbers."""

    reports: Mapping[str, str]
    isolation: str
    has_first_statements: bool
    limits: Limits | None


@lru_cache(maxsize=64)  # the same for all sessions, until somebody changes a setting
def _read_settings(asked: tuple[str, ...], row: Row) -> _Settings:
    """Read the values of the variables that were asked for."""
    values = dict(zip(asked, map(_text, row), strict=False))
    reports = {name: values[name] for name in REPORT_VARIABLES if name in values}
    isolation = next((values[name] for name in _ISOLATION_VARIABLES if name in values), "")
    has_first_statements = bool(values.get(_FIRST_STATEMENTS))
    numbers = [values.get(name, "") for name in _LIMIT_VARIABLES]
    if not all(map(str.isdecimal, numbers)):
        return _Settings(reports, isolation, has_first_statements, None)
    largest, buffer, *timeouts = map(int, numbers)
    return _Settings(reports, isolation, has_first_statements, Limits(max(largest, buffer), *timeouts))


def _text(value: bytes | None) -> str:
    return sys.intern((value or b"").decode(errors="replace"))  # the same for all sessions
