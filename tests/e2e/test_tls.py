"""Both ends encrypted: certificates of either side, what is refused, and what a reload changes."""

import shutil
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import pytest
import trustme

from protocol.constants import Capability
from protocol.framing import build_packet
from protocol.handshake import LoginRequest
from tests.conftest import SERVERS, skip_unless_available
from tests.e2e import wire
from tests.e2e.conftest import StartGuard, address
from tests.e2e.guarded import running, wait_for_statement, wait_until
from tests.e2e.test_bad_clients import CAPABILITIES, dial, login_request, read_packet, receive_all
from tests.guard import Guard
from tests.servers import Connection, Server, StartServer

NO_SSL_REQUEST: dict[str, Any] = {"ssl_disabled": True}


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in files."""

    cert: Path
    key: Path

    @property
    def options(self) -> dict[str, str]:
        return {"cert": str(self.cert), "key": str(self.key)}


class Authority:
    """A certificate authority, and what it issues, in a directory."""

    def __init__(self, directory: Path, name: str) -> None:
        self._ca = trustme.CA(organization_name=name)
        self._directory = directory
        self._name = name
        self.file = directory / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def issue(self, name: str) -> Pair:
        cert = self._ca.issue_cert(name)
        pair = Pair(self._directory / f"{self._name}-{name}.crt", self._directory / f"{self._name}-{name}.key")
        for part in cert.cert_chain_pems:
            part.write_to_path(pair.cert)
        cert.private_key_pem.write_to_path(pair.key)
        return pair


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "strange")


@pytest.fixture(scope="module", params=sorted(SERVERS))
def tls_server(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Server]:
    """Give a server whose certificate our authority has signed, for 127.0.0.1, and that trusts its clients'."""
    skip_unless_available(request.param)
    pair = authority.issue("127.0.0.1")
    with SERVERS[request.param]() as server:
        for name, file in {"ssl-ca": authority.file, "ssl-cert": pair.cert, "ssl-key": pair.key}.items():
            own = server.directory / name
            shutil.copy(file, own)
            server.options += (f"--{name}={server._inside(own)}",)
        server.restart()
        yield server


def cipher(connection: Connection) -> str:
    """Tell how the link to the server is encrypted; empty if it is not."""
    ((_, value),) = wire.query(connection, "SHOW SESSION STATUS LIKE 'Ssl_cipher'")
    return str(value)


def refusal(guard: Guard, **arguments: Any) -> tuple[Any, ...]:
    with pytest.raises(pymysql.OperationalError) as error:
        guard.connect(**arguments)
    return error.value.args


def test_modes_towards_the_server(tls_server: Server, start_guard: StartGuard, authority: Authority) -> None:
    trusted = {"ca": str(authority.file)}
    by_name = f"localhost:{tls_server.port}"
    for mode, upstream, is_encrypted in (
        ({"mode": "disabled"}, address(tls_server), False),
        ({"mode": "preferred"}, address(tls_server), True),
        ({"mode": "required"}, address(tls_server), True),
        ({"mode": "verify-ca", **trusted}, by_name, True),
        ({"mode": "verify-identity", **trusted}, address(tls_server), True),
    ):
        guard = start_guard(upstream, upstream={"tls": mode})
        with closing(guard.connect()) as connection:
            assert bool(cipher(connection)) == is_encrypted, mode


def test_an_encrypted_server_learns_of_a_client_that_has_ended_its_side(
    tls_server: Server, start_guard: StartGuard
) -> None:
    guard = start_guard(address(tls_server), upstream={"tls": {"mode": "required"}})
    with closing(guard.connect(ssl_disabled=True)) as sleeping, closing(guard.connect(ssl_disabled=True)) as counting:
        wire.send(sleeping, wire.COM_QUERY, b"SELECT SLEEP(120) /* asleep */")
        wait_for_statement(tls_server, "asleep")
        # Nothing in there is interrupted by that, and its result is too large for the kernel's buffers.
        wire.send(counting, wire.COM_QUERY, b"SELECT REPEAT(SHA2(BENCHMARK(1000000, SHA2('x', 256)), 256), 150000)")
        for client in (sleeping, counting):
            wire.socket_of(client).shutdown(socket.SHUT_WR)
        ((text,),) = wire.rows(counting)
        assert len(text) == 64 * 150_000
        wait_until(lambda: not running(tls_server, "asleep"), "the end of the statement")
    assert not [event for event in guard.events if event["event"] in ("session lost", "link lost and restored")]


