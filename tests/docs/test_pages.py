"""What the pages say of the code is there, what the code can say is on the pages, and every link leads somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from protocol.constants import ErrorCode
from protocol.holds import HoldKind
from proxy.incidents import Cause

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "deploy/README.md", *sorted(DOCS.glob("*.md"))]
SOURCES = "\n".join(path.read_text() for name in ("protocol", "proxy") for path in sorted((ROOT / name).rglob("*.py")))


def anchors(page: Path) -> set[str]:
    """Give the anchors of a page's headings, as GitHub and its like make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> Iterator[str]:
    return (link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if not link.startswith("http"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_linked_from_the_list_of_pages() -> None:
    assert {path.name for path in DOCS.glob("*.md")} == {"README.md", *links(DOCS / "README.md")}


def codes_of_own_errors() -> set[str]:
    """Give the names of the codes with which the guard makes errors."""
    return set(re.findall(r"(?:Err|Refusal)\(\s*ErrorCode\.([A-Z_]+)", SOURCES))


def test_the_codes_of_own_errors_are_found() -> None:
    assert {"PACKET_TOO_LARGE", "SECURE_TRANSPORT_REQUIRED", "NOT_SUPPORTED_AUTH_MODE"} <= codes_of_own_errors()


@pytest.mark.parametrize("name", sorted(codes_of_own_errors()))
def test_every_error_of_the_guard_is_explained(name: str) -> None:
    assert re.search(rf"\b{ErrorCode[name]}\b", (DOCS / "errors.md").read_text())


def first_column(page: str, heading: str) -> list[str]:
    """Give what is in code quotes in the first column of the table below a heading."""
    _, _, below = (DOCS / page).read_text().partition(f"\n## {heading}\n")
    rows = [line for line in below.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])]


def test_the_log_says_what_the_page_says_that_it_says() -> None:
    messages = first_column("operations.md", "The log")
    assert "server is away" in messages
    assert [message for message in messages if f'"{message}"' not in SOURCES] == []


def test_every_cause_of_a_lost_link_has_advice() -> None:
    explained = first_column("troubleshooting.md", "Links are lost again and again")
    assert sorted(explained) == sorted(cause.label for cause in Cause)


@pytest.mark.parametrize("kind", [kind for kind in HoldKind if kind.value.isupper()])
def test_every_hold_that_has_a_name_of_its_own_is_listed(kind: HoldKind) -> None:
    assert f"`{kind.value}`" in (DOCS / "guarantees.md").read_text()


@pytest.mark.parametrize("picture", sorted((DOCS / "images").glob("*.svg")), ids=lambda picture: picture.name)
def test_pictures_are_for_light_and_dark_and_for_those_who_cannot_see_them(picture: Path) -> None:
    svg = ET.parse(picture).getroot()  # noqa: S314 - our own file
    text = picture.read_text()
    assert "prefers-color-scheme: dark" in text
    name = "{http://www.w3.org/2000/svg}"
    assert svg.findtext(f"{name}title")
    assert svg.findtext(f"{name}desc")
    assert f"images/{picture.name}" in (DOCS / "how-it-works.md").read_text()
