"""The rolling restart: the supervisor becomes a new image of itself, and then renews its children.

    (USR2) -> trying: a trial process starts as the new image would, up to the first fork
        it fails -> an ERROR, and all goes on with the old code
        it ends well -> exec: same pid, same command line, new interpreter, packages and code

Worker processes live on through the exec and go on working. The new image finds in its environment
who they are, starts a successor for each, one at a time, and tells the old one to leave when that
is at work. Signals are held from before the exec until the new image listens, so none is lost.

The environment, the command line and the open health socket stay as they were at the start.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from turnout.worker.forking import HELD

log = logging.getLogger("turnout.supervisor")

TRIAL_TIMEOUT = 60.0
_TRIAL, _LEGACY = "TURNOUT_WORKER_TRIAL", "TURNOUT_WORKER_LEGACY"


class Heir(msgspec.Struct, frozen=True):
    """A worker process that outlives the exec; `told` when it is leaving already."""

    pid: int
    born: float
    row: int  # on the board
    told: float = 0.0


class Legacy(msgspec.Struct, frozen=True):
    """What one image of the supervisor leaves to the next."""

    pid: int
    board: int  # its descriptor
    heirs: list[Heir] = []
    line: int | None = None  # the descriptor of the socket for health probes
    probes: int | None = None  # the pid of who answers them


def is_trial() -> bool:
    """Tell whether this process only tries whether the code can be loaded."""
    return os.environ.get(_TRIAL) == "1"


def inherit() -> Legacy | None:
    """Return what the image before left to this one, once."""
    text = os.environ.pop(_LEGACY, None)
    if text is None:
        return None
    legacy = msgspec.json.decode(text, type=Legacy)
    return legacy if legacy.pid == os.getpid() else None


class Succession:
    """One supervisor's way to its next image."""

    def __init__(self) -> None:
        self.is_asked = False
        self._home = _home()
        self._trial: subprocess.Popen[bytes] | None = None
        self._began = 0.0

    def begin(self) -> None:
        """Start the trial."""
        self.is_asked = False
        self._began = time.monotonic()
        env = {**os.environ, _TRIAL: "1"}
        try:
            self._trial = subprocess.Popen(  # noqa: S603 - our own command line
                sys.orig_argv, executable=sys.executable, env=env, cwd=self._home,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            self._refuse(str(error))

    @property
    def is_trying(self) -> bool:
        """True while a trial runs."""
        return self._trial is not None

    def is_proven(self) -> bool | None:
        """Return whether the new code can be loaded; None while that is not known."""
        if self._trial is None:
            return False
        code = self._trial.poll()
        if code is None:
            if time.monotonic() - self._began < TRIAL_TIMEOUT:
                return None
            self.give_up()
            self._refuse(f"it took longer than {TRIAL_TIMEOUT:g} s")
            return False
        self._trial = None
        if code:
            self._refuse(f"it ended with {code}; what it said stands above")
        return not code

    @staticmethod
    def _refuse(why: str) -> None:
        log.error("no restart: the code as it is now cannot be started (%s); the old goes on", why)

    def give_up(self) -> None:
        """End a trial that nobody waits for any more."""
        if self._trial is not None:
            self._trial.kill()
            self._trial.wait()
            self._trial = None

    def succeed(self, legacy: Legacy) -> None:
        """Become the new image; return only if that failed."""
        log.info("restarting: %s", " ".join(sys.orig_argv))
        for stream in (*logging.getLogger().handlers, sys.stdout, sys.stderr):
            stream.flush()
        os.environ[_LEGACY] = msgspec.json.encode(legacy).decode()
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
        kept = [handle for handle in (legacy.board, legacy.line) if handle is not None]
        try:
            for handle in kept:
                os.set_inheritable(handle, True)
            if self._home is not None:
                os.chdir(self._home)
            os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - our own command line
        except OSError as error:
            self._refuse(str(error))
            del os.environ[_LEGACY]
            for handle in kept:
                os.set_inheritable(handle, False)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def _home() -> str | None:
    """Return the folder to start in, by the name under which we came here.

    Releases are often folders, and the name of the current one a link: what we stand in now is the
    old release, and the name leads to the new one.
    """
    named = os.environ.get("PWD")
    with suppress(OSError):
        if named and Path(named).samefile(Path.cwd()):
            return named
    return None
