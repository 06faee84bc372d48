"""Puts workers and enqueuers on a stage, breaks them by a seeded plan, and draws up the report.

    start -> faults and jobs, for as long as the plan lasts -> healed: no more of either ->
    drained: every known job is final -> stopped -> judged

The rig reads final states while jobs run, so that a store may forget them again meanwhile.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from chaos.judging import judge
from chaos.looking import Lookout
from chaos.pace import Hold
from chaos.sampling import Sampler
from chaos.shop import KEYS, KINDS, PLACES, app_file, make_app
from chaos.stages import Stage
from turnout.cli._chaos_worker import command
from turnout.errors import StoreError
from turnout.testing.chaos.checker import Checker
from turnout.testing.chaos.fleet import PROCESS_FAULTS, Fleet
from turnout.testing.chaos.ledger import EVERYBODY, Ledger
from turnout.testing.chaos.overlap import KEPT, Reach
from turnout.testing.chaos.schedule import Planned, draw
from turnout.testing.chaos.worker import Orders

HERE = Path(__file__).parent
LEASE = 2.5
STARVED = 0.6  # seconds for which nothing of ours ran, or the disk did not answer: the machine's
_FEW = 2_000  # open jobs: from then on a drained run looks at all of them at once
_MINUTE = 60.0  # seconds
_LONGEST = 24 * 60.0  # minutes


class Settings:
    """How large a run is. Times in seconds."""

    def __init__(self, **given: Any) -> None:
        self.seed = 1
        self.seconds = 6.0
        self.supervisors = 2
        self.spared = 0  # processes of one supervisor more, to which nothing is done
        self.processes = 2
        self.threads = 3  # a process; there may be twice as many coroutines
        self.enqueuers = 2
        self.rate = 60.0  # jobs a second and enqueuer
        self.jobs = 0  # to be accepted before the end, however long that takes
        self.every = (0.4, 1.2)  # between two faults
        self.keep = 3600.0
        self.lease = LEASE  # after which a silent worker is taken for dead
        self.patience = 90.0  # until all is drained
        vars(self).update(given)


class Watcher(threading.Thread):
    """Notes when the machine itself left us without a processor or without its disk."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        super().__init__(daemon=True)
        self._ledger = ledger
        self._probe = folder / "probe"
        self.over = threading.Event()
        self.starved = 0

    def run(self) -> None:
        began = time.monotonic()
        while not self.over.wait(0.05):
            descriptor = os.open(self._probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.write(descriptor, b"x")
            os.fsync(descriptor)
            os.close(descriptor)
            if time.monotonic() - began > STARVED:
                self.starved += 1
                self._ledger.fault("starved", EVERYBODY, began)
            began = time.monotonic()


class ChaosRig:
    """One run on one stage."""

    def __init__(self, stage: Stage, folder: Path, settings: Settings) -> None:
        self.stage = stage
        self.folder = folder
        self.settings = settings
        self.ledger = Ledger(folder / "ledger")
        self.app = make_app(stage.direct, self.ledger, keep=settings.keep)
        self.store = self.app.store
        self.target = app_file(folder, stage.url, settings.keep)
        self.fleet = Fleet(self._command, settings.supervisors, folder, self.ledger)
        aside = folder / "spared"
        aside.mkdir()
        self.spared = Fleet(self._command_spared, int(settings.spared > 0), aside, self.ledger)
        self.enqueuers: list[subprocess.Popen[bytes]] = []
        self._enqueuers_started = 0
        self.lookout = Lookout(self.ledger, self.store)
        self.hold = Hold(folder)
        self.sampler = Sampler(stage.size)
        self._told = time.monotonic()
        self.faults: Counter[str] = Counter()
        self._pool = ThreadPoolExecutor(1)  # one fault of the store at a time
        self._doing: list[Future[None]] = []
        self._pause = threading.Event()

    def _command(self, n: int) -> list[str]:
        host = "" if n % 3 else f"elsewhere-{n}"
        orders = self._orders(self.settings.processes, host=host, clock=self.stage.clock_of(n))
        return command(orders)

    def _command_spared(self, n: int) -> list[str]:
        del n
        return command(self._orders(self.settings.spared, queues="default,async"))  # no poison

    def _orders(self, processes: int, **others: str) -> Orders:
        return Orders(
            target=str(self.target),
            ledger=str(self.ledger.path),
            processes=processes,
            threads=self.settings.threads,
            concurrency=2 * self.settings.threads,
            heartbeat=0.4,
            dead_after=self.settings.lease,
            grace=10.0,
            **others,
        )

    # ---- the run

    def run(self) -> dict[str, Any]:
        """Do it all; return the report."""
        self.store.setup()
        self.stage.prepare()
        watcher = Watcher(self.ledger, self.folder)
        watcher.start()
        began = time.monotonic()
        try:
            self._until_at_work()
            self._break()
            self._heal()
            drained = self._drain()
            codes = self.fleet.stop() + self.spared.stop()
        finally:
            watcher.over.set()
            watcher.join()
            self.close()
        seconds = time.monotonic() - began
        return self._report(seconds, drained, codes, watcher.starved)

    def _until_at_work(self) -> None:
        deadline = time.monotonic() + 30
        while not (self.store.workers() and self.lookout.open):
            assert time.monotonic() < deadline, "no worker has started, or nobody enqueues"
            self._tend()
            self._tend_enqueuers()
            self.lookout.learn()
            self._pause.wait(0.05)

    def _break(self) -> None:
        settings = self.settings
        weights = {**PROCESS_FAULTS, **self.stage.weights, "enqueuer": 1.0}
        plan = draw(settings.seed, _LONGEST if settings.jobs else settings.seconds / 60, weights,
                    every=settings.every, longest=settings.lease * 1.8)  # fmt: skip
        began = time.monotonic()
        for planned in plan:
            self._tend_until(began + planned.at)
            if self._is_enough(began):
                return
            self._commit(planned)
        self._tend_until(began + settings.seconds)

    def _is_enough(self, began: float) -> bool:
        settings = self.settings
        late = time.monotonic() - began > settings.seconds
        return late and self.lookout.accepted >= settings.jobs

    def _tend_until(self, moment: float) -> None:
        while time.monotonic() < moment:
            self._tend()
            self._tend_enqueuers()
            self.hold.keep(len(self.lookout.open), len(self.lookout.settled))
            self.lookout.look()
            self._watch()
            self._pause.wait(0.05)

    def _watch(self) -> None:
        """Take samples, and say once a minute how it goes."""
        self.sampler.sample(self._pids)
        now = time.monotonic()
        if now - self._told < _MINUTE:
            return
        self._told = now
        known, sampler = self.lookout, self.sampler
        sys.stderr.write(
            f"{time.strftime('%H:%M:%S')} {self.stage.name}: {known.accepted} accepted, "
            f"{len(known.ends)} ended, {known.waiting} to come, {self.faults.total()} faults; "
            f"rig {sampler.rig >> 20} MB, largest worker {sampler.largest >> 20} MB\n"
        )
        sys.stderr.flush()

    def _pids(self) -> list[int]:
        return self.fleet.pids() + self.spared.pids()

    def _tend(self) -> None:
        self.fleet.tend()
        self.spared.tend()

    def _commit(self, planned: Planned) -> None:
        kind = planned.kind
        if kind == "enqueuer":
            self._kill_enqueuer(planned)
        elif kind in PROCESS_FAULTS:
            if self.fleet.commit(planned):
                self.faults[kind] += 1
        else:
            self._doing = [one for one in self._doing if not one.done() or one.result()]
            if len(self._doing) < 2:
                self._doing.append(self._pool.submit(self._do, planned))

    def _do(self, planned: Planned) -> None:
        began = time.monotonic()
        getattr(self.stage, f"do_{planned.kind}")(planned)
        self.ledger.fault(planned.kind, EVERYBODY, began)
        self.faults[planned.kind] += 1

    def _heal(self) -> None:
        """Do no more; undo what lasts."""
        self.stage.hurry.set()
        for one in self._doing:
            one.result(60)
        self.fleet.heal()
        self.hold.keep(0)
        for process in self.enqueuers:
            process.terminate()
        for process in self.enqueuers:
            process.wait(60)

    def _drain(self) -> float:
        """Wait until all that is known is final; return how long that took."""
        began = time.monotonic()
        deadline = began + self.settings.patience
        while time.monotonic() < deadline:
            self._tend()
            self.lookout.look()
            if self.lookout.waiting < _FEW:
                self.lookout.look(every=True)
                if self.lookout.is_done and not self._is_anything_left():
                    break
            self._watch()
            self._pause.wait(0.1)
        self.lookout.look(every=True)
        return time.monotonic() - began

    def _is_anything_left(self) -> bool:
        try:
            stats = self.store.count()
        except StoreError:
            return True
        return any(one.ready or one.running or one.scheduled for one in stats)

    def close(self) -> None:
        self.stage.hurry.set()
        for process in self.enqueuers:
            process.kill()
            process.wait(10)
        self.fleet.close()
        self.spared.close()
        self._pool.shutdown()
        self.lookout.close()

    # ---- enqueuers

    def _tend_enqueuers(self) -> None:
        self.enqueuers = [one for one in self.enqueuers if one.poll() is None]
        while len(self.enqueuers) < self.settings.enqueuers:
            options = {
                "url": self.stage.url,
                "ledger": str(self.ledger.path),
                "seed": self.settings.seed * 1000 + self._enqueuers_started,
                "rate": self.settings.rate,
                "keep": self.settings.keep,
            }
            line = [sys.executable, str(HERE / "enqueuer.py"), json.dumps(options)]
            with (self.folder / f"enqueuer-{self._enqueuers_started}.log").open("wb") as log:
                self.enqueuers.append(subprocess.Popen(line, stdout=log, stderr=log))
            self._enqueuers_started += 1

    def _kill_enqueuer(self, planned: Planned) -> None:
        if self.enqueuers:
            process = self.enqueuers[int(planned.victim * len(self.enqueuers))]
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            self.faults["enqueuer"] += 1

    # ---- the report

    def _report(
        self, seconds: float, drained: float, codes: list[int], starved: int
    ) -> dict[str, Any]:
        written = self.stage.effects()
        lease = self.settings.lease
        reach = Reach(slack=lease + 3.0, lasts=lease * KEPT, forgets=self.stage.forgets)
        checker = Checker(self.lookout.ends, kinds=KINDS, reach=reach)
        found = judge(self.ledger, checker, self.lookout.ends, written)
        verdict, wrong, effects = found.verdict, found.wrong, Counter(job for job, _ in written)
        wrong += self._bounds()
        wrong += [f"a supervisor ended with {code}" for code in codes]
        info = self.store.describe()
        self.app.close()
        settings = self.settings
        return {
            "store": self.stage.name,
            "server": info.name,
            "durability": f"an enqueue survives {info.enqueue_survives}",
            "seed": settings.seed,
            "minutes": round(settings.seconds / 60, 2),
            "workers": settings.supervisors * settings.processes,
            "enqueuers": settings.enqueuers,
            "lease_seconds": settings.lease,
            "jobs": verdict.jobs,
            "accepted": found.accepted,
            "runs": verdict.runs,
            "states": dict(sorted(verdict.states.items())),
            "faults": dict(sorted((self.faults + Counter(poison=found.poisoned)).items())),
            "lost": len(verdict.lost),
            "violations": len(wrong),
            "told": wrong[:30],
            "doubled_after_a_good_end": dict(verdict.doubled),
            "interrupted_and_run_again": dict(verdict.interrupted),
            "late_outcomes_refused": verdict.void,
            "outcomes_forgotten_by_a_crash": verdict.forgotten,
            "quarantined": verdict.quarantined,
            "limits": {"allowed_at_once": PLACES, **msgspec.structs.asdict(verdict.limited)},
            "effects": {"jobs": len(effects), "doubled": sum(n > 1 for n in effects.values())},
            "oldest_doubled_seconds": round(verdict.window, 3),
            "worst_recovery_seconds": found.recovery,
            "drained_seconds": round(drained, 2),
            "seconds": round(seconds, 1),
            "starved": starved,
            "memory": self.sampler.workers(),
            "rig_bytes": self.sampler.rig,
            "store_bytes": self.sampler.store(),
            "machine": {
                "cores": os.cpu_count(),
                "python": platform.python_version(),
                "load_average": round(os.getloadavg()[0], 2),
            },
        }

    def _bounds(self) -> list[str]:
        """Say what is left that nobody will ever need."""
        wrong = [f"{n} left in {place}" for place, n in self.stage.leftovers().items() if n]
        wrong += [f"worker {one.name} is still registered" for one in self.store.workers()]
        for stats in self.store.count():
            if stats.ready or stats.running or stats.scheduled:
                wrong.append(f"the counters do not come out even: {stats}")
        orphans = [job for _, job in self.stage.effects() if job not in self.lookout.ends]
        wrong += [f"receipt {job} of a committed transaction never ran" for job in orphans]
        once: Any = self.app.tasks["once"]
        for key in range(KEYS):
            handle = once.using(delay=3600).enqueue(key)
            if not handle.enqueued:
                wrong.append(f"unique key {key} is still held")
            else:
                handle.cancel()
        return wrong
