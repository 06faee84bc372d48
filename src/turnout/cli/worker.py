"""`turnout worker`: run jobs until told to stop.

The invariant: this command only reads options; the supervisor decides what a worker does.
"""

from __future__ import annotations

from typing import Any

import click

from turnout.cli.options import examples
from turnout.cli.processes import process_options


@click.command(
    epilog=examples(
        "turnout worker shop.jobs",
        "turnout worker shop.jobs --queues critical,default@2 --processes 2",
        "turnout worker shop.jobs --queues critical=10,default=5 --log-format json",
        "turnout worker shop.jobs -p 4 --max-memory 500MB --health :8080",
        "turnout worker shop.jobs --reload",
    )
)
@click.argument("target", envvar="TURNOUT_APP", metavar="MODULE")
@click.option(
    "-q", "--queues", default="", metavar="LIST",
    help="Queues to serve: a,b in strict order; a=10,b=5 by weight; a@2 at most 2 at once. "
    "Default: all.",
)  # fmt: skip
@click.option("-t", "--threads", type=click.IntRange(1), default=10, show_default=True,
              help="Tasks written with def that run at once.")  # fmt: skip
@click.option("-c", "--concurrency", type=click.IntRange(1), default=100, show_default=True,
              help="Tasks written with async def that run at once.")  # fmt: skip
@click.option("--children", type=click.IntRange(1), default=4, show_default=True,
              help="Tasks with isolate= that run at once, each in a child process.")  # fmt: skip
@click.option("-p", "--processes", type=click.IntRange(1), default=1, show_default=True,
              help="Worker processes.")  # fmt: skip
@click.option("--grace", type=click.FloatRange(0), default=25.0, show_default=True,
              help="Seconds that running jobs get to finish when the worker stops.")  # fmt: skip
@click.option("--frozen-after", type=click.FloatRange(2), default=60.0, show_default=True,
              help="Seconds without a step of the interpreter: the worker ends.")  # fmt: skip
@click.option("--reload", is_flag=True,
              help="Start anew when a .py file changes; for development.")  # fmt: skip
@click.option("--until-empty", is_flag=True, help="End when no job is ready.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text",
              show_default=True, help="How log lines look.")  # fmt: skip
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]),
              default="info", show_default=True, help="What is logged.")  # fmt: skip
@process_options
@click.pass_context
def worker(ctx: click.Context, /, *, target: str, reload: bool, **options: Any) -> None:
    """Run the jobs of the application in MODULE.

    TERM and INT finish the running jobs and end; TSTP takes no more jobs; TTIN dumps the stacks;
    USR2 starts the code anew, without a gap.
    """
    if reload:
        ctx.exit(run_reloading(target, options))
    ctx.exit(run_worker(target, options))


def run_worker(target: str, options: dict[str, Any]) -> int:
    """Find the application and run it under a supervisor; the exit code."""
    from turnout.cli.locate import find_app
    from turnout.cli.logs import say_banner, set_up_logging
    from turnout.worker.children import check_shared
    from turnout.worker.options import WorkerOptions, parse_queues
    from turnout.worker.supervisor import Supervisor

    lease = options.pop("lease")
    times = {"dead_after": lease, "heartbeat": min(5.0, lease / 6)}
    settings = WorkerOptions(queues=parse_queues(options.pop("queues")), **times, **options)
    app = find_app(target)
    for spec in settings.queues:
        if spec.name != "*":
            app.check_queue(spec.name)
    check_shared(app)
    set_up_logging(settings)
    say_banner(app, settings)
    return Supervisor(app, settings).run()


def run_reloading(target: str, options: dict[str, Any]) -> int:
    """Run the worker as a child and start it anew at every change of the code; the exit code."""
    from turnout.cli.reload import Reloader, worker_command

    if options["until_empty"]:
        raise click.UsageError(
            "--reload starts the worker again and again: leave --until-empty out"
        )
    return Reloader(worker_command(target, options)).run()