def test_servers_that_are_not_what_they_should_be(
    tls_server: Server, start_guard: StartGuard, authority: Authority, stranger: Authority
) -> None:
    for upstream, tls, words in (
        (address(tls_server), {"mode": "verify-ca", "ca": str(stranger.file)}, "certificate not accepted"),
        (address(tls_server), {"mode": "verify-ca"}, "certificate not accepted"),
        # The certificate is for the address, not for the name.
        (f"localhost:{tls_server.port}", {"mode": "verify-identity", "ca": str(authority.file)}, "localhost"),
    ):
        code, message = refusal(start_guard(upstream, upstream={"tls": tls}))
        assert code == 2003
        assert message.startswith("stillhere: no session can be had")
        assert words in message


def test_a_server_without_tls(own_server: StartServer, start_guard: StartGuard) -> None:
    server = own_server()
    if server.name == "mysql":
        server.options = ("--tls-version=",)
        server.restart()
    for mode in ("required", "verify-ca", "verify-identity"):
        code, message = refusal(start_guard(address(server), upstream={"tls": {"mode": mode}}))
        assert code == 2003
        assert f"upstream.tls.mode is {mode}, and the server does not offer TLS" in message


def test_a_servers_own_certificate(mysql: Server, start_guard: StartGuard, tmp_path: Path) -> None:
    """MySQL makes itself an authority and a certificate at its first start; MariaDB before 11.4 has none."""
    ca = tmp_path / "ca.pem"
    shutil.copy(mysql.directory / "data/ca.pem", ca)
    with closing(start_guard(address(mysql), upstream={"tls": {"mode": "verify-ca", "ca": str(ca)}}).connect()) as one:
        assert cipher(one)
    # It is not for any host.
    code, message = refusal(start_guard(address(mysql), upstream={"tls": {"mode": "verify-identity", "ca": str(ca)}}))
    assert code == 2003
    assert "certificate not accepted" in message


def test_accounts_that_require_tls_or_a_certificate(
    tls_server: Server, start_guard: StartGuard, authority: Authority
) -> None:
    tls_server.execute("CREATE USER encrypted@'%' IDENTIFIED BY 'secret' REQUIRE SSL")
    tls_server.execute("CREATE USER certified@'%' IDENTIFIED BY 'secret' REQUIRE X509")
    plain = start_guard(address(tls_server), upstream={"tls": {"mode": "disabled"}})
    encrypted = start_guard(address(tls_server))
    own = authority.issue("guard").options
    certified = start_guard(
        address(tls_server), upstream={"tls": {"mode": "verify-identity", "ca": str(authority.file), **own}}
    )
    for user, guard, is_let_in in (
        ("encrypted", plain, False),
        ("encrypted", encrypted, True),
        ("certified", encrypted, False),
        ("certified", certified, True),
        ("encrypted", certified, True),
    ):
        if not is_let_in:
            code, message = refusal(guard, user=user, password="secret")
            assert code == 1045, (user, message)
            assert not message.startswith("stillhere")
            continue
        with closing(guard.connect(user, "secret")) as connection:
            assert cipher(connection)
    # It comes back as it was.
    with closing(certified.connect("certified", "secret")) as connection:
        wire.query(connection, "SELECT 1")
        tls_server.execute(f"KILL CONNECTION {wire.thread_id(connection)}")
        certified.wait_for("link lost and restored")
        assert cipher(connection)


