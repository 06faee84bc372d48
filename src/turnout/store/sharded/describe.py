"""What a sharded store says of itself: one view, and each shard's health in it."""

from __future__ import annotations

import time

from turnout.config import redact
from turnout.errors import StoreError, StoreUnavailable
from turnout.job import Part, QueueStats, StoreInfo
from turnout.store import schema_sql as schema_of
from turnout.store.sharded.merge import weakest
from turnout.store.sharded.shards import Shard, View
from turnout.store.sharded.url import read, refuse


def describe(view: View) -> StoreInfo:
    """Ask every shard that answers. Raises StoreUnavailable when none does."""
    infos: list[StoreInfo] = []
    parts: list[Part] = []
    warnings: list[str] = []
    errors: list[str] = []
    for shard in view.shards:
        drains = shard.name in view.layout.drain
        try:
            info = shard.call(lambda store: store.describe())
            counted = shard.call(lambda store: store.count())
        except StoreError as error:
            parts.append(_away(shard))
            errors.append(str(error))
            continue
        infos.append(info)
        parts.append(_part(shard, info, counted, drains=drains))
        warnings += [f"shard {shard.name}: {warning}" for warning in info.warnings]
    if not infos:
        raise StoreUnavailable("; ".join(errors))
    enqueue, settle = weakest(infos)
    kinds = ", ".join(dict.fromkeys(info.name for info in infos))
    return StoreInfo(
        name=f"{len(parts)} {'shard' if len(parts) == 1 else 'shards'} ({kinds})",
        location=", ".join(f"{part.name}={part.location}" for part in parts),
        enqueue_survives=enqueue,
        settle_survives=settle,
        warnings=tuple(warnings),
        parts=tuple(parts),
    )


def _part(shard: Shard, info: StoreInfo, counted: list[QueueStats], *, drains: bool) -> Part:
    left = sum(each.ready + each.scheduled + each.running for each in counted)
    note = f"takes no jobs: {shard.health.full}" if shard.health.full else ""
    if drains:
        note = (
            f"{left:,} {'job' if left == 1 else 'jobs'} left"
            if left
            else "empty: it can be taken out"
        )
    return Part(
        name=shard.name,
        location=info.location,
        state="draining" if drains else "up",
        jobs=left,
        note=note,
    )


def _away(shard: Shard) -> Part:
    since = time.time() - shard.health.since if shard.health.is_away else 0.0
    note = f"for {since:.0f} s: {shard.health.trouble or 'it is busy'}"
    return Part(name=shard.name, location=redact(shard.url), state="away", note=note)


def schema_sql(url: str) -> str:
    """Return what `setup` would run, shard by shard."""
    layout, faults = read(url)
    refuse(faults)
    texts = (f"-- shard {name}\n{schema_of(one)}" for name, one in layout.urls.items())
    return "\n".join(texts)
