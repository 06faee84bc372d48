"""Checks that gather what is wrong, so that a declaration is refused once, with all its faults.

A check returns a list of faults in words; `refuse` raises them together. Durations are seconds.
"""

from __future__ import annotations

import math
from typing import Any

from turnout.errors import ConfigError

__all__ = ["MAX_COUNT", "MAX_SECONDS", "key_faults", "number_faults", "refuse", "whole_faults"]

MAX_COUNT = 100_000  # holders or starts that one key may have at once
MAX_SECONDS = 366 * 86_400.0
MAX_KEY = 200


def refuse(what: str, faults: list[str]) -> None:
    """Raise one ConfigError that lists all faults of `what`; nothing when there is none."""
    if len(faults) == 1:
        msg = f"{what}: {faults[0]}"
        raise ConfigError(msg)
    if faults:
        msg = f"{what} has {len(faults)} faults:\n" + "\n".join(f"  - {one}" for one in faults)
        raise ConfigError(msg)


def whole_faults(name: str, value: Any, least: int, most: int = MAX_COUNT) -> list[str]:
    """Return what is wrong with a whole number that must be from `least` to `most`."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and least <= value <= most:
        return []
    return [f"{name} must be a whole number from {least:,} to {most:,}, got {value!r:.80}"]


def number_faults(
    name: str, value: Any, least: float = 0.0, most: float = MAX_SECONDS, *, above: bool = True
) -> list[str]:
    """Return what is wrong with a number above (or from) `least`, and at most `most`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = number and math.isfinite(value) and value <= most
    if fits and (value > least or (not above and value == least)):
        return []
    bound = f"more than {least:g}" if above else f"{least:g} or more"
    return [f"{name} must be {bound} and at most {most:,g}, got {value!r:.80}"]


def key_faults(value: Any, most: int = MAX_KEY) -> list[str]:
    """Return what is wrong with a limit key: 1 to 200 printable characters."""
    if isinstance(value, str) and 1 <= len(value) <= most and value.isprintable():
        return []
    return [f"key must be text of 1 to {most} printable characters, got {value!r:.80}"]
