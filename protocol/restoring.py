"""Giving a new link what the session had: the commands for it, in their order, and what becomes of each.

The order matters: roles come before what needs their privileges, variables before the statements that are read by them,
and each statement is prepared under the schema that it was prepared under.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from protocol.constants import ERR_BYTE, Capability, CommandCode
from protocol.memory import SessionMemory
from protocol.packets import Err, PrepareOk
from protocol.prepared import NO_STATEMENT_ID, OTHER_DIALECT, PreparedStatement
from protocol.resultset import payloads, query_payload
from protocol.session_track import FOLLOWING_SCHEMA, REPORT_VARIABLES
from protocol.settling import quote_name

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
#: MySQL gives roles as SET ROLE takes them, MariaDB gives a bare name.
_WRITTEN_ROLES = re.compile(r"`(?:[^`]|``)*`@`(?:[^`]|``)*`(?:,`(?:[^`]|``)*`@`(?:[^`]|``)*`)*")
#: PREPARE takes texts from literals, in the client's character set, and from user variables. Should the session have
#: one of this name, it gets its value back.
_TEXT_NAME = b"stillhere"
_TEXT_VARIABLE = b"@`" + _TEXT_NAME + b"`"
#: Reported as empty where they are NULL.
_EMPTY_MEANS_NULL = frozenset({"character_set_results"})


class CannotRestore(Exception):
    """The session's state cannot be had on a new link; the text names what, and the server's reason."""


@dataclass(frozen=True)
class Step:
    """A command that gives a new link a part of the session's state, and what that is, in words."""

    code: CommandCode
    payload: bytes
    what: str
    prepared: PreparedStatement | None = None


def restore_steps(memory: SessionMemory, capabilities: int) -> Iterator[Step]:
    """List the commands that give a new link what ``memory`` knows. The link has no schema yet."""

    def query(statement: str | bytes, what: str) -> Step:
        return Step(CommandCode.QUERY, query_payload(statement, capabilities), what)

    def set_variables(names: Iterable[str]) -> Iterator[Step]:
        if chosen := list(names):
            settings = (f"SESSION {name} = {_setting(name, memory.tracked.variables[name])}" for name in chosen)
            yield query(f"SET {', '.join(settings)}", f"the session variables {', '.join(chosen)}")

    names = [name for name in memory.tracked.variables if name not in REPORT_VARIABLES]
    yield from set_variables(name for name in names if name not in FOLLOWING_SCHEMA)
    if memory.role is not None:
        is_written = memory.role.upper() == "NONE" or _WRITTEN_ROLES.fullmatch(memory.role)
        roles = memory.role if is_written else quote_name(memory.role)
        yield query(f"SET ROLE {roles}", "the role")
    if memory.multi_statements != bool(capabilities & Capability.MULTI_STATEMENTS):
        option = bytes((CommandCode.SET_OPTION, not memory.multi_statements, 0))
        yield Step(CommandCode.SET_OPTION, option, "the multi-statement option")
    for name, value in memory.user_variables.items():
        yield query(f"SET @{quote_name(name.decode())} = {value}", f"the user variable @{name.decode()}")
    yield from _prepare_steps(memory, capabilities)
    yield from set_variables(name for name in names if name in FOLLOWING_SCHEMA)
    if memory.last_insert_id:
        yield query(f"SET last_insert_id = {memory.last_insert_id}", "LAST_INSERT_ID()")


def _prepare_steps(memory: SessionMemory, capabilities: int) -> Iterator[Step]:
    """List the commands that prepare what was prepared, each under its schema, and choose the session's schema."""
    sql = memory.sql_statements.known.items()
    # A schema can be left for another one, but not for none.
    others = {statement.schema for _, statement in sql} | {
        prepared.schema for prepared in memory.statements.values() if not prepared.broken
    }
    last = memory.tracked.schema
    order = [b"", *sorted(others - {b"", last}), last] if last else [b""]
    for schema in dict.fromkeys(order):
        if schema:
            payload = bytes((CommandCode.INIT_DB,)) + schema
            yield Step(CommandCode.INIT_DB, payload, f"the schema {schema.decode(errors='replace')}")
        for name, statement in sql:
            if statement.schema == schema and statement.dialect == memory.dialect:
                # The name is in whatever character set the client has used.
                text = b"PREPARE `" + name.replace(b"`", b"``") + b"` FROM " + statement.literal
                what = f"the statement PREPAREd as {name.decode(errors='replace')}"
                if statement.text is not None:
                    text = b"PREPARE `" + name.replace(b"`", b"``") + b"` FROM " + _TEXT_VARIABLE
                    yield Step(CommandCode.QUERY, query_payload(_set_text(statement.literal), capabilities), what)
                yield Step(CommandCode.QUERY, query_payload(text, capabilities), what)
                if statement.text is not None:
                    kept = memory.user_variables.get(_TEXT_NAME, "NULL").encode()
                    yield Step(CommandCode.QUERY, query_payload(_set_text(kept), capabilities), what)
        for prepared in memory.statements.values():
            if prepared.schema == schema and prepared.text is not None and not prepared.broken:
                payload = bytes((CommandCode.STMT_PREPARE,)) + prepared.text
                yield Step(CommandCode.STMT_PREPARE, payload, "a prepared statement", prepared)


