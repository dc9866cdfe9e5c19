"""The image's recipe and the manifests, as far as can be told without a container engine: none of them is run."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest

from tests.deploy.files import DEPLOY, ROOT, manifests

DOCKERFILE = DEPLOY / "docker/Dockerfile"
#: The first version with native sidecars, and the latest that the schemas are there for.
VERSIONS = ["1.29", kubernetes_validate.latest_version()]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["ConfigMap", "Deployment"])
def test_kubernetes_knows_every_field(kind: str, version: str) -> None:
    kubernetes_validate.validate(manifests()[kind], version, strict=True)


def test_a_field_that_kubernetes_does_not_know_is_seen() -> None:
    manifest = manifests()["Deployment"]
    manifest["spec"]["template"]["spec"]["initContainers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, VERSIONS[0], strict=True)


def test_hadolint_has_nothing_to_say_of_the_dockerfile() -> None:
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent)
    assert hadolint, "hadolint is in the dev dependencies"
    said = subprocess.run([hadolint, DOCKERFILE], check=False, capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (0, "")


def instructions() -> list[tuple[str, str]]:
    lines = DOCKERFILE.read_text().replace("\\\n", "").splitlines()
    parts = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return [(word, rest) for word, rest in parts]


def test_the_image_has_no_compiler_and_no_rights() -> None:
    final = instructions()
    while "FROM" in [word for word, _ in final[1:]]:
        del final[0]
    words = dict(final)
    user, _, group = words["USER"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert "apt-get" not in str(final)
    assert words["STOPSIGNAL"] == "SIGTERM"
    assert "http://127.0.0.1:8307/healthz" in words["HEALTHCHECK"]
    assert words["ENTRYPOINT"] == '["stillhere"]'


def test_the_build_sees_all_that_the_package_is_made_of() -> None:
    let_through = set(DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = [name.removesuffix("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]]
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"], *packages}
    assert {f"!{name}" for name in needed} <= let_through
    assert "*" in let_through
