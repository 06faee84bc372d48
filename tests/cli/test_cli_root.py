from __future__ import annotations

import subprocess
import sys

import click
import pytest

from turnout.cli import main
from turnout.cli.group import exit_code
from turnout.errors import ConfigError, StoreBusy, StoreError, StoreUnavailable


def every_command(group: click.Group = main, path: tuple[str, ...] = ()):
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        yield " ".join((*path, name)), command
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))


COMMANDS = dict(every_command())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_an_example(name):
    command = COMMANDS[name]

    assert command.help
    assert f"turnout {name.split()[0]}" in (command.epilog or "")
    for param in command.params:
        assert isinstance(param, click.Argument) or param.help, f"{name} {param.name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_its_help(cli, name):
    assert "Example" in cli(*name.split(), "--help").stdout


def test_help_tells_the_exit_codes(cli):
    said = cli("--help").stdout

    for code in ("0  ", "1  ", "2  ", "3  ", "130"):
        assert f"    {code}" in said
    assert "--url URL, --app MODULE, $TURNOUT_URL" in said


def test_an_unknown_command_is_a_usage_error(cli):
    assert "No such command 'statsu'" in cli("statsu", code=2).stderr


def test_errors_are_one_line_and_debug_shows_more(cli):
    quiet = cli("status", "--url", "nonsense:", code=1)
    loud = cli("--debug", "status", "--url", "nonsense:", code=1)

    assert quiet.stderr.startswith("turnout: no store answers to")
    assert len(quiet.stderr.splitlines()) == 1
    assert "Traceback" in loud.stderr


def test_a_store_that_cannot_be_reached_is_exit_code_3(cli, folder):
    (folder / "noise.db").write_text("this is no database, " * 100)

    assert "there is no store" in cli("status", "--url", "sqlite:///no.db", code=3).stderr
    assert "not an SQLite database" in cli("status", "--url", "sqlite:///noise.db", code=3).stderr


@pytest.mark.parametrize(
    ("error", "code"), [(StoreUnavailable, 3), (StoreBusy, 3), (StoreError, 1), (ConfigError, 1)]
)
def test_exit_codes_of_errors(error, code):
    assert exit_code(error("x")) == code


def test_interrupt_is_130(cli, monkeypatch):
    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("turnout.cli.completion.get_completion_class", interrupted)
    assert "interrupted" in cli("completion", "bash", code=130).stderr


def test_the_real_program_shows_its_help(program):
    command, env = program
    done = subprocess.run(
        [*command, "--help"], env=env, capture_output=True, check=False, text=True, timeout=30
    )

    assert done.returncode == 0, done.stderr
    assert "Usage: turnout" in done.stdout
    assert "worker" in done.stdout


def test_importing_turnout_imports_neither_click_nor_rich(program):
    code = "import sys, turnout; print({'click', 'rich'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=program[1],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
    )
    assert done.stdout.strip() == "set()", done.stderr


def test_starting_a_worker_does_not_import_rich(program):
    code = "import sys, turnout.cli.worker, turnout.cli; print('rich' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=program[1],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
    )
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(cli, shell):
    assert "_TURNOUT_COMPLETE" in cli("completion", shell).stdout


def test_completion_refuses_other_shells(cli):
    cli("completion", "tcsh", code=2)
