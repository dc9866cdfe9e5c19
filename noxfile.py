"""The tests on each Python that is supported and found here: `make pythons`, or `nox -- tests/e2e -n 2`.

A Python that pyenv keeps is found if PYENV_VERSION names it, as in 3.11:3.12:3.13.
"""

import nox

nox.needs_version = ">=2024.4.15"
nox.options.error_on_missing_interpreters = False


@nox.session(python=["3.11", "3.12", "3.13"], venv_backend="venv")
def tests(session: nox.Session) -> None:
    """Run the tests of the three packages, which need no server, or those that are named behind `--`."""
    session.install("--editable", ".[dev]")
    session.run("pytest", *(session.posargs or ("tests/protocol", "tests/config", "tests/proxy")))
