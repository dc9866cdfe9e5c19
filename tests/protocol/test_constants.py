"""Numbers that all other tests take for granted, against those of another implementation."""

import pytest
from pymysql.constants import CLIENT, COMMAND, ER, SERVER_STATUS

from protocol.constants import Capability, CommandCode, ErrorCode, SessionTrack, Status

#: Not known to PyMySQL, from the servers' headers.
CAPABILITIES = {
    "OPTIONAL_METADATA": 0x0200_0000,
    "ZSTD": 0x0400_0000,
    "QUERY_ATTRIBUTES": 0x0800_0000,
    "MULTI_FACTOR": 0x1000_0000,
    "MARIADB_PROGRESS": 0x1_0000_0000,
    "MARIADB_EXTENDED_METADATA": 0x8_0000_0000,
    "MARIADB_CACHE_METADATA": 0x10_0000_0000,
}
COMMANDS = {
    "BINLOG_DUMP_GTID": 30,
    "RESET_CONNECTION": 31,
    "CLONE": 32,
    "SUBSCRIBE_GROUP_REPLICATION_STREAM": 33,
    "STMT_BULK_EXECUTE": 0xFA,
}
ERRORS = {
    "CLIENT_INTERACTION_TIMEOUT": 4031,
    "NEED_REPREPARE": 1615,
    "PROGRESS_REPORT": 0xFFFF,
    # MySQL's error messages: ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION, ER_SERVER_OFFLINE_MODE,
    # ER_SECURE_TRANSPORT_REQUIRED, ER_SESSION_WAS_KILLED
    "READ_ONLY_TRANSACTION": 1792,
    "SERVER_OFFLINE_MODE": 3032,
    "SECURE_TRANSPORT_REQUIRED": 3159,
    "SESSION_WAS_KILLED": 3169,
    # MySQL's client error messages: CR_CONN_HOST_ERROR
    "CANNOT_CONNECT": 2003,
    # MariaDB's: ER_CONNECTION_KILLED
    "CONNECTION_KILLED": 1927,
}
OTHER_NAMES = {
    "PLUGIN_AUTH_LENENC_DATA": "PLUGIN_AUTH_LENENC_CLIENT_DATA",
    "OUT_OF_RESOURCES": "OUT_OF_RESOURCES",
    "OUT_OF_ORDER": "NET_PACKETS_OUT_OF_ORDER",
    "PACKET_TOO_LARGE": "NET_PACKET_TOO_LARGE",
    "ACCESS_DENIED": "ACCESS_DENIED_ERROR",
    "CANNOT_CREATE_THREAD": "CANT_CREATE_THREAD",
}


@pytest.mark.parametrize("flag", Capability, ids=lambda flag: flag.name)
def test_capabilities(flag: Capability) -> None:
    name = flag.name or ""
    assert flag == (CAPABILITIES[name] if name in CAPABILITIES else getattr(CLIENT, OTHER_NAMES.get(name, name)))


@pytest.mark.parametrize("code", CommandCode, ids=lambda code: code.name)
def test_commands(code: CommandCode) -> None:
    assert code == (COMMANDS[code.name] if code.name in COMMANDS else getattr(COMMAND, f"COM_{code.name}"))


@pytest.mark.parametrize("code", ErrorCode, ids=lambda code: code.name)
def test_errors(code: ErrorCode) -> None:
    name = code.name
    assert code == (ERRORS[name] if name in ERRORS else getattr(ER, OTHER_NAMES.get(name, name)))


def test_status_flags() -> None:
    assert {flag.name: int(flag) for flag in Status} == {
        "IN_TRANSACTION": SERVER_STATUS.SERVER_STATUS_IN_TRANS,
        "AUTOCOMMIT": SERVER_STATUS.SERVER_STATUS_AUTOCOMMIT,
        "MORE_RESULTS": SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS,
        "CURSOR_EXISTS": SERVER_STATUS.SERVER_STATUS_CURSOR_EXISTS,
        "LAST_ROW_SENT": SERVER_STATUS.SERVER_STATUS_LAST_ROW_SENT,
        "NO_BACKSLASH_ESCAPES": SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES,
        # Not known to PyMySQL
        "PS_OUT_PARAMS": 0x1000,
        "IN_TRANSACTION_READ_ONLY": 0x2000,
        "SESSION_STATE_CHANGED": 0x4000,
    }


def test_session_track_entries() -> None:
    assert [entry.name for entry in sorted(SessionTrack)] == [
        "SYSTEM_VARIABLES",
        "SCHEMA",
        "STATE_CHANGE",
        "GTIDS",
        "TRANSACTION_CHARACTERISTICS",
        "TRANSACTION_STATE",
    ]
    assert sorted(SessionTrack) == list(range(6))
