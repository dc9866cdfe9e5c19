"""The options: attribute names are the keys of the file, durations are seconds, sizes are bytes.

``config/example.yaml`` says what each option is for.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, GetJsonSchemaHandler, SecretStr, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from config.address import TcpAddress
from config.certificates import CaFile, PemFile, pair_faults
from config.diagnostics import InvalidKey, InvalidValue, Location
from config.fields import (
    AdminAddress,
    Directory,
    ListenAddress,
    PacketSizeOrAuto,
    PositiveSeconds,
    PositiveSecondsOrAuto,
    Seconds,
    Size,
    SqlState,
    Text,
    UpstreamAddress,
    listen_address,
    one_of,
)
from config.passwords import PasswordFromEnv, PasswordFromFile, TokenFromEnv, TokenFromFile, WrittenPassword
from config.section import Section


class TlsMode(StrEnum):
    """How to encrypt the link to the server; the words are those of the server's own clients."""

    DISABLED = "disabled"
    PREFERRED = "preferred"
    REQUIRED = "required"
    VERIFY_CA = "verify-ca"
    VERIFY_IDENTITY = "verify-identity"


class AuthMode(StrEnum):
    """Where passwords come from."""

    LEARN = "learn"
    USERS = "users"
    PASSTHROUGH = "passthrough"


class Snapshots(StrEnum):
    """What becomes of a transaction that only read when its link is lost."""

    RENEW = "renew"
    TELL = "tell"


class KilledReads(StrEnum):
    """What becomes of a read that was ended by a KILL of its session."""

    TELL = "tell"
    RERUN = "rerun"


class LogLevel(StrEnum):
    """The least important message that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """For people or for programs."""

    CONSOLE = "console"
    JSON = "json"


_PASSWORDS = ("password", "password_env", "password_file")
_VERIFYING = (TlsMode.VERIFY_CA, TlsMode.VERIFY_IDENTITY)
_NOT_VERIFYING = (TlsMode.DISABLED, TlsMode.PREFERRED, TlsMode.REQUIRED)


def _texts(entries: Any, key: str) -> list[str | None]:
    """Take the text at ``key`` out of each entry of a list; None where there is no such text."""
    rows = entries if isinstance(entries, list | tuple) else ()
    values = [entry.get(key) if isinstance(entry, Mapping) else None for entry in rows]
    return [value if isinstance(value, str) else None for value in values]


def _repeated(names: Iterable[str | None]) -> Iterator[int]:
    """Yield the index of each name that was there before."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield index
        elif name is not None:
            seen.add(name)


def _listening(text: str | None) -> str | None:
    """Give the one way to write an address; None where two of them do not collide, or one is faulty anyway."""
    try:
        address = listen_address(text)
    except InvalidValue:
        return None
    return None if isinstance(address, TcpAddress) and not address.port else str(address)


class ListenTls(Section):
    """TLS towards clients.

    ``cert`` None means a self-signed certificate, ``key`` None that it is in the file of ``cert``. ``ca`` are those who
    may have signed the certificates that clients have to show; None: they need none.
    """

    require: bool = Field(default=False, strict=True)
    cert: PemFile = None
    key: PemFile = None
    ca: CaFile = None

    @classmethod
    def conflicts(cls, written: Mapping[str, Any]) -> Iterator[tuple[Location, InvalidValue]]:
        """Refuse a check of certificates that clients could go around, by not using TLS."""
        yield from pair_faults(written)
        if written.get("ca") is not None and written.get("require") is not True:
            yield ("ca",), InvalidKey("has no effect on clients that do not use TLS", "write require: true as well")


class Listen(Section):
    """One address to accept clients at; port 0 is any free one."""

    address: ListenAddress = Field(description="write - address: HOST:PORT or - address: unix:/PATH")
    tls: ListenTls = ListenTls()

    @classmethod
    def conflicts(cls, written: Mapping[str, Any]) -> Iterator[tuple[Location, InvalidValue]]:
        """Refuse what would lock out all clients of a unix socket: they do not use TLS."""
        tls = written.get("tls")
        if str(written.get("address")).startswith("unix:") and isinstance(tls, Mapping) and tls.get("require") is True:
            yield ("tls", "require"), InvalidKey("is for TCP only: clients do not use TLS on a unix socket")


