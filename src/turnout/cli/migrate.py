"""`turnout migrate`: create or upgrade a store's schema, or print it for a person to run.

The invariant: it may be repeated, and run beside working workers.
"""

from __future__ import annotations

import click

from turnout.cli import output
from turnout.cli.locate import find_url
from turnout.cli.options import app_option, examples, json_option, url_option
from turnout.store import open_store, schema_sql


@click.command(
    epilog=examples("turnout migrate --app shop.jobs", "turnout migrate --sql > turnout.sql")
)
@url_option
@app_option
@click.option("--sql", is_flag=True, help="Print the schema as SQL and change nothing.")
@json_option
def migrate(*, url: str | None, app: str | None, sql: bool, as_json: bool) -> None:
    """Create the store's tables, or bring them up to this version."""
    place = find_url(url, app)
    if sql:
        text = schema_sql(place)
        output.print_json({"sql": text}) if as_json else click.echo(text.rstrip())
    else:
        set_up(place, as_json=as_json)


def set_up(url: str, *, as_json: bool) -> None:
    """Set the store up and say where it is."""
    store = open_store(url)
    try:
        store.setup()
        info = store.describe()
    finally:
        store.close()
    if as_json:
        output.print_json({"store": info.name, "location": info.location, "ready": True})
    else:
        click.echo(f"{info.name} at {info.location} is ready")
