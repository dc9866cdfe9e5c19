import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MalformedPacket
from protocol.session_track import (
    NO_TRANSACTION,
    REPORT_VARIABLES,
    SessionTracker,
    is_mariadb,
    names_statements,
    watch_statement,
)
from protocol.wire import lenenc_bytes
from tests.protocol.transcripts import HIDDEN, OWN_REPORTS, SCHEMA, SHOWN

STATE_CHANGE = b"\x02\x01\x31"  # a bare byte, without a length of its own
GTIDS = b"\x03\x06\x00\x04uuid"
CHARACTERISTICS = b"\x04\x1c\x1bSTART TRANSACTION READ ONLY"
TRANSACTION_STATE = b"\x05\x09\x08T_R___S_"
ALL = SHOWN + HIDDEN + SCHEMA + STATE_CHANGE + GTIDS + CHARACTERISTICS + TRANSACTION_STATE


def variable(name: bytes, value: bytes) -> bytes:
    return b"\x00" + lenenc_bytes(lenenc_bytes(name) + lenenc_bytes(value))


def list_of_names(names: bytes) -> bytes:
    return variable(b"session_track_system_variables", names)


def a_tracker(own: dict[str, str] | None = None, *, client_listens: bool = True) -> SessionTracker:
    """Make the tracker of a link to a server with these values of its own, by the ends of their names."""
    tracker = SessionTracker(client_listens=client_listens)
    tracker.begin_link(OWN_REPORTS | {f"session_track_{name}": value for name, value in (own or {}).items()})
    return tracker


# What the guard asks for


def test_all_that_a_new_link_would_have_to_be_given_is_to_be_reported() -> None:
    statement = watch_statement(
        ("sql_mode", "autocommit", "statement_id", "timestamp", "autocommit"), b"9.1.0"
    ).decode()
    assert statement == (
        "SET SESSION session_track_schema = ON, session_track_state_change = ON, "
        "session_track_transaction_info = 'CHARACTERISTICS', session_track_system_variables = 'autocommit,sql_mode'"
    )


def test_a_mariadb_need_not_be_given_the_names() -> None:
    statement = watch_statement(("sql_mode", "autocommit"), b"11.4.2-MariaDB").decode()
    assert statement.endswith(
        "session_track_transaction_info = 'CHARACTERISTICS', session_track_system_variables = '*'"
    )


@pytest.mark.parametrize("name", ["last_gtid", "timestamp", "character_set_database"])
def test_what_nobody_can_be_given_is_not_kept(name: str) -> None:
    tracker = SessionTracker(client_listens=True)
    tracker.begin_link({"session_track_system_variables": "*"})
    entry = bytes((len(name),)) + name.encode() + b"\x017"
    block = b"\x00" + bytes((len(entry),)) + entry
    assert tracker.note(block) == block
    assert tracker.variables == {}


@pytest.mark.parametrize("name", ["last_insert_id", "last_gtid", "*"])
def test_some_clients_want_to_hear_what_statements_do_unasked(name: str) -> None:
    tracker = SessionTracker(client_listens=True)
    tracker.begin_link({"session_track_system_variables": "autocommit"})
    assert tracker.hides_usual_reports
    tracker.begin_link({"session_track_system_variables": f"autocommit,{name}"})
    assert not tracker.hides_usual_reports


def test_who_knows_the_names() -> None:
    assert not is_mariadb(b"9.1.0")
    assert is_mariadb(b"5.5.5-10.11.6-MariaDB-1")
    (mariadb,) = names_statements(b"10.11.6-MariaDB")
    first, fallback = names_statements(b"8.4.0")
    assert "information_schema" in mariadb
    assert "performance_schema" in first
    assert fallback == "SHOW SESSION VARIABLES"


# What the client is shown


def test_a_client_that_listens_gets_what_it_would_get_without_the_guard() -> None:
    assert a_tracker().note(ALL) == SHOWN + SCHEMA + GTIDS
    tracker = a_tracker()
    assert tracker.note(HIDDEN) == b""
    assert tracker.note(STATE_CHANGE) == b""
    assert tracker.note(SHOWN + HIDDEN + SCHEMA) == SHOWN + SCHEMA


