"""Running a job again with other arguments, and writing it down as Python.

The invariant: edited arguments pass the same checks as those of an `enqueue` in code: they are read
by the task's annotations, and what does not fit is refused with the path of the value.
"""

from __future__ import annotations

import inspect
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, get_type_hints
from uuid import UUID

import msgspec

from turnout.task import CallOptions

if TYPE_CHECKING:
    from turnout.app import Turnout
    from turnout.handle import Job
    from turnout.job import JobRecord

_FROM_DATETIME = (datetime, date, time, timedelta)
_DEPTH = 8


def enqueue_again(jobs: Turnout, record: JobRecord, args: str) -> Job[Any]:
    """Enqueue a new job like `record`, with `args` (JSON text): same queue, priority and context.

    Raises UnknownTask when this application lacks the task, ArgumentError or PayloadTooLarge for
    arguments that do not fit it, StoreError.
    """
    task = jobs.find_task(record.task)
    given, named = task.signature.decode(args)
    options = CallOptions(queue=record.queue, priority=record.priority)
    task.check(options)
    new = task.build(given, dict(named), options)
    # What was given, without the defaults that decoding filled in: those stay the task's own.
    text = min(msgspec.json.format(args, indent=-1), new.args, key=len)
    return jobs.record(msgspec.structs.replace(new, args=text, context=record.context))


def signature_of(jobs: Turnout, task: str) -> str:
    """Return how a task is called, as Python writes it; at least its name."""
    try:
        fn = jobs.tasks[task].fn
        hints = get_type_hints(fn)
        whole = inspect.signature(fn)
        typed = [
            one.replace(annotation=hints.get(one.name, one.annotation))
            for one in whole.parameters.values()
        ]
        return f"{task}{whole.replace(parameters=typed)}"[:500]
    except Exception:  # noqa: BLE001 - defaults print themselves by user code
        return task


def pretty(text: str | None) -> str:
    """Return JSON with line breaks; what is no JSON comes back as it is, None as ""."""
    if text is None:
        return ""
    try:
        return msgspec.json.format(text, indent=2)
    except (msgspec.MsgspecError, RecursionError):
        return text


def as_python(jobs: Turnout, record: JobRecord, hidden: bool) -> str | None:  # noqa: FBT001 - one caller
    """Return the lines that enqueue this job; None when that cannot be written.

    Hidden arguments are left as `...`.
    """
    task = jobs.tasks.get(record.task)
    if task is None or record.args is None:
        return None
    module, name = task.fn.__module__, getattr(task.fn, "__qualname__", "")
    if "<" in name or not name.replace(".", "").isidentifier():
        return None
    imports = {f"from {module} import {name.partition('.')[0]}"}
    try:
        args, named = ((), {}) if hidden else task.signature.decode(record.args)
        said = [literal(one, imports) for one in args]
        said += [f"{key}={literal(one, imports)}" for key, one in named.items()]
    except Exception:  # noqa: BLE001 - the arguments may be another version's, and repr is user code
        return None
    call = f"{name}.enqueue({'...' if hidden else ', '.join(said)})"
    return "\n".join([*sorted(imports), "", call])


def literal(value: Any, imports: set[str], depth: int = 0) -> str:
    """Return a value as Python source, adding to `imports` what that needs."""
    kind = type(value)
    if depth > _DEPTH:
        return "..."
    if isinstance(value, Enum):
        imports.add(f"from {kind.__module__} import {kind.__qualname__.partition('.')[0]}")
        return f"{kind.__qualname__}.{value.name}"
    if isinstance(value, dict):
        inner = (
            f"{literal(k, imports)}: {literal(v, imports, depth + 1)}" for k, v in value.items()
        )
        return "{" + ", ".join(inner) + "}"
    if kind in (list, tuple, set, frozenset):
        return _sequence(value, imports, depth)
    if isinstance(value, _FROM_DATETIME):
        imports.add("import datetime")
    elif kind in (UUID, Decimal) or kind.__module__ != "builtins":
        imports.add(f"from {kind.__module__} import {kind.__qualname__.partition('.')[0]}")
    return repr(value)


def _sequence(value: Any, imports: set[str], depth: int) -> str:
    inner = ", ".join(literal(one, imports, depth + 1) for one in value)
    match value:
        case list():
            return f"[{inner}]"
        case tuple():
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        case set() if value:
            return f"{{{inner}}}"
        case _:
            return f"{type(value).__name__}({f'[{inner}]' if value else ''})"
