"""Redelivery on purpose: runs a share of the jobs that succeeded once more, in place of settling.

Every job may run twice: when its worker dies between its last effect and its settle. That is rare,
and so is the job that cannot stand it found late. Here it is played often, in staging: the success
is put aside, the job runs again under the same lease with the same attempt number and idempotency
key, and its second outcome is the one that counts, as it would be after a crash.

    succeeded -> (chosen by chance) put aside, runs again -> succeeded: as it should be
                                                          -> anything else: an ERROR tells of it

Never chosen: transactional tasks, whose success is committed with their effects, so that no crash
can run them again; jobs with a deadline (`expires`), which might be over by then; jobs that end
while the worker stops.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

from turnout.errors import ConfigError
from turnout.job import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from turnout.app import Turnout
    from turnout.job import JobId, Outcome
    from turnout.worker.options import WorkerOptions

log = logging.getLogger("turnout.redelivery")

ENV = "TURNOUT_ENV"
_PRODUCTION = {"", "production", "prod", "live"}
_MOST = 1_000  # put aside at a time; one whose lease was lost never comes back for its entry


def check_allowed(app: Turnout, options: WorkerOptions, environ: Mapping[str, str]) -> None:
    """Refuse redelivery where production might be, and say which tasks it leaves out.

    Raises ConfigError unless TURNOUT_ENV names another environment, or the options insist.
    """
    if not options.redeliver:
        return
    named = environ.get(ENV, "").strip()
    if named.lower() in _PRODUCTION and not options.redeliver_in_production:
        found = f"{ENV} is {named!r}" if named else f"{ENV} is not set, so this may be production"
        msg = (
            f"--redeliver runs finished jobs a second time, and {found}: set {ENV}=staging where "
            "that is wanted, or add --redeliver-in-production"
        )
        raise ConfigError(msg)
    log.warning(
        "%.3g %% of the jobs that succeed are run twice on purpose", options.redeliver * 100
    )
    left = sorted(task.name for task in app.tasks.values() if task.options.transactional)
    if left:
        log.warning(
            "transactional tasks are never run twice, and so not tried: %s", ", ".join(left)
        )


class Redelivery:
    """The dice, and the successes that were put aside."""

    def __init__(self, share: float, rng: random.Random | None = None) -> None:
        self._share = share
        self._rng = rng or random.Random()
        self._aside: dict[tuple[JobId, int], Outcome] = {}

    def takes(self, outcome: Outcome) -> bool:
        """Tell whether this job is to run again in place of being settled now."""
        key = (outcome.job.id, outcome.job.fence)
        first = self._aside.pop(key, None)
        if first is not None:
            _judge(first, outcome)
            return False
        if outcome.state is not State.SUCCEEDED or outcome.settled:
            return False
        if outcome.job.expires_at is not None or self._rng.random() >= self._share:
            return False
        if len(self._aside) >= _MOST:
            self._aside.pop(next(iter(self._aside)))
        self._aside[key] = outcome
        log.info("job %s (%s) succeeded and is run again on purpose", key[0], outcome.job.task)
        return True


def _judge(first: Outcome, second: Outcome) -> None:
    job = second.job
    if second.state is State.SUCCEEDED:
        if first.result != second.result:
            told = (job.id, job.task, first.result, second.result)
            log.warning("job %s (%s) ran twice: its result was %s and then %s", *told)
        else:
            log.info("job %s (%s) ran twice and succeeded twice", job.id, job.task)
    elif second.error is not None:
        log.error(
            "job %s (%s) is not idempotent: it succeeded, and raised %s when it was run again",
            job.id, job.task, second.error,
        )  # fmt: skip
    else:
        log.info("job %s (%s) ran twice; the second time it was %s", job.id, job.task, second.state)
