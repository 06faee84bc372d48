"""The nursery: a process without threads, locks or connections, which forks a worker's children.

It is itself forked from the worker before that starts its first thread, with the application
loaded. So a child is there within milliseconds, shares the application's memory until it writes,
and inherits nothing that another thread held. The nursery runs no job. It buries its children and
tells how each died.

    born -> serving -> over (the worker is gone, or closed its end: every child is killed)
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import logging
import os
import select
import signal
import socket
import sys
from typing import TYPE_CHECKING

from turnout.worker.wire import Born, Died, Kill, Spawn, Unborn, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    Serve = Callable[[Wire], int]

log = logging.getLogger("turnout.worker")

_LOOK = 1.0  # seconds between looks whether the worker still lives
_PR_SET_PDEATHSIG = 1
# A handler that does nothing, and not SIG_IGN, which programs that a task starts would inherit.
_NOT_OURS = ("SIGINT", "SIGTERM", "SIGTSTP", "SIGHUP", "SIGUSR1", "SIGUSR2")


def open_nursery(serve: Serve) -> tuple[int, Wire]:
    """Fork a nursery whose children run `serve(wire)`; return its pid and the worker's end.

    To be called before this process has threads.
    """
    near, far = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            near.close()
            code = Nursery(Wire(far), parent, serve).run()
        except BaseException:
            log.exception("the nursery failed")
        finally:
            os._exit(code)
    far.close()
    near.setblocking(False)
    return pid, Wire(near)


class Nursery:
    """What runs in the nursery's process."""

    def __init__(self, wire: Wire, parent: int, serve: Serve) -> None:
        self._wire = wire
        self._parent = parent
        self._serve = serve
        self._living: set[int] = set()
        self._pid = os.getpid()
        self._inbox, self._outbox = socket.socketpair()
        for end in (self._inbox, self._outbox):
            end.setblocking(False)

    def run(self) -> int:
        """Serve the worker until it is gone."""
        self._take_signals()
        # What the application loaded is never garbage: marked so, the children's collectors leave
        # its pages alone, and they stay shared.
        gc.collect()
        gc.freeze()
        try:
            while os.getppid() == self._parent and self._turn():
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass  # the worker is gone, which the other end of the wire would have said
        finally:
            signal.set_wakeup_fd(-1)  # its other end is closed before the last of these is buried
            for pid in self._living:
                os.kill(pid, signal.SIGKILL)
        return 0

    def _take_signals(self) -> None:
        for name in _NOT_OURS:
            signal.signal(getattr(signal, name), lambda *_: None)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler nothing is written
        signal.set_wakeup_fd(self._outbox.fileno(), warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _turn(self) -> bool:
        readable, _, _ = select.select([self._wire.end, self._inbox], [], [], _LOOK)
        if self._inbox in readable:
            self._inbox.recv(4096)
        self._bury()
        if self._wire.end not in readable:
            return True
        messages = self._wire.receive()
        for message in messages or ():
            match message:
                case Spawn():
                    self._fork()
                case Kill(pid) if pid in self._living:
                    os.kill(pid, signal.SIGKILL)
                case _:
                    pass  # buried meanwhile
        return messages is not None

    def _fork(self) -> None:
        near, far = socket.socketpair()
        heard, said = os.pipe()
        try:
            pid = os.fork()
        except OSError as error:
            self._wire.send(Unborn(str(error)))
        else:
            if pid == 0:
                near.close()
                os.close(heard)
                os._exit(self._be_child(Wire(far), said))
            self._living.add(pid)
            self._wire.send(Born(pid), near.fileno(), heard)
        near.close()
        far.close()
        os.close(heard)
        os.close(said)

    def _be_child(self, wire: Wire, stderr: int) -> int:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (self._wire.end, self._inbox, self._outbox):
                end.close()
            os.dup2(stderr, 2)
            os.close(stderr)
            faulthandler.enable(file=2)  # the last words of a segmentation fault
            _die_with_parent()
            if os.getppid() == self._pid:
                code = self._serve(wire)
        except BaseException:
            log.exception("the child process failed")
        finally:
            logging.shutdown()
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
        return code

    def _bury(self) -> None:
        for pid in list(self._living):
            found, status, usage = os.wait4(pid, os.WNOHANG)
            if found:
                self._living.discard(pid)
                unit = 1 if sys.platform == "darwin" else 1024
                code = os.waitstatus_to_exitcode(status)
                self._wire.send(Died(pid, code, usage.ru_maxrss * unit))


def _die_with_parent() -> None:
    """Ask the kernel for a KILL when the parent dies: a task that holds the GIL hears no socket."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
