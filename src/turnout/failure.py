"""What an exception says of itself: name, message, traceback, and how long to wait (Retry-After).

Invariant: nothing here raises, whatever the exception does when asked; text comes out with a
bounded length and without NUL and lone surrogates, so that any store can keep it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from math import isfinite, isnan
from typing import Any

__all__ = ["clean", "describe", "format_traceback", "qualified_name", "retry_after"]

MAX_NAME = 300
MAX_MESSAGE = 2_000
MAX_TRACEBACK = 8_000
MAX_RETRY_AFTER = 86_400.0
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean(text: str) -> str:
    """Return `text` with everything replaced that UTF-8 or a store cannot hold."""
    # A subclass of str answers with its own methods: str's concatenation makes a plain one.
    return _UNSTORABLE.sub("\ufffd", str.__add__("", text))


def qualified_name(kind: type) -> str:
    """Return a class's dotted name, such as "shop.errors.CardError"; built-in ones stay bare."""
    try:
        module, name = kind.__module__, kind.__qualname__
        full = name if module == "builtins" else f"{module}.{name}"
        return clean(full)[:MAX_NAME]
    except BaseException:  # noqa: BLE001 - a metaclass may answer with anything
        return "unnamed exception"


def describe(error: BaseException) -> tuple[str, str]:
    """Return the exception's qualified name and its message, at most 2,000 characters of it."""
    name = qualified_name(type(error))
    try:
        message = clean(str(error))
    except BaseException as trouble:  # noqa: BLE001 - __str__ is user code and may even exit
        message = f"<no message: str() of it raised {qualified_name(type(trouble))}>"
    if len(message) > MAX_MESSAGE:
        message = message[: MAX_MESSAGE - 1] + "\u2026"
    return name, message


def format_traceback(error: BaseException, limit_chars: int = MAX_TRACEBACK) -> str:
    """Return the traceback as Python prints it, cut in the middle to `limit_chars`."""
    import traceback

    try:
        text = clean("".join(traceback.format_exception(error)))
    except BaseException as trouble:  # noqa: BLE001 - source lines and __str__ are user data
        name, message = describe(error)
        text = f"{name}: {message}\n<no traceback: {qualified_name(type(trouble))}>\n"
    return _cut_middle(text, limit_chars)


def _cut_middle(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    note = f"\n... {len(text) - limit:,} characters left out ...\n"
    room = limit - len(note)
    if room <= 0:
        return text[-limit:] if limit > 0 else ""
    head = room * 2 // 5  # the end names the error and the failing line: it gets more
    return text[:head] + note + text[-(room - head) :]


def retry_after(error: BaseException, now: float) -> float | None:
    """Return the seconds that a failing service asked us to wait, 0 to 86,400, or None.

    Looks at `error.retry_after` (a number, timedelta, aware datetime or text), then at the header
    Retry-After (seconds or an HTTP date) of `error.response.headers` and `error.headers`.
    Never raises.
    """
    for look in (_from_attribute, _from_response, _from_headers):
        try:
            seconds = _as_wait_seconds(look(error), now)
        except BaseException:  # noqa: BLE001, S112 - properties and mappings of other people's errors
            continue
        if seconds is not None and not isnan(seconds):
            return min(max(seconds, 0.0), MAX_RETRY_AFTER)
    return None


def _from_attribute(error: BaseException) -> object:
    return getattr(error, "retry_after", None)


def _from_response(error: BaseException) -> object:
    return _header(getattr(getattr(error, "response", None), "headers", None))


def _from_headers(error: BaseException) -> object:
    return _header(getattr(error, "headers", None))


def _header(headers: object) -> object:
    # `items` and not Mapping: the standard library's own header class is none.
    items = getattr(headers, "items", None)
    pairs: Any = items() if callable(items) else ()
    for name, value in pairs:
        if isinstance(name, bytes):
            name = name.decode("latin-1")  # noqa: PLW2901
        if isinstance(name, str) and name.lower() == "retry-after":
            return value
    return None


def _as_wait_seconds(value: object, now: float) -> float | None:
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        value = _parsed(value.strip())
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return None if value.utcoffset() is None else value.timestamp() - now
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def _parsed(text: str) -> float | datetime:
    try:
        number = float(text)
    except ValueError:
        from email.utils import parsedate_to_datetime

        moment = parsedate_to_datetime(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if not isfinite(number):
        raise ValueError(text)
    return number
