"""What a rule goes by, a limit or a lane: an argument of the task, or a function of all of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from turnout.errors import ConfigError


class By:
    """Reads that value off a call of the task's function `fn`.

    `rule` begins the message of the ConfigError that is raised when `fn` takes no such argument.
    """

    def __init__(self, fn: Callable[..., Any], by: str | Callable[..., Any], rule: str) -> None:
        self._by = by
        self._signature = inspect.signature(fn)
        known = self._signature.parameters
        if isinstance(by, str) and by not in known:
            name = getattr(fn, "__qualname__", repr(fn))
            msg = (
                f"{rule} the argument {by!r}, which {name} does not take; "
                f"it takes: {', '.join(known) or 'none'}"
            )
            raise ConfigError(msg)

    def value(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what a job with these arguments goes by."""
        if not isinstance(self._by, str):
            return self._by(*args, **kwargs)
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments[self._by]
