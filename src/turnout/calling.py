"""`current_job().dependency(name)`: a block in a job around one call to a dependency.

    asking --let through, and has a slot--> calling --the block ends--> over, and told how
           --held back, for longer than `wait`--> Deferred (or LimitFull, with defer=False)

The rule, the shared state and the slots are those of tasks that declare the dependency, so both
ways of naming it add up. A slot is renewed by a thread while the call lasts.

Invariant: what was counted as under way at the block's beginning is counted as over at its end.
"""

from __future__ import annotations

import secrets
import sys
import time
from contextvars import ContextVar, Token
from random import Random
from typing import TYPE_CHECKING, Any, Self

from turnout.errors import (
    CENTURY,
    Cancel,
    ConfigError,
    Deferred,
    Discard,
    LimitFull,
    Snooze,
    StoreError,
    as_seconds,
)
from turnout.handle import in_thread
from turnout.holding import Kept
from turnout.limits.carried import carried_by
from turnout.limits.cooldown import sample_of
from turnout.limits.verdict import Sample

if TYPE_CHECKING:
    from datetime import timedelta
    from types import TracebackType

    from turnout.app import Turnout
    from turnout.current import CurrentJob

_FIRST, _MOST = 0.01, 0.25  # seconds between two looks
_BACK = (0.5, 5.0)  # seconds until a job that was held back comes again
_SAYS_NOTHING = (Snooze, Cancel, Deferred, GeneratorExit, KeyboardInterrupt, SystemExit)
_inside: ContextVar[tuple[str, ...]] = ContextVar("turnout_calling", default=())


class Call:
    """A block around one call; may be entered again after it has ended."""

    def __init__(
        self,
        app: Turnout,
        job: CurrentJob,
        name: str,
        wait: float | timedelta,
        *,
        defer: bool,
    ) -> None:
        self._app = app
        self._job = job
        self._wait = as_seconds(wait, "dependency(wait=)", CENTURY)
        self._defers = defer
        self._watched = app.dependency(name)
        self._name = name
        self._token: Token[tuple[str, ...]] | None = None
        self._kept: Kept | None = None
        self._rng = Random()
        self._pause = _FIRST
        self._end = self._began = 0.0

    # ---- in

    def __enter__(self) -> Self:
        if _has_loop():
            msg = f"dependency({self._name!r}): on an event loop, say `async with`"
            raise ConfigError(msg)
        self._begin()
        while (pause := self._ask()) is not None:
            time.sleep(pause)
        return self._entered()

    async def __aenter__(self) -> Self:
        from asyncio import sleep

        self._begin()
        while (pause := await in_thread(self._ask)) is not None:  # noqa: ASYNC110
            await sleep(pause)
        return self._entered()

    def _begin(self) -> None:
        carried = carried_by(self._job.leased.context or "")
        declared = carried is not None and carried.dependency == self._name
        if declared or self._token is not None or self._name in _inside.get():
            whose = f"task {self._job.task} declares it" if declared else "it is in such a block"
            msg = (
                f"this job calls the dependency {self._name!r} already ({whose}): a second slot "
                "would wait for the first; take one of them away"
            )
            raise ConfigError(msg)
        self._pause, self._end = _FIRST, time.monotonic() + self._wait

    def _entered(self) -> Self:
        self._token = _inside.set((*_inside.get(), self._name))
        self._began = self._app.clock()
        return self

    def _ask(self) -> float | None:
        """Return None once let through, else how long to sleep before the next try."""
        now = self._app.clock()
        self._watched.sync(now)
        verdict = self._watched.admit(self._job.attempt, now)
        reason, until = verdict.reason, verdict.until
        if verdict.allowed:
            if self._take():
                self._watched.began(self._job.attempt, now)
                return None
            self._watched.refused()
            reason = f"its adaptive limit is {self._watched.slot().most}"
        left = self._end - time.monotonic()
        if left <= 0 or (until is not None and until - now > left):
            raise self._refusal(reason, now, until)
        self._pause = min(self._pause * 2, _MOST)
        return min(left, self._pause * self._rng.uniform(0.5, 1.0))

    def _take(self) -> bool:
        """Take a slot; while nobody knows how many are taken, go on without one."""
        limit = self._watched.slot()
        mark = limit.mark(f"{self._job.id}:{secrets.token_hex(8)}")
        self._kept = None
        try:
            [answer] = self._app.store.mark([mark])
        except StoreError as error:
            self._watched.is_away(error)
            return True
        if answer.away:
            self._watched.is_away("the shard of its slots is away")
        elif answer.granted:
            self._kept = Kept(self._app, limit.key, mark)
        return answer.granted or answer.away

    def _refusal(self, reason: str, now: float, until: float | None) -> Exception:
        msg = f"dependency {self._name}: {reason}"
        if not self._defers:
            return LimitFull(f"{msg}; waited {self._wait:g} s")
        least, most = _BACK
        at = max(now, until or now) + self._rng.uniform(least, most)
        return Deferred(msg, self._name, at)

    # ---- out

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left()
        self._over(error)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left()
        await in_thread(self._over, error)

    def _left(self) -> None:
        if self._token is not None:
            _inside.reset(self._token)
            self._token = None

    def _over(self, error: BaseException | None) -> None:
        now = self._app.clock()
        self._watched.ended(self._told_by(error, now), now)
        if self._kept is not None:
            self._kept.drop()
            self._kept = None
        self._watched.sync(now)

    def _told_by(self, error: BaseException | None, now: float) -> Sample | None:
        """Return what the block's end says of the dependency; None for nothing.

        As for tasks that declare it: an error for which the task's rules discard is an answer.
        """
        seconds = now - self._began
        if isinstance(error, _SAYS_NOTHING):
            return None
        if _is_cancellation(error):
            deadline = self._job.deadline
            late = deadline is not None and now >= deadline
            return Sample("timeout", seconds) if late else None
        task: Any = self._app.tasks.get(self._job.task)
        answered = error is not None and task is not None and task.options.policy.gives_up(error)
        if isinstance(error, Discard) or answered:
            error = None
        return sample_of(error, seconds, now, attempt=self._job.attempt)


def _has_loop() -> bool:
    if "asyncio" not in sys.modules:
        return False
    from asyncio import get_running_loop

    try:
        get_running_loop()
    except RuntimeError:
        return False
    return True


def _is_cancellation(error: BaseException | None) -> bool:
    if error is None or "asyncio" not in sys.modules:
        return False
    from asyncio import CancelledError

    return isinstance(error, CancelledError)
