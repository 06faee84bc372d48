"""`turnout worker --reload`: a parent that starts the worker anew when the code changes.

    changed:  child gets TERM, finishes what runs, is started again
    child ended by itself (a syntax error, say):  wait for the next change, then start
    INT or TERM to the parent:  the child gets the same, the parent ends with it

The child has a session of its own, so that a Ctrl-C at the terminal reaches it once, through its
parent. The invariant: at most one child lives, and the parent never ends before it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

INTERVAL = 0.5  # seconds between two looks at the files
_SKIPPED = {"__pycache__", "node_modules", "site-packages"}


def worker_command(target: str, options: dict[str, Any]) -> list[str]:
    """Return the command line of the worker without --reload."""
    command = [sys.executable, "-m", "turnout", "worker", target]
    for name, value in options.items():
        if value is True:
            command.append(f"--{name.replace('_', '-')}")
        elif value is not None and value is not False:
            command += [f"--{name.replace('_', '-')}", str(value)]
    return command


def snapshot(root: Path) -> dict[str, int]:
    """Return every .py file under `root` with its time of change, without environments."""
    seen: dict[str, int] = {}
    for folder, folders, files in os.walk(root):
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        folders[:] = [name for name in folders if name not in _SKIPPED and name[0] != "."]
        paths = [os.path.join(folder, name) for name in files if name.endswith(".py")]  # noqa: PTH118 - a Path for each costs a tenfold
        seen.update((path, _changed_at(path)) for path in paths)
    return seen


def _changed_at(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - as above
    except OSError:
        return 0  # gone between the two calls: a change, and seen as one


class Reloader:
    """Runs a command and starts it anew whenever a file under `root` changes."""

    def __init__(
        self, command: Sequence[str], root: Path | None = None, *, interval: float = INTERVAL
    ) -> None:
        self.command = list(command)
        self.root = root or Path.cwd()
        self.interval = interval
        self._stop = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Run until a signal stops it; the last child's exit code, 128 + n for a signal n."""
        former = {n: signal.signal(n, self._on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            code = self._loop()
            return code if code >= 0 else 128 - code
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: object) -> None:
        """Pass a signal on, also the second one, which hurries the child."""
        self._stop.set()
        self._tell(number)

    def _loop(self) -> int:
        seen, child = snapshot(self.root), self._start()
        ended = False
        while not self._stop.wait(self.interval):
            if not ended and child.poll() is not None:
                ended = True
                click.echo(
                    f"the worker ended with {child.returncode}; waiting for a change", err=True
                )
            now = snapshot(self.root)
            if now != seen:
                self._say_changed(seen, now)
                seen = now
                self._tell(signal.SIGTERM)
                child.wait()
                if self._stop.is_set():
                    break
                child, ended = self._start(), False
        return child.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(self.command, start_new_session=True)  # noqa: S603 - our own command
        self._child = child
        if self._stop.is_set():  # the signal came before there was a child to pass it to
            self._tell(signal.SIGTERM)
        return child

    def _tell(self, number: int) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)

    def _say_changed(self, before: dict[str, int], now: dict[str, int]) -> None:
        changed = sorted(dict(before.items() ^ now.items()))
        name = os.path.relpath(changed[0], self.root)
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        click.echo(f"{name}{more} changed: starting the worker anew", err=True)
