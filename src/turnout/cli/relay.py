"""`turnout relay`: move what committed in the outbox to its store, without running any job.

The invariant: it ends in order at the first TERM or INT, with the batch at hand moved.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import click

from turnout.cli.options import examples
from turnout.errors import ConfigError

if TYPE_CHECKING:
    from turnout.worker.relay import Relay


@click.command(epilog=examples("turnout relay shop.jobs"))
@click.argument("target", envvar="TURNOUT_APP", metavar="MODULE")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text",
              show_default=True, help="How log lines look.")  # fmt: skip
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]),
              default="info", show_default=True, help="What is logged.")  # fmt: skip
def relay(*, target: str, **options: Any) -> None:
    """Move the jobs that wait in the outbox of the application in MODULE to its store.

    Workers of an application with outbox= do this besides their jobs. This command is for the days
    when none of them shall run where the database can be reached.
    """
    from turnout.cli.locate import find_app
    from turnout.cli.logs import set_up_logging
    from turnout.worker.options import WorkerOptions
    from turnout.worker.relay import Relay

    app = find_app(target)
    if app.config.outbox is None:
        msg = f"{target} has no outbox: give its Turnout(...) outbox= and the URL of a SQL database"
        raise ConfigError(msg)
    set_up_logging(WorkerOptions(**options))
    mover = Relay(app)
    _heed_signals(mover)
    mover.run()


def _heed_signals(mover: Relay) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: mover.stop(0.0))
