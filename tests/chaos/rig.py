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
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from chaos.judging import judge
from chaos.shop import KEYS, KINDS, PLACES, app_file, make_app
from chaos.stages import Stage
from turnout.cli._chaos_worker import command
from turnout.errors import StoreError
from turnout.job import JobFilter
from turnout.testing.chaos.checker import Checker
from turnout.testing.chaos.fleet import PROCESS_FAULTS, Fleet, memory
from turnout.testing.chaos.ledger import EVERYBODY, Ledger
from turnout.testing.chaos.overlap import KEPT, Reach
from turnout.testing.chaos.schedule import Planned, draw
from turnout.testing.chaos.stories import End
from turnout.testing.chaos.worker import Orders

HERE = Path(__file__).parent
LEASE = 2.5
STARVED = 0.6  # seconds for which nothing of ours ran, or the disk did not answer: the machine's
_LOOK = 500  # jobs that one look asks for


class Settings:
    """How large a run is. Times in seconds."""

    def __init__(self, **given: Any) -> None:
        self.seed = 1
        self.seconds = 6.0
        self.supervisors = 2
        self.processes = 2
        self.enqueuers = 2
        self.rate = 30.0  # jobs a second and enqueuer
        self.every = (0.4, 1.2)  # between two faults
        self.keep = 3600.0
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
        self.enqueuers: list[subprocess.Popen[bytes]] = []
        self._enqueuers_started = 0
        self.ends: dict[str, End] = {}
        self._ends_seen: dict[End, End] = {}  # a million jobs end in a few ways
        self.pending: dict[str, None] = {}
        self._read_to = 0
        self.faults: Counter[str] = Counter()
        self.rss: dict[int, list[tuple[float, int]]] = {}
        self.sizes: list[int] = []
        self._pool = ThreadPoolExecutor(1)  # one fault of the store at a time
        self._doing: list[Future[None]] = []
        self._sampled = 0.0
        self._pause = threading.Event()

    def _command(self, n: int) -> list[str]:
        orders = Orders(
            target=str(self.target),
            ledger=str(self.ledger.path),
            processes=self.settings.processes,
            threads=3,
            concurrency=5,
            heartbeat=0.4,
            dead_after=LEASE,
            grace=10.0,
            host="" if n % 3 else f"elsewhere-{n}",
            clock=self.stage.clock_of(n),
        )
        return command(orders)

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
            codes = self.fleet.stop()
        finally:
            watcher.over.set()
            watcher.join()
            self.close()
        seconds = time.monotonic() - began
        return self._report(seconds, drained, codes, watcher.starved)

    def _until_at_work(self) -> None:
        deadline = time.monotonic() + 30
        while not (self.store.workers() and self.pending):
            assert time.monotonic() < deadline, "no worker has started, or nobody enqueues"
            self.fleet.tend()
            self._tend_enqueuers()
            self._learn()
            self._pause.wait(0.05)

    def _break(self) -> None:
        settings = self.settings
        weights = {**PROCESS_FAULTS, **self.stage.weights, "enqueuer": 1.0}
        plan = draw(settings.seed, settings.seconds / 60, weights, every=settings.every,
                    longest=LEASE * 1.8)  # fmt: skip
        began = time.monotonic()
        for planned in plan:
            self._tend_until(began + planned.at)
            self._commit(planned)
        self._tend_until(began + settings.seconds)

    def _tend_until(self, moment: float) -> None:
        while time.monotonic() < moment:
            self.fleet.tend()
            self._tend_enqueuers()
            self._sample()
            self._look()
            self._pause.wait(0.05)

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
        for process in self.enqueuers:
            process.terminate()
        for process in self.enqueuers:
            process.wait(60)

    def _drain(self) -> float:
        """Wait until all that is known is final; return how long that took."""
        began = time.monotonic()
        deadline = began + self.settings.patience
        while time.monotonic() < deadline:
            self.fleet.tend()
            self._look(every=True)
            if not self.pending and not self._is_anything_left():
                break
            self._sample()
            self._pause.wait(0.1)
        self._look(every=True)
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
        self._pool.shutdown()

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

    # ---- looking

    def _look(self, *, every: bool = False) -> None:
        """Learn which known jobs are final by now."""
        self._learn()
        with suppress(StoreError):
            for _ in range(len(self.pending) // _LOOK + 1 if every else 1):
                self._look_once()

    def _look_once(self) -> None:
        ids = list(self.pending)[:_LOOK]
        if not ids:
            return
        for record in self.store.find(JobFilter(ids=tuple(ids)), limit=len(ids)):
            if record.state.is_final:
                end = End.of(record)
                self.ends[record.id] = self._ends_seen.setdefault(end, end)
        for job in ids:
            del self.pending[job]
            if job not in self.ends:
                self.pending[job] = None  # at the end: others are asked for first

    def _learn(self) -> None:
        """Take in the jobs that the ledger has named since the last look."""
        if not self.ledger.path.exists():
            return
        with self.ledger.path.open("rb") as file:
            file.seek(self._read_to)
            text = file.read()
        text = text[: text.rfind(b"\n") + 1]
        self._read_to += len(text)
        for line in text.decode().splitlines():
            _, word, _, first, *_ = line.split()
            if word in ("accepted", "start") and first not in self.ends:
                self.pending[first] = None

    def _sample(self) -> None:
        now = time.monotonic()
        if now - self._sampled < 5.0:
            return
        self._sampled = now
        for pid in self.fleet.pids():
            used = memory(pid)
            if used is not None:
                self.rss.setdefault(pid, []).append((now, used))
        with suppress(Exception):  # the server may be down
            self.sizes.append(self.stage.size())

    # ---- the report

    def _report(
        self, seconds: float, drained: float, codes: list[int], starved: int
    ) -> dict[str, Any]:
        written = self.stage.effects()
        reach = Reach(slack=LEASE + 3.0, lasts=LEASE * KEPT, forgets=self.stage.forgets)
        checker = Checker(self.ends, kinds=KINDS, reach=reach)
        found = judge(self.ledger, checker, self.ends, written)
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
            "lease_seconds": LEASE,
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
            "memory": self._memory(),
            "store_bytes": {"most": max(self.sizes, default=0), "last": self.sizes[-1:]},
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
        orphans = [job for _, job in self.stage.effects() if job not in self.ends]
        wrong += [f"receipt {job} of a committed transaction never ran" for job in orphans]
        once: Any = self.app.tasks["once"]
        for key in range(KEYS):
            handle = once.using(delay=3600).enqueue(key)
            if not handle.enqueued:
                wrong.append(f"unique key {key} is still held")
            else:
                handle.cancel()
        return wrong

    def _memory(self) -> dict[str, Any]:
        """Return the worst worker, and how the one that lived longest has grown."""
        if not self.rss:
            return {}
        longest = max(self.rss.values(), key=lambda seen: seen[-1][0] - seen[0][0])
        most = max(used for seen in self.rss.values() for _, used in seen)
        return {
            "most_bytes": most,
            "longest_lived_seconds": round(longest[-1][0] - longest[0][0], 1),
            "its_first_bytes": longest[0][1],
            "its_last_bytes": longest[-1][1],
        }
