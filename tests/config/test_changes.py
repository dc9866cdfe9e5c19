"""What is said of the difference between two configurations."""

from config import changed_keys
from config.schema import Config


def config(**sections: object) -> Config:
    return Config.model_validate({"upstream": {"address": "db:3306"}, **sections})


def test_keys_are_listed_down_to_single_values() -> None:
    old = config()
    assert changed_keys(old, config()) == []
    new = config(
        upstream={"address": "db2", "tls": {"mode": "required"}}, keepalive={"interval": "9s"}, log={"level": "info"}
    )
    assert changed_keys(old, new) == ["upstream.address", "upstream.tls.mode", "keepalive.interval"]


def test_passwords_are_noticed_and_not_shown() -> None:
    old, new = (
        config(auth={"mode": "users", "users": [{"user": "app", "password": password}]}) for password in ("a", "b")
    )
    assert changed_keys(old, new) == ["auth.users"]