def test_a_certificate_for_clients(server: Server, start_guard: StartGuard, authority: Authority) -> None:
    pair = authority.issue("127.0.0.1")
    guard = start_guard(address(server), listen=[{"address": "127.0.0.1:0", "tls": pair.options}])
    with closing(guard.connect(ssl_ca=str(authority.file), ssl_verify_cert=True, ssl_verify_identity=True)) as one:
        assert wire.query(one, "SELECT 1") == ((1,),)


def test_the_self_signed_certificate_is_not_trusted(guard: Guard, authority: Authority) -> None:
    with pytest.raises(pymysql.OperationalError, match="self-signed certificate"):
        guard.connect(ssl_ca=str(authority.file), ssl_verify_cert=True)


def test_each_listener_has_its_own_rules(
    server: Server, start_guard: StartGuard, authority: Authority, stranger: Authority
) -> None:
    pair = authority.issue("127.0.0.1")
    strict = {"require": True, "ca": str(authority.file), **pair.options}
    guard = start_guard(
        address(server),
        listen=[{"address": "127.0.0.1:0"}, {"address": "127.0.0.2:0", "tls": strict}],
    )
    open_port, strict_port = guard.ports
    pymysql.connect(host="127.0.0.1", port=open_port, user="root", **NO_SSL_REQUEST).close()
    there: dict[str, Any] = {"host": "127.0.0.2", "port": strict_port, "user": "root"}
    with pytest.raises(pymysql.OperationalError) as unencrypted:
        pymysql.connect(**there, **NO_SSL_REQUEST)
    assert unencrypted.value.args[0] == 3159
    assert "stillhere: connections without TLS are not accepted" in unencrypted.value.args[1]
    with pytest.raises(pymysql.OperationalError):
        pymysql.connect(**there, ssl={"ca": str(authority.file), "check_hostname": False})
    guard.wait_for("login failed")
    certificate = authority.issue("client")
    names = {"ca": str(authority.file), "cert": str(certificate.cert), "key": str(certificate.key)}
    pymysql.connect(**there, ssl=names | {"check_hostname": False}).close()
    foreign = stranger.issue("client")
    names |= {"cert": str(foreign.cert), "key": str(foreign.key)}
    with pytest.raises(pymysql.OperationalError):
        pymysql.connect(**there, ssl=names | {"check_hostname": False})


def test_require_is_for_tcp(server: Server, start_guard: StartGuard) -> None:
    guard = start_guard(address(server), listen=[{"address": "127.0.0.1:0", "tls": {"require": True}}])
    with closing(guard.connect()) as connection:
        assert wire.query(connection, "SELECT 1") == ((1,),)
    assert refusal(guard, **NO_SSL_REQUEST)[0] == 3159


def fingerprint(guard: Guard) -> bytes:
    """Give the certificate that the guard shows."""
    with dial(guard) as sock:
        read_packet(sock)
        sock.sendall(build_packet(ssl_request(), 1))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with context.wrap_socket(sock) as encrypted:
            return encrypted.getpeercert(binary_form=True) or b""


def ssl_request() -> bytes:
    capabilities = CAPABILITIES | Capability.SSL
    return LoginRequest(capabilities, 1 << 24, 45, bytes(19), b"", b"", None, b"", None).build_ssl_request()


