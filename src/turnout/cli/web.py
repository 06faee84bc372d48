"""`turnout web`: serve the dashboard by itself.

The invariant: this command reads options and finds the application; whether an address is safe is
decided in one place, `turnout.web.server`.
"""

from __future__ import annotations

from typing import Any

import click

from turnout.cli.locate import find_app
from turnout.cli.options import examples
from turnout.errors import ConfigError


@click.command(
    epilog=examples(
        "turnout web shop.jobs",
        "turnout web shop.jobs --port 8200 --read-only",
        "turnout web shop.jobs --host 0.0.0.0 --users /etc/turnout/users",
    )
)
@click.argument("target", envvar="TURNOUT_APP", metavar="MODULE")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65_535), default=8100, show_default=True,
              help="Port to listen on.")  # fmt: skip
@click.option("--users", metavar="FILE",
              help="Who may look: lines of name:role:password [$TURNOUT_WEB_USERS].")  # fmt: skip
@click.option("--read-only", is_flag=True, help="Show everything, change nothing.")
@click.option("--title", default="Turnout", show_default=True, help="The name in the top corner.")
@click.option("--root-path", default="", help="Where a proxy puts it, such as /jobs.")
def web(target: str, **options: Any) -> None:
    """Serve the dashboard of the application in MODULE.

    Without --users it listens on this machine alone, and everybody on it is an admin.
    """
    try:
        from turnout.web.server import ServerOptions, choose_authorize, serve
    except ModuleNotFoundError as error:
        msg = f"the dashboard needs {error.name}: pip install 'turnout[web]'"
        raise ConfigError(msg) from error
    settings = ServerOptions(**options)
    choose_authorize(settings)
    app = find_app(target)
    app.store.setup()
    click.echo(f"dashboard of {app.config.location} on {_address(settings)}", err=True)
    serve(app, settings)


def _address(settings: Any) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}{settings.root_path}/"
