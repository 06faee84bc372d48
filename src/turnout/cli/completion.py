"""`turnout completion`: the script that makes a shell complete turnout's commands.

The invariant: the script comes from click, so that it knows every command and option by itself.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from turnout.cli.options import examples
from turnout.errors import ConfigError


@click.command(
    epilog=examples(
        'eval "$(turnout completion bash)"           # in ~/.bashrc',
        'eval "$(turnout completion zsh)"            # in ~/.zshrc',
        "turnout completion fish > ~/.config/fish/completions/turnout.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    found = get_completion_class(shell)
    if found is None:
        msg = f"click knows no completion for {shell}; upgrade click"
        raise ConfigError(msg)
    click.echo(found(ctx.find_root().command, {}, "turnout", "_TURNOUT_COMPLETE").source())
