"""The newest entries of one kind, kept in a store for all who look: a ring of documents.

Each document holds `each` entries. They are filled one after the other; when all are full, the one
that is oldest is begun anew. So the newest `most` are always there, for as long as they are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from turnout.documents import Documents, Place

if TYPE_CHECKING:
    from turnout.store.protocol import Store


class Dated(Protocol):
    """Something that happened at a time."""

    @property
    def at(self) -> float:
        """When, in seconds since the epoch."""
        ...


T = TypeVar("T", bound=Dated)


class Ring(Generic[T]):
    """A ring under one key; messages call its entries `what`.

    `each` entries must fit into one document, whatever they say; nothing of it is kept for longer
    than `kept` seconds after the last one.
    """

    def __init__(
        self, what: str, kind: type[list[T]], *, key: str, each: int, most: int, kept: float
    ) -> None:
        places = tuple(f"part {n}" for n in range(-(-most // each) + 1))
        self._documents = Documents(what, kind, key=key, places=places, kept=kept)
        self._each = each
        self._most = most
        self._kept = kept

    def add(self, store: Store, entry: T) -> None:
        """Keep an entry. Raises StoreError."""
        self._documents.change(store, lambda places: self._added(places, entry))

    def newest(self, store: Store, now: float) -> list[T]:
        """Return what is kept, the newest first. Raises StoreError."""
        found = [one for place in self._documents.read(store) for one in place.value or ()]
        found = [one for one in found if one.at >= now - self._kept]
        return sorted(found, key=lambda one: -one.at)[: self._most]

    def _added(self, places: list[Place[list[T]]], entry: T) -> tuple[Place[list[T]], list[T]]:
        # By how full they are, not by time: the clocks of those who write differ.
        with_room = [one for one in places if len(one.value or ()) < self._each]
        begun = [one for one in with_room if one.value]
        if not with_room:
            return min(places, key=_last), [entry]
        place = (begun or with_room)[0]
        return place, [*(place.value or ()), entry]


def _last(place: Place[list[T]]) -> float:
    return max((one.at for one in place.value or ()), default=0.0)
