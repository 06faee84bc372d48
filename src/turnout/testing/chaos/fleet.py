"""Supervisors as processes of their own, and what may be done to them and their children.

Only what was started here is ever signalled. A suspended process is woken by `heal`, and by
`close` at the latest. Linux only: /proc tells which children a supervisor has.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from turnout.errors import ConfigError, TurnoutError
from turnout.identity import is_alive
from turnout.testing.chaos.ledger import EVERYBODY

if TYPE_CHECKING:
    from collections.abc import Callable

    from turnout.testing.chaos.ledger import Ledger
    from turnout.testing.chaos.schedule import Planned

T = TypeVar("T")
_PATIENCE = 60.0  # seconds that an orderly stop may take, the grace of running jobs included
_POLL = 0.02


class Member:
    """One supervisor, and whatever children it ever had."""

    def __init__(self, command: list[str], log: Path, cwd: Path | None = None) -> None:
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd
            )
        self.pid = self.process.pid
        self._seen: dict[int, str] = {}  # pid -> when it was born: pids are given away again

    @property
    def is_alive(self) -> bool:
        """True while the supervisor itself runs."""
        return self.process.poll() is None

    @property
    def has_begun(self) -> bool:
        """True once it had a worker process: from then on it heeds signals."""
        return bool(self.children() or self._seen)

    def children(self) -> list[int]:
        """Return the pids of its worker processes that live, orphans included."""
        listed = ""
        with suppress(OSError):
            listed = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("ascii")
        self._seen.update((int(pid), _birth(int(pid))) for pid in listed.split())
        return sorted(
            pid for pid, birth in self._seen.items() if is_alive(pid) and _birth(pid) == birth
        )


class Fleet:
    """The supervisors that serve one store, kept at `size` by `tend`.

    `command(n)` returns the command line of the n-th supervisor ever started.
    """

    def __init__(
        self, command: Callable[[int], list[str]], size: int, folder: Path, ledger: Ledger,
        *, cwd: Path | None = None,
    ) -> None:  # fmt: skip
        if not Path("/proc/self/stat").exists():
            raise ConfigError("workers can be put under faults on Linux only: there is no /proc")
        self._command = command
        self._size = size
        self._folder = folder
        self._ledger = ledger
        self._cwd = cwd
        self._started = 0
        self.members: list[Member] = []
        self.strays: list[Member] = []  # their supervisor is gone or stopping, a child may run
        self._asleep: dict[int, tuple[float, float]] = {}  # pid -> since, until
        self.faults: dict[str, int] = {}

    # ---- life

    def tend(self) -> None:
        """Start what is missing, wake whoever slept long enough."""
        for member in [one for one in self.members if not one.is_alive]:
            self._let_go(member)
        while len(self.members) < self._size:
            log = self._folder / f"worker-{self._started}.log"
            self.members.append(Member(self._command(self._started), log, self._cwd))
            self._started += 1
        for pid, (_, until) in list(self._asleep.items()):
            if time.monotonic() >= until:
                self._wake(pid)

    def _let_go(self, member: Member) -> None:
        self.members.remove(member)
        self.strays.append(member)

    def pids(self) -> list[int]:
        """Return the worker processes that live and are awake."""
        found = [pid for member in self.members for pid in member.children()]
        return [pid for pid in found if pid not in self._asleep]

    def heal(self) -> None:
        """Wake everybody."""
        for pid in list(self._asleep):
            self._wake(pid)

    def stop(self) -> list[int]:
        """Stop all in good order, wait for it, and return the exit codes that were not 0."""
        self.heal()
        for member in self.members:
            member.process.terminate()
        codes = [_code(member) for member in self.members]
        self.strays += self.members
        self.members = []
        self._await_strays()
        return [code for code in codes if code]

    def close(self) -> None:
        """End whatever still runs, with no chance to say goodbye."""
        self.heal()
        for member in (*self.members, *self.strays):
            pids = member.children()
            if member.is_alive:
                member.process.kill()
            member.process.wait(_PATIENCE)
            for pid in {*pids, *member.children()}:
                _signal(pid, signal.SIGKILL)

    def _await_strays(self) -> None:
        deadline, pause = time.monotonic() + _PATIENCE, threading.Event()
        while left := [pid for member in self.strays for pid in member.children()]:
            if time.monotonic() > deadline:
                msg = f"workers {left} have lost their supervisor and did not end"
                raise TurnoutError(msg)
            pause.wait(_POLL)

    # ---- faults

    def commit(self, planned: Planned) -> bool:
        """Do one of the faults below to somebody; False when there is nobody to do it to."""
        done = getattr(self, f"_do_{planned.kind}")(planned)
        if done:
            self.faults[planned.kind] = self.faults.get(planned.kind, 0) + 1
        return bool(done)

    def _do_kill(self, planned: Planned) -> bool:
        """SIGKILL a worker process: its supervisor sees it die."""
        pid = _choose(self.pids(), planned)
        if pid:
            self._note("kill", [pid])
            _signal(pid, signal.SIGKILL)
        return bool(pid)

    def _do_orphan(self, planned: Planned) -> bool:
        """SIGKILL a supervisor: its workers finish what runs, and end."""
        member = _choose(self.members, planned)
        if member:
            self._note("orphan", [member.pid])
            member.process.kill()
            member.process.wait(_PATIENCE)
        return bool(member)

    def _do_host(self, planned: Planned) -> bool:
        """SIGKILL a supervisor and all its workers, as a power cut of their host does."""
        member = _choose(self.members, planned)
        if member:
            # The supervisor first, or it would replace them.
            pids = member.children()
            member.process.kill()
            member.process.wait(_PATIENCE)
            pids = sorted({*pids, *member.children()})
            self._note("host", [member.pid, *pids])
            for pid in pids:
                _signal(pid, signal.SIGKILL)
        return bool(member)

    def _do_suspend(self, planned: Planned) -> bool:
        """SIGSTOP a worker process for a while: past its lease, if `seconds` says so."""
        pid = _choose(self.pids(), planned)
        if pid:
            now = time.monotonic()
            self._asleep[pid] = (now, now + planned.seconds)
            _signal(pid, signal.SIGSTOP)
        return bool(pid)

    def _wake(self, pid: int) -> None:
        since, _ = self._asleep.pop(pid)
        # Who is stopped in a transaction holds its locks, and so may hold everybody up.
        self._ledger.fault("suspend", [pid], since)
        self._ledger.fault("locks", EVERYBODY, since)
        _signal(pid, signal.SIGCONT)

    def _do_terminate(self, planned: Planned) -> bool:
        """SIGTERM a worker process alone: it finishes what runs, and is replaced."""
        pid = _choose(self.pids(), planned)
        if pid:
            self._note("terminate", [pid])
            _signal(pid, signal.SIGTERM)
        return bool(pid)

    def _do_roll(self, planned: Planned) -> bool:
        """SIGTERM a supervisor, as a deploy does; the next one starts beside it."""
        member = _choose(self.members, planned)
        if member:
            self._note("roll", [member.pid, *member.children()])
            member.process.terminate()
            self._let_go(member)
        return bool(member)

    def _note(self, kind: str, pids: list[int]) -> None:
        self._ledger.fault(kind, pids, time.monotonic())


PROCESS_FAULTS = {
    "kill": 4.0, "host": 1.0, "orphan": 1.0, "suspend": 2.0, "terminate": 1.0, "roll": 1.0,
}  # fmt: skip
"""What a fleet can do, with the weight by which chance chooses it."""


def _code(member: Member) -> int:
    """Wait for the end; the exit code. The signal is the order itself for one still booting."""
    code = member.process.wait(_PATIENCE)
    return 0 if code == -signal.SIGTERM and not member.has_begun else code


def _choose(given: list[T], planned: Planned) -> T | None:
    return given[int(planned.victim * len(given)) % len(given)] if given else None


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _birth(pid: int) -> str:
    """Return when a process was started, in ticks since the machine was; "" when it is gone."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return ""
    return told.rpartition(")")[2].split()[19]


def memory(pid: int) -> int | None:
    """Return the resident bytes of a process; None when it is gone."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
