"""`turnout enqueue`: record one job by hand, its arguments checked as in a program.

The invariant: what is typed is JSON and goes through the task's own types, so that a job made here
is one that the application could have made.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import click
import msgspec

from turnout.cli import output
from turnout.cli.filters import LENGTH
from turnout.cli.locate import find_app
from turnout.cli.options import app_option, examples, json_option
from turnout.errors import ArgumentError

if TYPE_CHECKING:
    from turnout.job import JobId
    from turnout.task import Task

_NAMED = re.compile(r"([^\W\d]\w*)=(.*)", re.DOTALL)
_WIRE: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


@click.command(
    context_settings={"ignore_unknown_options": True},  # -5 is an argument
    epilog=examples(
        "turnout enqueue -a shop.jobs shop.jobs.charge 42",
        "turnout enqueue -a shop.jobs shop.jobs.mail '\"ann@example.org\"' retries=3 --delay 10m",
    ),
)
@app_option
@click.option("--delay", type=LENGTH, metavar="LENGTH", help="Not before: 90s, 15m, 2h.")
@click.option("-q", "--queue", metavar="NAME", help="Another queue than the task's own.")
@click.option("--priority", type=click.IntRange(-100, 100), help="Larger is sooner.")
@json_option
@click.argument("task")
@click.argument("args", nargs=-1, metavar="[JSON | NAME=JSON]...")
def enqueue(
    *, app: str | None, task: str, args: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Enqueue TASK with arguments written as JSON, and print the job's id."""
    job_id = enqueue_json(app, task, args, options)
    if as_json:
        output.print_json({"id": job_id, "task": task, "enqueued": job_id is not None})
    elif job_id is not None:
        click.echo(job_id)
    if job_id is None:
        click.echo("nothing enqueued: another job holds its unique key", err=True)
        click.get_current_context().exit(1)


def parse_arguments(texts: tuple[str, ...]) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and named arguments that JSON texts mean; raises ArgumentError."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for text in texts:
        match = _NAMED.fullmatch(text)
        if match is None and named:
            msg = f"the argument {text} has no name, but follows named ones; put it before them"
            raise ArgumentError(msg)
        if match is None:
            positional.append(_json(text))
        elif match[1] in named:
            msg = f"the argument {match[1]} is given twice"
            raise ArgumentError(msg)
        else:
            named[match[1]] = _json(match[2])
    return positional, named


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        quoted = msgspec.json.encode(text.encode("utf-8", "replace").decode()).decode()
        msg = (
            f"{output.one_line(text)} is not JSON; a string is written '{quoted}' (quotes included)"
        )
        raise ArgumentError(msg) from error


def enqueue_json(
    app: str | None, name: str, texts: tuple[str, ...], options: dict[str, Any]
) -> JobId | None:
    """Enqueue a task with JSON arguments; the job's id, None where its unique key is taken."""
    found = find_app(app)
    task = found.find_task(name)
    call = typed_call(task, *parse_arguments(texts))
    given = {key: value for key, value in options.items() if value is not None}
    try:
        job = task.using(**given).enqueue(*call.args, **call.kwargs)
        return job.id if job.enqueued else None
    finally:
        found.close()


def typed_call(
    task: Task[Any, Any, Any], positional: list[Any], named: dict[str, Any]
) -> inspect.BoundArguments:
    """Return the call with JSON values turned into the task's types; raises ArgumentError."""
    signature = inspect.signature(task.fn)
    try:
        given = signature.bind(*positional, **named)
        kinds = {name: signature.parameters[name].kind for name in given.arguments}
        wire = {_WIRE.get(kinds[name], name): v for name, v in given.arguments.items()}
        args, kwargs = task.signature.decode(msgspec.json.encode(wire).decode())
    except (TypeError, ArgumentError) as error:
        msg = f"cannot enqueue {task.name}{signature}: {error.__cause__ or error}"
        raise ArgumentError(msg) from error
    typed = signature.bind(*args, **kwargs)
    # Defaults were filled in; they stay the task's own, as in a call from a program.
    for name in [name for name in typed.arguments if name not in given.arguments]:
        del typed.arguments[name]
    return typed
