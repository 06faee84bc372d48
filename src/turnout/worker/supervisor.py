"""The parent of worker processes: starts and watches them, forwards signals, tells how things are.

    starting -> running -> quiet (TSTP) -> draining (TERM, INT) -> ended
                   |  ^
                   v  |   USR2: `succession.py`; the same pid goes on as a new image
                restarting

It runs no job. Who is in which place, and who comes next, is `staff.py`. The parent has no threads
and keeps no store connection over a fork.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING

from turnout.worker.board import Board, Stage
from turnout.worker.forking import HELD, Forking
from turnout.worker.notify import Notifier
from turnout.worker.probes import Probes
from turnout.worker.redelivery import check_allowed
from turnout.worker.staff import AFTER_GRACE, Staff
from turnout.worker.succession import Heir, Legacy, Succession, inherit, is_trial

if TYPE_CHECKING:
    from turnout.app import Turnout
    from turnout.worker.options import WorkerOptions

log = logging.getLogger("turnout.supervisor")

_TICK = 0.2


class Supervisor:
    """Keeps `options.processes` workers of one application alive."""

    def __init__(self, app: Turnout, options: WorkerOptions) -> None:
        self._app = app
        self._options = options
        self._legacy = inherit()
        handle = self._legacy.board if self._legacy else None
        self._board = Board(4 * options.processes + 2, handle)
        self._forking = Forking(app, options, self._board)
        self._staff = Staff(app, options, self._forking)
        self._succession = Succession()
        self._notifier = Notifier()
        self._probes: Probes | None = None
        self._stops = 0
        self._was_complete = False
        self._faults: list[str] = []
        self._failed = False
        self._inbox, self._outbox = socket.socketpair()
        for end in (self._inbox, self._outbox):
            end.setblocking(False)

    def run(self) -> int:
        """Supervise until told to stop, or, with `until_empty`, until every child is done.

        Return the exit code: 0 for an orderly end, 1 when a child had to be killed. Raises
        ConfigError when the place for health probes cannot be had, or redelivery is not allowed.
        """
        check_allowed(self._app, self._options, os.environ)
        if is_trial():
            return 0
        legacy = self._legacy
        inherited = (legacy.line, legacy.probes) if legacy else (None, None)
        self._probes = Probes.open(self._options, self._board, inherited)
        if self._probes is not None:
            self._forking.close_in_child.append(self._probes.line.close)
        if legacy is not None:
            self._staff.adopt(legacy.heirs, self._board)
        self._install_signals()
        try:
            while not self._stops and not self._staff.is_done:
                self._turn()
                self._pause(_TICK)
        finally:
            self._stop_children()
        return int(self._failed)

    def _turn(self) -> None:
        self._staff.bury()
        if not self._stops:
            self._staff.fill()
            self._staff.renew()
            self._restart()
        self._report()

    # ---- the rolling restart

    def _restart(self) -> None:
        if self._succession.is_trying:
            proven = self._succession.is_proven()
            if proven:
                self._hand_over()
            if proven is not None:
                self._notifier.ready()  # still here: the old image goes on
        elif self._succession.is_asked and not any(child.is_old for child in self._staff):
            log.info("asked to restart: trying whether the code can be loaded")
            self._notifier.reloading()
            self._succession.begin()

    def _hand_over(self) -> None:
        self._staff.settle_succession()
        self._app.close()
        rows = self._board.rows
        heirs = [
            Heir(child.pid, child.born, rows.index(child.row), child.told) for child in self._staff
        ]
        probes = self._probes
        line, pid = (probes.line.fileno(), probes.pid) if probes else (None, None)
        self._succession.succeed(Legacy(os.getpid(), self._board.handle, heirs, line, pid))

    # ---- what others see

    def _report(self) -> None:
        """Show how things stand: on the board, to systemd, to probes."""
        now, staff = time.monotonic(), self._staff
        if staff.is_complete and not self._was_complete and not self._stops:
            self._was_complete = True
            log.info("%d of %d worker processes are at work", staff.at_work, len(staff.places))
            self._notifier.ready()
        self._board.own.beat, self._board.own.stage = now, self._stage()
        faults = self._board.faults(now, self._options.stuck_after)
        for fault in faults:
            if fault.split(" has ")[0] not in self._faults:
                log.error("%s", fault)
        self._faults = [fault.split(" has ")[0] for fault in faults]
        self._notifier.tick(self._in_words(), is_well=not faults)
        if self._probes is not None:
            self._probes.keep_alive(self._forking)

    def _stage(self) -> Stage:
        if self._stops:
            return Stage.STOPPING
        if self._staff.is_quiet:
            return Stage.QUIET
        return Stage.RUNNING if self._was_complete or self._legacy else Stage.STARTING

    def _in_words(self) -> str:
        staff = self._staff
        running = sum(int(child.row.running) for child in staff)
        words = f"{self._stage().word}: {staff.at_work} of {len(staff.places)} workers at work"
        now = time.monotonic()
        looping = sum(place.is_looping(now) for place in staff.places)
        more = f", {looping} of them crash again and again" if looping else ""
        return f"{words}, {running} jobs running{more}"

    # ---- signals and the end

    def _install_signals(self) -> None:
        signal.set_wakeup_fd(self._outbox.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler nothing is written
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGTSTP, self._on_quiet)
        signal.signal(signal.SIGTTIN, lambda number, _frame: self._staff.tell(number))
        signal.signal(signal.SIGUSR2, self._on_restart)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)  # the image before this one held them

    def _on_stop(self, number: int, _frame: object) -> None:
        self._stops += 1
        self._staff.tell(number)

    def _on_quiet(self, number: int, _frame: object) -> None:
        self._staff.is_quiet = True
        self._staff.tell(number)

    def _on_restart(self, _number: int, _frame: object) -> None:
        self._succession.is_asked = True

    def _pause(self, seconds: float) -> None:
        """Sleep until a signal comes: a child's end, or a person's."""
        readable, _, _ = select.select([self._inbox], [], [], seconds)
        if readable:
            self._inbox.recv(64)

    def _stop_children(self) -> None:
        self._stops += not self._stops
        self._staff.is_stopping = True
        self._succession.give_up()
        self._notifier.stopping()
        self._staff.tell(signal.SIGTERM)  # again: one forked at the last moment has not heard it
        deadline = time.monotonic() + self._options.grace + AFTER_GRACE
        while list(self._staff):
            self._turn()
            if time.monotonic() > deadline:
                self._failed = True
                self._staff.tell(signal.SIGKILL)
            self._pause(_TICK)
        if self._probes is not None:
            self._probes.close()
