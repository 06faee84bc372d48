"""Starts, watches and kills real workers. All polling of these tests is in `wait_until`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import turnout
from process.shop import Ledger, make_app
from turnout.job import JobFilter, JobRecord, State

T = TypeVar("T")
HERE = Path(__file__).parent
SOURCE = Path(turnout.__file__).parents[1]
_EVERY = 0.01
# Patient with a busy machine: a worker that is taken for dead has its jobs run twice.
QUICK = {"heartbeat": 0.2, "dead_after": 10.0, "threads": 2}
HASTY = {"dead_after": 1.5}  # for tests that wait until one is taken for dead


def wait_until(condition: Callable[[], T], what: str = "", *, timeout: float = 15.0) -> T:
    """Return the condition's value once it is true; fail the test when it is not in time."""
    pause, deadline = threading.Event(), time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or condition}")
        pause.wait(_EVERY)


def is_alive(pid: int) -> bool:
    """Tell whether a process still runs; one that waits to be buried does not."""
    return _state(pid) not in "ZX"


def is_stopped(pid: int) -> bool:
    """Tell whether a process was suspended by a signal."""
    return _state(pid) == "T"


def _state(pid: int) -> str:
    return _stat(pid)[0]


def _lives(pid: int, birth: str) -> bool:
    state, *_, born = _stat(pid)[:20]
    return state not in "ZX" and born == birth


