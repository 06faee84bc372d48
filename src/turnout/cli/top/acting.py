"""What a key does to the store, and how it is told: the actions of the command line.

Each returns one sentence. The invariant: an action names what it acts on; nothing here means "all".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout.cli import output
from turnout.cli.act import PAST, act_on_ids
from turnout.cli.noting import noted
from turnout.cli.workers import SAID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout.job import Action, Order, WorkerInfo
    from turnout.store.protocol import Store


def pause(store: Store, queue: str, *, paused: bool) -> str:
    """Pause or resume a queue."""
    store.pause(queue, paused=paused)
    said = f"{queue} is paused: what runs, runs on" if paused else f"{queue} is resumed"
    return noted(store, "pause" if paused else "resume", f"queue {queue}") or said


def order(store: Store, worker: WorkerInfo, what: Order) -> str:
    """Leave an order for a worker."""
    if store.order(worker.epoch, what):
        said = f"{worker.name} {SAID[what]}, at its next heartbeat"
        return noted(store, what, f"worker {worker.name}") or said
    return f"{worker.name} has ended meanwhile"


def change(store: Store, action: Action, ids: Sequence[str]) -> str:
    """Retry, cancel or delete jobs, and say why some did not change."""
    done = act_on_ids(store, action, tuple(ids))
    said = f"{output.plural(done.changed, 'job')} {PAST[action]}"
    trouble = noted(store, action, f"jobs {', '.join(ids)}", done.changed) if done.changed else ""
    said = trouble or said
    if not done.unchanged:
        return said
    first = done.unchanged[0]
    more = len(done.unchanged) - 1
    others = f", and {more} more did not change" if more else ""
    return f"{said}; {first.id}: {first.why}{others}"
