"""Keeps the process alive that answers health probes, and its socket bound over restarts.

When a new image of the supervisor begins, the old process answers until the new one does; then it
is asked to leave, and ends when it has answered all that it accepted.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from turnout.worker.health import LEAVE, Limits, bind, serve

if TYPE_CHECKING:
    from turnout.worker.board import Board
    from turnout.worker.forking import Forking
    from turnout.worker.options import WorkerOptions

_PAUSE = 1.0


class Probes:
    """The socket, and who answers on it."""

    def __init__(
        self, line: socket.socket, board: Board, limits: Limits, before: int | None
    ) -> None:
        self.line = line
        self.pid: int | None = None
        self._board = board
        self._limits = limits
        self._before = before
        self._not_before = 0.0

    @classmethod
    def open(
        cls, options: WorkerOptions, board: Board, inherited: tuple[int | None, int | None]
    ) -> Probes | None:
        """Bind the socket that the options name, or take over the inherited one and its process.

        Returns None where no probes are to be answered; raises ConfigError where they cannot be.
        """
        handle, before = inherited
        if options.health is None:
            return None
        line = bind(options.health) if handle is None else socket.socket(fileno=handle)
        return cls(line, board, Limits(options.stuck_after, options.dead_after), before)

    def keep_alive(self, forking: Forking) -> None:
        """Start who answers, if there is nobody."""
        now = time.monotonic()
        if self.pid is not None and _has_ended(self.pid):
            self.pid, self._not_before = None, now + _PAUSE
        if self.pid is None and now >= self._not_before:
            self.pid = forking.fork(self._serve)
            self._not_before = now + _PAUSE
            if self.pid is not None and self._before is not None:
                with suppress(ProcessLookupError):
                    os.kill(self._before, LEAVE)
        if self._before is not None and _has_ended(self._before):
            self._before = None

    def _serve(self, parent: int) -> int:
        return serve(self.line, self._board, self._limits, parent)

    def close(self) -> None:
        """End who answers and let go of the socket."""
        for pid in (self.pid, self._before):
            if pid is not None:
                _end(pid)
        self.line.close()


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _end(pid: int) -> None:
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)  # the supervisor itself is ending
        os.waitpid(pid, 0)
