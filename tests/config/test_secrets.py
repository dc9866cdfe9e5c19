"""A password never shows, wherever in the configuration it was written."""

import traceback

import pytest
from pydantic import ValidationError

from config import Config, ConfigError, Override, load
from tests.config.conftest import Load

SECRET = "hunter2secret"
NUMBER = "8642097531"

USERS = "upstream: {address: db}\nauth:\n  mode: users\n  users:\n    - "


def everything_said(error: ConfigError) -> str:
    return "\n".join([str(error), repr(error), repr(error.problems), *traceback.format_exception(error)])


@pytest.mark.parametrize(
    "text",
    [
        USERS + f"{{user: app, password: {SECRET}, pasword: x}}",
        USERS + f"{{user: app, password: [{SECRET}]}}",
        USERS + f"{{user: app, password: {{{SECRET}: {SECRET}}}}}",
        USERS + f"{{user: app, password:{SECRET}}}",
        USERS + f"{{user: app, password={SECRET}}}",
        USERS + f"{{user: app, password: {NUMBER}}}",
        USERS + f"{{user: app, password: 0x{NUMBER}}}",
        USERS + f"{{user: app, password: {NUMBER}.5}}",
        USERS + f"{{user: app, password: !{SECRET} x}}",
        USERS + f"{{user: app, password: !{SECRET}!x}}",
        USERS + f"{{user: app, password: *{SECRET}}}",
        USERS + f"{{user: app, password: &{SECRET} x}}",
        USERS + f'{{user: app, password: "{SECRET}',
        USERS + f'{{user: app, password: "{SECRET}\\0"}}',
        USERS + f'{{user: app, password: "{SECRET}\\q"}}',
        USERS + f'{{user: app, password: "{SECRET}\\UFFFFFFFF"}}',
        USERS + f"{{user: app, password: @{SECRET}}}",
        USERS + f"{{user: app, password: {SECRET}: x}}",
        USERS + f"{{user: app, password: x, password: {SECRET}}}",
        USERS + f"{{user: app, password_env: {SECRET}}}",
        USERS + f"{{user: app, password_file: {SECRET}}}",
        USERS + f"{{user: {{password: {SECRET}}}}}",
        USERS + f"user: app\n      password {SECRET}\n      x: y",
        USERS + f"app:{SECRET}",
        f"auth: {{users: [{{user: app, password: {SECRET}}}]}}",
        f"upstream: {{address: 'mysql://app:{SECRET}@db/x'}}",
        f"upstream: {{address: 'app:{SECRET}'}}",
        f"upstream: {{address: db, connect_timeout: {SECRET}}}",
        f"upstream: {{address: db}}\nguard: {{max_allowed_packet: {SECRET}, oversize_sqlstate: {SECRET}}}",
        f"%{SECRET}\n---\n!{SECRET}!{SECRET} x",
    ],
)
def test_no_error_repeats_a_secret(text: str, load_text: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(text)
    said = everything_said(caught.value)
    assert SECRET not in said
    assert NUMBER not in said


def test_no_error_about_a_flag_repeats_a_secret() -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, [Override("--upstream", "upstream.address", f"mysql://app:{SECRET}@db/x")])
    assert SECRET not in everything_said(caught.value)


def test_no_error_of_the_schema_itself_repeats_a_secret() -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"upstream": {"address": {"password": SECRET}}, "auth": {"users": [SECRET]}})
    assert SECRET not in f"{caught.value} {caught.value!r} {caught.value.errors()}"


def test_no_configuration_shows_its_secrets(load_text: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_DB_PASSWORD", SECRET)
    config = load_text(USERS + f"{{user: app, password: {SECRET}}}\n    - {{user: b, password_env: APP_DB_PASSWORD}}")
    assert [user.password.get_secret_value() for user in config.auth.users] == [SECRET, SECRET]
    assert SECRET not in f"{config} {config!r} {config.auth.users} {config.model_dump()} {config.model_dump_json()}"
