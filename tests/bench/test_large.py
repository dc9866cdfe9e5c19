import pytest
from click.testing import CliRunner

from bench import large
from bench.large import MIB, Transfer, measure, results_table
from bench.targets import Target

RUNS = [
    Transfer("result", "direct", 0, 1024 * MIB, 1.0, None),
    Transfer("result", "stillhere", 0, 1024 * MIB, 4.0, 2.0),
    Transfer("result", "direct", 1, 1024 * MIB, 2.0, None),
    Transfer("result", "stillhere", 1, 1024 * MIB, 4.0, 4.0),
]

TABLE = """\
| what   | target    |   MiB | MiB/s | of direct | CPU s/GiB |
| ------ | --------- | ----: | ----: | --------: | --------: |
| result | direct    | 1,024 |   768 |      1.00 |           |
| result | stillhere | 1,024 |   256 |      0.38 |      3.00 |"""


def test_table_of_medians() -> None:
    assert results_table(RUNS) == TABLE


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--result", "x"], ["--statements", "0"]])
def test_wrong_arguments_are_refused_before_anything_starts(arguments: list[str]) -> None:
    assert CliRunner().invoke(large.main, arguments).exit_code == 2


def test_order_rotates_and_the_first_round_is_to_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(target: Target, number: int, direction: str, count: int) -> Transfer:
        return Transfer(direction, target.name, number, count, 1.0, None)

    monkeypatch.setattr(large, "_run", run)
    done = list(measure([Target("a", 1, ""), Target("b", 2, "")], 2, {"result": 800}))
    assert [(t.target, t.round, t.bytes) for t in done] == [
        ("b", -1, 100),
        ("a", -1, 100),
        ("a", 0, 800),
        ("b", 0, 800),
        ("b", 1, 800),
        ("a", 1, 800),
    ]
