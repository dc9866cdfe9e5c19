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
    """Refuse a command of several frames that could not be kept until its size was known."""
    return Err(
        ErrorCode.OUT_OF_RESOURCES,
        "HY000",
        f"stillhere: this command of {size} bytes could not be written to the guard's temporary directory ({reason}). "
        "It was not sent, and the session is as it was. Make room there, or send less at a time",
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
        ErrorCode.CON_COUNT_ERROR,
        _REJECTED,
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
