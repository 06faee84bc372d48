"""The application of the process tests: tasks that can be watched from outside and held in mid-run.

What a job does goes into the ledger, one line each, appended atomically: a kill loses none.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from turnout import (
    Cancel,
    CurrentJob,
    Isolate,
    JobTimeout,
    Retry,
    Turnout,
    concurrency,
    current_job,
    discard_on,
    exactly,
    retry_on,
)


class Ledger:
    """Lines that jobs of any process append, in the order in which they did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "ledger"

    def write(self, *words: object) -> None:
        line = " ".join(map(str, words)) + "\n"
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, line.encode())
        os.close(handle)

    def lines(self) -> list[list[str]]:
        if not self.path.exists():
            return []
        return [line.split() for line in self.path.read_text().splitlines()]

    def said(self, word: str, name: object = None) -> list[list[str]]:
        """Return the lines that begin with `word` (and `name`)."""
        return [line for line in self.lines() if line[0] == word and name in (None, *line[1:2])]

    def release(self, name: str) -> None:
        """Let the job held under `name` go on."""
        (self.folder / f"go-{name}").touch()

    def is_released(self, name: str) -> bool:
        return (self.folder / f"go-{name}").exists()


def make_app(folder: Path, url: str, *, extra: bool = False) -> Turnout:
    """Return the application over a store; with `extra`, a newer one that knows more."""
    jobs = Turnout(url)
    ledger = Ledger(folder)
    _steady(jobs, ledger)
    _limited(jobs, ledger)
    _calling(jobs, ledger)
    _heavy(jobs, ledger)
    _deadly(jobs, ledger)
    _slow(jobs, ledger)
    _asynchronous(jobs, ledger)
    _transactional(jobs, ledger)
    _isolated(jobs, ledger)
    _isolated_and_dying(jobs, ledger)
    if extra:

        @jobs.task(name="newer")
        def newer(name: str) -> None:
            ledger.write("newer", name, os.getpid())

    return jobs


def _steady(jobs: Turnout, ledger: Ledger) -> None:
    @jobs.task(name="note")
    def note(name: str) -> None:
        ledger.write("note", name, os.getpid())

    @jobs.task(name="nap")
    def nap(name: str, seconds: float) -> None:
        ledger.write("start", name, os.getpid())
        time.sleep(seconds)
        ledger.write("end", name, os.getpid())

    @jobs.task(name="hold", wait=exactly(0.05))
    def hold(name: str) -> None:
        job = current_job()
        ledger.write("start", name, os.getpid(), job.attempt)
        seen: set[str] = set()
        while not ledger.is_released(name):
            for flag in ("lost", "stopping", "cancelled"):
                if getattr(job, flag) and flag not in seen:
                    seen.add(flag)
                    ledger.write(flag, name, os.getpid())
            if job.cancelled:
                raise Cancel("it was asked to stop")
            time.sleep(0.01)
        ledger.write("end", name, os.getpid(), "lost" if job.lost else "held")

    @jobs.task(name="late")
    def late(name: str, seconds: float) -> None:
        """Fail once, and ask for the next attempt that much later."""
        ledger.write("start", name, os.getpid(), time.monotonic())
        if current_job().attempt == 1:
            raise Retry(after=seconds)

    @jobs.task(name="mute")
    def mute(name: str) -> None:
        """Hold, and write nothing any more: for tests where nothing can be written."""
        ledger.write("start", name, os.getpid())
        while not ledger.is_released(name):
            time.sleep(0.01)


def _limited(jobs: Turnout, ledger: Ledger) -> None:
    @jobs.task(name="slot", limit=concurrency("slots", 3, lease=1))
    def slot(name: str) -> None:
        ledger.write("start", "slot", name, os.getpid())
        time.sleep(0.02)
        ledger.write("end", "slot", name, os.getpid())

    @jobs.task(name="alone", limit=concurrency("alone", 1, lease=1))
    def alone(name: str) -> None:
        ledger.write("start", name, os.getpid())
        while not ledger.is_released(name):
            time.sleep(0.01)
        ledger.write("end", name, os.getpid())


def _calling(jobs: Turnout, ledger: Ledger) -> None:
    def get(name: str) -> None:
        port = (ledger.folder / "port").read_text()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}", timeout=0.3) as answer:
            answer.read()

    @jobs.task(name="careful", dependency="service", wait=exactly(0.2), attempts=1_000)
    def careful(name: str) -> None:
        get(name)

    @jobs.task(name="within")
    def within(name: str) -> None:
        with current_job().dependency("fragile"):
            ledger.write("start", "fragile", name, os.getpid())
            time.sleep(0.02)
            ledger.write("end", "fragile", name, os.getpid())

    @jobs.task(name="within-isolated", isolate=True)
    def within_isolated(name: str) -> None:
        within(name)

    @jobs.task(name="naive", wait=exactly(0.2), attempts=1_000)
    def naive(name: str) -> None:
        get(name)


