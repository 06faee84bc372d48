"""The worker that drives replays: one process at a time, a bounded step a chore.

    look, every LOOK seconds -> any under way? -> hold the lease -> a step of each -> look sooner

The invariant: a step changes only jobs that it just found as the query means them, and what it did
is written on top of what stands there by then, a stop included.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from turnout import finding
from turnout import replay as rules
from turnout.job import JobFilter, JobId, JobRecord
from turnout.replays import Replays
from turnout.worker.upkeep import Chore

if TYPE_CHECKING:
    from collections.abc import Callable

    from turnout.app import Turnout
    from turnout.replay import Replay
    from turnout.replays import Moment

log = logging.getLogger("turnout.worker")
_audit = logging.getLogger("turnout.audit")

LOOK, STEP = 5.0, 0.5
BATCH = 500
PATIENCE = 1.0  # seconds of one step


class Replayer:
    """The driver of one process. `owner` names it in the store."""

    def __init__(self, app: Turnout, owner: str) -> None:
        self._app = app
        self._owner = owner
        self._holds = False
        self.is_wanted: Callable[[], bool] = _always
        self.chore = Chore("replays", LOOK, self.step)

    def step(self) -> None:
        """Do one step of every replay under way, if no other process does."""
        replays = Replays(self._app.store, self._app.clock)
        under_way = [one for one in replays.all() if not one.is_over]
        if not self.is_wanted() or not under_way:
            self.let_go()
            return
        self._holds = replays.hold(self._owner)
        if not self._holds:
            return
        for one in reversed(under_way):
            self._advance(replays, one)
        self.chore.due = time.monotonic() + STEP

    def let_go(self) -> None:
        """Leave the driving to others."""
        if self._holds:
            self._holds = False
            Replays(self._app.store, self._app.clock).let_go(self._owner)

    def _advance(self, replays: Replays, seen: Replay) -> None:
        """Judge what was sent, and send more until there is no room or time."""
        now, deadline = self._app.clock(), time.monotonic() + PATIENCE
        records = self._find(seen.watched)
        current = replays.update(seen.id, lambda one: rules.decide(rules.judged(one, records), now))
        moment = replays.moment()
        while current is not None and not current.is_over and time.monotonic() < deadline:
            room = rules.room(current, moment.at)
            if room == 0:
                break
            before = current.sent + current.passed_over
            current = self._send(replays, current, moment, min(room or BATCH, BATCH))
            if room is not None and current and current.sent + current.passed_over > before:
                break
        if current is not None and current.is_over:
            self._tell(current)

    def _send(self, replays: Replays, replay: Replay, moment: Moment, most: int) -> Replay | None:
        """Send one batch, and return the replay as it stands then."""
        found = finding.find(self._app.store, replay.query, moment, limit=most, after=replay.after)
        ids, now = self._retry(found.jobs, replay), self._app.clock()
        end = found.next or (found.jobs[-1].id if found.jobs else replay.after)

        def note(one: Replay) -> Replay:
            if found.jobs:
                one = rules.sent(one, ids, len(found.jobs) - len(ids), now)
            one = replace(one, after=end, exhausted=found.next is None)
            return one if one.is_over else rules.decide(one, now)

        return replays.update(replay.id, note)

    def _retry(self, jobs: list[JobRecord], replay: Replay) -> list[JobId]:
        """Put jobs back into their queues; return those that really went."""
        if not jobs:
            return []
        ids = tuple(one.id for one in jobs)
        where = JobFilter(ids=ids, states=replay.query.states)
        if self._app.store.change(where, "retry", limit=len(ids)) == len(ids):
            return list(ids)
        before = {one.id: one.finished_at for one in jobs}
        stayed = {
            one.id for one in self._find(ids)
            if one.state in replay.query.states and one.finished_at == before[one.id]
        }  # fmt: skip
        return [job_id for job_id in ids if job_id not in stayed]

    def _find(self, ids: tuple[JobId, ...]) -> list[JobRecord]:
        return self._app.store.find(JobFilter(ids=ids), limit=len(ids)) if ids else []

    def _tell(self, replay: Replay) -> None:
        told = (replay.id, replay.phase, replay.why or "nothing is left", replay.sent)
        _audit.info("replay %s is %s (%s): %d jobs were sent", *told)
        log.info("replay %s is %s (%s): %d jobs were sent", *told)


def _always() -> bool:
    return True