class Tls(Section):
    """TLS towards the server.

    ``ca`` None means the certificates that the system trusts. ``cert`` and ``key`` are for servers that want to see a
    certificate; ``key`` None: it is in the file of ``cert``.
    """

    mode: Annotated[TlsMode, one_of(TlsMode)] = TlsMode.PREFERRED
    ca: CaFile = None
    cert: PemFile = None
    key: PemFile = None

    @classmethod
    def conflicts(cls, written: Mapping[str, Any]) -> Iterator[tuple[Location, InvalidValue]]:
        """Refuse a ``ca`` that nothing is checked against: it would only look safe."""
        yield from pair_faults(written)
        mode = written.get("mode", TlsMode.PREFERRED)
        if written.get("ca") is not None and mode in _NOT_VERIFYING:
            yield ("ca",), InvalidKey(f"has no effect with mode {mode}", "use verify-ca or verify-identity")
        if written.get("cert") is not None and mode == TlsMode.DISABLED:
            yield ("cert",), InvalidKey("has no effect with mode disabled")


class Upstream(Section):
    """The server."""

    address: UpstreamAddress = Field(description="write address: HOST:PORT, or give --upstream HOST:PORT")
    tls: Tls = Tls()
    connect_timeout: PositiveSeconds = 5.0

    @classmethod
    def conflicts(cls, written: Mapping[str, Any]) -> Iterator[tuple[Location, InvalidValue]]:
        """Refuse to pretend that the identity of a unix socket can be verified."""
        tls = written.get("tls")
        mode = tls.get("mode") if isinstance(tls, Mapping) else None
        if str(written.get("address")).startswith("unix:") and mode in _VERIFYING:
            yield ("tls", "mode"), InvalidValue("has no effect on a unix socket", "use preferred or disabled")


class UserEntry(Section):
    """A user as the file gives it; the three passwords are what was read from there."""

    user: Text = Field(description="write user: NAME")
    password: WrittenPassword = None
    password_env: PasswordFromEnv = None
    password_file: PasswordFromFile = None

    @classmethod
    def conflicts(cls, written: Mapping[str, Any]) -> Iterator[tuple[Location, InvalidValue]]:
        """Want exactly one password."""
        given = [key for key in _PASSWORDS if written.get(key) is not None]
        if len(given) > 1:
            yield (given[1],), InvalidKey("is a second password", "keep one of " + ", ".join(given))
        elif not given:
            yield (), InvalidValue("has no password", "write password, password_env or password_file")


class User(Section):
    """A user that clients log in as, and that is logged in upstream."""

    user: str
    password: SecretStr
    #: The configuration file itself holds the password.
    is_written: bool = False

    @classmethod
    def keys(cls) -> list[str]:
        """List the keys of ``UserEntry``, which is what the file gives."""
        return UserEntry.keys()

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe the entry of the file, of which this is made."""
        entry = handler.resolve_ref_schema(handler(UserEntry.__pydantic_core_schema__))
        return entry | {"oneOf": [{"required": [password]} for password in _PASSWORDS]}

    @model_validator(mode="before")
    @classmethod
    def _read_entry(cls, written: Any) -> Any:
        if isinstance(written, User):
            return written
        entry = UserEntry.model_validate(written)
        passwords = (entry.password, entry.password_env, entry.password_file)
        password = next(password for password in passwords if password is not None)
        return {"user": entry.user, "password": password, "is_written": entry.password is not None}


class Auth(Section):
    """How clients prove who they are, and with what the server is told so."""

    mode: Annotated[AuthMode, one_of(AuthMode)] = AuthMode.LEARN
    users: tuple[User, ...] = ()

    @classmethod
    def conflicts(cls, written: Mapping[str, Any]) -> Iterator[tuple[Location, InvalidValue]]:
        """Want users exactly where the mode uses them, and each of them once."""
        mode, users = written.get("mode", AuthMode.LEARN), written.get("users")
        if users and mode in (AuthMode.LEARN, AuthMode.PASSTHROUGH):
            yield ("users",), InvalidKey(f"has no effect with mode {mode}", "write mode: users")
        if not users and mode == AuthMode.USERS:
            yield ("mode",), InvalidValue("needs at least one entry below auth.users")
        for index in _repeated(_texts(users, "user")):
            yield ("users", index, "user"), InvalidValue("this user is already in the list")


class Guard(Section):
    """The limit on a command's size. ``max_allowed_packet`` None means the server's own."""

    max_allowed_packet: PacketSizeOrAuto = None
    oversize_sqlstate: SqlState = "42000"


class Keepalive(Section):
    """When to probe the server's link.

    ``interval`` replaces the 60 s in the smaller of 60 s and half the session's ``wait_timeout``; None leaves them.
    """

    interval: PositiveSecondsOrAuto = None
    probe_timeout: PositiveSeconds = 5.0
    validate_after: Seconds = 5.0


class Reconnect(Section):
    """How a session that has lost its link comes back. ``wait`` is how long a client may have to wait for that.

    ``login_wait`` is how long a client that logs in may have to wait for a server that is away.
    """

    wait: Seconds = 30.0
    login_wait: Seconds = 8.0
    concurrency: int = Field(default=32, strict=True, ge=1, le=100_000)
    snapshots: Annotated[Snapshots, one_of(Snapshots)] = Snapshots.RENEW
    killed_reads: Annotated[KilledReads, one_of(KilledReads)] = KilledReads.TELL


class Spool(Section):
    """What clients have not read yet, and commands that are not whole. ``directory`` None is the system's own."""

    memory: Size = 1 << 20
    disk: Size = 1 << 30
    total_memory: Size = 1 << 28
    directory: Directory = None


