"""The errors that a simulated call ends with, and of which class, so that a task's own rules apply.

Invariant: what is made is an instance of the class that was asked for, whatever its constructor
wants, and a throttled one names its time as real ones do.
"""

from __future__ import annotations

import msgspec

__all__ = ["Raises", "ServiceError", "ServiceRefused", "ServiceTimeout", "TooManyRequests"]


class ServiceError(Exception):
    """The service did the work and failed."""


class ServiceRefused(ConnectionError):
    """The service did not take the call."""


class ServiceTimeout(TimeoutError):
    """The caller gave up waiting."""


class TooManyRequests(Exception):
    """The service answered 429; `retry_after` is what it asked for, in seconds or None."""

    status_code = 429
    retry_after: float | None = None


class Raises(msgspec.Struct, frozen=True, kw_only=True):
    """Which class each kind of ending raises."""

    failed: type[Exception] = ServiceError
    refused: type[Exception] = ServiceRefused
    timeout: type[Exception] = ServiceTimeout
    throttled: type[Exception] = TooManyRequests

    def make(self, kind: str, retry_after: float | None) -> Exception:
        """Return the error of an ending."""
        error_class: type[Exception] = getattr(self, kind)
        error = error_class.__new__(error_class)
        if kind == "throttled":
            error.__dict__.update(status_code=429, retry_after=retry_after)
        return error
