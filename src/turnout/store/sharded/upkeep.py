"""Heartbeats and reaping over shards."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from msgspec.structs import replace

from turnout.crash import Evidence
from turnout.errors import StoreError, StoreUnavailable
from turnout.job import JobId, Order, Orders, Reaped, WorkerInfo
from turnout.store.protocol import Store
from turnout.store.sharded.session import Session, base
from turnout.store.sharded.shards import Shard


class Beat:
    """One heartbeat of one worker, to every shard."""

    def __init__(self, session: Session, worker: WorkerInfo, ttl: float, now: float | None) -> None:
        self._session = session
        self._worker = worker
        self._ttl = ttl
        self._now = now
        self._orders: list[Orders] = []
        self._lost: list[Shard] = []
        self._errors: list[StoreError] = []

    def at(self, shards: Sequence[Shard]) -> Orders:
        """Beat at these shards, and at former ones as long as jobs of theirs run here."""
        session = self._session
        former = [shard for shard in session.names if shard not in shards]
        for shard in [*shards, *former]:
            self._beat(shard)
        if not self._orders and not self._lost:
            raise StoreUnavailable("; ".join(map(str, self._errors)))
        for shard in self._lost:
            session.lost_at(shard)
        if not self._orders and not session.names:
            return Orders(lost=True)
        for shard in self._lost:
            self._beat(shard)
        for shard in former:
            if not session.holds_from(shard):
                self._leave(shard)
        return self._union()

    def _beat(self, shard: Shard) -> None:
        """Tell one shard; a shard that is away is told when it is back."""
        name = self._session.name_at(shard)
        worker = replace(self._worker, epoch=name)
        try:
            orders = shard.call(lambda store: store.heartbeat(worker, ttl=self._ttl, now=self._now))
        except StoreError as error:
            self._errors.append(error)
            return
        if orders.lost:
            self._lost.append(shard)
            return
        self._orders.append(orders)
        if self._worker.state != "stopped":
            self._session.names[shard] = name

    def _leave(self, shard: Shard) -> None:
        """Take leave of a shard that is none any more, now that nothing of it runs here."""
        name = self._session.names.pop(shard)
        worker = replace(self._worker, epoch=name, state="stopped")
        try:
            shard.call(lambda store: store.heartbeat(worker, ttl=self._ttl, now=self._now))
        except StoreError:
            return  # its time to live ends there by itself

    def _union(self) -> Orders:
        gone = frozenset(self._session.gone)
        self._session.gone.clear()
        cancel: frozenset[JobId] = frozenset()
        return Orders(
            cancel=cancel.union(*(each.cancel for each in self._orders)),
            quiet=any(each.quiet for each in self._orders),
            stop=any(each.stop for each in self._orders),
            dump=any(each.dump for each in self._orders),
            gone=gone,
        )


def reap(
    shards: Sequence[Shard],
    dead: tuple[str | None, Evidence | None],
    limit: int,
    now: float | None,
    *,
    ttl: float,
) -> list[Reaped]:
    """Take back at most `limit` jobs, first a fair part from each shard, then what is left.

    Each shard is asked for one job at least, since asking is what ends an epoch there.
    """
    epoch, _ = dead
    able = [shard for shard in shards if epoch is not None or not _just_back(shard, ttl)]
    taken: list[Reaped] = []
    errors: list[StoreError] = []
    part = max(limit // max(len(able), 1), 1)
    for shard in able:
        try:
            taken += _reap(shard, dead, part, now)
        except StoreError as error:
            errors.append(error)
    if errors and len(errors) == len(able):
        raise StoreUnavailable("; ".join(map(str, errors)))
    for shard in able if part < limit else ():
        left = limit - len(taken)
        if left > 0 and not shard.health.is_away:
            taken += _reap(shard, dead, left, now)
    return taken


def _reap(
    shard: Shard, dead: tuple[str | None, Evidence | None], limit: int, now: float | None
) -> list[Reaped]:
    epoch, evidence = dead
    if epoch is None:
        return shard.call(lambda store: store.reap(limit=limit, now=now))
    known = shard.call(lambda store: store.workers(now=now))
    names = {epoch, *(worker.epoch for worker in known if base(worker.epoch) == epoch)}
    taken: list[Reaped] = []
    for name in sorted(names):
        room = max(limit - len(taken), 1)
        taken += shard.call(partial(_reap_one, (name, evidence), room, now))
    return taken


def _reap_one(
    dead: tuple[str, Evidence | None], limit: int, now: float | None, store: Store
) -> list[Reaped]:
    return store.reap(epoch=dead[0], evidence=dead[1], limit=limit, now=now)


def leave_order(epoch: str, order: Order, store: Store) -> bool:
    """Leave an order at one shard, under the name that the worker goes by there."""
    known = [worker.epoch for worker in store.workers() if base(worker.epoch) == epoch]
    return any(store.order(name, order) for name in known)


def _just_back(shard: Shard, ttl: float) -> bool:
    """Tell whether a shard was away until just now: its workers must have time to say they live."""
    return time.monotonic() - shard.health.back_at < ttl
