"""Somebody who asks a guard over HTTP how it is."""

import http.client
import json
import re
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from tests.guard import Guard

#: Its status, headers and text.
Page: TypeAlias = tuple[int, http.client.HTTPMessage, str]


def ask(guard: Guard, path: str, **headers: str) -> tuple[int, str]:
    """Ask for one of the admin pages; return the status and the text."""
    status, _, text = ask_for_all(guard, path, **headers)
    return status, text


def ask_for_all(guard: Guard, path: str, **headers: str) -> Page:
    """Ask for one of the admin pages."""
    connection = http.client.HTTPConnection(urlsplit(guard.admin_url).netloc, timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def ask_for(guard: Guard, path: str) -> Any:
    """Ask for one of the pages in JSON; return what it says."""
    status, text = ask(guard, path)
    assert status == http.HTTPStatus.OK
    return json.loads(text)


def metrics(guard: Guard) -> dict[str, float]:
    """Return all metrics, by their names and labels as they are written."""
    status, text = ask(guard, "/metrics")
    assert status == http.HTTPStatus.OK
    return {name: float(value) for name, value in re.findall(r"^([^#\s]\S*(?: \S*\})?) (\S+)$", text, re.MULTILINE)}
