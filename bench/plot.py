"""Bar charts as SVG, readable on light and on dark pages."""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, LEFT, TOP = 760, 60, 64
PLOT_HEIGHT, BOTTOM = 240, 40
COLOURS = ("#7f7f7f", "#2f81f7", "#e3872d", "#3fa45b", "#a371f7", "#d65f8b")
STYLE = (
    "text{font:12px sans-serif;fill:#24292f}.title{font-size:14px;font-weight:600}.rule{stroke:#d0d7de}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.rule{stroke:#30363d}}"
)


def bars(title: str, groups: Mapping[str, Mapping[str, float]]) -> str:
    """Return an SVG with one group of bars for each key, in each a bar for each name, which has one colour throughout.

    Raises ValueError if there is nothing to draw.
    """
    names = list(dict.fromkeys(name for values in groups.values() for name in values))
    most = max((value for values in groups.values() for value in values.values()), default=0)
    if not most:
        raise ValueError(f"nothing to draw: {title}")
    step = nice_step(most)
    top = step * -(-most // step)
    parts = [f'<text class="title" x="{LEFT}" y="18">{escape(title)}</text>', *_legend(names)]
    for mark in range(round(top / step) + 1):
        y = TOP + PLOT_HEIGHT * (1 - mark * step / top)
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{mark * step:,g}</text>')
    room = (WIDTH - 10 - LEFT) / len(groups)
    bar = room * 0.8 / len(names)
    for number, (group, values) in enumerate(groups.items()):
        left = LEFT + room * (number + 0.1)
        middle = LEFT + room * (number + 0.5)
        for name, value in values.items():
            place = names.index(name)
            height = PLOT_HEIGHT * value / top
            parts.append(
                f'<rect x="{left + place * bar:.1f}" y="{TOP + PLOT_HEIGHT - height:.1f}" width="{bar * 0.9:.1f}" '
                f'height="{height:.1f}" fill="{_colour(place)}">'
                f"<title>{escape(name)}, {escape(group)}: {value:,.1f}</title></rect>"
            )
        parts.append(f'<text x="{middle:.1f}" y="{TOP + PLOT_HEIGHT + 20}" text-anchor="middle">{escape(group)}</text>')
    height = TOP + PLOT_HEIGHT + BOTTOM
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def nice_step(most: float) -> float:
    """Return a round distance between marks, of which about four to eight reach up to `most`."""
    power = 1.0
    while most / power >= 10:
        power *= 10
    while most / power < 1:
        power /= 10
    share = most / power
    return power * next(step for limit, step in ((2, 0.25), (5, 0.5), (10, 1.0)) if share < limit)


def _legend(names: Sequence[str]) -> list[str]:
    parts = []
    for place, name in enumerate(names):
        x = LEFT + place * (WIDTH - LEFT) / len(names)
        parts.append(f'<rect x="{x:.0f}" y="32" width="10" height="10" fill="{_colour(place)}"/>')
        parts.append(f'<text x="{x + 15:.0f}" y="41">{escape(name)}</text>')
    return parts


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]
