"""The parent of worker processes: forks, watches, restarts, forwards signals. It runs no job.

A child that dies is replaced, at once the first time and with growing pauses while it keeps dying
young. Its jobs go back the moment its death is seen: the kernel's word needs no heartbeat to
expire. The parent has no threads and keeps no store connection over a fork.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from turnout.errors import StoreError, TurnoutError
from turnout.identity import host
from turnout.worker.process import WorkerProcess

if TYPE_CHECKING:
    from turnout.app import Turnout
    from turnout.worker.options import WorkerOptions

log = logging.getLogger("turnout.supervisor")

YOUNG = 10.0  # a child that dies before this age counts as crashing
_PAUSE_MOST = 30.0
_TICK = 0.2
_AFTER_GRACE = 5.0  # then KILL
_HELD = {signal.SIGTERM, signal.SIGINT, signal.SIGTSTP, signal.SIGTTIN}


@dataclass(slots=True)
class Child:
    """One place for a worker process, and the process in it."""

    index: int
    pid: int = 0
    born: float = 0.0
    crashes: int = 0
    not_before: float = 0.0


class Supervisor:
    """Keeps `options.processes` workers of one application alive."""

    def __init__(self, app: Turnout, options: WorkerOptions) -> None:
        self._app = app
        self._options = options
        self._children = [Child(index) for index in range(options.processes)]
        self._stops = 0
        self._failed = False
        self._host = host()
        self._inbox, self._outbox = socket.socketpair()
        for end in (self._inbox, self._outbox):
            end.setblocking(False)

    def run(self) -> int:
        """Supervise until told to stop, or, with `until_empty`, until every child is done.

        Return the exit code: 0 for an orderly end, 1 when a child had to be killed.
        """
        self._install_signals()
        try:
            while not self._stops and self._wanted():
                self._bury()
                self._keep_alive()
                self._pause(_TICK)
        finally:
            self._stop_children()
        return int(self._failed)

    def _wanted(self) -> list[Child]:
        return [child for child in self._children if child.not_before < float("inf")]

    # ---- children

    def _keep_alive(self) -> None:
        for child in self._wanted():
            if not child.pid and time.monotonic() >= child.not_before and not self._stops:
                self._fork(child)

    def _fork(self, child: Child) -> None:
        self._app.close()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        # Until the child listens and we know its pid, a signal would reach neither of the two.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
        pid = os.fork()
        if pid == 0:
            os._exit(self._be_child(parent))
        child.pid, child.born = pid, time.monotonic()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)

    def _be_child(self, parent: int) -> int:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setpgid(0, 0)  # a terminal's Ctrl-C is for the parent, which forwards it once
            worker = WorkerProcess(self._app, self._options, parent=parent)
            worker.install_signals()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
            code = worker.run()
        except TurnoutError as error:
            log.error("the worker could not go on: %s", error)  # noqa: TRY400
        except BaseException:
            log.exception("the worker failed")
        finally:
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
        return code

    def _bury(self) -> None:
        """Note which children have ended, and give back what they held."""
        for child in self._children:
            if not child.pid:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if not pid:
                continue
            child.pid = 0
            # A job may end the process with code 0: only who has ended its epoch is done.
            code = os.waitstatus_to_exitcode(status)
            if self._take_back(pid) or code:
                self._after_crash(child, pid, code)
            else:
                child.not_before = float("inf")

    def _after_crash(self, child: Child, pid: int, code: int) -> None:
        young = time.monotonic() - child.born < YOUNG
        child.crashes = child.crashes + 1 if young else 0
        pause = min(2.0 ** (child.crashes - 2), _PAUSE_MOST) if child.crashes > 1 else 0.0
        child.not_before = time.monotonic() + pause
        log.error("worker %d died (%s); restarting in %.1f s", pid, _how(code), pause)

    def _take_back(self, pid: int) -> bool:
        """Return the jobs of a dead child; True when it had not ended its epoch itself."""
        store = self._app.store
        try:
            held = [w for w in store.workers() if w.pid == pid and w.host == self._host]
            for job in [job for worker in held for job in store.reap(epoch=worker.epoch)]:
                log.warning("job %s (%s) is %s: its worker died", job.id, job.task, job.state)
        except StoreError as error:
            log.error("its jobs go back when its heartbeat expires: %s", error)  # noqa: TRY400
            return True
        finally:
            store.close()
        return bool(held)

    # ---- signals and the end

    def _install_signals(self) -> None:
        signal.set_wakeup_fd(self._outbox.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler nothing is written
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        for number in (signal.SIGTSTP, signal.SIGTTIN):
            signal.signal(number, lambda number, _frame: self._forward(number))

    def _on_stop(self, number: int, _frame: object) -> None:
        self._stops += 1
        self._forward(number)

    def _forward(self, number: int) -> None:
        for child in self._children:
            if child.pid:
                try:
                    os.kill(child.pid, number)
                except ProcessLookupError:
                    continue

    def _pause(self, seconds: float) -> None:
        """Sleep until a signal comes: a child's end, or a person's."""
        readable, _, _ = select.select([self._inbox], [], [], seconds)
        if readable:
            self._inbox.recv(64)

    def _stop_children(self) -> None:
        self._forward(signal.SIGTERM)  # again: one forked at the last moment has not heard it
        deadline = time.monotonic() + self._options.grace + _AFTER_GRACE
        while any(child.pid for child in self._children):
            self._bury()
            if time.monotonic() > deadline:
                self._failed = True
                self._forward(signal.SIGKILL)
            self._pause(_TICK)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
