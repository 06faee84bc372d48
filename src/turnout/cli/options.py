"""The options that several commands share, as decorators.

The invariant: a command decorated with `with_store` gets an opened store as its first argument,
and that store is closed however the command ends.
"""

from __future__ import annotations

import getpass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from turnout.cli.locate import find_url, open_existing

if TYPE_CHECKING:
    from collections.abc import Callable


def examples(*lines: str) -> str:
    """Return an epilog that shows command lines as they are typed."""
    title = "Example:" if len(lines) == 1 else "Examples:"
    return "\n".join(["\b", title, *(f"  {line}" for line in lines)])


app_option = click.option(
    "-a", "--app", metavar="MODULE", help="The application, such as shop.jobs [$TURNOUT_APP]."
)
url_option = click.option(
    "--url", metavar="URL", help="The store, such as sqlite:///jobs.db [$TURNOUT_URL]."
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document instead of text."
)


def user() -> str:
    """Return who runs this command; "" where the machine has no name for them, as in containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def with_store(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --url and --app; the command gets the store that they name."""

    @url_option
    @app_option
    @wraps(command)
    def run(*args: Any, url: str | None, app: str | None, **options: Any) -> Any:
        store = open_existing(find_url(url, app))
        try:
            return command(store, *args, **options)
        finally:
            store.close()

    return run
