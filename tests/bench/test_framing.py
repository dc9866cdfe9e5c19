import json
from pathlib import Path

from click.testing import CliRunner

from bench.framing import main


def test_every_case_runs(tmp_path: Path) -> None:
    report = tmp_path / "framing.json"
    run = CliRunner().invoke(main, ["--rounds", "1", "--seconds", "0", "--json", str(report)], catch_exceptions=False)
    assert run.exit_code == 0
    medians = json.loads(report.read_text())["medians"]
    assert len(medians) == 13
    for result in medians:
        assert result["name"] in run.output
        assert min(result["microseconds"], result["bytes_per_second"], result["packets_per_second"]) > 0
