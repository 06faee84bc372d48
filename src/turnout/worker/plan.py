"""What is known of a task before any of its jobs runs, computed once for each task and worker.

The chain of middleware is built here, so that a job pays only for the layers it has, and a job
without any pays nothing.
"""

from __future__ import annotations

import random
from functools import lru_cache
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Literal

from turnout.codec import Signature
from turnout.current import CurrentJob, current
from turnout.lanes import base_of
from turnout.middleware import compose

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from turnout.app import Turnout
    from turnout.crash import OnCrash
    from turnout.task import Task

Kind = Literal["thread", "loop", "child"]
FAST = 0.0005  # seconds: a job below this is not worth waking another thread for
_SMOOTHING = 0.1


class Plan:
    """How to run the jobs of one task here, and how long they have taken lately."""

    __slots__ = (
        "app",
        "call",
        "decode",
        "is_async",
        "isolate",
        "keep",
        "kind",
        "mean",
        "name",
        "on_crash",
        "policy",
        "rng",
        "signature",
        "timeout",
        "transaction",
    )

    def __init__(self, app: Turnout, task: Task[Any, Any, Any]) -> None:
        self.app = app
        self.name = task.name
        self.is_async = task.is_async
        self.isolate = task.options.isolate
        self.on_crash: OnCrash = task.options.on_crash
        self.kind: Kind = kind_of(task)
        self.signature: Signature = task.signature
        self.decode = task.signature.decode
        self.policy = task.options.policy
        self.timeout = task.options.timeout
        # Asked after every job. The bound is for lanes: there may be one for each customer.
        self.keep = lru_cache(1_000)(_keep(app, task.options.keep))
        self.call = _chain(app, task)
        self.transaction = _transaction(app, task)
        self.rng = random.Random()
        self.mean: float | None = None

    @property
    def is_fast(self) -> bool:
        """True once its jobs have proven to end sooner than a thread takes to wake."""
        return self.mean is not None and self.mean < FAST

    def took(self, seconds: float) -> None:
        """Learn from one more job."""
        mean = self.mean
        self.mean = seconds if mean is None else mean + _SMOOTHING * (seconds - mean)


def kind_of(task: Task[Any, Any, Any]) -> Kind:
    """Return which executor runs a task's jobs."""
    if task.options.isolate is not None:
        return "child"
    return "loop" if task.is_async else "thread"


def _keep(app: Turnout, seconds: float | None) -> Callable[[str], float]:
    def keep(queue: str) -> float:
        return app.config.keep_for(base_of(queue)) if seconds is None else seconds

    return keep


def _transaction(
    app: Turnout, task: Task[Any, Any, Any]
) -> Callable[[], AbstractContextManager[Any]] | None:
    """Return what opens the transaction of one attempt, for a transactional task."""
    given = task.options.transactional
    return app.store.transaction if given is True else given or None


def _chain(app: Turnout, task: Task[Any, Any, Any]) -> Callable[..., Any]:
    """Return the task's function with the run middleware of its kind around it."""
    fn = task.fn
    layers = [layer for layer in app.run_layers if iscoroutinefunction(layer) == task.is_async]
    if not layers:
        return fn

    def innermost(job: CurrentJob) -> Any:
        args, kwargs = job.arguments
        return fn(*args, **kwargs)

    chain = compose(layers, innermost)

    def run(*_args: Any, **_kwargs: Any) -> Any:
        return chain(current.get())  # it knows its arguments, and layers may change them

    return run
