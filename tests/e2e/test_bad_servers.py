"""Servers that talk nonsense, stall or vanish: the client gets a clear error, and the guard lives on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import mysql.connector
import pymysql
import pytest

from protocol.framing import build_packet
from tests.e2e import wire
from tests.e2e.conftest import StartGuard
from tests.guard import Guard
from tests.servers.scripted import COLUMN, EOF, OK, Peer, Script, ScriptedServer, packets

Behind = Callable[[Script], Guard]


@contextmanager
def scripted(start_guard: StartGuard, script: Script) -> Iterator[Guard]:
    with ScriptedServer(script) as server:
        yield start_guard(
            f"{server.host}:{server.port}",
            upstream={"connect_timeout": "1s"},
            limits={"login_timeout": "3s"},
            reconnect={"login_wait": "0s"},
        )


def silent(peer: Peer) -> None:
    peer.wait_for_end()


def hangs_up(peer: Peer) -> None:
    del peer


def garbage(peer: Peer) -> None:
    peer.send(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    peer.wait_for_end()


def old_protocol(peer: Peer) -> None:
    peer.say(b"\x09" + b"3.23.58\0" + bytes(13), 0)
    peer.wait_for_end()


def short_greeting(peer: Peer) -> None:
    peer.say(b"\x0a8.0.0\0", 0)
    peer.wait_for_end()


def full(peer: Peer) -> None:
    peer.say(b"\xff\x10\x04Too many connections", 0)


def greets_and_vanishes(peer: Peer) -> None:
    peer.greet()


def greets_and_is_silent(peer: Peer) -> None:
    peer.greet()
    peer.wait_for_end()


def nonsense_in_the_login(peer: Peer) -> None:
    peer.greet()
    peer.hear()
    peer.say(b"\x42nonsense", 2)
    peer.wait_for_end()


def asks_for_an_unknown_plugin(peer: Peer) -> None:
    peer.greet()
    peer.hear()
    peer.say(b"\xfeauthentication_by_horoscope\0aquarius\0", 2)
    peer.wait_for_end()


def nonsense_behind_the_login(peer: Peer) -> None:
    peer.greet()
    peer.hear()
    peer.say(OK, 2)
    peer.hear()
    peer.say(b"\xfb/etc/passwd", 1)
    peer.wait_for_end()


def limits_that_are_no_numbers(peer: Peer) -> None:
    peer.greet()
    peer.hear()
    peer.say(OK, 2)
    while peer.hear():
        peer.send(packets(b"\x01", COLUMN, EOF, b"\x04many", EOF))


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        (silent, 2003, "no answer within 1 s"),
        (hangs_up, 2003, "closed by the peer"),
        (garbage, 2003, "sequence id"),
        (old_protocol, 2003, "protocol version 9"),
        (short_greeting, 2003, "is this a MySQL server?"),
        (full, 1040, "Too many connections"),
        (greets_and_vanishes, 2003, "by the peer during the login"),
        (greets_and_is_silent, None, ""),
        (nonsense_in_the_login, 2003, "during the login"),
        (asks_for_an_unknown_plugin, 1251, "authentication_by_horoscope"),
        (nonsense_behind_the_login, 2003, "during the login"),
        (limits_that_are_no_numbers, 2003, "limits as numbers"),
    ],
)
def test_before_the_session(start_guard: StartGuard, script: Script, code: int | None, words: str) -> None:
    with scripted(start_guard, script) as guard:
        with pytest.raises(pymysql.OperationalError) as refused:
            guard.connect(password="x", ssl_disabled=True)
        if code is not None:
            assert refused.value.args[0] == code
            assert words in refused.value.args[1]
        guard.wait_for("login failed")


def answers(*chunks: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.let_in()
        while command := peer.hear():
            if command[:1] == b"\x11":
                return
            if command[:1] == b"\x03" and b"NAMES" not in command and b"AUTOCOMMIT" not in command.upper():
                for chunk in chunks:
                    peer.send(chunk)
                return
            peer.say(OK, 1)

    return script


ROWS_BEGIN = b"".join(
    build_packet(packet, index)
    for index, packet in enumerate(
        [b"\x01", b"\x03def\x00\x00\x00\x01c\x00\x0c\x3f\x00\x14\x00\x00\x00\xfd\x81\x00\x00\x00\x00", EOF, b"\x01a"], 1
    )
)


NONSENSE = [
    [build_packet(b"", 1), build_packet(OK, 2)],
    [build_packet(b"\xfe", 1)],
    [build_packet(OK, 3)],
    [ROWS_BEGIN, build_packet(b"\x01b", 9)],
]
SILENCE = [[], [b"\x05\x00\x00\x01\x00"], [ROWS_BEGIN], [ROWS_BEGIN, b"\x05\x00\x00\x05ab"]]


@pytest.mark.parametrize("chunks", [*NONSENSE, *SILENCE])
def test_in_the_session(start_guard: StartGuard, chunks: list[bytes]) -> None:
    with scripted(start_guard, answers(*chunks)) as guard:
        connection = guard.connect(password="x", ssl_disabled=True)
        with pytest.raises(pymysql.OperationalError) as unknown:
            wire.query(connection, "UPDATE t SET v = 1")
        assert unknown.value.args[0] == 1180
        assert "may or may not have been carried out" in unknown.value.args[1]
        lost = guard.wait_for("link lost and restored")
        assert ("broke the protocol" in lost["seen"]) == (chunks in NONSENSE)
        connection.close()  # so that the script comes to its end


def test_a_goodbye_before_the_command_was_read(start_guard: StartGuard) -> None:
    goodbye = build_packet(b"\xff\xbf\x0f#HY000The client was disconnected", 0)
    with ScriptedServer(answers(goodbye)) as server:
        guard = start_guard(f"{server.host}:{server.port}", reconnect={"wait": "1s"})
        connection = guard.connect(password="x", ssl_disabled=True)
        # It is sent again, and met with the same, for as long as the client may be kept waiting.
        wire.send(connection, wire.COM_QUERY, b"UPDATE t SET v = 1")
        for _ in range(2):
            lost = guard.wait_for("link lost and restored")
            assert (lost["cause"], lost["outcome"]) == ("idle_timeout", "the client has not noticed")


def test_in_the_middle_of_a_packet_the_link_is_all_that_can_end(start_guard: StartGuard) -> None:
    half_a_row = b"\x00\x00\x02\x05" + b"x" * 70_000
    with scripted(start_guard, answers(ROWS_BEGIN, half_a_row)) as guard:
        connection = guard.connect(password="x", ssl_disabled=True)
        with pytest.raises(pymysql.OperationalError) as lost:
            wire.query(connection, "SELECT v FROM t")
        assert lost.value.args[0] == 2013
        assert "in the middle of a packet" in guard.wait_for("session ends")["reason"]


def test_a_server_that_vanishes_while_the_user_is_changed(start_guard: StartGuard) -> None:
    with scripted(start_guard, answers()) as guard:
        connection = mysql.connector.connect(host=guard.host, port=guard.port, user="u", password="x", use_pure=True)
        with pytest.raises(mysql.connector.Error) as parting:
            connection.cmd_change_user("other", "x")
        assert parting.value.errno == 4031
        assert "user was not changed" in str(parting.value)


def test_a_server_that_vanishes_behind_a_local_file_that_was_cut(start_guard: StartGuard) -> None:
    def script(peer: Peer) -> None:
        peer.let_in()
        while b"LOAD DATA" not in peer.hear():
            peer.say(OK, 1)
        peer.say(b"\xfbf", 1)
        while peer.hear():
            pass

    with ScriptedServer(script) as server:
        guard = start_guard(f"{server.host}:{server.port}", guard={"max_allowed_packet": "8KiB"})
        connection = guard.connect(password="x", ssl_disabled=True, local_infile=True)
        wire.send(connection, wire.COM_QUERY, b"LOAD DATA LOCAL INFILE 'f' INTO TABLE t")
        assert wire.receive(connection) == (1, b"\xfbf")
        wire.write(connection, build_packet(b"x" * 50_000, 2) + build_packet(b"", 3))
        sequence_id, answer = wire.receive(connection)
        assert sequence_id == 4
        assert wire.error(answer)[0] == 1180
