"""Starts worker processes by fork, so that they share the code and data loaded before.

Nothing is shared but memory: the parent's store connections are closed before each fork, and the
child opens its own. Until the child listens and the parent knows its pid, signals are held: in
between, one would reach neither of the two.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from turnout.errors import TurnoutError
from turnout.worker.places import Child
from turnout.worker.process import WorkerProcess
from turnout.worker.told import listen

if TYPE_CHECKING:
    from collections.abc import Callable

    from turnout.app import Turnout
    from turnout.worker.board import Board, Row
    from turnout.worker.options import WorkerOptions

log = logging.getLogger("turnout.supervisor")

HELD = {signal.SIGTERM, signal.SIGINT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGUSR2}


class Forking:
    """Makes children of this process."""

    def __init__(self, app: Turnout, options: WorkerOptions, board: Board) -> None:
        self._app = app
        self._options = options
        self._board = board
        self.close_in_child: list[Callable[[], None]] = []

    @property
    def has_room(self) -> bool:
        """True while successors may start: enough rows are left for each place's next process."""
        return self._board.free() > self._options.processes

    def worker(self) -> Child | None:
        """Start a worker process; None when the system has no room for one more."""
        row = self._board.take()
        if row is None:
            return None
        pid = self.fork(lambda parent: self._work(parent, row))
        if pid is None:
            row.free()
            return None
        row.pid = pid
        return Child(pid, time.monotonic(), row)

    def fork(self, work: Callable[[int], int]) -> int | None:
        """Run `work(parent's pid)` in a child, which ends with the code it returns.

        It begins with the signals held. Returns the child's pid, or None when there was no room.
        """
        self._app.close()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
        try:
            pid = os.fork()
        except OSError as error:
            log.error("no process could be started: %s", error)  # noqa: TRY400
            pid = None
        if pid == 0:
            os._exit(self._be_child(work, parent))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
        return pid

    def _be_child(self, work: Callable[[int], int], parent: int) -> int:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setpgid(0, 0)  # a terminal's Ctrl-C is for the parent, which forwards it once
            code = work(parent)
        except TurnoutError as error:
            log.error("the worker could not go on: %s", error)  # noqa: TRY400
        except BaseException:
            log.exception("the worker failed")
        finally:
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
        return code

    def _work(self, parent: int, row: Row) -> int:
        for close in self.close_in_child:
            close()
        worker = WorkerProcess(self._app, self._options, parent=parent, row=row)
        listen(worker)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
        return worker.run()
