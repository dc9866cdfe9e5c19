"""The wheel and the sdist: whole, well-formed, and of use where nothing else of the source tree is.

`make dist` does the same with an empty environment, for which it takes the dependencies from the network.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a command, which must succeed; return what it says."""
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(command, cwd=cwd, env=environment, check=False, text=True, capture_output=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_is_built_is_whole_and_works(tmp_path: Path) -> None:
    dist, elsewhere = tmp_path / "dist", tmp_path / "elsewhere"
    # The wheel is built from the sdist.
    run(sys.executable, "-m", "build", "--outdir", dist, ROOT, cwd=tmp_path)
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel, cwd=ROOT)
    # This compares the wheel with the packages here, too.
    run(sys.executable, "-m", "check_wheel_contents", wheel, cwd=ROOT)

    run(sys.executable, "-m", "pip", "install", "--no-deps", "--target", elsewhere, wheel, cwd=tmp_path)
    stillhere, env = elsewhere / "bin/stillhere", {"PYTHONPATH": str(elsewhere)}
    assert "run" in run(stillhere, "--help", cwd=tmp_path, env=env)
    assert "is valid" in run(stillhere, "check", elsewhere / "config/example.yaml", cwd=tmp_path, env=env)
    origin = run(sys.executable, "-c", "import proxy; print(proxy.__file__)", cwd=tmp_path, env=env)
    assert Path(origin).is_relative_to(elsewhere)
