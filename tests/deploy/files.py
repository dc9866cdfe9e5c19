"""What the deployment files hold."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus/stillhere.rules.yaml"
DASHBOARD = DEPLOY / "grafana/stillhere.json"
MANIFESTS = DEPLOY / "kubernetes/sidecar.yaml"
#: What Grafana puts into expressions.
_VARIABLES = {"$__rate_interval": "5m", "$__range": "1h", "$job": ".*", "$instance": ".*"}


def manifests() -> dict[str, Any]:
    """Give the Kubernetes manifests by their kinds."""
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(MANIFESTS.read_text())}


def rules() -> list[dict[str, Any]]:
    """Give the alert rules."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Give the dashboard's panels that show something."""
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Yield all expressions of alert rules and of the dashboard, with where they stand."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            # What Grafana puts in.
            for variable, value in {
                "$__rate_interval": "5m",
                "$__range": "1h",
                "$job": ".*",
                "$instance": ".*",
            }.items():
                target["expr"] = target["expr"].replace(variable, value)
            yield panel["title"], target["expr"]
