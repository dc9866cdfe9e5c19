"""The guard's configurations in the examples are ones that it accepts, and fit to what surrounds them."""

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import load
from tests.deploy.files import DEPLOY, manifests

needs_admin = pytest.mark.skipif(find_spec("proxy.admin") is None, reason="there are no admin pages in this version")


@pytest.fixture
def pod() -> Any:
    return manifests()["Deployment"]["spec"]["template"]["spec"]


@needs_admin
def test_of_kubernetes(tmp_path: Path, pod: Any) -> None:
    file = tmp_path / "stillhere.yaml"
    file.write_text(manifests()["ConfigMap"]["data"]["stillhere.yaml"])
    config = load(file)
    (guard,), (app,) = pod["initContainers"], pod["containers"]
    (port,) = guard["ports"]
    admin = yaml.safe_load(file.read_text())["admin"]["address"]
    assert (port["name"], f"0.0.0.0:{port['containerPort']}") == ("admin", admin)
    probes = {name: guard[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert all(probe["port"] == "admin" for probe in probes.values())
    env = {variable["name"]: variable["value"] for variable in app["env"]}
    assert f"{env['DATABASE_HOST']}:{env['DATABASE_PORT']}" == str(config.listen[0].address)
    slack = pod["terminationGracePeriodSeconds"] - config.limits.drain_timeout
    assert slack > int(app["lifecycle"]["preStop"]["exec"]["command"][1])


def test_the_pod_lets_the_guard_go_last_and_gives_it_no_rights(pod: Any) -> None:
    (guard,) = pod["initContainers"]
    assert guard["restartPolicy"] == "Always"
    security = guard["securityContext"]
    assert security["runAsNonRoot"]
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    mounted = {mount["mountPath"]: mount["name"] for mount in guard["volumeMounts"]}
    assert set(mounted) == {"/etc/stillhere", "/tmp"}  # noqa: S108 - in the container
    assert set(mounted.values()) == {volume["name"] for volume in pod["volumes"]}


def test_of_compose() -> None:
    compose = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())
    services = compose["services"]
    guard, app = services["stillhere"], services["app"]
    (mounted,) = guard["volumes"]
    source, target, mode = mounted.split(":")
    config = load(DEPLOY / "compose" / source)
    assert (target, mode) == ("/etc/stillhere/stillhere.yaml", "ro")
    assert str(config.upstream.address) == "database:3306"
    assert str(config.listen[0].address) == "0.0.0.0:3307"
    assert {"--host=stillhere", "--port=3307"} <= set(app["command"])
    # The application reaches the server through the guard alone.
    assert not set(app["networks"]) & set(services["database"]["networks"])
    assert set(guard["networks"]) == set(compose["networks"])
    assert int(guard["stop_grace_period"].removesuffix("s")) > config.limits.drain_timeout
    build = DEPLOY / "compose" / guard["build"]["context"]
    assert (build / guard["build"]["dockerfile"]).is_file()


def test_of_systemd() -> None:
    unit = unit_settings()
    config = load(DEPLOY / "systemd/stillhere.yaml")
    assert f"unix:/run/{unit['RuntimeDirectory']}/mysql.sock" in [str(listen.address) for listen in config.listen]
    assert int(unit["TimeoutStopSec"].removesuffix("s")) > config.limits.drain_timeout


def unit_settings() -> dict[str, str]:
    lines = (DEPLOY / "systemd/stillhere.service").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_systemd_understands_the_unit_and_finds_it_safe(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed here")
    # It wants the program to be there.
    text = (DEPLOY / "systemd/stillhere.service").read_text().replace("/opt/stillhere/bin/stillhere", "/bin/true")
    unit = tmp_path / "stillhere.service"
    unit.write_text(text)
    verified = subprocess.run([analyze, "verify", unit], check=False, capture_output=True, text=True)
    assert (verified.returncode, verified.stderr) == (0, "")
    # In tenths: 0 is the safest, 100 the most exposed.
    threshold = ["--offline=true", "--threshold=15"]
    judged = subprocess.run([analyze, "security", *threshold, unit], check=False, capture_output=True, text=True)
    assert judged.returncode == 0, judged.stdout
