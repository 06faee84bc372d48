"""`turnout chaos`: break an application's workers by a seeded plan, and say what became of jobs.

The invariant: it harms only processes that it started itself, and uses no store where others work.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from turnout.cli import output
from turnout.cli.options import examples, json_option

if TYPE_CHECKING:
    from turnout.testing.chaos.staging import Report, Settings

_WORDS = {
    "kill": "a worker process killed",
    "orphan": "a supervisor killed",
    "host": "a supervisor killed with all its workers",
    "suspend": "a worker process suspended",
    "terminate": "a worker process told to stop",
    "roll": "a supervisor told to stop and replaced",
}


@click.command(
    epilog=examples(
        "turnout chaos shop.jobs --yes-this-is-staging",
        "turnout chaos shop.jobs --yes-this-is-staging --minutes 10 --seed 7 --faults kill,suspend",
    )
)
@click.argument("target", envvar="TURNOUT_APP", metavar="MODULE")
@click.option("--yes-this-is-staging", "is_staging", is_flag=True,
              help="Confirm that the jobs of this store may be disturbed.")  # fmt: skip
@click.option("--url", metavar="URL", default="",
              help="Another store than the application's own.")  # fmt: skip
@click.option("--minutes", type=click.FloatRange(0.02, 24 * 60), default=1.0, show_default=True,
              help="For how long things are broken.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True,
              help="The plan of faults follows from it.")  # fmt: skip
@click.option("--supervisors", type=click.IntRange(1, 50), default=2, show_default=True,
              help="Workers to start, as by `turnout worker`.")  # fmt: skip
@click.option("-p", "--processes", type=click.IntRange(1, 50), default=2, show_default=True,
              help="Processes of each.")  # fmt: skip
@click.option("--every", type=click.FloatRange(0.1), default=2.0, show_default=True,
              help="Seconds between two faults, on average.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(0.1, 1_000), default=10.0, show_default=True,
              help="Probes to enqueue, a second.")  # fmt: skip
@click.option("--lease", type=click.FloatRange(1), default=5.0, show_default=True,
              help="Seconds of silence after which a worker is taken for dead.")  # fmt: skip
@click.option("--faults", default=",".join(_WORDS), metavar="LIST",
              help=f"What is done: {', '.join(_WORDS)} [all].")  # fmt: skip
@json_option
@click.pass_context
def chaos(
    ctx: click.Context, /, *, target: str, is_staging: bool, as_json: bool, **options: Any
) -> None:
    """Break the workers of the application in MODULE, in a staging environment.

    Starts workers, enqueues probes beside the application's own jobs, kills, suspends and stops
    worker processes at random, and says which jobs were lost, stuck or run again. Only on Linux.
    """
    if not is_staging:
        msg = "this disturbs jobs on purpose; where that harms nobody, give --yes-this-is-staging"
        raise click.UsageError(msg)
    settings = _settings(options)
    folder = Path(tempfile.mkdtemp(prefix="turnout-chaos-"))
    report = _run(target, folder, settings, options)
    if as_json:
        output.print_json(report)
    else:
        click.echo("\n".join(in_words(report)))
    if report.is_well:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        click.echo(f"the logs and the ledger of this run are in {folder}", err=True)
        ctx.exit(1)


def _settings(options: dict[str, Any]) -> Settings:
    from turnout.testing.chaos.staging import Settings

    kinds = tuple(filter(None, (word.strip() for word in options["faults"].split(","))))
    wrong = [kind for kind in kinds if kind not in _WORDS]
    if wrong or not kinds:
        known = ", ".join(_WORDS)
        msg = f"--faults takes some of {known}, parted by commas; got {options['faults']!r}"
        raise click.UsageError(msg)
    return Settings(
        seconds=options["minutes"] * 60,
        seed=options["seed"],
        rate=options["rate"],
        lease=options["lease"],
        every=options["every"],
        kinds=kinds,
    )


def _run(target: str, folder: Path, settings: Settings, options: dict[str, Any]) -> Report:
    from turnout.cli._chaos_worker import command
    from turnout.cli.locate import find_app
    from turnout.testing.chaos.fleet import Fleet
    from turnout.testing.chaos.ledger import Ledger
    from turnout.testing.chaos.staging import Staging
    from turnout.testing.chaos.worker import Orders, use_store

    app = find_app(target)
    if options["url"]:
        use_store(app, options["url"])
    ledger = Ledger(folder / "ledger")
    orders = Orders(
        target=target,
        ledger=str(ledger.path),
        url=options["url"],
        processes=options["processes"],
        heartbeat=settings.lease / 5,
        dead_after=settings.lease,
        probe=True,
    )
    fleet = Fleet(lambda _n: command(orders), options["supervisors"], folder, ledger)
    try:
        return Staging(app, fleet, ledger, settings).run()
    finally:
        app.close()


def in_words(report: Report) -> list[str]:
    """Return what became of it, line by line."""
    done = [f"  {count} x {_WORDS[kind]}" for kind, count in report.faults.items()]
    own = f", and {output.plural(report.jobs, 'job')} of the application ended meanwhile"
    lines = [f"seed {report.seed}; what was done:", *(done or ["  nothing"])]
    lines.append(f"{output.plural(report.probes, 'probe')} enqueued{own if report.jobs else ''}")
    for word, jobs in (("lost", report.lost), ("stuck", report.stuck)):
        lines.append(f"{word}: {len(jobs) or 'none'}")
        lines += [f"  {job}" for job in jobs[:20]]
    again = sum(report.run_again.values())
    lines.append(f"cut short and run again: {again or 'none'}")
    doubled = sum(report.doubled.values())
    lines.append(f"ended, and run again by a fault: {doubled or 'none'}")
    lines.append(f"late outcomes refused: {report.late_outcomes_refused or 'none'}")
    if report.quarantined:
        lines.append(f"quarantined, as their workers died three times: {report.quarantined}")
    lines.append(f"not explained by any fault: {len(report.unexplained) or 'none'}")
    lines += [f"  {told}" for told in report.unexplained[:20]]
    lines.append("all is well" if report.is_well else "something is wrong")
    return lines