def _heavy(jobs: Turnout, ledger: Ledger) -> None:
    held: list[bytes] = []

    @jobs.task(name="grow")
    def grow(name: str, size: int) -> None:
        held.append(bytes(1) * size)
        ledger.write("grown", name, os.getpid())

    @jobs.task(name="brittle", attempts=1)
    def brittle(name: str) -> None:
        """Do what cannot be done twice."""
        ledger.write("brittle", name, current_job().attempt)
        if len(ledger.said("brittle", name)) > 1:
            raise FileExistsError(name)


def _deadly(jobs: Turnout, ledger: Ledger) -> None:
    def deeper(n: int) -> int:
        return deeper(n + 1) + 1

    ways = {
        "exit0": lambda: os._exit(0),
        "exit3": lambda: os._exit(3),
        "segfault": lambda: ctypes.string_at(0),
        "sys.exit": lambda: sys.exit(1),
        "interrupt": lambda: (_ for _ in ()).throw(KeyboardInterrupt()),
        "recursion": lambda: deeper(0),
    }

    @jobs.task(name="die", attempts=2, wait=exactly(0.05))
    def die(name: str, way: str, times: int = 99) -> None:
        ledger.write("start", name, os.getpid())
        if len(ledger.said("start", name)) <= times:
            ways[way]()
        ledger.write("end", name, os.getpid())


def _slow(jobs: Turnout, ledger: Ledger) -> None:
    @jobs.task(name="spin", timeout=0.3, attempts=1)
    def spin(name: str) -> None:
        ledger.write("start", name, os.getpid())
        until = time.monotonic() + 30
        while time.monotonic() < until:
            pass
        ledger.write("end", name, os.getpid())

    @jobs.task(name="stuck", timeout=0.3, attempts=1)
    def stuck(name: str, seconds: float) -> None:
        ledger.write("start", name, os.getpid())
        time.sleep(seconds)
        ledger.write("end", name, os.getpid())

    @jobs.task(name="deaf", timeout=0.3, attempts=1)
    def deaf(name: str, seconds: float) -> None:
        """Swallow whatever is raised in it, as careless code does."""
        ledger.write("start", name, os.getpid())
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                time.sleep(0.01)
            except BaseException:
                ledger.write("swallowed", name, os.getpid())
        ledger.write("end", name, os.getpid())


def _asynchronous(jobs: Turnout, ledger: Ledger) -> None:
    @jobs.task(name="ahold")
    async def ahold(name: str) -> None:
        ledger.write("start", name, os.getpid())
        try:
            while not ledger.is_released(name):  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            ledger.write("cancelled", name, os.getpid())
            raise
        ledger.write("end", name, os.getpid())

    @jobs.task(name="aslow", timeout=0.3, attempts=1)
    async def aslow(name: str) -> None:
        ledger.write("start", name, os.getpid())
        await asyncio.sleep(30)

    @jobs.task(name="adie", attempts=1)
    async def adie(name: str) -> None:
        ledger.write("start", name, os.getpid())
        raise SystemExit(1)


def _transactional(jobs: Turnout, ledger: Ledger) -> None:
    def insert(order: int) -> None:
        cursor = current_job().connection.cursor()
        cursor.execute(f"INSERT INTO charge (order_id) VALUES ({order})")
        cursor.close()

    @jobs.task(name="charge", transactional=True, wait=exactly(0.05))
    def charge(order: int) -> None:
        insert(order)
        ledger.write("charged", order, os.getpid())
        jobs.tasks["note"].enqueue(f"receipt-{order}")
        time.sleep(0.005)

    @jobs.task(name="charge_held", transactional=True, wait=exactly(0.05))
    def charge_held(order: int) -> None:
        insert(order)
        ledger.write("start", order, os.getpid())
        while not ledger.is_released(str(order)):
            time.sleep(0.01)

    @jobs.task(name="charge_late", transactional=True, wait=exactly(0.05))
    def charge_late(order: int) -> None:
        insert(order)
        if current_job().attempt < 3:
            raise ConnectionError("the bank hung up after the row was written")


tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


