"""Passwords and tokens from the file itself, from the environment and from files of their own."""

import os
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, SecretStr

from config.diagnostics import InvalidValue
from config.fields import as_written, readable_file, text

MAX_PASSWORD_BYTES = 64 * 1024

_EMPTY_HINT = 'for an account without a password write password: ""'


def _written(value: Any) -> SecretStr | None:
    return value if value is None or isinstance(value, SecretStr) else SecretStr(text(value))


def _from_env(value: Any, hint_if_empty: str | None = None) -> SecretStr | None:
    if value is None:
        return None
    # Not named in the message: it may be the password itself, written at the wrong key.
    password = os.environ.get(text(value))
    if password is None:
        raise InvalidValue("there is no environment variable of this name")
    if not password:
        raise InvalidValue("the environment variable is empty", hint_if_empty)
    return SecretStr(text(password))


def _from_file(value: Any, hint_if_empty: str | None = None) -> SecretStr | None:
    """Read a file, without the newline at its end."""
    if value is None:
        return None
    with readable_file(value).open("rb") as file:
        content = file.read(MAX_PASSWORD_BYTES + 1)
    if len(content) > MAX_PASSWORD_BYTES:
        raise InvalidValue(f"the file is larger than {MAX_PASSWORD_BYTES // 1024} KiB")
    try:
        password = content.decode()
    except UnicodeDecodeError:
        raise InvalidValue("the file is not valid UTF-8") from None
    password = password.removesuffix("\n").removesuffix("\r")
    if not password:
        raise InvalidValue("the file is empty", hint_if_empty)
    return SecretStr(text(password))


def _for_header(token: SecretStr | None) -> SecretStr | None:
    """Accept what can stand in a header of HTTP."""
    if token is not None and not all("!" <= character <= "~" for character in token.get_secret_value()):
        raise InvalidValue("a token can have visible ASCII characters only, and no spaces")
    return token


WrittenPassword = Annotated[SecretStr | None, BeforeValidator(_written), as_written("text", "string")]
PasswordFromEnv = Annotated[
    SecretStr | None,
    BeforeValidator(partial(_from_env, hint_if_empty=_EMPTY_HINT)),
    as_written("name of an environment variable", "string"),
]
PasswordFromFile = Annotated[
    SecretStr | None,
    BeforeValidator(partial(_from_file, hint_if_empty=_EMPTY_HINT)),
    as_written("path of a file", "string"),
]
TokenFromEnv = Annotated[
    SecretStr | None,
    AfterValidator(_for_header),
    BeforeValidator(_from_env),
    as_written("name of an environment variable, or null", "string", "null"),
]
TokenFromFile = Annotated[
    SecretStr | None,
    AfterValidator(_for_header),
    BeforeValidator(_from_file),
    as_written("path of a file, or null", "string", "null"),
]
