"""Run all benches one after the other, each in a process of its own, and write bench/README.md from what they found.

A part that fails is named, and the others go on. Results stay in bench/results until the next run of the same part.
"""

import subprocess
import sys
import time

import click

from bench.parts import PARTS, RESULTS, Part
from bench.readme import write

#: No part takes that long unless it hangs.
PATIENCE_SECONDS = 600


def run(part: Part, *, quick: bool) -> str | None:
    """Run one part; return why it failed, or None."""
    RESULTS.mkdir(exist_ok=True)
    result = part.result
    result.unlink(missing_ok=True)  # an old one would look like a new one
    command = [sys.executable, "-m", *part.command(quick=quick), "--json", str(result)]
    try:
        done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        return f"not done after {PATIENCE_SECONDS} s"
    if done.returncode:
        return f"ended with status {done.returncode}"
    return None if result.exists() else "has written nothing"


@click.command()
@click.option("--quick", is_flag=True, help="One short round of each: shows that it works, not how fast.")
@click.option(
    "--only", type=click.Choice([part.name for part in PARTS]), multiple=True, help="Can be given repeatedly."
)
def main(quick: bool, only: tuple[str, ...]) -> None:  # noqa: FBT001 - click's
    """Measure everything. The exit status is 1 if a part has failed."""
    failures: dict[str, str] = {}
    begun = time.monotonic()
    chosen = [part for part in PARTS if not only or part.name in only]
    for number, part in enumerate(chosen, 1):
        click.echo(f"[{number}/{len(chosen)}] after {time.monotonic() - begun:.0f} s: {part.title}", err=True)
        if reason := run(part, quick=quick):
            failures[part.name] = reason
            click.echo(f"{part.name}: {reason}", err=True)
    for path in write():
        click.echo(f"written: {path}", err=True)
    for name, reason in failures.items():
        click.echo(f"failed: {name}: {reason}", err=True)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