def hold_the_gil(seconds: float) -> None:
    """Sleep in C code that lets no other thread of the interpreter run."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def _isolated(jobs: Turnout, ledger: Ledger) -> None:
    jobs.propagate(tenant)

    @jobs.task(name="iso", isolate=True, timeout=60)
    def iso(name: str) -> dict[str, Any]:
        job = current_job()
        job.progress(3, total=4, message="nearly")
        jobs.tasks["note"].enqueue(f"from-{name}")
        ledger.write("ran", name, os.getpid(), os.getppid())
        return {
            "pid": os.getpid(),
            "id": job.id,
            "key": job.idempotency_key,
            "attempt": job.attempt,
            "left": (job.deadline or 0.0) - time.time(),
            "tenant": tenant.get(),
            "threads": sorted(thread.name for thread in threading.enumerate()),
            "is_main": threading.current_thread() is threading.main_thread(),
        }

    @jobs.task(name="iso_async", isolate=True)
    async def iso_async(name: str) -> str:
        await asyncio.sleep(0)
        return f"{name} in {os.getpid()}"

    @jobs.task(name="iso_nap", isolate=True)
    def iso_nap(name: str, seconds: float) -> None:
        ledger.write("start", name, os.getpid())
        time.sleep(seconds)
        ledger.write("end", name, os.getpid())

    @jobs.task(name="iso_apart", isolate=True, queue="apart")
    def iso_apart(name: str) -> None:
        ledger.write("apart", name, os.getpid())

    @jobs.task(name="iso_hold", isolate=True, wait=exactly(0.05))
    def iso_hold(name: str) -> None:
        job = current_job()
        ledger.write("start", name, os.getpid(), job.attempt)
        while not ledger.is_released(name):
            for flag in ("lost", "stopping", "cancelled"):
                if getattr(job, flag) and not ledger.said(flag, name):
                    ledger.write(flag, name, os.getpid())
            time.sleep(0.01)
        ledger.write("end", name, os.getpid())

    @jobs.task(name="iso_ahold", isolate=True)
    async def iso_ahold(name: str) -> None:
        ledger.write("start", name, os.getpid())
        try:
            while not ledger.is_released(name):  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            ledger.write("cancelled", name, os.getpid())
            raise
        ledger.write("end", name, os.getpid())

    @jobs.task(name="iso_fresh", isolate=Isolate(reuse=1))
    def iso_fresh(name: str) -> int:
        return os.getpid()

    @jobs.task(name="iso_fail", isolate=True, attempts=2, wait=exactly(0.05))
    def iso_fail(name: str) -> None:
        raise LookupError(f"no such order: {name}")


def _isolated_and_dying(jobs: Turnout, ledger: Ledger) -> None:
    ways: dict[str, Callable[[], object]] = {
        "exit3": lambda: os._exit(3),
        "exit0": lambda: os._exit(0),
        "segfault": lambda: ctypes.string_at(0),
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    }

    def die(name: str, way: str, times: int = 99) -> None:
        ledger.write("start", name, os.getpid())
        if len(ledger.said("start", name)) <= times:
            sys.stderr.write(f"about to {way}\n")
            sys.stderr.flush()
            ways[way]()
        ledger.write("end", name, os.getpid())

    jobs.task(name="iso_die", isolate=True)(die)
    jobs.task(name="iso_die_once", isolate=True, on_crash="dead")(die)
    jobs.task(name="die_once", on_crash="discard")(die)

    @jobs.task(name="iso_stuck", isolate=True, timeout=0.5, attempts=1)
    def iso_stuck(name: str, seconds: float) -> None:
        ledger.write("start", name, os.getpid())
        hold_the_gil(seconds)
        ledger.write("end", name, os.getpid())

    @jobs.task(name="gil")
    def gil(name: str, seconds: float, times: int = 1) -> None:
        ledger.write("start", name, os.getpid())
        if len(ledger.said("start", name)) <= times:
            hold_the_gil(seconds)
        ledger.write("end", name, os.getpid())

    def tell(job: CurrentJob, error: BaseException) -> None:
        ledger.write("then", job.arguments[0][0], type(error).__name__, os.getpid())

    @jobs.task(
        name="iso_hog", memory="300MB", isolate=True, on_error=[discard_on(MemoryError, then=tell)]
    )
    def iso_hog(name: str, megabytes: int) -> int:
        return len(bytearray(megabytes * 2**20))

    @jobs.task(
        name="iso_late", isolate=True, timeout=0.3,
        on_error=[retry_on(JobTimeout, attempts=1, then=tell)],
    )  # fmt: skip
    def iso_late(name: str) -> None:
        ledger.write("start", name, os.getpid())
        time.sleep(60)

    @jobs.task(name="iso_charge", isolate=True, transactional=True, wait=exactly(0.05))
    def iso_charge(order: int) -> None:
        cursor = current_job().connection.cursor()
        cursor.execute(f"INSERT INTO charge (order_id) VALUES ({order})")
        cursor.close()
        ledger.write("charged", order, os.getpid())
        if len(ledger.said("charged", str(order))) == 1:
            os._exit(5)


__all__ = ["Ledger", "make_app"]
