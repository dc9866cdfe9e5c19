"""Passwords on the wire: making and verifying what the authentication plugins send.

This is the one place that touches PyMySQL's functions for it, whose names are private there. Source of the methods: the
manual's pages "Native Authentication" and "Caching SHA-2 Information".
"""

import hmac
import secrets

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pymysql import _auth

from protocol.errors import MalformedPacket
from protocol.handshake import NONCE_LENGTH

NATIVE = b"mysql_native_password"
CACHING_SHA2 = b"caching_sha2_password"
SHA256 = b"sha256_password"
#: MariaDB's.
ED25519 = b"client_ed25519"
#: The password as it is. MariaDB's PAM accounts ask for it with "dialog", which can ask for other things, too.
CLEAR = b"mysql_clear_password"
DIALOG = b"dialog"

#: Those with which the password itself, or one encrypted for the server, goes over the link, by how private that is.
GIVEN_AWAY = frozenset({SHA256, CLEAR, DIALOG})

_RSA_BITS = 2048
#: MySQL avoids NUL, which ends a scramble in some clients, and "$", which separates fields where it stores passwords.
_NONCE_BYTES = bytes(byte for byte in range(1, 128) if byte != ord("$"))


def make_nonce() -> bytes:
    """Make a scramble that every client can read: 20 bytes of 1..127."""
    return bytes(secrets.choice(_NONCE_BYTES) for _ in range(NONCE_LENGTH))


def native_response(password: bytes, nonce: bytes) -> bytes:
    """Answer a scramble as mysql_native_password: 20 bytes, or none for an empty password."""
    return bytes(_auth.scramble_native_password(password, nonce))


def caching_sha2_response(password: bytes, nonce: bytes) -> bytes:
    """Answer a scramble as caching_sha2_password: 32 bytes, or none for an empty password."""
    return bytes(_auth.scramble_caching_sha2(password, nonce))


def ed25519_response(password: bytes, nonce: bytes) -> bytes:
    """Answer a scramble as client_ed25519: a signature of 64 bytes. Source: MariaDB's ``plugin/auth_ed25519``."""
    return bytes(_auth.ed25519_password(password, nonce))


def is_native_response(response: bytes, password: bytes, nonce: bytes) -> bool:
    """Tell whether a client that answered a scramble with ``response`` knows ``password``."""
    return hmac.compare_digest(response, native_response(password, nonce))


def is_caching_sha2_response(response: bytes, password: bytes, nonce: bytes) -> bool:
    """Tell whether a client that answered a scramble with ``response`` knows ``password``."""
    return hmac.compare_digest(response, caching_sha2_response(password, nonce))


def encrypt_password(password: bytes, nonce: bytes, public_key: bytes) -> bytes:
    """Encrypt a password for the server that has sent ``public_key`` (PEM).

    Raises:
        MalformedPacket: that is not an RSA public key, or one too small for the password, or there is no scramble.
    """
    if not nonce:
        raise MalformedPacket("the server asks for an encrypted password without having sent a scramble")
    try:
        return bytes(_auth.sha2_rsa_encrypt(password, nonce, public_key))
    except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm) as error:
        raise MalformedPacket("the server's RSA public key cannot be used") from error


class PasswordKey:
    """The RSA key with which clients on an unencrypted link encrypt their passwords for us."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
        #: The public key, PEM.
        self.public = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def decrypt(self, encrypted: bytes, nonce: bytes) -> bytes:
        """Get back the password that a client has encrypted (RSA-OAEP with SHA-1, of password NUL XOR scramble).

        Raises:
            MalformedPacket: it was not encrypted with our key.
        """
        oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303  what the protocol asks for
        try:
            mixed = self._key.decrypt(encrypted, oaep)
        except ValueError as error:
            raise MalformedPacket("the client's password is not encrypted with the key it was given") from error
        return bytes(byte ^ nonce[index % len(nonce)] for index, byte in enumerate(mixed)).removesuffix(b"\0")
