import xml.etree.ElementTree as ET

import pytest

from bench.plot import PLOT_HEIGHT, bars, nice_step

SVG = "{http://www.w3.org/2000/svg}"


def test_bars_are_as_high_as_their_values() -> None:
    root = ET.fromstring(bars("a < b", {"1": {"x": 100.0, "y": 50.0}, "8": {"x": 25.0}}))  # noqa: S314 - ours
    drawn = [rect for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    assert [float(rect.attrib["height"]) for rect in drawn] == [PLOT_HEIGHT, PLOT_HEIGHT / 2, PLOT_HEIGHT / 4]
    first, other, later = (rect.attrib["fill"] for rect in drawn)
    assert first == later != other
    assert "a < b" in [text.text for text in root.iter(f"{SVG}text")]


@pytest.mark.parametrize(
    ("most", "step"), [(1.0, 0.25), (2.0, 0.5), (4.9, 0.5), (5.0, 1.0), (99.0, 10.0), (80_000, 10_000), (0.03, 0.005)]
)
def test_steps_are_round(most: float, step: float) -> None:
    assert nice_step(most) == pytest.approx(step)


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="nothing to draw: title"):
        bars("title", {"1": {"x": 0.0}})
