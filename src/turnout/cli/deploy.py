"""`turnout deploy`: mark on the dashboard's charts that something was deployed.

The invariant: a label that is refused is refused before anything of the application is imported.
"""

from __future__ import annotations

import click

from turnout.cli import output
from turnout.cli.locate import find_app, open_existing
from turnout.cli.noting import note
from turnout.cli.options import examples, json_option, user
from turnout.deploys import Deploys, checked_label
from turnout.errors import ConfigError


def _checked(ctx: click.Context, param: click.Parameter, label: str) -> str:
    try:
        return checked_label(label)
    except ConfigError as error:
        msg = f"{error}"
        raise click.BadParameter(msg, ctx, param) from None


@click.command(
    epilog=examples(
        "turnout deploy shop.jobs v1.42",
        'turnout deploy shop.jobs "$(git describe)" --by "$CI_USER" || true',
    )
)
@click.argument("target", metavar="TARGET")
@click.argument("label", metavar="LABEL", callback=_checked)
@click.option("--by", default=user, metavar="NAME", help="Who deploys [the user of this process].")
@json_option
def deploy(*, target: str, label: str, by: str, as_json: bool) -> None:
    """Mark that LABEL was deployed now, for the application in the module TARGET.

    The dashboard's charts draw a line there. LABEL is a line of at most 60 characters.
    """
    store = open_existing(find_app(target).url)
    try:
        marked = Deploys(store).mark(label, by=by)
        note(store, "mark deploy", marked.label)
    finally:
        store.close()
    if as_json:
        output.print_json(marked)
    else:
        name = f" by {marked.by}" if marked.by else ""
        click.echo(output.one_line(f"marked: {marked.label}, {output.clock(marked.at)}{name}"))