def _stat(pid: int) -> list[str]:
    """Return what /proc tells of a process from its state on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["X"] * 20


class Worker:
    """A supervisor process with its children."""

    def __init__(self, command: list[str], log: Path, cwd: Path, more: dict[str, str]) -> None:
        self.log_path = log
        env = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONFAULTHANDLER": "", **more}
        env.pop("TURNOUT_URL", None)
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env, cwd=cwd
            )
        self.seen: dict[int, str] = {}  # pid -> when it was born: pids are given away again

    @property
    def pid(self) -> int:
        return self.process.pid

    def children(self) -> list[int]:
        """Return the pids of the worker processes that live."""
        try:
            text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except OSError:
            text = ""
        self.seen.update((int(pid), _stat(int(pid))[19]) for pid in text.split())
        return [pid for pid in sorted(self.seen) if _lives(pid, self.seen[pid])]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def signal_child(self, number: int) -> int:
        [pid] = self.children()
        os.kill(pid, number)
        return pid

    def suspend(self) -> int:
        """Stop the child while it idles: in a transaction, it would keep the locks for good."""
        [pid] = self.children()
        wait_until(lambda: self._is_idle(pid), "the child has nothing to do")
        os.kill(pid, signal.SIGSTOP)
        return pid

    @staticmethod
    def _is_idle(pid: int) -> bool:
        """Tell whether the process used no processor for a while, and waits for none."""
        before = Path(f"/proc/{pid}/stat").read_text().split()[13:15]
        threading.Event().wait(0.05)
        threads = [int(one.name) for one in Path(f"/proc/{pid}/task").iterdir()]
        sleeps = all(_state(thread) in "SX" for thread in threads)
        return sleeps and Path(f"/proc/{pid}/stat").read_text().split()[13:15] == before

    def kill_all(self) -> None:
        """End the supervisor first, then what it started, with no chance to say goodbye."""
        pids = self.children()
        self.process.kill()
        self.process.wait(10)
        for pid in {*pids, *self.children()}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.children(), "the children are gone")

    def wait(self, timeout: float = 15.0) -> int:
        """Return the exit code once it has ended."""
        code = self.process.wait(timeout)
        wait_until(lambda: not self.children(), "its children have ended too")
        return code

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def until_logged(self, words: str, count: int = 1, *, timeout: float = 30.0) -> str:
        """Wait until the log holds these words so often; return it."""
        try:
            wait_until(lambda: self.log.count(words) >= count, timeout=timeout)
        except AssertionError:
            raise AssertionError(f"never said {count} x {words!r}:\n{self.log[-4000:]}") from None
        return self.log

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")


class Rig:
    """One store in one folder, its application, its ledger, its workers."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.app = make_app(folder, url, extra=True)
        self.ledger = Ledger(folder)
        self.store = self.app.store
        self.store.setup()
        self.workers: list[Worker] = []
        self.env: dict[str, str] = {}  # for those that are started from now on

    def start(self, **options: Any) -> Worker:
        """Start a supervisor and wait until its children are at work."""
        worker = self.launch(**options)
        if not options.get("until_empty"):
            count = options.get("processes", 1)
            wait_until(lambda: self.at_work(worker) >= count, "the workers have started")
        return worker

    def launch(self, **options: Any) -> Worker:
        """Start a supervisor and wait for nothing."""
        command = [sys.executable, str(HERE / "runner.py"), str(self.folder)]
        text = json.dumps({**QUICK, "grace": 10.0, "url": self.url, **options})
        return self._launch([*command, text])

    def start_cli(self, *arguments: str) -> Worker:
        """Start `turnout worker` on an application file of this folder."""
        lines = [
            "import sys",
            f"sys.path.insert(0, {str(HERE.parent)!r})",
            "from pathlib import Path",
            "from process.shop import make_app",
            f"jobs = make_app(Path({str(self.folder)!r}), {self.url!r})",
        ]
        (self.folder / "shop_app.py").write_text("\n".join(lines))
        return self._launch([sys.executable, "-m", "turnout", "worker", "shop_app", *arguments])

    def _launch(self, command: list[str]) -> Worker:
        log = self.folder / f"worker-{len(self.workers)}.log"
        worker = Worker(command, log, self.folder, self.env)
        self.workers.append(worker)
        return worker

    def at_work(self, worker: Worker) -> int:
        """Return how many of its children have an open epoch."""
        pids = set(worker.children())
        return sum(info.pid in pids for info in self.store.workers())

    def close(self) -> None:
        for worker in self.workers:
            for pid in {*worker.children(), worker.pid}:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            if worker.process.poll() is None or worker.children():
                worker.kill_all()
        self.app.close()

    # ---- jobs

    def enqueue(self, task: str, *args: Any, **using: Any) -> str:
        """Record a job and return its id."""
        return self.app.tasks[task].using(**using).enqueue(*args).id

    def record(self, job_id: str) -> JobRecord | None:
        found = self.store.find(JobFilter(ids=(job_id,)), limit=1)
        return found[0] if found else None

    def until(self, job_id: str, *states: State, timeout: float = 15.0) -> JobRecord:
        """Return the job's record once it is in one of `states` (default: any final one)."""
        record: JobRecord | None = None

        def there() -> bool:
            nonlocal record
            record = self.record(job_id)
            if record is None:
                return False
            return record.state in states if states else record.state.is_final

        try:
            wait_until(there, timeout=timeout)
        except AssertionError:
            logs = "\n".join(f"--- {one.log_path.name}\n{one.log[-3000:]}" for one in self.workers)
            raise AssertionError(f"job {job_id} never came to {states}: {record}\n{logs}") from None
        assert record is not None
        return record

    def until_said(self, word: str, name: str, count: int = 1, *, timeout: float = 15.0) -> None:
        """Wait until the ledger holds `count` such lines."""
        wait_until(
            lambda: len(self.ledger.said(word, name)) >= count,
            f"{count} x {word} {name} in {self.ledger.lines()}",
            timeout=timeout,
        )

    def states(self, ids: list[str]) -> dict[State, int]:
        """Return how many of these jobs are in which state; missing ones are an error."""
        counts: dict[State, int] = {}
        for at in range(0, len(ids), 500):
            part = tuple(ids[at : at + 500])
            found = self.store.find(JobFilter(ids=part), limit=len(part))
            assert len(found) == len(part), "jobs are lost"
            for record in found:
                counts[record.state] = counts.get(record.state, 0) + 1
        return counts
