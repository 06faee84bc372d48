"""`turnout simulate`: how policies bear a storm, in virtual time.

The invariant: the same scenario prints the same figures, on any machine.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
import msgspec

from turnout.cli.filters import LENGTH
from turnout.cli.options import examples, json_option
from turnout.cli.output import is_interactive, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.sim.measure import Summary
    from turnout.sim.observed import Observed
    from turnout.sim.scenario import Scenario


@click.command(
    epilog=examples(
        "turnout simulate examples/storm.toml",
        "turnout simulate storm.toml --from-app shop.jobs --seeds 5",
        "turnout simulate --from-app shop.jobs --last 7d --task shop.charge",
        "turnout simulate storm.toml --json --report storm.svg",
    )
)
@click.argument("scenario", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--from-app", metavar="MODULE",
              help="Let the retry policies of this application's tasks compete too, at the rate "
              "that its store has counted where the scenario has none.")  # fmt: skip
@click.option("--last", "seconds", type=LENGTH, default="1d", show_default=True,
              help="With --from-app: how far to look back.")  # fmt: skip
@click.option("-t", "--task", metavar="NAME",
              help="With --from-app: count only this task.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1, 1_000), help="Runs of each policy [the file's].")
@click.option("--processes", type=click.IntRange(1, 64), default=os.cpu_count() or 1,
              show_default="one a core", help="Processes to simulate in.")  # fmt: skip
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Where to draw: .html or .svg [the scenario's name, .html, in this "
              "folder; with --json none].")  # fmt: skip
@json_option
def simulate(
    scenario: Path | None,
    *,
    from_app: str | None,
    seconds: float,
    task: str | None,
    seeds: int | None,
    processes: int,
    report: Path | None,
    as_json: bool,
) -> None:
    """Simulate a storm and compare retry policies, limits and breakers.

    SCENARIO is a TOML file: what arrives, the service that is called, what goes wrong, and the
    policies, which are the very code that workers run. Time is virtual: minutes pass in seconds.

    With --from-app and no SCENARIO, or one without a rate, what was observed fills in: how much
    arrives, how long it takes, how much of it fails, how many slots there are.
    """
    if report is not None and report.suffix not in (".html", ".svg"):
        msg = f"--report takes a file that ends in .html or .svg, got {report}"
        raise click.UsageError(msg)
    plan, seen = _plan(scenario, from_app, Look(seconds, task))
    if seeds is not None:
        plan = msgspec.structs.replace(plan, seeds=seeds)
    if seen is not None and not as_json:
        click.echo(seen.text())
    summaries = _compare(plan, processes)
    if report is None and not as_json:
        report = Path(("observed" if scenario is None else scenario.stem) + ".html")
    if report is not None:
        _draw(report, plan, summaries)
    _show(plan, summaries, as_json=as_json)
    if report is not None and not as_json:
        click.echo(f"\ndrawn to {report}")


class Look(NamedTuple):
    """What to count: how far back, and one task or all."""

    seconds: float
    task: str | None


def _plan(path: Path | None, from_app: str | None, look: Look) -> tuple[Scenario, Observed | None]:
    from turnout.cli.locate import find_app
    from turnout.sim.from_app import contenders_of
    from turnout.sim.observed import filled, needs_rate, observe
    from turnout.sim.reading import load_data, read_scenario

    if from_app is None and path is None:
        msg = "name a SCENARIO, or give --from-app to simulate what its store has counted"
        raise click.UsageError(msg)
    data = {} if path is None else load_data(path)
    where = "the observed scenario" if path is None else str(path)
    if from_app is None:
        return read_scenario(data, where), None
    app = find_app(from_app)
    seen = None
    if needs_rate(data):
        seen = observe(app.store, look.seconds, time.time(), look.task)
        data = filled(data, seen)
    return read_scenario(data, where, contenders_of(app)), seen


def _compare(plan: Scenario, processes: int) -> list[Summary]:
    from turnout.sim.compare import compare

    if not is_interactive():
        return compare(plan, processes=processes)
    total = plan.seeds * len(plan.contenders)
    with click.progressbar(length=total, label="simulating", file=sys.stderr) as bar:
        return compare(plan, processes=processes, tell=lambda *_: bar.update(1))


def _draw(path: Path, plan: Scenario, summaries: Sequence[Summary]) -> None:
    from turnout.sim.draw import html_page, svg
    from turnout.sim.report import HEADERS, table

    picture = svg(plan, summaries)
    text = picture
    if path.suffix == ".html":
        text = html_page(plan, [HEADERS, *table(summaries)], picture)
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror}; name another place with --report"
        raise click.ClickException(msg) from None


def _show(plan: Scenario, summaries: Sequence[Summary], *, as_json: bool) -> None:
    from turnout.sim.draw import told
    from turnout.sim.report import HEADERS, table
    from turnout.sim.report import as_json as figures

    if as_json:
        print_json(figures(plan, summaries))
        return
    click.echo(f"{plan.name}: {told(plan)}")
    click.echo(f"The median of {plan.seeds} runs; in brackets where 90 % of them lie.\n")
    print_table(HEADERS, table(summaries), numbers=HEADERS[1:])
