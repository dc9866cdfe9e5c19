"""What is different between two configurations."""

from collections.abc import Iterator

from config.schema import Config
from config.section import Section


def changed_keys(old: Config, new: Config) -> list[str]:
    """List the keys with different values, such as ``keepalive.interval``; of a list, such as ``listen``, its own key.

    Values are not listed: they may be passwords.
    """
    return list(_changed(old, new, ""))


def _changed(old: Section, new: Section, prefix: str) -> Iterator[str]:
    for key in old.keys():  # noqa: SIM118  a section is no mapping
        before, after = getattr(old, key), getattr(new, key)
        if isinstance(before, Section) and isinstance(after, Section):
            yield from _changed(before, after, f"{prefix}{key}.")
        elif before != after:
            yield f"{prefix}{key}"
