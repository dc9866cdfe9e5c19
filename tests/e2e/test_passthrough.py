"""Logins that are passed through with dialogues that no server here speaks, and what goes wrong in them."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from protocol.auth import NATIVE
from protocol.framing import build_packet
from protocol.handshake import LoginRequest
from tests.e2e import wire
from tests.e2e.conftest import StartGuard
from tests.e2e.test_bad_clients import CAPABILITIES, dial, read_packet, receive_all
from tests.guard import Guard
from tests.servers.scripted import OK, Peer, ScriptedServer

#: What servers say in a login, and whether the client has something to say to that. Those of parsec as in MariaDB's
#: plugin/auth_parsec, of Kerberos (whose last token needs no answer) as in MySQL's manual, of a second factor as in
#: "Protocol::AuthNextFactor".
DIALOGUES: dict[str, list[tuple[bytes, bytes | None]]] = {
    "parsec": [
        (b"\xfeparsec\0" + bytes(range(32)), b""),
        (b"P\0" + bytes(range(100, 116)) + b"\0", b"nonce" * 8 + b"signature" * 7 + b"s"),
    ],
    "Kerberos": [
        (b"\xfeauthentication_kerberos_client\0mysql/db@REALM\0", b"\x60" + bytes(range(256)) * 8),
        (b"\x01\x6f the last token", None),
    ],
    "a second factor": [
        (b"\x01\x03", None),
        (b"\x02authentication_webauthn_client\0challenge", b"\x01assertion"),
    ],
    "a plugin of its own": [
        (b"\x01", b""),
        (b"\x7f", b"\0"),
        (b"\x05What is it? ", b"A fish.\0"),
        (b"", b"\xff" * 300),
    ],
}


@dataclass
class Login:
    """What a scripted server says in a login, and what it has heard."""

    dialogue: list[tuple[bytes, bytes | None]]
    verdict: bytes = OK
    heard: list[bytes] = field(default_factory=list)

    def play(self, peer: Peer) -> None:
        peer.greet()
        peer.hear()
        sequence_id = 2
        for payload, answer in self.dialogue:
            peer.say(payload, sequence_id)
            sequence_id += 1
            if answer is not None:
                self.heard.append(peer.hear())
                sequence_id += 1
        peer.say(self.verdict, sequence_id)
        peer.introduce()
        peer.wait_for_end()


@contextmanager
def passing(start_guard: StartGuard, login: Login) -> Iterator[Guard]:
    with ScriptedServer(login.play) as server:
        yield start_guard(f"{server.host}:{server.port}", auth={"mode": "passthrough"}, limits={"login_timeout": "2s"})


def begin(guard: Guard) -> socket.socket:
    """Give a raw link on which a client has said who it is."""
    sock = dial(guard)
    read_packet(sock)
    request = LoginRequest(CAPABILITIES, 1 << 24, 45, bytes(19), b"app", b"answer", None, NATIVE, None)
    sock.sendall(build_packet(request.build(), 1))
    return sock


@pytest.mark.parametrize("name", sorted(DIALOGUES))
@pytest.mark.parametrize("verdict", [OK, b"\xff\x15\x04#28000Access denied"])
def test_whatever_they_say_passes(start_guard: StartGuard, name: str, verdict: bytes) -> None:
    login = Login(DIALOGUES[name], verdict)
    with passing(start_guard, login) as guard, begin(guard) as sock:
        expected_id = 2
        for payload, answer in login.dialogue:
            assert read_packet(sock) == (expected_id, payload)
            expected_id += 1
            if answer is not None:
                sock.sendall(build_packet(answer, expected_id))
                expected_id += 1
        assert read_packet(sock) == (expected_id, verdict)
        assert login.heard == [answer for _, answer in login.dialogue if answer is not None]


def test_a_client_that_breaks_the_protocol(start_guard: StartGuard) -> None:
    with passing(start_guard, Login(DIALOGUES["parsec"])) as guard, begin(guard) as sock:
        read_packet(sock)
        sock.sendall(build_packet(b"", 9))
        _, answer = read_packet(sock)
        code, _, message = wire.error(answer)
        assert code == 1043
        assert "sequence id 9" in message
        guard.wait_for("login failed")


def test_clients_that_vanish_or_stall(start_guard: StartGuard) -> None:
    with passing(start_guard, Login(DIALOGUES["parsec"])) as guard:
        with begin(guard) as sock:
            read_packet(sock)
        assert "the client's link has ended" in guard.wait_for("login failed")["reason"]
        with begin(guard) as sock:
            read_packet(sock)
            assert receive_all(sock) == b""
        assert "not finished within 2 s" in guard.wait_for("login failed")["reason"]


def test_servers_that_vanish_or_stall(start_guard: StartGuard) -> None:
    stall = threading.Event()

    def script(peer: Peer) -> None:
        peer.greet()
        peer.hear()
        peer.say(b"\xfeparsec\0" + bytes(32), 2)
        if stall.is_set():
            peer.wait_for_end()

    with ScriptedServer(script) as server:
        guard = start_guard(
            f"{server.host}:{server.port}", auth={"mode": "passthrough"}, limits={"login_timeout": "2s"}
        )
        with begin(guard) as sock:
            read_packet(sock)
            code, _, message = wire.error(read_packet(sock)[1])
            assert code == 2003
            assert "closed by the peer during the login" in message
        guard.wait_for("login failed")
        stall.set()
        with begin(guard) as sock:
            read_packet(sock)
            assert receive_all(sock) == b""
        assert "not finished within 2 s" in guard.wait_for("login failed")["reason"]
