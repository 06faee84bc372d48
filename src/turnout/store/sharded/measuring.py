"""Metrics over shards: a source's rows go to one shard, and a read adds all shards up.

A repeated call must meet the shard that may have counted it before, so a source keeps to the shard
of its name; while that one is away its rows wait at their source. What a shard that is away keeps
is missing from a read until it is back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from turnout.errors import StoreUnavailable
from turnout.metrics import Measured, summed
from turnout.store.protocol import KeepsMetrics, Store
from turnout.store.sharded.placement import owner
from turnout.store.sharded.shards import Shard


class Homes:
    """Where the sources of this process send what they measured."""

    def __init__(self) -> None:
        self._homes: dict[str, Shard] = {}

    def of(self, source: str, shards: Sequence[Shard]) -> Shard:
        """Return a source's shard: the same for as long as there is that shard."""
        home = self._homes.get(source)
        if home is None or home not in shards:
            names = {shard.name: shard for shard in shards}
            home = self._homes[source] = names[owner(names, source)]
        return home


def keeper(store: Store) -> KeepsMetrics:
    """Return a shard's store as one that keeps metrics; all of ours do."""
    if not isinstance(store, KeepsMetrics):
        msg = f"{type(store).__name__} keeps no metrics"
        raise StoreUnavailable(msg)
    return store


def merged(lists: Iterable[Iterable[Measured]]) -> list[Measured]:
    """Return all shards' rows as one list, in order."""
    return summed((row for rows in lists for row in rows), by=("at", "task", "queue"))
