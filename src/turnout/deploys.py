"""Marks of what was deployed, when and by whom: the charts draw a line there.

The newest `MOST` are there (rings.py), for `KEPT` seconds, as long as metrics are. The invariant:
a label is one line of printable text, and short.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from turnout.errors import ConfigError
from turnout.rings import Ring

if TYPE_CHECKING:
    from collections.abc import Callable

    from turnout.store.protocol import Store

__all__ = ["KEPT", "LONGEST", "MOST", "Deploy", "Deploys", "checked_label"]

MOST = 500
EACH = 25  # so that a full one fits into a mark whatever the labels are
KEPT = 92 * 86_400.0
LONGEST = 60  # characters of a label, and of a name


class Deploy(msgspec.Struct, frozen=True, kw_only=True):
    """Something was deployed: what, when, and by whom."""

    label: str
    at: float
    by: str = ""


_RING = Ring(
    "marks of deploys", list[Deploy], key="turnout deploys", each=EACH, most=MOST, kept=KEPT
)


class Deploys:
    """The marks of deploys in a store."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def mark(self, label: str, *, by: str = "") -> Deploy:
        """Mark that something is deployed now, such as "v1.42", and return the mark.

        Raises ConfigError for a label that is empty, too long or not printable; StoreError.
        """
        deploy = Deploy(label=checked_label(label), at=round(self._clock(), 3), by=_name(by))
        _RING.add(self._store, deploy)
        return deploy

    def all(self) -> list[Deploy]:
        """Return the marks that are kept, the newest first. Raises StoreError."""
        return _RING.newest(self._store, self._clock())


def checked_label(label: str) -> str:
    """Return a label without the space around it; raises ConfigError for what is none."""
    label = label.strip()
    if not label:
        msg = "a deploy's label is empty: say what was deployed, such as v1.42"
        raise ConfigError(msg)
    if len(label) > LONGEST:
        msg = f"a deploy's label has at most {LONGEST} characters; this one has {len(label):,}"
        raise ConfigError(msg)
    if not label.isprintable():
        msg = f"a deploy's label is one line of printable characters, got {label!r:.80}"
        raise ConfigError(msg)
    return label


def _name(by: str) -> str:
    """Return who it was, cut: a name is not worth losing a mark."""
    return "".join(one if one.isprintable() else " " for one in by[:LONGEST]).strip()
