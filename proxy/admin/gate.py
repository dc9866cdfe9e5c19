"""Who may see the admin pages: those who have the token, if there is one, and no web page from elsewhere."""

import base64
import binascii
import secrets
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from config import is_loopback

#: For those who only want to know whether to restart the guard, or whether to send it clients.
_OPEN = frozenset({"/healthz", "/readyz"})


class Gate:
    """Lets requests through to the pages behind it, or refuses them."""

    def __init__(self, app: ASGIApp, token: str | None, *, only_loopback: bool) -> None:
        """``only_loopback``: requests come from this machine, so they name it by a loopback address."""
        self._app = app
        self._token = token
        self._only_loopback = only_loopback

    def __repr__(self) -> str:
        return f"<Gate {'with' if self._token else 'without'} a token>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI has it."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)):
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        if self._only_loopback and not is_loopback(_host(headers.get("host", ""))):
            # A web page whose own name was made to point here: the browser would let it read what it gets.
            return PlainTextResponse("This address answers to loopback names only.\n", 421)
        if self._token and scope["path"] not in _OPEN and not self._shows_token(headers.get("authorization", "")):
            return PlainTextResponse(
                "A token is needed: Authorization: Bearer TOKEN, or the token as password.\n",
                401,
                {"WWW-Authenticate": 'Basic realm="stillhere", charset="UTF-8"'},
            )
        return None

    def _shows_token(self, authorization: str) -> bool:
        scheme, _, credentials = authorization.partition(" ")
        shown = b""
        if scheme.lower() == "bearer":
            shown = credentials.strip().encode("latin-1")  # as it came
        elif scheme.lower() == "basic":
            with suppress(binascii.Error):
                shown = base64.b64decode(credentials, validate=True).partition(b":")[2]
        return secrets.compare_digest(shown, (self._token or "").encode())


def _host(header: str) -> str:
    """Take the port off a Host header."""
    return header[1:].partition("]")[0] if header.startswith("[") else header.partition(":")[0]
