"""Alert rules and the dashboard ask for metrics, labels and values that the guard has."""

import json
import re
import shutil
import subprocess
import urllib.request
from importlib.util import find_spec

import promql_parser
import pytest

from tests.deploy.files import DASHBOARD, RULES, expressions, panels, rules
from tests.guard import Guard
from tests.servers.process import free_port

#: The labels of each series, by the metric's name.
Exported = dict[str, list[dict[str, str]]]

EXPRESSIONS = [pytest.param(expression, id=f"{place}: {expression[:40]}") for place, expression in expressions()]
_SAMPLE = re.compile(r"(?P<name>[a-z_]+)(?:{(?P<labels>.*)})? [^ ]+")
_LABEL = re.compile(r'([a-z_]+)="([^"]*)"')


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_can_be_parsed(expression: str) -> None:
    promql_parser.parse(expression)


@pytest.fixture(scope="module")
def exported() -> Exported:
    """Give what a guard exports that has just started."""
    if find_spec("proxy.admin") is None:
        pytest.skip("there are no admin pages in this version")
    address = f"127.0.0.1:{free_port()}"
    with Guard("127.0.0.1:9", admin={"address": address}), urllib.request.urlopen(f"http://{address}/metrics") as page:
        text = page.read().decode()
    series: Exported = {}
    for line in text.splitlines():
        if sample := _SAMPLE.fullmatch(line):
            series.setdefault(sample["name"], []).append(dict(_LABEL.findall(sample["labels"] or "")))
    return series


def selectors(expression: str) -> list[promql_parser.VectorSelector]:
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_ask_for_what_the_guard_exports(exported: Exported, expression: str) -> None:
    for selector in selectors(expression):
        if selector.name == "up":
            continue  # Prometheus makes it.
        assert selector.name in exported
        for matcher in selector.matchers.matchers:
            if matcher.name in ("job", "instance"):
                continue  # Prometheus adds them.
            pattern = matcher.value if matcher.op == promql_parser.MatchOp.Re else re.escape(matcher.value)
            values = [labels.get(matcher.name, "") for labels in exported[selector.name]]
            assert any(re.fullmatch(pattern, value) for value in values), matcher


def test_every_alert_says_what_happened_and_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}


@pytest.mark.parametrize("command", [["check", "rules", RULES], ["test", "rules", RULES.with_suffix(".test.yaml")]])
def test_promtool_accepts_the_rules(command: list[str]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed here")
    done = subprocess.run([promtool, *command], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_can_be_imported() -> None:
    # Grafana itself is not run here: what it needs of the format, and that nothing overlaps.
    dashboard = json.loads(DASHBOARD.read_text())
    assert {"title", "uid", "schemaVersion", "templating", "panels"} <= set(dashboard)
    identifiers = [panel["id"] for panel in dashboard["panels"]]
    assert len(identifiers) == len(set(identifiers))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells
    for panel in panels():
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
