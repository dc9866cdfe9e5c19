"""The admin pages: what is answered at which path."""

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import partial
from importlib.resources import files
from typing import Any

import structlog
import trio
from jinja2 import Environment, StrictUndefined, Template
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from protocol.holds import Hold
from proxy.admin import words
from proxy.admin.collector import LiveCollector
from proxy.admin.overview import Overview, incident_row, make_overview
from proxy.listener import Reception
from proxy.session_view import SessionView
from proxy.shared import Shared

#: How many sessions are looked at before others have their turn.
_AT_A_TIME = 50

_SOON_SECONDS = 0.5

_FRESH = {"Cache-Control": "no-store"}

log = structlog.stdlib.get_logger()


class Pages:
    """What the guard has to show."""

    def __init__(self, shared: Shared, reception: Reception) -> None:
        self._shared = shared
        self._reception = reception
        source = files("proxy.admin").joinpath("page.html").read_text(encoding="utf-8")
        self._template = _template(source)
        self._policy = _policy(source)
        self._collector = LiveCollector(shared, reception.sessions)
        shared.tally.registry.register(self._collector)

    def __repr__(self) -> str:
        return f"<Pages of {self._reception}>"

    def application(self) -> Starlette:
        """Give the ASGI application."""
        routes = {
            "/": self._page,
            "/healthz": self._health,
            "/readyz": self._readiness,
            "/metrics": self._metrics,
            "/overview": self._overview,
            "/sessions": self._sessions,
            "/incidents": self._incidents,
        }
        return Starlette(
            routes=[Route(path, answer) for path, answer in routes.items()],
            exception_handlers={Exception: _apologise},
        )

    async def _views(self) -> list[SessionView]:
        """Look at all sessions, a few at a time: they go on meanwhile."""
        views = []
        for number, session in enumerate(tuple(self._reception.sessions)):
            if number % _AT_A_TIME == 0:
                await trio.lowlevel.checkpoint()
            views.append(session.view())
        return views

    async def _look_again(self) -> None:
        """Find out whether trouble with the server has passed, if it answers soon: no client may have tried since."""
        upstream, contact = self._shared.config.upstream, self._shared.contact
        if contact.trouble:
            with trio.move_on_after(_SOON_SECONDS):
                await contact.look(upstream.address, upstream.connect_timeout)

    async def _look(self) -> Overview:
        await self._look_again()
        return make_overview(self._shared, self._reception, await self._views())

    async def _page(self, _request: Request) -> Response:
        overview = await self._look()
        # In a thread: a page with many sessions takes its time, and they would have to wait.
        html = await trio.to_thread.run_sync(partial(self._template.render, guard=overview))
        return HTMLResponse(html, headers=_FRESH | {"Content-Security-Policy": self._policy})

    async def _health(self, _request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        return PlainTextResponse("ok\n", headers=_FRESH)

    async def _readiness(self, _request: Request) -> Response:
        upstream = self._shared.config.upstream
        if self._reception.is_draining:
            return PlainTextResponse("draining: no new clients are taken\n", 503, _FRESH)
        trouble = await self._shared.contact.look(upstream.address, upstream.connect_timeout)
        if trouble:
            return PlainTextResponse(f"{upstream.address} cannot be reached: {trouble}\n", 503, _FRESH)
        return PlainTextResponse(f"ready: {upstream.address} can be reached\n", headers=_FRESH)

    async def _metrics(self, _request: Request) -> Response:
        await self._look_again()
        self._collector.views = await self._views()
        return Response(generate_latest(self._shared.tally.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def _overview(self, _request: Request) -> Response:
        return _json(await self._look())

    async def _sessions(self, _request: Request) -> Response:
        return _json({"sessions": await self._views()})

    async def _incidents(self, _request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        return _json({"incidents": [incident_row(report) for report in reversed(self._shared.tally.history.incidents)]})


async def _apologise(_request: Request, error: Exception) -> Response:
    """Answer where the page itself has failed. It is a mistake of ours, and nothing to sessions."""
    await trio.lowlevel.checkpoint()
    log.error("admin page failed", exc_info=error)
    return PlainTextResponse("This page has failed; the log says why.\n", 500)


def _json(content: object) -> Response:
    return Response(json.dumps(content, default=_plain) + "\n", media_type="application/json", headers=_FRESH)


def _plain(thing: object) -> str | Mapping[str, Any]:
    """Make something that JSON does not know into something that it does: a hold, or a dataclass."""
    return str(thing) if isinstance(thing, Hold) else vars(thing)


def _template(source: str) -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        {filter_.__name__: filter_ for filter_ in (words.size, words.span, words.count, words.utc, words.utc_short)}
    )
    return environment.from_string(source)


def _policy(source: str) -> str:
    """Allow the page its own style and script, word for word, and nothing from anywhere else."""
    style, script = (_hash(source, element) for element in ("style", "script"))
    return (
        f"default-src 'none'; connect-src 'self'; style-src '{style}'; script-src '{script}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(source: str, element: str) -> str:
    content = source.partition(f"<{element}>")[2].partition(f"</{element}>")[0]
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
