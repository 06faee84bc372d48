"""A message that settled, kept as the script got it; store/sent.py tells why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from turnout.store.sent import successes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from turnout.job import Outcome

_unpack = msgspec.msgpack.decode


class Sent:
    """Such a message, and beside it those outcomes of which it holds no trace.

    Iterating brings the outcomes back.
    """

    __slots__ = ("_message", "_others")

    def __init__(self, message: bytes, others: Sequence[Outcome]) -> None:
        self._message = message
        self._others = others

    def __iter__(self) -> Iterator[Outcome]:
        yield from self._others
        if not self._message:
            return
        leases, traces, *_ = _unpack(self._message)
        fences = {job_id: int(fence) for fence, ids in leases for job_id in ids}
        told = ((queue, keep, body) for queue, _until, _n, _first, _last, body, keep in traces)
        yield from successes(fences, told)
