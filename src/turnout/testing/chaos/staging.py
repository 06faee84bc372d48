"""One run of `turnout chaos`: an application's workers are broken by a plan while probes pass.

    started -> faults and probes, for as long as was asked -> healed -> drained -> stopped -> judged

Only processes that were started here are ever harmed. The application's own jobs that run meanwhile
are judged too, as far as they came to an end; probes are judged whether they did or not.
"""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from turnout.errors import ConfigError, StoreError
from turnout.job import JobFilter, JobId, State
from turnout.testing.chaos.checker import Checker
from turnout.testing.chaos.fleet import PROCESS_FAULTS
from turnout.testing.chaos.overlap import KEPT, Reach
from turnout.testing.chaos.probe import add_probe
from turnout.testing.chaos.recovery import recovery
from turnout.testing.chaos.schedule import draw
from turnout.testing.chaos.stories import End, Tale, read

if TYPE_CHECKING:
    from turnout.app import Turnout
    from turnout.testing.chaos.fleet import Fleet
    from turnout.testing.chaos.ledger import Ledger

_PAGE = 500
_START = 60.0  # seconds for the first worker to appear
_TURN = 0.02
_OPEN = frozenset(state.value for state in State if not state.is_final)


class Settings(msgspec.Struct, frozen=True):
    """How a run goes. Times in seconds."""

    seconds: float = 60.0
    seed: int = 1
    rate: float = 10.0  # probes a second
    lease: float = 5.0  # after which a silent worker is taken for dead
    every: float = 2.0  # between two faults, on average
    patience: float = 60.0  # for all probes to end, once nothing is broken any more
    kinds: tuple[str, ...] = tuple(PROCESS_FAULTS)


class Report(msgspec.Struct, frozen=True):
    """What became of it. `lost`, `stuck` and `unexplained` empty: all is well."""

    seed: int
    faults: dict[str, int]
    probes: int  # accepted by the store
    jobs: int  # the application's own that ran and ended meanwhile
    lost: list[str]  # accepted, and the store knows nothing of them
    stuck: list[str]  # accepted, and not at an end though nothing is broken any more
    run_again: dict[str, int]  # jobs cut short and run again, by the fault that explains it
    doubled: dict[str, int]  # jobs that had come to their end and were run again, likewise
    unexplained: list[str]  # what no fault explains
    quarantined: int
    late_outcomes_refused: int
    worst_recovery_seconds: dict[str, float]

    @property
    def is_well(self) -> bool:
        """True when nothing was lost, is stuck or lacks an explanation."""
        return not (self.lost or self.stuck or self.unexplained)


class Staging:
    """One run over the store of an application."""

    def __init__(self, app: Turnout, fleet: Fleet, ledger: Ledger, settings: Settings) -> None:
        self._app = app
        self._fleet = fleet
        self._ledger = ledger
        self._settings = settings
        self._probe = add_probe(app)
        self._rng = random.Random(settings.seed)
        self._accepted: list[JobId] = []
        self._pause = threading.Event()

    def run(self) -> Report:
        """Do it all. Raises ConfigError when others work on this store, or no worker starts."""
        self._app.store.setup()
        others = self._app.store.workers()
        if others:
            msg = f"{others[0].name} works on this store: stop its workers first, or use another "
            raise ConfigError(msg + "store; what others work on is no place to break things")
        try:
            self._await_workers()
            self._break()
            self._fleet.heal()
            self._drain()
            codes = self._fleet.stop()
        finally:
            self._fleet.close()
        return self._judge(codes)

    def _await_workers(self) -> None:
        deadline = time.monotonic() + _START
        while not self._app.store.workers():
            if time.monotonic() > deadline:
                raise ConfigError("no worker has started: see the logs of this run")
            self._fleet.tend()
            self._pause.wait(_TURN)

    # ---- what is done

    def _break(self) -> None:
        settings = self._settings
        weights = {kind: PROCESS_FAULTS[kind] for kind in settings.kinds}
        spread = (0.4 * settings.every, 1.6 * settings.every)
        plan = draw(settings.seed, settings.seconds / 60, weights, every=spread,
                    longest=settings.lease * 1.8)  # fmt: skip
        began = time.monotonic()
        for planned in [*plan, None]:
            self._enqueue_until(began + (planned.at if planned else settings.seconds))
            if planned:
                self._fleet.commit(planned)

    def _enqueue_until(self, moment: float) -> None:
        while (now := time.monotonic()) < moment:
            self._fleet.tend()
            self._enqueue_one()
            self._pause.wait(min(1 / self._settings.rate, moment - now))

    def _enqueue_one(self) -> None:
        with suppress(StoreError):  # refused: nobody was promised anything
            job = self._probe.enqueue(self._rng.uniform(0.0, 0.3))
            self._ledger.write("accepted", job.id, "probe")
            self._accepted.append(job.id)

    def _drain(self) -> None:
        deadline = time.monotonic() + self._settings.patience
        left = self._accepted
        while left and time.monotonic() < deadline:
            self._fleet.tend()
            with suppress(StoreError):
                ends = self._ends(left, final=False)
                left = [job for job in left if job in ends and ends[job].state in _OPEN]
            self._pause.wait(0.2)

    # ---- what became of it

    def _ends(self, ids: list[JobId], *, final: bool = True) -> dict[str, End]:
        """Return how these jobs stand, or those of them that are at an end."""
        found: dict[str, End] = {}
        for at in range(0, len(ids), _PAGE):
            page = JobFilter(ids=tuple(ids[at : at + _PAGE]))
            for record in self._app.store.find(page, limit=_PAGE):
                if record.state.is_final or not final:
                    found[record.id] = End.of(record)
        return found

    def _judge(self, codes: list[int]) -> Report:
        whole = read(self._ledger.lines())
        probes = self._ends(self._accepted, final=False)
        own = [JobId(job) for job, story in whole.stories.items() if story.accepted is None
               and story.runs and story.runs[0].attempt == 1]  # fmt: skip
        others = self._ends([job for job in own if job not in self._accepted])
        ends = {**others, **probes}
        stories = {
            job: story
            for job, story in whole.stories.items()
            if story.accepted is not None or job in others
        }
        tale = Tale(stories, whole.faults, whole.ends)
        lease = self._settings.lease
        reach = Reach(slack=lease + 3.0, lasts=lease * KEPT)
        checker = Checker(ends, kinds={"probe": {"succeeded"}}, reach=reach)
        checker.take(tale)
        verdict = checker.finish()
        lost = [job for job in verdict.lost if job not in ends]
        told = [one for one in verdict.violations if ": lost: " not in one]
        told += [f"a supervisor ended with code {code}" for code in codes]
        return Report(
            seed=self._settings.seed,
            faults=dict(sorted(self._fleet.faults.items())),
            probes=len(self._accepted),
            jobs=len(others),
            lost=lost,
            stuck=[job for job in verdict.lost if job in ends],
            run_again=dict(verdict.interrupted),
            doubled=dict(verdict.doubled),
            unexplained=told,
            quarantined=verdict.quarantined,
            late_outcomes_refused=verdict.void,
            worst_recovery_seconds=recovery(tale),
        )
