"""What drivers say that need an option, and do not have it; docs/drivers.md names the option."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.drivers.table import CONNECTOR_C, DRIVERS, HERE, IN_MYSQLS_ROOT, Account
from tests.servers import MySQL


def run(*command: str, path: Path | None = None) -> tuple[int, str]:
    """Run a command; return its status and what it says."""
    done = subprocess.run(
        command,
        check=False,
        env={"PYTHONPATH": str(path)} if path else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("name", "option"),
    [("node-mariadb", ", allowPublicKeyRetrieval: true"), ("MariaDB-Connector-J", "allowPublicKeyRetrieval=true&")],
    ids=["node-mariadb", "MariaDB-Connector-J"],
)
def test_who_does_not_ask_for_a_key_by_itself(account: Account, tmp_path: Path, name: str, option: str) -> None:
    driver = DRIVERS[name]
    if lacking := driver.lacking():
        pytest.skip(f"cannot be tried here: {lacking}")
    script = Path(driver.command[-1])
    shutil.copytree(
        script.parent, tmp_path, dirs_exist_ok=True, symlinks=True, ignore=shutil.ignore_patterns("node_modules")
    )
    (tmp_path / "node_modules").symlink_to(HERE / "node/node_modules")
    changed = tmp_path / script.name
    assert option in changed.read_text()
    changed.write_text(changed.read_text().replace(option, ""))
    status, said = run(*driver.command[:-1], str(changed), *account.arguments)
    assert status != 0
    assert "RSA public key is not available client side" in said


def test_the_command_line_of_mysql_without_tls(account: Account) -> None:
    if reason := MySQL.unavailable():
        pytest.skip(reason)
    login = [f"--{name}={value}" for name, value in account.login.items()]
    command = [*IN_MYSQLS_ROOT, "mysql", *login, "--ssl-mode=DISABLED", "--execute=SELECT 'in'"]
    status, said = run(*command)
    assert status != 0
    assert "ERROR 2061 (HY000)" in said
    assert "requires secure connection" in said
    status, said = run(*command, "--get-server-public-key")
    assert status == 0, said


@pytest.mark.parametrize(
    ("name", "use_pure", "message"),
    [
        ("mysql-connector-python", True, "1045 (28000): stillhere: access denied"),
        ("mysql-connector-python-c", False, "Authentication requires secure connection"),
    ],
    ids=["pure", "c"],
)
def test_mysql_connector_without_tls(account: Account, name: str, use_pure: bool, message: str) -> None:  # noqa: FBT001 - a parameter of pytest's
    if lacking := DRIVERS[name].lacking():
        pytest.skip(f"cannot be tried here: {lacking}")
    login = account.login | {"ssl_disabled": True, "use_pure": use_pure}
    program = f"import mysql.connector; mysql.connector.connect(**{login})"
    status, said = run(sys.executable, "-c", program, path=None if use_pure else CONNECTOR_C)
    assert status != 0
    assert message in said


def test_who_demands_a_certificate_that_can_be_verified(account: Account) -> None:
    # What MariaDB Connector/C does by itself from 3.4 on, where it is not given the address 127.0.0.1.
    login = [f"--{name}={value}" for name, value in account.login.items()]
    status, said = run("mariadb", *login, "--ssl-verify-server-cert", "--execute=SELECT 'in'")
    assert status != 0
    assert "self-signed certificate" in said
