import base64
import hashlib

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from protocol import auth
from protocol.errors import MalformedPacket

NONCE = bytes(range(1, 21))
PASSWORDS = st.binary(min_size=1, max_size=40).filter(lambda password: b"\0" not in password)


@pytest.fixture(scope="module")
def key() -> auth.PasswordKey:
    return auth.PasswordKey()


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def test_native_response_is_what_the_manual_says() -> None:
    stage1 = hashlib.sha1(b"secret").digest()  # noqa: S324 - the method
    mask = hashlib.sha1(NONCE + hashlib.sha1(stage1).digest()).digest()  # noqa: S324 - the method
    assert auth.native_response(b"secret", NONCE) == xor(stage1, mask)


def test_caching_sha2_response_is_what_the_manual_says() -> None:
    stage1 = hashlib.sha256(b"secret").digest()
    mask = hashlib.sha256(hashlib.sha256(stage1).digest() + NONCE).digest()
    assert auth.caching_sha2_response(b"secret", NONCE) == xor(stage1, mask)


def test_plugins_have_the_names_that_servers_give_them() -> None:
    assert auth.NATIVE == b"mysql_native_password"
    assert auth.CACHING_SHA2 == b"caching_sha2_password"
    assert auth.SHA256 == b"sha256_password"


def test_an_empty_password_has_an_empty_response() -> None:
    assert auth.native_response(b"", NONCE) == b""
    assert auth.caching_sha2_response(b"", NONCE) == b""
    assert auth.is_native_response(b"", b"", NONCE)
    assert auth.is_caching_sha2_response(b"", b"", NONCE)
    assert not auth.is_native_response(b"", b"secret", NONCE)
    assert not auth.is_caching_sha2_response(b"", b"secret", NONCE)


@given(PASSWORDS, PASSWORDS, st.binary(min_size=20, max_size=20))
def test_only_the_right_password_verifies(password: bytes, other: bytes, nonce: bytes) -> None:
    assert auth.is_native_response(auth.native_response(password, nonce), password, nonce)
    assert auth.is_caching_sha2_response(auth.caching_sha2_response(password, nonce), password, nonce)
    assert auth.is_native_response(auth.native_response(other, nonce), password, nonce) == (other == password)
    assert auth.is_caching_sha2_response(auth.caching_sha2_response(other, nonce), password, nonce) == (
        other == password
    )


def test_nonces_can_be_read_by_every_client() -> None:
    nonces = {auth.make_nonce() for _ in range(300)}
    assert len(nonces) == 300
    assert {len(nonce) for nonce in nonces} == {20}
    # No NUL, no "$", nothing above ASCII, and all else occurs.
    assert set(b"".join(nonces)) == set(range(1, 128)) - {ord("$")}


@given(PASSWORDS, st.binary(min_size=20, max_size=20))
def test_passwords_pass_encrypted(key: auth.PasswordKey, password: bytes, nonce: bytes) -> None:
    encrypted = auth.encrypt_password(password, nonce, key.public)
    assert key.decrypt(encrypted, nonce) == password


def test_the_encrypted_password_is_what_the_manual_says() -> None:
    server_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = server_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    password = b"a password of more than twenty bytes"
    encrypted = auth.encrypt_password(password, NONCE, public)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - the method
    mask = (NONCE * 3)[: len(password) + 1]
    assert server_key.decrypt(encrypted, oaep) == xor(password + b"\0", mask)


@pytest.mark.parametrize("encrypted", [b"", b"x" * 255, b"x" * 256, b"x" * 1000])
def test_what_was_not_encrypted_with_the_key(key: auth.PasswordKey, encrypted: bytes) -> None:
    with pytest.raises(MalformedPacket, match="not encrypted with the key"):
        key.decrypt(encrypted, NONCE)


def pem(der: bytes) -> bytes:
    return b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(der) + b"\n-----END PUBLIC KEY-----\n"


ED25519 = (
    ed25519.Ed25519PrivateKey.generate()
    .public_key()
    .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
)
UNKNOWN_ALGORITHM = ED25519.replace(b"\x2b\x65\x70", b"\x2b\x65\x7f")


@pytest.mark.parametrize("key", [b"", b"-----BEGIN PUBLIC KEY-----\n", pem(b"x"), pem(ED25519), pem(UNKNOWN_ALGORITHM)])
def test_keys_that_cannot_be_used(key: bytes) -> None:
    with pytest.raises(MalformedPacket, match="cannot be used"):
        auth.encrypt_password(b"secret", NONCE, key)


def test_passwords_that_do_not_fit_the_key(key: auth.PasswordKey) -> None:
    with pytest.raises(MalformedPacket, match="cannot be used"):
        auth.encrypt_password(b"x" * 300, NONCE, key.public)


def test_no_password_is_encrypted_without_a_scramble(key: auth.PasswordKey) -> None:
    with pytest.raises(MalformedPacket, match="scramble"):
        auth.encrypt_password(b"secret", b"", key.public)


@given(st.binary(max_size=300), st.binary(max_size=30))
def test_any_key_and_any_scramble_are_used_or_refused(key: bytes, nonce: bytes) -> None:
    with pytest.raises(MalformedPacket):
        auth.encrypt_password(b"secret", nonce, key)
