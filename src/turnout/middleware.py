"""Middleware: functions that wrap an enqueue or a run, composed once into a chain of closures.

    layer(subject, proceed) -> result          proceed(subject) -> result

The subject is a `NewJob` around an enqueue and the current job around a run; a layer may hand
another subject on. Invariant: the first layer is the outermost, and an empty chain is the call
itself, so that whoever uses no middleware pays nothing for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from turnout.errors import ConfigError
from turnout.job import NewJob

__all__ = [
    "AsyncRunMiddleware",
    "EnqueueMiddleware",
    "RunMiddleware",
    "check_middleware",
    "compose",
]

S = TypeVar("S")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

EnqueueMiddleware = Callable[[NewJob, Callable[[NewJob], Any]], Any]
RunMiddleware = Callable[[Any, Callable[[Any], Any]], Any]
AsyncRunMiddleware = Callable[[Any, Callable[[Any], Awaitable[Any]]], Awaitable[Any]]


def compose(
    layers: Iterable[Callable[[S, Callable[[S], T]], T]], call: Callable[[S], T]
) -> Callable[[S], T]:
    """Return `call` wrapped by `layers`, the first outermost.

    Async layers around an async call work alike: what is returned is what they return, to be
    awaited.
    """
    for layer in reversed(tuple(layers)):
        call = _around(layer, call)
    return call


def _around(layer: Callable[[S, Callable[[S], T]], T], inner: Callable[[S], T]) -> Callable[[S], T]:
    def wrapped(subject: S) -> T:
        return layer(subject, inner)

    return wrapped


def check_middleware(fn: F) -> F:
    """Return `fn`; raise ConfigError unless it can be called with (subject, proceed)."""
    given: Any = fn
    if not callable(given):
        msg = f"middleware is a function of (job, proceed), got {fn!r}"
        raise ConfigError(msg)
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        msg = f"middleware {_called(fn)} yields: call proceed(job) and return what it returns"
        raise ConfigError(msg)
    try:
        inspect.signature(fn).bind(None, None)
    except (TypeError, ValueError) as error:
        msg = f"middleware {_called(fn)} must take (job, proceed): {error}"
        raise ConfigError(msg) from error
    return fn


def _called(fn: object) -> str:
    return str(getattr(fn, "__qualname__", type(fn).__name__))
