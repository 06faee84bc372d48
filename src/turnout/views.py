"""Queries over jobs that people saved under a name, for all who look at the same store.

They are the value of one mark, changed by compare-and-set; a year after the last change it expires.
The invariant: a name is saved once; saving it again replaces its query.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from turnout.errors import ConfigError, StoreUnavailable
from turnout.limits.marks import MAX_VALUE, Mark

if TYPE_CHECKING:
    from turnout.store.protocol import Store

MOST = 50
LONGEST_NAME, LONGEST_QUERY = 40, 500
KEPT = 365 * 86_400.0
_KEY, _OWNER = "turnout views", "all"
_TRIES = 20


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A query and who saved it."""

    name: str
    query: str
    by: str = ""


def saved(store: Store) -> list[View]:
    """Return the saved views by name. Raises StoreError."""
    return _read(store)[1]


def save(store: Store, view: View) -> None:
    """Save a view. Raises ConfigError for what cannot be kept, StoreError."""
    if not (view.name.isprintable() and 1 <= len(view.name.strip()) <= LONGEST_NAME):
        msg = f"a view's name is 1 to {LONGEST_NAME} printable characters, got {view.name!r:.80}"
        raise ConfigError(msg)
    if not (view.query.isprintable() and len(view.query) <= LONGEST_QUERY):
        msg = f"a view's query is at most {LONGEST_QUERY} printable characters"
        raise ConfigError(msg)
    _change(store, lambda views: [*(one for one in views if one.name != view.name), view])


def forget(store: Store, name: str) -> bool:
    """Forget a view; False when there is none of this name. Raises StoreError."""
    return _change(store, lambda views: [one for one in views if one.name != name])


def _change(store: Store, change: Callable[[list[View]], list[View]]) -> bool:
    for _ in range(_TRIES):
        seen, views = _read(store)
        changed = sorted(change(views), key=lambda one: one.name)
        if changed == views:
            return False
        text = msgspec.json.encode(changed).decode()
        if len(changed) > MOST or len(text) > MAX_VALUE:
            msg = f"no room is left for another view ({len(views)} are saved): forget one first"
            raise ConfigError(msg)
        mark = Mark(key=_KEY, owner=_OWNER, ttl=KEPT, value=text, expect=seen)
        if store.mark([mark])[0].granted:
            return True
    msg = "the saved views change too fast; try again"
    raise StoreUnavailable(msg)


def _read(store: Store) -> tuple[str | None, list[View]]:
    [answer] = store.mark([Mark(key=_KEY, owner=_OWNER, ttl=KEPT, most=0)])
    if answer.away:
        msg = "the store that keeps saved views is away"
        raise StoreUnavailable(msg)
    if answer.value is None:
        return None, []
    return answer.value, msgspec.json.decode(answer.value, type=list[View])