def test_a_client_that_does_not_listen_gets_nothing() -> None:
    tracker = a_tracker(client_listens=False)
    assert tracker.note(ALL) == b""
    assert tracker.variables == {"autocommit": "OFF", "wait_timeout": "100"}
    assert tracker.schema == b"t"


@pytest.mark.parametrize(
    ("own", "shown"),
    [
        ({"schema": "OFF"}, SHOWN + GTIDS),
        ({"schema": "0"}, SHOWN + GTIDS),
        ({"schema": "1"}, SHOWN + SCHEMA + GTIDS),
        ({"state_change": "1"}, SHOWN + SCHEMA + STATE_CHANGE + GTIDS),
        ({"state_change": "ON"}, SHOWN + SCHEMA + STATE_CHANGE + GTIDS),
        ({"schema": "off", "state_change": "on"}, SHOWN + STATE_CHANGE + GTIDS),
        ({"transaction_info": "STATE"}, SHOWN + SCHEMA + GTIDS + TRANSACTION_STATE),
        ({"transaction_info": "CHARACTERISTICS"}, SHOWN + SCHEMA + GTIDS + CHARACTERISTICS + TRANSACTION_STATE),
        ({"system_variables": ""}, SCHEMA + GTIDS),
        ({"system_variables": "wait_timeout"}, HIDDEN + SCHEMA + GTIDS),
        ({"system_variables": "time_zone, Wait_Timeout ,autocommit"}, SHOWN + HIDDEN + SCHEMA + GTIDS),
        ({"system_variables": "*"}, SHOWN + HIDDEN + SCHEMA + GTIDS),
        ({"system_variables": "*", "schema": "OFF"}, SHOWN + HIDDEN + GTIDS),
    ],
    ids=str,
)
def test_what_is_shown_goes_by_the_servers_own_configuration(own: dict[str, str], shown: bytes) -> None:
    assert a_tracker(own).note(ALL) == shown


def test_a_server_whose_configuration_is_not_known_shows_nothing() -> None:
    tracker = SessionTracker(client_listens=True)
    assert tracker.note(SHOWN + SCHEMA) == b""


@pytest.mark.parametrize(
    "names",
    [
        b"*",
        b"wait_timeout,session_track_system_variables",
        b"wait_timeout , session_track_system_variables",  # MySQL reports the text as the client wrote it
    ],
)
def test_a_client_that_makes_a_list_of_its_own_overrules(names: bytes) -> None:
    tracker = a_tracker()
    assert not tracker.is_overruled
    assert tracker.note(list_of_names(names)) == list_of_names(names)
    assert tracker.is_overruled
    assert tracker.note(HIDDEN) == HIDDEN
    assert tracker.variables["wait_timeout"] == "100"
    assert (tracker.note(SHOWN) == SHOWN) == (names == b"*")


@pytest.mark.parametrize("name", REPORT_VARIABLES)
def test_whichever_of_the_reports_the_client_chooses_the_guard_has_its_own_no_more(name: str) -> None:
    tracker = a_tracker()
    tracker.note(variable(name.upper().encode(), b"ON"))
    assert tracker.is_overruled


def test_the_clients_choice_goes_on_when_the_guard_has_its_reports_again() -> None:
    tracker = a_tracker()
    tracker.note(variable(b"session_track_state_change", b"ON") + list_of_names(b""))
    changed = dict(tracker.variables)
    # The guard's own SET is reported like any other.
    tracker.note(list_of_names(b"wait_timeout,autocommit") + STATE_CHANGE)
    tracker.watches_again(changed)
    assert not tracker.is_overruled
    assert not tracker.has_changed
    assert tracker.note(ALL) == SCHEMA + STATE_CHANGE + GTIDS


