"""`turnout simulate`: how policies bear a storm, in virtual time.

The invariant: the same scenario prints the same figures, on any machine.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from turnout.cli.options import examples, json_option
from turnout.cli.output import is_interactive, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.sim.measure import Summary
    from turnout.sim.scenario import Scenario


@click.command(
    epilog=examples(
        "turnout simulate examples/storm.toml",
        "turnout simulate storm.toml --from-app shop.jobs --seeds 5",
        "turnout simulate storm.toml --json --report storm.svg",
    )
)
@click.argument("scenario", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--from-app", metavar="MODULE",
              help="Let the retry policies of this application's tasks compete too.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1, 1_000), help="Runs of each policy [the file's].")
@click.option("--processes", type=click.IntRange(1, 64), default=os.cpu_count() or 1,
              show_default="one a core", help="Processes to simulate in.")  # fmt: skip
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Where to draw: .html or .svg [the scenario's name, .html, in this "
              "folder; with --json none].")  # fmt: skip
@json_option
def simulate(
    scenario: Path,
    *,
    from_app: str | None,
    seeds: int | None,
    processes: int,
    report: Path | None,
    as_json: bool,
) -> None:
    """Simulate a storm and compare retry policies, limits and breakers.

    SCENARIO is a TOML file: what arrives, the service that is called, what goes wrong, and the
    policies, which are the very code that workers run. Time is virtual: minutes pass in seconds.
    """
    if report is not None and report.suffix not in (".html", ".svg"):
        msg = f"--report takes a file that ends in .html or .svg, got {report}"
        raise click.UsageError(msg)
    plan = _plan(scenario, from_app, seeds)
    summaries = _compare(plan, processes)
    if report is None and not as_json:
        report = Path(scenario.stem + ".html")
    if report is not None:
        _draw(report, plan, summaries)
    _show(plan, summaries, as_json=as_json)
    if report is not None and not as_json:
        click.echo(f"\ndrawn to {report}")


def _plan(path: Path, from_app: str | None, seeds: int | None) -> Scenario:
    import msgspec

    from turnout.cli.locate import find_app
    from turnout.sim.from_app import contenders_of
    from turnout.sim.reading import load_scenario

    more = contenders_of(find_app(from_app)) if from_app else []
    plan = load_scenario(path, more)
    return plan if seeds is None else msgspec.structs.replace(plan, seeds=seeds)


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
