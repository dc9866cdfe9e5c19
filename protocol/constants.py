"""The numbers of the protocol that the guard acts on; all others pass through it unnamed.

Sources: MySQL's ``include/mysql_com.h`` and ``include/my_command.h``, MariaDB's ``include/mysql_com.h``.
"""

from enum import IntEnum

#: Bytes in front of every frame: payload length (3, little endian) and sequence id (1).
HEADER_LENGTH = 4
#: A frame with this payload length is continued by the next one.
MAX_FRAME_PAYLOAD = 0xFFFFFF

#: First byte of a reply packet. What it means depends on where in the reply it stands.
OK_BYTE = 0x00
LOCAL_INFILE_BYTE = 0xFB
EOF_BYTE = 0xFE
ERR_BYTE = 0xFF


class Capability(IntEnum):
    """Capability flags of the greeting and the login request. The upper 32 bits are MariaDB's extended ones.

    Sets of flags are plain integers, here and below: peers set flags that have no name here.
    """

    LONG_PASSWORD = 1
    CONNECT_WITH_DB = 1 << 3
    COMPRESS = 1 << 5
    LOCAL_FILES = 1 << 7
    PROTOCOL_41 = 1 << 9
    SSL = 1 << 11
    SECURE_CONNECTION = 1 << 15
    MULTI_STATEMENTS = 1 << 16
    PLUGIN_AUTH = 1 << 19
    CONNECT_ATTRS = 1 << 20
    PLUGIN_AUTH_LENENC_DATA = 1 << 21
    SESSION_TRACK = 1 << 23
    DEPRECATE_EOF = 1 << 24
    OPTIONAL_METADATA = 1 << 25
    ZSTD = 1 << 26
    QUERY_ATTRIBUTES = 1 << 27
    MULTI_FACTOR = 1 << 28
    MARIADB_PROGRESS = 1 << 32
    MARIADB_EXTENDED_METADATA = 1 << 35
    MARIADB_CACHE_METADATA = 1 << 36


class Status(IntEnum):
    """Server status flags of OK and EOF packets."""

    IN_TRANSACTION = 0x0001
    AUTOCOMMIT = 0x0002
    MORE_RESULTS = 0x0008
    CURSOR_EXISTS = 0x0040
    LAST_ROW_SENT = 0x0080
    NO_BACKSLASH_ESCAPES = 0x0200
    PS_OUT_PARAMS = 0x1000
    IN_TRANSACTION_READ_ONLY = 0x2000
    SESSION_STATE_CHANGED = 0x4000


class SessionTrack(IntEnum):
    """Kinds of entries in the session-track block of an OK packet (``enum_session_state_type``)."""

    SYSTEM_VARIABLES = 0
    SCHEMA = 1
    STATE_CHANGE = 2
    GTIDS = 3
    TRANSACTION_CHARACTERISTICS = 4
    TRANSACTION_STATE = 5


class CommandCode(IntEnum):
    """First byte of a command packet (``COM_*``), for those that do not get the ordinary single OK or ERR."""

    QUIT = 0x01
    INIT_DB = 0x02
    QUERY = 0x03
    FIELD_LIST = 0x04
    STATISTICS = 0x09
    PROCESS_INFO = 0x0A
    PROCESS_KILL = 0x0C
    PING = 0x0E
    CHANGE_USER = 0x11
    BINLOG_DUMP = 0x12
    TABLE_DUMP = 0x13
    STMT_PREPARE = 0x16
    STMT_EXECUTE = 0x17
    STMT_SEND_LONG_DATA = 0x18
    STMT_CLOSE = 0x19
    STMT_RESET = 0x1A
    SET_OPTION = 0x1B
    STMT_FETCH = 0x1C
    BINLOG_DUMP_GTID = 0x1E
    RESET_CONNECTION = 0x1F
    CLONE = 0x20
    SUBSCRIBE_GROUP_REPLICATION_STREAM = 0x21
    STMT_BULK_EXECUTE = 0xFA


class ErrorCode(IntEnum):
    """Error numbers that the guard sends or recognises."""

    CHECKREAD = 1020
    CON_COUNT_ERROR = 1040
    OUT_OF_RESOURCES = 1041
    HANDSHAKE_ERROR = 1043
    ACCESS_DENIED = 1045
    SERVER_SHUTDOWN = 1053
    NO_SUCH_THREAD = 1094
    HOST_IS_BLOCKED = 1129
    CANNOT_CREATE_THREAD = 1135
    PACKET_TOO_LARGE = 1153
    OUT_OF_ORDER = 1156
    NET_READ_INTERRUPTED = 1159
    NET_WRITE_INTERRUPTED = 1161
    ERROR_DURING_COMMIT = 1180
    TOO_MANY_USER_CONNECTIONS = 1203
    LOCK_WAIT_TIMEOUT = 1205
    LOCK_TABLE_FULL = 1206
    LOCK_DEADLOCK = 1213
    USER_LIMIT_REACHED = 1226
    NOT_SUPPORTED_AUTH_MODE = 1251
    QUERY_INTERRUPTED = 1317
    NEED_REPREPARE = 1615
    READ_ONLY_TRANSACTION = 1792
    CONNECTION_KILLED = 1927
    #: A client's own code, which MySQL Router hands out when the server behind it cannot be reached.
    CANNOT_CONNECT = 2003
    SERVER_OFFLINE_MODE = 3032
    SECURE_TRANSPORT_REQUIRED = 3159
    SESSION_WAS_KILLED = 3169
    CLIENT_INTERACTION_TIMEOUT = 4031
    #: Not an error: MariaDB's progress reports wear the clothes of an ERR packet.
    PROGRESS_REPORT = 0xFFFF