def _set_text(value: bytes) -> bytes:
    return b"SET " + _TEXT_VARIABLE + b" = " + value


def step_to_prepare(memory: SessionMemory, prepared: PreparedStatement) -> Step | None:
    """Give the command that prepares a statement which a new link could not have; None if it would be another one.

    What was in the way then, such as a table that was not there, may be gone by now.
    """
    is_there = prepared.server_id != NO_STATEMENT_ID  # its columns are not those that the client goes by
    is_same = prepared.schema == memory.tracked.schema and prepared.dialect == memory.dialect
    if is_there or not is_same or prepared.text is None or prepared.has_long_data:
        return None
    return Step(CommandCode.STMT_PREPARE, bytes((CommandCode.STMT_PREPARE,)) + prepared.text, "it", prepared)


def note_what_changed(memory: SessionMemory) -> None:
    """Mark the prepared statements that a new link cannot have as they were, before the steps are listed.

    Raises:
        CannotRestore: one of them was PREPAREd in SQL, where its name would mean another statement.
    """
    reachable = memory.tracked.schema
    for prepared in memory.statements.values():
        prepared.server_id = NO_STATEMENT_ID
        prepared.broken = ""
        if prepared.dialect != memory.dialect:
            prepared.broken = OTHER_DIALECT
        elif prepared.schema and not reachable:
            prepared.broken = "it was prepared in another schema"
    for name, statement in memory.sql_statements.known.items():
        if statement.dialect != memory.dialect or (statement.schema and not reachable):
            raise CannotRestore(
                f"{name.decode(errors='replace')} was PREPAREd under another sql_mode, character set or schema"
            )


def take_answers(steps: Iterable[Step], replies: bytes, memory: SessionMemory, capabilities: int) -> None:
    """Take the answers to ``steps``, which are whole, and map the ids of prepared statements.

    Raises:
        CannotRestore: the server has refused a step.
        MalformedPacket: the server does not speak the protocol.
    """
    packets = payloads(replies)
    for step in steps:
        answer = next(packets, b"")
        error = Err.parse(answer) if answer[:1] == bytes((ERR_BYTE,)) else None
        if step.prepared is not None:
            # Only its own executions will fail. By its old id, it would be another statement that is closed with it.
            step.prepared.broken = error.message if error else ""
            step.prepared.server_id = NO_STATEMENT_ID
            if not error:
                _take_prepared(step.prepared, answer, packets, memory, capabilities)
        elif error:
            raise CannotRestore(f"{step.what} could not be restored: {error.message}")


def _take_prepared(
    prepared: PreparedStatement,
    answer: bytes,
    packets: Iterator[bytes],
    memory: SessionMemory,
    capabilities: int,
) -> None:
    ok = PrepareOk.parse(answer)
    eof = not capabilities & Capability.DEPRECATE_EOF
    definitions = b""
    for count in (ok.parameters, ok.columns):
        sent = count if ok.sends_metadata else 0
        for _ in range(sent):
            definitions += next(packets, b"")
        if count and eof:
            next(packets, b"")
    prepared.server_id = ok.statement_id
    if ok.parameters != prepared.parameters:
        prepared.broken = f"it had {prepared.parameters} parameters, and now it has {ok.parameters}"
    # Other columns come with the next result, as they do where a server itself prepares a statement anew.
    elif memory.keeps_definitions and definitions != prepared.definitions:
        prepared.broken = "its columns are not the same any more"


def _setting(name: str, value: str) -> str:
    """Write a variable's value as SET takes it: numbers without quotes."""
    if not value and name in _EMPTY_MEANS_NULL:
        return "NULL"
    if _NUMBER.fullmatch(value):
        return value
    if "\\" in value or not value.isprintable():
        raise CannotRestore(f"the session variable {name} has a value that cannot be written")
    return "'" + value.replace("'", "''") + "'"
