"""What a text of one or more statements is good for, and what it does to its session."""

from dataclasses import dataclass
from enum import Enum, auto

from protocol.holds import Hold


class Kind(Enum):
    """What a statement is good for when its reply has been lost."""

    READ = auto()  # reads only, as far as its text tells
    CHANGE = auto()  # may change data, and surely does not commit by itself
    COMMIT = auto()
    ROLLBACK = auto()
    BEGIN = auto()
    SESSION = auto()  # affects nothing but the session, which dies with its link
    AUTOCOMMIT = auto()  # the same, but it sets autocommit, which may commit the open transaction
    OTHER = auto()  # all else, and what is not understood


@dataclass(frozen=True)
class SqlPrepare:
    """A PREPARE in SQL. Its text is a literal as written, or in a user variable; both are None if it is neither."""

    name: bytes
    literal: bytes | None
    variable: bytes | None


@dataclass(frozen=True)
class Effects:
    """What a text does to its session, as far as it tells, if the server carries out all of it.

    Take ``takes`` before ``releases``: what is taken again behind its release is not among the latter. The same goes
    for ``prepares`` and ``deallocates``.
    """

    #: User variables that it may assign: without @ and quotes, ASCII letters in lower case.
    user_variables: frozenset[bytes] = frozenset()
    #: Session variables, in lower case, whose values the server may not report as they are then.
    system_variables: frozenset[str] = frozenset()
    #: Those of both kinds of which the text has the value itself, as it stands there.
    user_literals: tuple[tuple[bytes, str], ...] = ()
    system_literals: tuple[tuple[str, str], ...] = ()
    takes: tuple[Hold, ...] = ()
    #: A name that is empty stands for all of that kind.
    releases: tuple[Hold, ...] = ()
    #: Tables that get other names: the old name and the new one. The text does not tell which are temporary tables.
    renames: tuple[tuple[str, str], ...] = ()
    prepares: tuple[SqlPrepare, ...] = ()
    deallocates: tuple[bytes, ...] = ()
    #: Names of statements PREPAREd in SQL that it executes. What these do comes on top of all else here.
    executes: tuple[bytes, ...] = ()
    sets_role: bool = False
    #: LAST_INSERT_ID() may be another one than OK packets say.
    sets_insert_id: bool = False
    #: If the server reports that the session's state has changed, all of the change is told here or by the server.
    explains_change: bool = False
    #: It asks for share locks, which the server's report on the transaction leaves out.
    share_locks: bool = False
    is_multiple: bool = False
    #: So many of its statements set something or create a temporary table, which servers count.
    counted: int = 0
    #: It runs a procedure, which may do whatever a client may.
    calls: bool = False
    #: Variables by which the client says what is to be reported to it, with their values.
    reports: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Statement:
    """What a text says; ``effects`` is None if it does nothing to its session."""

    kind: Kind
    effects: Effects | None
