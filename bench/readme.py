"""Write bench/README.md and its plots from the results of the benches; those without a result are named."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bench.parts import PARTS, Part
from bench.plot import bars
from bench.report import CAVEAT

HERE = Path(__file__).parent
FRONT_PAGE = HERE.parent / "README.md"
#: In the front page, the table of the part that is named stands between these two comments.
_PLACE = re.compile(r"(<!-- bench: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

HEAD = """\
# Benches

Written by `make bench`, which runs all of this in about 20 minutes; `make bench-quick` shows in three minutes that it
works. `python -m bench.readme` writes this page anew from the results of the last run, in `bench/results`.

All compared targets run in turn within each round, in an order that rotates; tables give medians over the rounds, and
what is *of direct* or *added* is compared with the direct run of the same round; ± is half the distance between the
quartiles of queries/s. Each proxy has one thread. ProxySQL takes no part, since Debian has no package of it;
`python -m bench.overhead --peer NAME=HOST:PORT` measures it, or any other proxy, where it runs already. Latencies are
in microseconds; CPU time is that of the proxy's process, without the logins before the first query.

"""


def write(*, front_page: Path | None = None) -> list[Path]:
    """Write the page and the plots, and the tables into the front page if one is given; return what was written."""
    reports = {part.name: json.loads(part.result.read_text()) for part in PARTS if part.result.exists()}
    written = [HERE / "README.md"]
    plots = draw(reports["peers"]["medians"]) if "peers" in reports else {}
    for name, svg in plots.items():
        written.append(HERE / name)
        written[-1].write_text(svg)
    written[0].write_text(page(reports, list(plots)))
    if front_page:
        front_page.write_text(fill(front_page.read_text(), reports))
        written.append(front_page)
    return written


def page(reports: Mapping[str, Mapping[str, Any]], plots: list[str]) -> str:
    """Return the page."""
    sections = [HEAD + CAVEAT + "\n"]
    sections += [f"![{name.removesuffix('.svg').replace('-', ' ')}]({name})\n" for name in plots]
    sections += [_section(part, reports.get(part.name)) for part in PARTS]
    facts: dict[str, str] = {}
    for report in reports.values():
        facts |= report["facts"]
    facts.pop("runs", None)  # each section has its own
    sections.append("\n".join(["## The machine and the programs", "", *(f"* {k}: {v}" for k, v in facts.items()), ""]))
    return "\n".join(sections)


def _section(part: Part, report: Mapping[str, Any] | None) -> str:
    lines = [f"## {part.title}", "", part.note, ""]
    if report is None:
        lines += ["No result.", ""]
    else:
        lines += [report["table"], ""]
        lines += [f"Left out: {name}, {' '.join(reason.split())}.\n" for name, reason in report["absent"].items()]
        lines += [f"{report['facts']['runs']}: `python -m {' '.join(part.command(quick=False))}`", ""]
    return "\n".join(lines)


def draw(medians: list[dict[str, Any]]) -> dict[str, str]:
    """Return the plots by their files' names, from the medians of point selects."""
    rates: dict[str, dict[str, float]] = {}
    costs: dict[str, dict[str, float]] = {}
    for row in medians:
        group = f"{row['connections']} connections" if row["connections"] > 1 else "1 connection"
        rates.setdefault(group, {})[row["target"]] = row["queries_per_second"]
        # An empty place for who has no such number, so that a colour means the same in both plots.
        costs.setdefault(group, {})[row["target"]] = row["cpu_us"] or 0.0
    return {
        "queries-per-second.svg": bars("point selects per second", rates),
        "cpu-per-query.svg": bars("CPU time of the proxy per point select, us", costs),
    }


def fill(text: str, reports: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the front page with the tables in their places; those of parts without a result stay as they are."""

    def place(found: re.Match[str]) -> str:
        begin, name, end = found.groups()
        return f"{begin}{reports[name]['table']}\n{end}" if name in reports else found[0]

    return _PLACE.sub(place, text)


@click.command()
@click.option("--front-page", is_flag=True, help="Put tables into the project's README.md, too.")
def main(front_page: bool) -> None:  # noqa: FBT001 - click's
    """Write the page from the results of the last run."""
    for path in write(front_page=FRONT_PAGE if front_page else None):
        click.echo(f"written: {path}")


if __name__ == "__main__":
    main()
