"""Workers as stores with tables keep them: what they told of themselves, and orders beside it.

An order waits in its worker's row, as one more field of the JSON there, until the next heartbeat
writes the row anew and takes it along. So it is delivered once, and goes where the worker goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from turnout.job import Order, WorkerInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_decode_worker = msgspec.json.Decoder(WorkerInfo).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.encode


class _Waiting(msgspec.Struct):
    orders: tuple[Order, ...] = ()


_decode_waiting = msgspec.json.Decoder(_Waiting).decode


def with_order(info: str, order: Order) -> str:
    """Return a worker's JSON with one more order in it."""
    waiting = dict.fromkeys((*_decode_waiting(info).orders, order))
    fields = _decode_fields(info)
    fields["orders"] = msgspec.Raw(_encode(tuple(waiting)))
    return _encode(fields).decode()


def orders_in(info: str | None) -> Sequence[str]:
    """Return the orders that wait in a worker's JSON."""
    return _decode_waiting(info).orders if info else ()


def read_workers(rows: Iterable[tuple[Any, ...]]) -> list[WorkerInfo]:
    """Return workers by name, from rows of their JSON, deadline and, where there is one, bell."""
    found = []
    for info, deadline, *bell in rows:
        more = {"bell": bell[0]} if bell else {}
        worker = _decode_worker(info)
        found.append(msgspec.structs.replace(worker, deadline=deadline, **more))
    return sorted(found, key=lambda worker: (worker.name, worker.epoch))
