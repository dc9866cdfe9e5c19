"""Encryption, towards clients and towards the server."""

import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from config import Address, ListenTls, TcpAddress, Tls, TlsMode
from protocol.constants import Capability
from protocol.handshake import Greeting
from proxy.errors import UpstreamUnavailable
from proxy.link import Link

#: With renegotiation, a peer could have us read in the middle of a write, and do costly work at will. And peers end
#: their links, or their side of them, without a word of TLS. That is no fault to be complained of to them: a client
#: could not be answered any more, and a server would meet it with a reset, so that nobody could tell what had arrived.
_OPTIONS = ssl.OP_NO_RENEGOTIATION | ssl.OP_IGNORE_UNEXPECTED_EOF

_OLDEST_VERSION = ssl.TLSVersion.TLSv1_2

_VALID_FOR = timedelta(days=3650)
_CLOCK_SKEW = timedelta(days=1)


class ClientTls:
    """Encrypts links from clients.

    A self-signed certificate protects passwords from being read on the way, not from somebody who takes the guard's
    place.
    """

    def __init__(self, tls: ListenTls, self_signed: bytes) -> None:
        """Read the certificates. Raises OSError where that fails. ``self_signed`` is for where there are none."""
        self._settings = tls
        self._self_signed = self_signed
        self._context = self._read()

    def __repr__(self) -> str:
        return f"<ClientTls {self._settings.cert or 'self-signed'}>"

    @property
    def is_required(self) -> bool:
        """Clients have to use TLS."""
        return self._settings.require

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _OLDEST_VERSION
        context.options |= _OPTIONS
        if self._settings.ca is not None:
            context.load_verify_locations(self._settings.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        if self._settings.cert is not None:
            _load_pair(context, self._settings.cert, self._settings.key)
            return context
        # The ssl module reads keys from files only. The directory can be entered by its owner alone.
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory, "certificate.pem")
            file.write_bytes(self._self_signed)
            context.load_cert_chain(file)
        return context

    async def accept(self, link: Link) -> None:
        """Do the handshake. Raises LinkLost and OutOfSync."""
        await link.encrypt(self._context, server_side=True)


class UpstreamTls:
    """Encrypts links to the server, as the configuration asks for."""

    def __init__(self, tls: Tls, address: Address) -> None:
        """Read the certificates. Raises OSError where that fails."""
        self._settings = tls
        self._name = address.host if isinstance(address, TcpAddress) else None
        self.context = self._read()

    def __repr__(self) -> str:
        return f"<UpstreamTls {self._settings.mode}>"

    def _read(self) -> ssl.SSLContext:
        tls = self._settings
        is_verified = tls.mode in (TlsMode.VERIFY_CA, TlsMode.VERIFY_IDENTITY)
        if is_verified or tls.ca is not None:
            context = ssl.create_default_context(cafile=tls.ca)
        else:
            # Without the system's certificate authorities, which take most of a megabyte and would not be asked.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = _OLDEST_VERSION
        context.options |= _OPTIONS
        # Python 3.13 is strict about the form of certificates, which those are not that MySQL makes itself.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.check_hostname = tls.mode is TlsMode.VERIFY_IDENTITY
        if not is_verified:
            context.verify_mode = ssl.CERT_NONE
        if tls.cert is not None:
            _load_pair(context, tls.cert, tls.key)
        return context

    @property
    def is_demanded(self) -> bool:
        """No link may do without TLS, where it could have it at all."""
        return self._settings.mode not in (TlsMode.DISABLED, TlsMode.PREFERRED)

    def is_wanted(self, greeting: Greeting) -> bool:
        """Tell whether to encrypt the link to a server with this greeting. A unix socket needs no encryption.

        Raises:
            UpstreamUnavailable: the configuration asks for it, and the server does not offer it.
        """
        if self._settings.mode is TlsMode.DISABLED or self._name is None:
            return False
        offered = bool(greeting.capabilities & Capability.SSL)
        if not offered and self.is_demanded:
            raise UpstreamUnavailable(f"upstream.tls.mode is {self._settings.mode}, and the server does not offer TLS")
        return offered

    async def connect(self, link: Link) -> None:
        """Do the handshake. Raises LinkLost and OutOfSync."""
        await link.encrypt(self.context, server_side=False, server_name=self._name)


def _load_pair(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    """Load a certificate and its key. Raises OSError, also where the key has a password."""
    context.load_cert_chain(cert, key, password="")


def make_certificate() -> bytes:
    """Make a private key and a certificate for it, PEM, one behind the other."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stillhere")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _VALID_FOR)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