def test_the_clients_choice_outlives_a_link() -> None:
    tracker = a_tracker()
    tracker.note(list_of_names(b"*") + TRANSACTION_STATE + CHARACTERISTICS + SCHEMA)
    tracker.begin_link(OWN_REPORTS)
    assert tracker.note(HIDDEN) == HIDDEN
    # And so does all that a new link is given, but no transaction.
    assert tracker.schema == b"t"
    assert tracker.transaction_state == NO_TRANSACTION
    assert tracker.characteristics == ""


# What the guard keeps


def test_everything_reported_is_kept() -> None:
    tracker = a_tracker()
    tracker.note(ALL)
    assert tracker.variables == {"autocommit": "OFF", "wait_timeout": "100"}
    assert tracker.schema == b"t"
    assert tracker.has_changed
    assert tracker.characteristics == "START TRANSACTION READ ONLY"
    assert tracker.transaction_state == "T_R___S_"


def test_what_was_changed_last_stands_last() -> None:
    tracker = a_tracker()
    tracker.note(HIDDEN + SHOWN)
    tracker.note(variable(b"wait_timeout", b"7"))
    assert list(tracker.variables.items()) == [("autocommit", "OFF"), ("wait_timeout", "7")]


def test_names_come_as_the_list_spells_them() -> None:
    # Seen on MySQL, after SET session_track_system_variables = 'Wait_timeout,...'.
    tracker = a_tracker()
    shouted = variable(b"WAIT_Timeout", b"100")
    assert tracker.note(shouted) == b""
    assert tracker.variables == {"wait_timeout": "100"}


def test_a_schema_can_be_dropped() -> None:
    tracker = a_tracker()
    tracker.note(SCHEMA)
    tracker.note(b"\x01\x01\x00")
    assert tracker.schema == b""


def test_reset_forgets_what_the_client_has_set() -> None:
    tracker = a_tracker()
    tracker.note(list_of_names(b"*") + ALL)
    tracker.reset()
    assert (tracker.variables, tracker.schema, tracker.has_changed, tracker.is_overruled) == ({}, b"", False, False)
    assert (tracker.characteristics, tracker.transaction_state) == ("", NO_TRANSACTION)
    tracker.begin_link(OWN_REPORTS)
    assert tracker.note(HIDDEN) == b""


# Nonsense


@pytest.mark.parametrize(
    "block",
    [
        b"\x00",
        b"\x00\x05\x01a",
        b"\x00\x02\x05a",  # the name is longer than its entry
        b"\x00\x03\x01a\x05",  # and so is the value
        b"\x01\x01\x05",
        b"\x04\x00",
        b"\x05\x01\x02",
        SHOWN + b"\x05",
    ],
)
def test_blocks_that_contradict_themselves(block: bytes) -> None:
    with pytest.raises(MalformedPacket):
        SessionTracker(client_listens=False).note(block)


NAMES = st.sampled_from([b"wait_timeout", b"\xff", b"", *(name.encode() for name in REPORT_VARIABLES)])
VALUES = st.sampled_from([b"*", b"ON", b"1", b"STATE", b"CHARACTERISTICS", b"wait_timeout"]) | st.binary(max_size=9)
ENTRIES = st.sampled_from([SHOWN, HIDDEN, SCHEMA, STATE_CHANGE, GTIDS, CHARACTERISTICS, TRANSACTION_STATE]) | st.builds(
    variable, NAMES, VALUES
)


@given(
    block=st.lists(ENTRIES, max_size=6).map(b"".join) | st.binary(max_size=40),
    mutations=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2), st.binary(max_size=2)), max_size=3),
    listens=st.booleans(),
)
def test_any_block_is_read_or_refused(*, block: bytes, mutations: list[tuple[int, int, bytes]], listens: bool) -> None:
    for position, removed, inserted in mutations:
        block = block[:position] + inserted + block[position + removed :]
    tracker = a_tracker(client_listens=listens)
    try:
        shown = tracker.note(block)
    except MalformedPacket:
        return
    assert len(shown) <= len(block)
    assert listens or not shown
    assert all(name == name.lower() for name in tracker.variables)
