"""Tells an open page that something has changed, by server-sent events; the page then reads itself
again, so that there is one way of drawing it.

    event: change   the numbers, the workers or the watched job are not what they were
    : still here    every 15 s, so that proxies keep the line open

The invariant: at most `MOST` lines are open at once and none for longer than `LONGEST`; browsers
come back by themselves.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import TYPE_CHECKING

import anyio
import msgspec
from anyio import to_thread
from starlette.responses import StreamingResponse

from turnout.errors import StoreError
from turnout.job import JobFilter, JobId
from turnout.web.visit import Refusal, checked_id

if TYPE_CHECKING:
    from starlette.requests import Request

    from turnout.web.visit import Desk

MOST, LONGEST, EVERY, QUIET = 64, 600.0, 2.0, 15.0
_open = 0


async def stream(request: Request, desk: Desk) -> StreamingResponse:
    """Return the line of one page; `?job=ID` watches that job too. Refuses when too many are."""
    job_id = request.query_params.get("job")
    watched = checked_id(job_id) if job_id else None
    if _open >= MOST:
        raise Refusal(503, "Too many pages are watching; reload to see what is new.")
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_lines(desk, watched), media_type="text/event-stream", headers=headers)


async def _lines(desk: Desk, watched: JobId | None) -> AsyncIterator[str]:
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


def _digest(desk: Desk, watched: JobId | None) -> str:
    """Return what stands for the present: equal when nothing on a page would look different."""
    try:
        look = desk.pulse.look()
        jobs = desk.jobs.store.find(JobFilter(ids=(watched,)), limit=1) if watched else []
    except StoreError as error:
        return str(error)
    workers = [(one.name, one.running, one.state) for one in look.workers]
    text = msgspec.json.encode((look.queues, workers, jobs))
    return sha256(text).hexdigest()[:16]