def test_certificates_are_read_again(
    tls_server: Server, start_guard: StartGuard, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    own, upstream_ca = Authority(tmp_path, "first").issue("127.0.0.1"), tmp_path / "upstream-ca.pem"
    shutil.copy(authority.file, upstream_ca)
    guard = start_guard(
        address(tls_server),
        upstream={"tls": {"mode": "verify-ca", "ca": str(upstream_ca)}},
        listen=[{"address": "127.0.0.1:0", "tls": own.options}, {"address": "127.0.0.2:0"}],
    )
    before = fingerprint(guard)
    with closing(guard.connect()) as old:
        # All or nothing: one of the files is not what it was.
        new = stranger.issue("127.0.0.1")
        shutil.copy(new.cert, own.cert)
        guard.signal(signal.SIGHUP)
        guard.wait_for("configuration not read again")
        assert fingerprint(guard) == before
        shutil.copy(new.key, own.key)
        shutil.copy(stranger.file, upstream_ca)
        guard.signal(signal.SIGHUP)
        guard.wait_for("configuration read again")
        assert fingerprint(guard) != before
        assert wire.query(old, "SELECT 1") == ((1,),)
        code, message = refusal(guard)
        assert code == 2003
        assert "certificate not accepted" in message
        shutil.copy(authority.file, upstream_ca)
        guard.signal(signal.SIGHUP)
        guard.wait_for("configuration read again")
        guard.connect().close()
        assert wire.query(old, "SELECT 1") == ((1,),)


# What attackers and broken clients do


def test_clear_text_behind_a_request_for_tls(guard: Guard) -> None:
    for rest in (build_packet(login_request_for(guard), 2), b"\x00" * 100, b"\x05\x00\x00\x02abcde"):
        with dial(guard) as sock:
            read_packet(sock)
            sock.sendall(build_packet(ssl_request(), 1))
            sock.sendall(rest)
            answer = receive_all(sock)
            # TLS's own alert, or nothing; never a packet of the protocol.
            assert answer[:1] in (b"", b"\x15"), answer
        guard.wait_for("login failed")


def login_request_for(guard: Guard) -> bytes:
    with dial(guard) as sock:
        return login_request(read_packet(sock)[1])


def test_clear_text_in_the_same_segment(guard: Guard) -> None:
    """What has come before the handshake must not count as if it had come encrypted."""
    login = build_packet(login_request_for(guard), 2)
    with dial(guard) as sock:
        read_packet(sock)
        sock.sendall(build_packet(ssl_request(), 1) + login)
        assert receive_all(sock)[:1] in (b"", b"\x15")
    guard.wait_for("login failed")


def test_a_login_that_asks_for_tls_and_does_not_use_it(guard: Guard) -> None:
    with dial(guard) as sock:
        _, greeting = read_packet(sock)
        login = login_request(greeting, capabilities=CAPABILITIES | Capability.SSL)
        sock.sendall(build_packet(login, 1))
        _, answer = read_packet(sock)
        code, _, message = wire.error(answer)
        assert code == 1043
        assert "goes on without it" in message


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_of_tls(guard: Guard) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with dial(guard) as sock:
        read_packet(sock)
        sock.sendall(build_packet(ssl_request(), 1))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(sock)
    guard.wait_for("login failed")


def test_a_server_that_offers_tls_and_goes_on_without(start_guard: StartGuard, server: Server) -> None:
    """Somebody between the guard and the server answers the request for TLS in clear text."""
    greeting = greeting_of(server)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        guard = start_guard(f"127.0.0.1:{port}", upstream={"connect_timeout": "5s"})
        with dial(guard) as client:
            between, _ = listening.accept()
            with between:
                between.sendall(greeting)
                client.sendall(build_packet(login_request(read_packet(client)[1]), 1))
                assert len(read_packet(between)[1]) == 32
                between.sendall(build_packet(b"\0\0\0\2\0\0\0", 2))
                _, answer = read_packet(client)
                code, _, message = wire.error(answer)
                assert code == 2003
                assert "TLS failed" in message
                # And no password, nor a name, has gone out in clear text.
                assert b"root" not in receive_all(between)


def greeting_of(server: Server) -> bytes:
    with socket.create_connection((server.host, server.port)) as sock:
        _, payload = read_packet(sock)
        # A MariaDB without certificates does not offer it.
        flags = int.from_bytes(payload[payload.index(0) + 14 : payload.index(0) + 16], "little") | Capability.SSL
        start = payload.index(0) + 14
        return build_packet(payload[:start] + (flags & 0xFFFF).to_bytes(2, "little") + payload[start + 2 :], 0)
