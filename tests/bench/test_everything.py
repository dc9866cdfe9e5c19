import json
import sys
from pathlib import Path

import pytest

from bench import everything, readme
from bench.everything import run
from bench.parts import PARTS, Part
from bench.readme import FRONT_PAGE, draw, fill, page

WRITES = "import sys, pathlib; pathlib.Path(sys.argv[sys.argv.index('--json') + 1]).write_text('{}')"
REPORT = {"facts": {"CPU": "fast", "runs": "5 rounds, no TLS"}, "absent": {"other": "not\n there"}, "table": "| a |"}


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        pytest.param(WRITES, None, id="good"),
        pytest.param("raise SystemExit(3)", "status 3", id="failed"),
        pytest.param("", "has written nothing", id="silent"),
        pytest.param("import time; time.sleep(60)", "not done after", id="hangs"),
    ],
)
def test_a_part_that_fails_is_named(
    program: str, reason: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "part_to_run.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("bench.parts.RESULTS", tmp_path)
    monkeypatch.setattr(everything, "PATIENCE_SECONDS", 5 if reason != "not done after" else 0.5)
    part = Part("name", "Title", "Note.", "part_to_run")
    part.result.write_text("of an earlier run")
    found = run(part, quick=True)
    assert found is None if reason is None else reason in str(found)
    assert not part.result.exists() or part.result.read_text() == "{}"


def test_a_page_shows_what_is_there_and_names_what_is_not() -> None:
    text = page({"tls": REPORT}, ["plot.svg"])
    assert "![plot](plot.svg)" in text
    assert "| a |\n\nLeft out: other, not there.\n\n5 rounds, no TLS: `python -m bench.overhead --seconds=2" in text
    assert text.count("\nNo result.\n") == len(PARTS) - 1
    assert text.endswith("* CPU: fast\n")


def test_results_are_read_and_plots_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.parts.RESULTS", tmp_path)
    monkeypatch.setattr(readme, "HERE", tmp_path)
    median = {"connections": 1, "target": "direct", "queries_per_second": 5.0, "cpu_us": None}
    medians = [median, median | {"target": "stillhere", "cpu_us": 7.0}]
    (tmp_path / "peers.json").write_text(json.dumps(REPORT | {"medians": medians}))
    front = tmp_path / "front.md"
    place = "above\n<!-- bench: peers -->\n{}<!-- end -->\nbelow\n"
    front.write_text(place.format("old\n"))
    written = readme.write(front_page=front)
    assert [path.name for path in written] == ["README.md", "queries-per-second.svg", "cpu-per-query.svg", "front.md"]
    assert all(path.exists() for path in written)
    assert front.read_text() == place.format("| a |\n")
    assert list(draw(medians)) == ["queries-per-second.svg", "cpu-per-query.svg"]


def test_each_table_goes_to_its_own_place() -> None:
    place = "<!-- bench: {} -->\n{}<!-- end -->\n"
    before = place.format("one-cpu", "") + place.format("tls", "old\n") + place.format("peers", "old\n")
    after = place.format("one-cpu", "| 1 |\n") + place.format("tls", "old\n") + place.format("peers", "| 2 |\n")
    assert fill(before, {"peers": {"table": "| 2 |"}, "one-cpu": {"table": "| 1 |"}}) == after


def test_the_front_page_has_a_place() -> None:
    filled = fill(FRONT_PAGE.read_text(), {part.name: {"table": f"[{part.name}]"} for part in PARTS})
    assert "-->\n[one-cpu]\n<!--" in filled


def test_every_part_is_a_command_that_exists() -> None:
    for part in PARTS:
        module, *arguments = part.command(quick=True)
        assert (Path(sys.modules["bench"].__path__[0]) / f"{module.removeprefix('bench.')}.py").exists()
        assert all(argument.startswith("--") for argument in arguments)
