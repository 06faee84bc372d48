"""What settling bound, kept as it travelled; store/sent.py tells why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from turnout.store.postgres.base import SEPARATOR
from turnout.store.sent import successes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from turnout.job import Outcome
    from turnout.store.server.outcomes import Batch


class Sent:
    """The values of one batch, in the order of `settle_values`, and its outcomes without a trace.

    Iterating brings the outcomes back.
    """

    __slots__ = ("_groups", "_ids", "_others", "_traces")

    def __init__(self, batch: Batch, values: Sequence[Any]) -> None:
        plain, self._others = batch.sorted
        self._groups = list(plain)  # queue and keep
        self._ids = values[:3]
        self._traces: str = values[9]

    def __iter__(self) -> Iterator[Outcome]:
        yield from self._others
        if not self._groups:
            return
        fences, ends, ids = (text[1:-1].split(",") for text in self._ids)
        holders: dict[str, int] = {}
        begin = 0
        for fence, end in zip(fences, map(int, ends), strict=True):
            holders.update(dict.fromkeys(ids[begin:end], int(fence)))
            begin = end
        bodies = self._traces.split(SEPARATOR)
        told = (
            (queue, keep, body) for (queue, keep), body in zip(self._groups, bodies, strict=True)
        )
        yield from successes(holders, told)
