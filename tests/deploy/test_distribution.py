"""The wheel and the sdist: whole, well-formed, and of use where nothing else of the source tree is.

`make dist` does the same with an empty environment, for which it takes the dependencies from the network.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a command, which must succeed; return what it says."""
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(command, cwd=cwd, env=environment, check=False, text=True, capture_output=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory with the sdist, and the wheel that was built from it."""
    directory = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", directory, ROOT, cwd=directory)
    return directory


def install(archive: Path, into: Path, env: Mapping[str, str] | None = None) -> None:
    """Install an archive into a directory of its own, without what it depends on."""
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--target", into, archive, cwd=into.parent, env=env)


def check_that_it_works(installed: Path) -> None:
    """Use the commands that need no server."""
    stillhere, env, cwd = installed / "bin/stillhere", {"PYTHONPATH": str(installed)}, installed.parent
    assert "run" in run(stillhere, "--help", cwd=cwd, env=env)
    assert "is valid" in run(stillhere, "check", installed / "config/example.yaml", cwd=cwd, env=env)
    origin = run(sys.executable, "-c", "import proxy; print(proxy.__file__)", cwd=cwd, env=env)
    assert Path(origin).is_relative_to(installed)


def test_what_is_built_is_whole_and_works(dist: Path, tmp_path: Path) -> None:
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel, cwd=ROOT)
    # This compares the wheel with the packages here, too.
    run(sys.executable, "-m", "check_wheel_contents", wheel, cwd=ROOT)
    installed = tmp_path / "installed"
    install(wheel, installed)
    check_that_it_works(installed)


def test_it_can_be_installed_without_a_compiler(dist: Path, tmp_path: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    installed = tmp_path / "installed"
    install(sdist, installed, {"CC": "/nonexistent/cc", "PIP_NO_CACHE_DIR": "1"})
    assert not list(installed.rglob("*.so"))
    check_that_it_works(installed)
