import pytest
from click.testing import CliRunner

from bench import load, overhead
from bench.load import Load, Workload
from bench.targets import Target


@pytest.mark.parametrize(
    "arguments",
    [
        ["--connections", "1,,8"],
        ["--connections", "0"],
        ["--connections", "100000"],
        ["--connections", "x"],
        ["--peer", "127.0.0.1:1"],
        ["--peer", "name=127.0.0.1"],
        ["--peer", "name=127.0.0.1:x"],
        ["--workload", "other"],
        ["--rounds", "0"],
    ],
)
def test_wrong_arguments_are_refused_before_anything_starts(arguments: list[str]) -> None:
    result = CliRunner().invoke(overhead.main, arguments)
    assert result.exit_code == 2
    assert arguments[0] in result.stderr


def test_help_shows_what_can_be_chosen() -> None:
    text = CliRunner().invoke(overhead.main, ["--help"]).stdout
    assert "[point-select|prepared]" in text
    assert "NAME=HOST:PORT" in text


def test_order_rotates_and_each_target_runs_once_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    ports: list[tuple[int, int, int]] = []

    def run(_host: str, port: int, connections: int, seconds: int, *_rest: Workload | None) -> Load:
        ports.append((port, connections, seconds))
        return Load(1, 1.0, 1.0, 1.0)

    monkeypatch.setattr(load, "run", run)
    targets = [Target("a", 1, ""), Target("b", 2, ""), Target("c", 3, "")]
    done = list(overhead._measure(targets, 2, 5, (1, 8), Workload.POINT_SELECT))
    warm_up, first, second = ports[:3], ports[3:9], ports[9:]
    assert warm_up == [(1, 8, 1), (2, 8, 1), (3, 8, 1)]
    assert first == [(1, 1, 5), (2, 1, 5), (3, 1, 5), (1, 8, 5), (2, 8, 5), (3, 8, 5)]
    assert second == [(2, 1, 5), (3, 1, 5), (1, 1, 5), (2, 8, 5), (3, 8, 5), (1, 8, 5)]
    assert [m.round for m in done] == [0] * 6 + [1] * 6
