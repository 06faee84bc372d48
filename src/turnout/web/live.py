"""Tells an open page that something has changed, by server-sent events; the page then reads itself
again, so that there is one way of drawing it.

    event: change   the numbers, the workers or the watched job are not what they were
    : still here    every 15 s, so that proxies keep the line open

The invariant: at most `MOST` lines are open at once and none for longer than `LONGEST`; browsers
come back by themselves.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING

import anyio
import msgspec
from anyio import to_thread
from starlette.responses import StreamingResponse

from turnout import stacks
from turnout.errors import StoreError
from turnout.job import JobFilter
from turnout.store.patience import patient
from turnout.web.visit import Refusal, checked_id

if TYPE_CHECKING:
    from starlette.requests import Request

    from turnout.web.visit import Desk

MOST, LONGEST, EVERY, QUIET = 64, 600.0, 2.0, 15.0
_open = 0
_EPOCH = re.compile(r"[\w-]{1,64}", re.ASCII)

Watched = Callable[[], object]


async def stream(request: Request, desk: Desk) -> StreamingResponse:
    """Return the line of one page: `?job=ID` watches that job too, `?replays=1` the replays,
    `?stacks=EPOCH` what that worker tells.

    Refuses when too many are open.
    """
    watched = _watched(request.query_params, desk)
    if _open >= MOST:
        raise Refusal(503, "Too many pages are watching; reload to see what is new.")
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_lines(desk, watched), media_type="text/event-stream", headers=headers)


async def _lines(desk: Desk, watched: Watched) -> AsyncIterator[str]:
    global _open  # noqa: PLW0603 - lines of this process, whichever dashboard they belong to
    _open += 1
    try:
        end, spoken = time.monotonic() + LONGEST, time.monotonic()
        last = await to_thread.run_sync(_digest, desk, watched, abandon_on_cancel=True)
        yield "retry: 3000\n: hello\n\n"
        while time.monotonic() < end:
            await anyio.sleep(EVERY)
            digest = await to_thread.run_sync(_digest, desk, watched, abandon_on_cancel=True)
            if digest != last:
                yield f"event: change\ndata: {digest}\n\n"
            elif time.monotonic() - spoken > QUIET:
                yield ": still here\n\n"
            else:
                continue
            last, spoken = digest, time.monotonic()
    finally:
        _open -= 1


def _digest(desk: Desk, watched: Watched) -> str:
    """Return what stands for the present: equal when nothing on a page would look different."""
    try:
        with patient():
            look = desk.pulse.look()
            more = watched()
    except StoreError as error:
        return str(error)
    workers = [(one.name, one.running, one.state) for one in look.workers]
    text = msgspec.json.encode((look.queues, workers, more))
    return sha256(text).hexdigest()[:16]


def _watched(asked: Mapping[str, str], desk: Desk) -> Watched:
    """Return what reads the one thing that a page watches beside the counters."""
    if "job" in asked:
        where = JobFilter(ids=(checked_id(asked["job"]),))
        return lambda: desk.jobs.store.find(where, limit=1)
    if "replays" in asked:
        return desk.jobs.replays.all
    epoch = asked.get("stacks", "")
    if epoch and not _EPOCH.fullmatch(epoch):
        raise Refusal(400, "stacks names the epoch of a worker.")
    return lambda: stacks.read(desk.jobs.store, epoch) if epoch else None
