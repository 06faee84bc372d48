"""`jobs.limit(...)`: a limit that is asked for by hand, inside a job or outside of any.

What is held is renewed by a thread of its own while the block lasts, and dropped at its end. When
the process dies it expires, within the limit's `lease`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from turnout.errors import ConfigError, LimitFull, StoreError

if TYPE_CHECKING:
    from turnout.app import Turnout
    from turnout.limits.marks import Mark
    from turnout.limits.shapes import Limit

log = logging.getLogger("turnout.limits")

_FIRST, _MOST = 0.005, 0.25  # seconds between two looks
_RENEWALS = 3  # in the time in which a mark expires


class Holding:
    """One limit, to be acquired any number of times."""

    def __init__(self, app: Turnout, limit: Limit) -> None:
        if limit.by is not None:
            msg = f"limit {limit.key!r} goes by {limit.by!r:.80}: here, give the whole key"
            raise ConfigError(msg)
        self._app = app
        self.limit = limit

    @contextmanager
    def acquire(self, timeout: float | None = None) -> Iterator[None]:
        """Hold the limit for the block; of a rate, take one start.

        Waits up to `timeout` seconds (None: for ever), then raises LimitFull. StoreError passes.
        """
        turn = _Turn(self._app, self.limit, timeout)
        while (pause := turn.ask()) is not None:
            time.sleep(pause)
        with turn.held():
            yield

    @asynccontextmanager
    async def aacquire(self, timeout: float | None = None) -> AsyncIterator[None]:  # noqa: ASYNC109
        """Hold the limit for the block without blocking the event loop; as `acquire`."""
        turn = _Turn(self._app, self.limit, timeout)
        while (pause := await asyncio.to_thread(turn.ask)) is not None:  # noqa: ASYNC110
            await asyncio.sleep(pause)
        block = turn.held()
        block.__enter__()
        try:
            yield
        finally:
            await asyncio.to_thread(block.__exit__, None, None, None)


class _Turn:
    """One acquisition: asking until it is granted, and holding on."""

    def __init__(self, app: Turnout, limit: Limit, timeout: float | None) -> None:
        self._app = app
        self._limit = limit
        self._mark: Mark = limit.mark(f"by hand:{secrets.token_hex(12)}")
        self._timeout = timeout
        self._end = float("inf") if timeout is None else time.monotonic() + timeout
        self._pause = _FIRST

    def ask(self) -> float | None:
        """Return None once granted, else how long to sleep before the next try."""
        [answer] = self._app.store.mark([self._mark])
        if answer.granted:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            limit = self._limit
            msg = (
                f"{limit.kind} limit of {limit.key} stayed full ({answer.live:,} of "
                f"{limit.most:,}) for {self._timeout:g} s: try again later, or wait longer"
            )
            raise LimitFull(msg)
        self._pause = min(self._pause * 2, _MOST)
        return min(left, self._pause * random.uniform(0.5, 1.0))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep what was granted until the block ends; a start of a rate is used up."""
        if not self._limit.held:
            yield
            return
        kept = Kept(self._app, self._limit.key, self._mark)
        try:
            yield
        finally:
            kept.drop()


class Kept:
    """A mark that was granted, renewed by a thread until it is dropped."""

    def __init__(self, app: Turnout, name: str, mark: Mark) -> None:
        self._app = app
        self._name = name
        self._mark = mark
        self._done = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="turnout-limit", daemon=True)
        self._keeper.start()

    def drop(self) -> None:
        """Give it back; never raises."""
        self._done.set()
        self._keeper.join()
        try:
            self._app.store.unmark([(self._mark.key, self._mark.owner)])
        except StoreError as error:
            log.warning("limit %s: not given back, it expires: %s", self._name, error)

    def _keep(self) -> None:
        while not self._done.wait(self._mark.ttl / _RENEWALS):
            try:
                [answer] = self._app.store.mark([self._mark])
            except StoreError as error:
                log.error("limit %s: not renewed, %s", self._name, error)  # noqa: TRY400
                continue
            if not answer.granted:
                log.warning("limit %s: its slot went to another meanwhile", self._name)


def named(app: Turnout, name: str) -> Limit:
    """Return the limit that some task declares under a key; raises ConfigError for none or two."""
    found = {
        limit.name: limit
        for task in app.tasks.values()
        for limit in task.options.limits
        if limit.key == name
    }
    if len(found) == 1:
        return next(iter(found.values()))
    known = sorted({one.key for task in app.tasks.values() for one in task.options.limits})
    msg = (
        f"{len(found)} limits go by {name!r} (known are: {', '.join(known) or 'none'}): give "
        "jobs.limit(...) the limit itself, such as concurrency('stripe', 3)"
    )
    raise ConfigError(msg)
