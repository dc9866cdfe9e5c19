"""Every error that the guard itself makes, and its words.

Drivers and pools act on codes and SQLSTATEs, and frameworks search texts for phrases, so both are chosen with care:
an error on a link that lives on must not make a pool throw it away or a framework run the statement again. Each text
says what happened, what became of the statement, and what to do.
"""

from protocol.constants import ErrorCode
from protocol.errors import Refusal
from protocol.packets import Err

_LINK_FAILURE = "08S01"
_REJECTED = "08004"
_START_AGAIN = "40001"
_GENERAL = "HY000"
_INTERRUPTED = "70100"


def too_large(size: int, limit: int, server: str, sqlstate: str) -> Err:
    """Refuse a payload of ``size`` bytes (command byte included) where fewer than ``limit`` are allowed."""
    return Err(
        ErrorCode.PACKET_TOO_LARGE,
        sqlstate,
        f"stillhere: this command has {size} bytes, and {server} accepts at most {limit - 1}. It was not sent, and the "
        "session is as it was. Send less at a time, or raise max_allowed_packet on the server (new sessions get it)",
    )


def parameter_too_large(size: int, limit: int, server: str, sqlstate: str) -> Err:
    """Refuse to execute a statement of which a piece of long data was refused."""
    return Err(
        ErrorCode.PACKET_TOO_LARGE,
        sqlstate,
        f"stillhere: a parameter was sent in a piece of {size} bytes, and {server} accepts at most {limit - 1}. The "
        "statement was not executed, and the session is as it was. Send smaller pieces, or raise max_allowed_packet on "
        "the server (new sessions get it)",
    )


def cannot_hold(size: int, reason: str) -> Err:
    """Refuse a large command that could not be kept until it was whole."""
    return Err(
        ErrorCode.OUT_OF_RESOURCES,
        _GENERAL,
        f"stillhere: there was no room to keep this command of {size} bytes until it was whole ({reason}). It was not "
        "sent, and the session is as it was. Make room in spool.directory, raise spool.disk, or send less at a time",
    )


def too_many_sessions(limit: int) -> Err:
    """Turn a client away at the door."""
    return Err(
        ErrorCode.CON_COUNT_ERROR,
        _REJECTED,
        f"stillhere: too many connections: the guard has {limit} sessions already. "
        "Close some, or raise limits.sessions in its configuration",
    )


def unreachable(server: str, reason: str) -> Err:
    """Tell a client that logs in that there is no server."""
    return Err(
        ErrorCode.CANNOT_CONNECT,
        _GENERAL,
        f"stillhere: no session can be had from {server}: {reason}. Check the server and upstream in the configuration",
    )


def bad_handshake(reason: str) -> Err:
    """Answer a login that cannot be understood."""
    return Err(ErrorCode.HANDSHAKE_ERROR, "08S01", f"stillhere: bad handshake: {reason}")


def access_denied(user: str) -> Refusal:
    """Refuse a client that the server would have let in without the password."""
    return Refusal(
        ErrorCode.ACCESS_DENIED,
        "28000",
        f"stillhere: access denied for user '{user}': the password is not the one that the guard knows",
    )


def no_plugins() -> Refusal:
    """Refuse to change the user of a client that cannot be asked for the new one's password."""
    return Refusal(
        ErrorCode.NOT_SUPPORTED_AUTH_MODE,
        _REJECTED,
        "stillhere: this client does not support authentication plugins, so the guard cannot learn its password. "
        "Use a newer client, or give the guard the password with auth.mode: users",
    )


def out_of_order(reason: str) -> Err:
    """Answer a client that has broken the protocol, before its link is closed."""
    return Err(ErrorCode.OUT_OF_ORDER, _LINK_FAILURE, f"stillhere: the client broke the protocol: {reason}")


def parting(server: str, reason: str, fate: str) -> Err:
    """Tell a client that its session cannot go on; ``fate`` says what became of its statement or transaction."""
    return Err(
        ErrorCode.CLIENT_INTERACTION_TIMEOUT,
        _LINK_FAILURE,
        f"stillhere: the session on {server} has ended ({reason}). {fate} Open a new connection",
    )


def rolled_back(server: str, *, is_fenced: bool) -> Err:
    """Tell a client that its transaction, or the statement that it was about to begin one with, has left no trace.

    ``is_fenced``: the thread that had it is surely gone.
    """
    gone = (
        "all of it was rolled back, nothing of it is left"
        if is_fenced
        else "all of it is rolled back once the server has noticed, which may take a while. The old session could not "
        "be ended, and keeps its locks until then"
    )
    return Err(
        ErrorCode.LOCK_DEADLOCK,
        _START_AGAIN,
        f"stillhere: the link to {server} ended, and with it the open transaction or statement: {gone}. "
        "The session goes on. Start the transaction again",
    )


def result_cut_off(server: str) -> Err:
    """Tell a client that the result that it was reading does not go on. The statement has changed nothing."""
    return Err(
        ErrorCode.LOCK_DEADLOCK,
        _START_AGAIN,
        f"stillhere: the link to {server} ended in the middle of this result, which is not complete. The statement "
        "only reads. The session goes on. Run it again",
    )


def killed(server: str) -> Err:
    """Tell a client that a KILL has ended its statement, which only reads."""
    return Err(
        ErrorCode.QUERY_INTERRUPTED,
        _INTERRUPTED,
        f"stillhere: this statement was ended at {server} by KILL, or by something in between that closes links. It "
        "only reads. The session goes on. With reconnect.killed_reads: rerun, it would have been run again",
    )


def transaction_unknown(server: str, doubt: str) -> Err:
    """Tell a client that its transaction is over, and that nobody knows how; ``doubt`` is why.

    Its statement has left no trace.
    """
    return Err(
        ErrorCode.ERROR_DURING_COMMIT,
        _GENERAL,
        f"stillhere: the link to {server} ended, and with it the open transaction, if there was one: {doubt}. "
        "Nothing is left of this statement. The session goes on, in no transaction. Look at the data before you repeat "
        "anything",
    )


def outcome_unknown(server: str, *, in_transaction: bool = False, is_fenced: bool = True) -> Err:
    """Tell a client that nobody knows whether its statement has been carried out.

    ``is_fenced``: the thread that had it is surely gone, so that it will not be carried out any more.
    """
    over = "The transaction that was open is over, rolled back unless this statement has committed it. "
    late = "The old session could not be ended: it may still carry the statement out, later than this. "
    return Err(
        ErrorCode.ERROR_DURING_COMMIT,
        _GENERAL,
        f"stillhere: the outcome of this statement is unknown: the link to {server} ended before its answer came, so "
        f"it may or may not have been carried out. It was not sent again. {over if in_transaction else ''}"
        f"{'' if is_fenced else late}The session goes on. Look at the data before you repeat it",
    )


def cannot_look_back(server: str) -> Err:
    """Refuse a statement that asks for what the one before it has left behind on a link that is no more."""
    return Err(
        ErrorCode.ERROR_DURING_COMMIT,
        _GENERAL,
        "stillhere: this asks for what a statement has left behind (row count, warnings, id) on an earlier link to "
        f"{server}, where they are not known any more. It was not sent. The session goes on",
    )


def not_as_prepared(server: str, reason: str) -> Err:
    """Refuse to execute a prepared statement that a new link does not have as it was."""
    return Err(
        ErrorCode.NEED_REPREPARE,
        _GENERAL,
        f"stillhere: this statement could not be prepared anew after the link to {server} had ended: {reason}. It was "
        "not executed. The session goes on. Prepare it again",
    )
