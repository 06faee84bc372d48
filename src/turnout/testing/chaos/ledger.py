"""What happened, one line each, in a file that processes append to and no kill can damage.

A line is a moment, a word, a pid and fields, parted by spaces. Moments are seconds of the
machine's monotonic clock, which all its processes share and which no clock jump moves:

    accepted  pid job kind key     an enqueue returned: from here on the job must not be lost
    start     pid job attempt fence slots   slots: KEY=N of each limit of N at once that it holds
    end       pid job attempt fence how     "ok", or the name of what the task raised
    settled   pid job attempt outcome       the store confirmed it: a state, or retried or snoozed
    void      pid job attempt               the store refused it: the lease was gone
    fault     pid seconds kind victims      began at the moment; victims: pids by commas, or *
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from turnout import events
from turnout.limits.carried import carried_by

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from pathlib import Path

    from turnout.app import Turnout
    from turnout.current import CurrentJob

EVERYBODY = "*"

_STATES = {
    events.JobSucceeded: "succeeded",
    events.JobRetried: "retried",
    events.JobSnoozed: "snoozed",
    events.JobDead: "dead",
    events.JobDiscarded: "discarded",
    events.JobCancelled: "cancelled",
}


class Ledger:
    """One such file. Any number of processes and threads may write to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: tuple[int, int] | None = None  # pid, descriptor: a fork opens its own

    def write(self, word: str, *fields: object, at: float | None = None) -> None:
        """Append one line; a write that short is atomic, so a kill leaves it whole or out."""
        moment = time.monotonic() if at is None else at
        text = " ".join((f"{moment:.6f}", word, str(os.getpid()), *map(str, fields)))
        os.write(self._descriptor(), text.encode() + b"\n")

    def _descriptor(self) -> int:
        if self._file is None or self._file[0] != os.getpid():
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._file = (os.getpid(), os.open(self.path, flags, 0o600))
        return self._file[1]

    def lines(self) -> Iterator[list[str]]:
        """Yield the fields of each line written so far, in the order of writing."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):  # or it is being written
                    yield line.decode().split()

    def fault(self, kind: str, victims: Iterable[int] | str, began: float) -> None:
        """Note a fault that began then and ends now."""
        who = victims if isinstance(victims, str) else ",".join(map(str, sorted(victims)))
        self.write("fault", f"{time.monotonic() - began:.6f}", kind, who or "0", at=began)


def watch(app: Turnout, ledger: Ledger) -> None:
    """Note every attempt of an application's jobs, and every outcome that its store confirmed.

    Call it last: the innermost layer sees the task's own run, and not what others do around it.
    """

    def layer(job: CurrentJob, proceed: Callable[[CurrentJob], Any]) -> Any:
        with _noted(job, ledger):
            return proceed(job)

    async def alayer(job: CurrentJob, proceed: Callable[[CurrentJob], Awaitable[Any]]) -> Any:
        with _noted(job, ledger):
            return await proceed(job)

    app.around_run(layer)
    app.around_run(alayer)
    for kind, state in _STATES.items():
        app.events.on(kind, _settled_as(state, ledger))
    app.events.on(events.LeaseLost, lambda told: ledger.write("void", told.id, told.attempt))


def _settled_as(state: str, ledger: Ledger) -> Callable[[Any], None]:
    return lambda told: ledger.write("settled", told.id, told.attempt, state)


@contextmanager
def _noted(job: CurrentJob, ledger: Ledger) -> Iterator[None]:
    about = (job.id, job.attempt, job.leased.fence)
    ledger.write("start", *about, *_slots(job))
    how = "ok"
    try:
        yield
    except BaseException as error:
        how = type(error).__name__
        raise
    finally:
        ledger.write("end", *about, how)


def _slots(job: CurrentJob) -> list[str]:
    carried = carried_by(job.leased.context or "")
    limits = () if carried is None else carried.limits
    held = [limit for limit in limits if limit.kind == "concurrency"]
    return [f"{quote(limit.key, safe=':')}={limit.most}" for limit in held]
