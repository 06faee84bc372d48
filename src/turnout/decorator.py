"""`@jobs.task(...)`: its options, checked where they are written, and the name a task gets."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

from turnout.crash import OnCrash
from turnout.errors import CENTURY, ConfigError, as_seconds
from turnout.isolation import Isolate, as_isolate
from turnout.limits.shapes import Limit, check_together
from turnout.retry import DEFAULT_ATTEMPTS, Policy
from turnout.task import Task, TaskOptions, check_name, check_priority

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Sequence
    from datetime import timedelta

    from turnout.app import Turnout
    from turnout.backoff import WaitLike
    from turnout.retry import Rule
    from turnout.task import P, R

Until = Literal["start", "finish", "time"]
Transactional = bool | Callable[[], AbstractContextManager[Any]]


class TaskMaker:
    """The decorator behind `@jobs.task(...)`, with its options checked."""

    def __init__(
        self,
        app: Turnout,
        *,
        name: str | None = None,
        queue: str | None = None,
        priority: int = 0,
        on_error: Sequence[Rule] = (),
        attempts: int = DEFAULT_ATTEMPTS,
        wait: WaitLike | None = None,
        timeout: float | timedelta | None = None,
        expires: float | timedelta | None = None,
        keep: float | timedelta | None = None,
        unique: bool | Callable[..., str] = False,
        unique_until: Until = "finish",
        unique_for: float | timedelta | None = None,
        transactional: Transactional = False,
        isolate: bool | Isolate = False,
        memory: int | str | None = None,
        on_crash: OnCrash = "rerun",
        limit: Limit | Sequence[Limit] = (),
        dependency: str | None = None,
        lane: str | Callable[..., Any] | None = None,
    ) -> None:
        self._app, self._name = app, None if name is None else check_name(name)
        self._options = _checked(
            **_queue(app, queue),
            priority=check_priority(priority),
            policy=Policy(on_error, attempts, wait),
            timeout=_above_zero(timeout, "timeout="),
            expires=_above_zero(expires, "expires="),
            keep=_seconds(keep, "keep="),
            unique=unique,
            unique_until=unique_until,
            unique_for=_above_zero(unique_for, "unique_for="),
            transactional=transactional,
            isolate=as_isolate(isolate, memory),
            on_crash=on_crash,
            **_carried(app, limit, dependency, lane),
        )

    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, R]]
    ) -> Task[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, fn: Callable[P, R]) -> Task[P, R, R]: ...
    def __call__(self, fn: Callable[..., Any]) -> Any:
        """Make the function a task."""
        if not callable(fn) or not hasattr(fn, "__code__"):
            msg = f"@task goes on a function, got {fn!r:.80}"
            raise ConfigError(msg)
        if isgeneratorfunction(fn) or isasyncgenfunction(fn):
            msg = f"{fn.__qualname__} is a generator: its body would not run; return, do not yield"
            raise ConfigError(msg)
        if self._options.transactional and iscoroutinefunction(fn):
            msg = f"transactional= is for `def` tasks, {fn.__qualname__} is an `async def`"
            raise ConfigError(msg)
        name = self._name or _default_name(fn)
        task: Task[Any, Any, Any] = Task(self._app, fn, name, self._options)
        self._app.register(task)
        return task


def check_option_names(given: Collection[str]) -> None:
    """Raise ConfigError for an option that `@jobs.task` does not have."""
    import difflib

    known = tuple(inspect.signature(TaskMaker).parameters)[1:]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}=?" if near else f"known: {', '.join(known)}"
            msg = f"@task has no option {name}=; {hint}"
            raise ConfigError(msg)


def _seconds(value: float | timedelta | None, name: str) -> float | None:
    return None if value is None else as_seconds(value, name, CENTURY)


def _above_zero(value: float | timedelta | None, name: str) -> float | None:
    seconds = _seconds(value, name)
    if seconds == 0:
        msg = f"{name} must be more than zero, or None for no bound"
        raise ConfigError(msg)
    return seconds


def _checked(**fields: Any) -> TaskOptions:
    options = TaskOptions(**fields)
    _check_options(options)
    return options


def _queue(app: Turnout, queue: str | None) -> dict[str, Any]:
    name = app.check_queue(queue or app.config.default_queue)
    return {"queue": name, "queue_given": queue is not None}


def _carried(app: Turnout, limit: Any, dependency: str | None, lane: Any) -> dict[str, Any]:
    if dependency is not None:
        app.dependency(dependency)
    return {"limits": _limits(limit), "dependency": dependency, "lane": lane}


def _check_options(options: TaskOptions) -> None:
    if not isinstance(options.transactional, bool) and not callable(options.transactional):
        msg = (
            "transactional= is True or a function that opens a transaction, such as Session.begin, "
            f"got {options.transactional!r:.80}"
        )
        raise ConfigError(msg)
    if not isinstance(options.unique, bool) and not callable(options.unique):
        msg = f"unique= is True or a function that returns the key, got {options.unique!r:.80}"
        raise ConfigError(msg)
    if not isinstance(options.lane, str | None) and not callable(options.lane):
        msg = (
            f"lane= is an argument's name or a function of the arguments, got {options.lane!r:.80}"
        )
        raise ConfigError(msg)
    if options.unique_until not in ("start", "finish", "time"):
        msg = f"unique_until= is start, finish or time, got {options.unique_until!r}"
        raise ConfigError(msg)
    if options.on_crash not in get_args(OnCrash):
        msg = f"on_crash= is rerun, dead or discard, got {options.on_crash!r}"
        raise ConfigError(msg)
    if options.unique_until == "time" and options.unique_for is None:
        msg = "unique_until='time' needs unique_for=, the seconds for which the key stays taken"
        raise ConfigError(msg)


def _limits(given: Any) -> tuple[Limit, ...]:
    if isinstance(given, Limit):
        return (given,)
    if not isinstance(given, list | tuple):
        msg = f"limit= takes concurrency(...), rate(...) or a list of these, got {given!r:.80}"
        raise ConfigError(msg)
    return check_together(given)


def _default_name(fn: Callable[..., Any]) -> str:
    """Return module.qualname; in a script, the file's stem stands in for __main__."""
    module = fn.__module__
    if module == "__main__":
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        path = getattr(sys.modules["__main__"], "__file__", None)
        stem = os.path.splitext(os.path.basename(path))[0] if path else module  # noqa: PTH119, PTH122
        module = spec.name if spec else stem
    return f"{module}.{fn.__qualname__}"