class Limits(Section):
    """What a client can claim, and how long it may take."""

    sessions: int = Field(default=1000, strict=True, ge=1, le=1_000_000)
    login_timeout: PositiveSeconds = 10.0
    drain_timeout: Seconds = 30.0


class RelayKind(StrEnum):
    """What moves the bytes: the compiled pump, or plain trio; AUTO is the pump wherever it is to be had."""

    AUTO = "auto"
    PUMP = "pump"
    TRIO = "trio"


class Admin(Section):
    """The pages over HTTP. ``address`` None: there are none. Who has no token sees no more than the health checks."""

    address: AdminAddress = TcpAddress("127.0.0.1", 8307)
    token_env: TokenFromEnv = None
    token_file: TokenFromFile = None

    @property
    def token(self) -> SecretStr | None:
        """What has to be shown; None: nothing."""
        return self.token_env or self.token_file

    @property
    def is_chosen(self) -> bool:
        """The address is not the default, or was written down all the same."""
        return "address" in self.model_fields_set

    @classmethod
    def conflicts(cls, written: Mapping[str, Any]) -> Iterator[tuple[Location, InvalidValue]]:
        """Want one token at most."""
        if written.get("token_env") is not None and written.get("token_file") is not None:
            yield ("token_file",), InvalidKey("is a second token", "keep one of token_env, token_file")


class Log(Section):
    """What is logged and in which form."""

    level: Annotated[LogLevel, one_of(LogLevel)] = LogLevel.INFO
    format: Annotated[LogFormat, one_of(LogFormat)] = LogFormat.CONSOLE


class Config(Section):
    """A whole configuration."""

    listen: tuple[Listen, ...] = (Listen(address=TcpAddress("127.0.0.1", 3307)),)
    upstream: Upstream = Field(description="write upstream: {address: HOST:PORT}, or give --upstream HOST:PORT")
    auth: Auth = Auth()
    guard: Guard = Guard()
    keepalive: Keepalive = Keepalive()
    reconnect: Reconnect = Reconnect()
    spool: Spool = Spool()
    limits: Limits = Limits()
    relay: Annotated[RelayKind, one_of(RelayKind)] = RelayKind.AUTO
    workers: int = Field(default=1, strict=True, ge=1, le=64)
    admin: Admin = Admin()
    log: Log = Log()

    @classmethod
    def conflicts(cls, written: Mapping[str, Any]) -> Iterator[tuple[Location, InvalidValue]]:
        """Want somewhere to listen, and no address twice."""
        listen = written.get("listen")
        if listen in ([], ()):
            yield ("listen",), InvalidValue("needs at least one entry", "write - address: HOST:PORT")
        for index in _repeated(_listening(text) for text in _texts(listen, "address")):
            yield ("listen", index, "address"), InvalidValue("this address is already in the list")
