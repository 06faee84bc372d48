"""Small documents in a store, for all who look at it: each is the value of a mark.

    read     every place of a kind, and what it holds
    change   read, decide, write over what was read; all again when somebody else wrote meanwhile

A document that nobody changes for a while expires. The invariant: what one process writes never
undoes what another wrote in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from turnout.errors import StoreUnavailable
from turnout.limits.marks import Mark

if TYPE_CHECKING:
    from turnout.store.protocol import Store

T = TypeVar("T")

_TRIES = 20


class Place(msgspec.Struct, Generic[T], frozen=True):
    """Where a document stands: its text as it was read, and what that says.

    `value` is None where nothing stands, and where a newer version wrote it in another form.
    """

    name: str
    text: str | None = None
    value: T | None = None


class Documents(Generic[T]):
    """The documents of one kind, in places of one key; messages call them `what`.

    Those that nobody changed for `kept` seconds expire.
    """

    def __init__(
        self, what: str, kind: type[T], *, key: str, places: Sequence[str], kept: float
    ) -> None:
        self._what = what
        self._kind = kind
        self._key = key
        self._names = places
        self._kept = kept

    def read(self, store: Store) -> list[Place[T]]:
        """Return every place. Raises StoreError."""
        asked = [Mark(key=self._key, owner=name, ttl=self._kept, most=0) for name in self._names]
        answers = store.mark(asked)
        if any(one.away for one in answers):
            msg = f"the store that keeps {self._what} is away"
            raise StoreUnavailable(msg)
        texts = [one.value for one in answers]
        return [
            Place(name, text, self._read(text))
            for name, text in zip(self._names, texts, strict=True)
        ]

    def change(
        self, store: Store, step: Callable[[list[Place[T]]], tuple[Place[T], T] | None]
    ) -> T | None:
        """Write what `step` makes of what is there, and return that; None where it makes nothing.

        `step` returns a place and what shall stand in it; it may be asked again. Raises StoreError.
        """
        for _ in range(_TRIES):
            made = step(self.read(store))
            if made is None:
                return None
            place, value = made
            if value == place.value or self._write(store, place, value):
                return value
        msg = f"{self._what} change too fast; try again"
        raise StoreUnavailable(msg)

    def _read(self, text: str | None) -> T | None:
        try:
            return None if text is None else msgspec.json.decode(text, type=self._kind)
        except msgspec.MsgspecError:
            return None

    def _write(self, store: Store, place: Place[T], value: T) -> bool:
        """Write over what was seen there; False when it is something else by now."""
        mark = Mark(
            key=self._key, owner=place.name, ttl=self._kept, most=len(self._names),
            value=text_of(value), expect=place.text,
        )  # fmt: skip
        return store.mark([mark])[0].granted


def text_of(value: Any) -> str:
    """Return a document as it is kept; a mark's value has at most `MAX_VALUE` characters."""
    return msgspec.json.encode(value).decode()
