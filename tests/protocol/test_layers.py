"""Imports go one way; read from the source, so that an import inside a function counts as well."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("protocol", "config", "proxy")
FORBIDDEN = {
    "protocol": {"config", "proxy", "trio", "asyncio", "socket", "ssl", "select", "threading"},
    "config": {"protocol", "proxy", "trio", "asyncio"},
    "proxy": {"asyncio"},
}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imports(module: str) -> Iterator[str]:
    """Give the full name of everything that a module imports, of its siblings as well."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import, which this test would have to resolve"
            assert node.module is not None
            # Each name may be a module or something in one.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(name: str) -> str | None:
    """Give our module that an imported name is, or is in."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


@pytest.mark.parametrize("package", PACKAGES)
def test_the_package_was_found(package: str) -> None:
    assert any(module.startswith(f"{package}.") for module in MODULES)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_nothing_above_it(module: str) -> None:
    package = module.partition(".")[0]
    assert not {name.partition(".")[0] for name in imports(module)} & FORBIDDEN[package]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_import_is_for_type_checking_only(module: str) -> None:
    assert "TYPE_CHECKING" not in MODULES[module].read_text(encoding="utf-8")


def test_there_are_no_cycles() -> None:
    graph = {module: {module_of(name) for name in imports(module)} - {None, module} for module in MODULES}
    while leaves := {module for module, imported in graph.items() if not imported & graph.keys()}:
        for leaf in leaves:
            del graph[leaf]
    assert not graph, f"among these there is a cycle: {sorted(graph)}"
