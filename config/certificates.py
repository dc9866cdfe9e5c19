"""Certificates and keys: PEM files that the TLS library can use."""

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from config.diagnostics import InvalidKey, InvalidValue, Location
from config.fields import as_written, readable_file


def _authorities(value: Any) -> Path | None:
    if value is None:
        return None
    path = readable_file(value)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise InvalidValue("holds no certificate in PEM format") from None
    return path


def _path(value: Any) -> Path | None:
    return None if value is None else readable_file(value)


def pair_faults(written: Mapping[str, Any]) -> Iterator[tuple[Location, InvalidValue]]:
    """Yield what is wrong between ``cert`` and ``key``, the private key, which may be in the same file."""
    cert, key = written.get("cert"), written.get("key")
    if cert is None:
        if key is not None:
            yield ("key",), InvalidKey("is the key to no certificate", "write cert as well")
        return
    try:
        chain, private = _path(cert), _path(key)
    except InvalidValue:
        return  # which is said of the value itself
    holds_key = ("cert" if key is None else "key",)
    try:
        # Without a password at hand, the library would ask for it at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain or "", private, password=_refuse)
    except InvalidValue as fault:
        yield holds_key, fault
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            yield holds_key, InvalidValue("is not the key to this certificate")
        else:
            hint = "with the key behind it, or in a file that key names"
            yield ("cert",), InvalidValue("holds no certificate and key in PEM format", hint if key is None else None)


def _refuse() -> str:
    raise InvalidValue("has a password", "use a key without one, in a file that only the guard can read")


_PEM_FILE = as_written("path of a PEM file, or null", "string", "null")

#: A file with certificates to trust, or null.
CaFile = Annotated[Path | None, BeforeValidator(_authorities), _PEM_FILE]
#: A file with a certificate or a key, or null; what is in it, :func:`pair_faults` checks.
PemFile = Annotated[Path | None, BeforeValidator(_path), _PEM_FILE]
