"""The docs are executed: blocks marked `python run`, the first screen, the names of commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from turnout.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python run\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
FILE = re.compile(r"`((?:[a-z_]+/)*[a-z0-9_]+\.(?:py|sql|lua))`")


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def run(folder: Path, *argv: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error"}
    environment.pop("TURNOUT_URL", None)
    done = subprocess.run(
        [sys.executable, *argv],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def with_blocks(pages):
    return [page for page in pages if BLOCK.search(page.read_text("utf-8"))]


@pytest.mark.parametrize("page", with_blocks(PAGES), ids=named)
def test_blocks_run(page, tmp_path):
    blocks = BLOCK.findall(page.read_text("utf-8"))
    program = tmp_path / f"page_{page.stem.lower().replace('-', '_')}.py"
    program.write_text("\n".join(blocks), "utf-8")
    run(tmp_path, program.name)


def test_the_first_screen_does_what_it_says(tmp_path):
    readme = (ROOT / "README.md").read_text("utf-8")
    program = BLOCK.findall(readme)[0]
    assert readme.index(program) < 500, "one sentence, then the program"
    (tmp_path / "jobs.py").write_text(program, "utf-8")
    assert "$ python jobs.py && turnout worker jobs\n" in readme
    assert "recorded" in run(tmp_path, "jobs.py")
    said = run(tmp_path, "-m", "turnout", "worker", "jobs", "--until-empty")
    assert "receipt for order 42 is on its way" in said


def commands(command: click.Command, name: str, context: click.Context | None = None):
    inner = click.Context(command, info_name=name, parent=context)
    if isinstance(command, click.Group):
        for each in command.list_commands(inner):
            found = command.get_command(inner, each)
            assert found is not None
            yield from commands(found, f"{name} {each}", inner)
    else:
        yield name, command


ALL_COMMANDS = dict(commands(main, "turnout"))


@pytest.mark.parametrize("name", ALL_COMMANDS)
def test_every_command_is_documented(name):
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    assert re.search(rf"{name}\b", text), f"no page says `{name}`"
    assert ALL_COMMANDS[name].help, f"`{name} --help` says nothing"


def test_no_page_names_a_command_that_is_not_there():
    known = {tuple(name.split()) for name in ALL_COMMANDS}
    groups = {path[:2] for path in known if len(path) == 3}
    faults = []
    for page in PAGES:
        for line in re.findall(r"^\$ (turnout .*)$", page.read_text("utf-8"), re.MULTILINE):
            words = tuple(line.split())
            if words[:3] not in known and (words[:2] not in known or words[:2] in groups):
                faults.append(f"{named(page)}: {line}")
    assert faults == []


def test_every_option_in_a_console_block_exists():
    faults = []
    for page in PAGES:
        for line in re.findall(
            r"^\$ (?:.*&& )?(turnout .*)$", page.read_text("utf-8"), re.MULTILINE
        ):
            found = max((n for n in ALL_COMMANDS if line.startswith(n)), key=len, default=None)
            if found is None:
                continue
            known = {opt for p in ALL_COMMANDS[found].params for opt in p.opts + p.secondary_opts}
            faults += [
                f"{named(page)}: {line}: no {option}"
                for option in re.findall(r"(?<= )--[a-z-]+", line)
                if option not in known
            ]
    assert faults == []


def test_links_lead_somewhere():
    faults = [
        f"{named(page)}: {target}"
        for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
        for target in LINK.findall(page.read_text("utf-8"))
        if not (page.parent / target).exists()
    ]
    assert faults == []


def test_internals_names_every_file():
    text = (ROOT / "docs" / "internals.md").read_text("utf-8")
    package = ROOT / "src" / "turnout"
    said = set(FILE.findall(text))
    there = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    there |= {path.relative_to(package).as_posix() for path in package.rglob("*.sql")}
    there |= {path.relative_to(package).as_posix() for path in package.rglob("*.lua")}
    assert said - there == set(), "named, and not there"
    quiet = {name for name in there - said if not name.endswith(("__init__.py", "__main__.py"))}
    quiet = {name for name in quiet if not name.startswith(("cli/", "testing/"))}
    assert quiet == set(), "there, and not named"


def test_every_error_is_drawn_in_its_tree():
    from turnout import errors

    public = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.TurnoutError)
    }
    assert {name for name in public if name not in (errors.__doc__ or "")} == set()
