"""Queries over jobs that people saved under a name, for all who look at the same store.

They are one document (documents.py); a year after the last change it expires. The invariant: a name
is saved once; saving it again replaces its query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from turnout.documents import Documents, Place, text_of
from turnout.errors import ConfigError, SchemaError
from turnout.limits.marks import MAX_VALUE

if TYPE_CHECKING:
    from collections.abc import Callable

    from turnout.store.protocol import Store

MOST = 50
LONGEST_NAME, LONGEST_QUERY = 40, 500
KEPT = 365 * 86_400.0


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A query and who saved it."""

    name: str
    query: str
    by: str = ""


_VIEWS = Documents("saved views", list[View], key="turnout views", places=("all",), kept=KEPT)


def saved(store: Store) -> list[View]:
    """Return the saved views by name. Raises StoreError."""
    [place] = _VIEWS.read(store)
    return place.value or []


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
    def step(places: list[Place[list[View]]]) -> tuple[Place[list[View]], list[View]] | None:
        [place] = places
        views = _views_in(place)
        changed = sorted(change(views), key=lambda one: one.name)
        if changed == views:
            return None
        if len(changed) > MOST or len(text_of(changed)) > MAX_VALUE:
            msg = f"no room is left for another view ({len(views)} are saved): forget one first"
            raise ConfigError(msg)
        return place, changed

    return _VIEWS.change(store, step) is not None


def _views_in(place: Place[list[View]]) -> list[View]:
    if place.value is None and place.text is not None:
        msg = "the saved views were written by a newer Turnout: change them with that one"
        raise SchemaError(msg)
    return place.value or []
