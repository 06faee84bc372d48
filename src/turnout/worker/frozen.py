"""Ends a worker process whose interpreter has come to a stand.

A task in C code that holds the interpreter's lock stops every thread of its process: no other job
goes on, no heartbeat leaves, and after `dead_after` the process is a zombie whose jobs run
elsewhere. Nothing written in Python can notice that from within. So a thread sets a timer of the
operating system's kind and puts it off every second; when it could not do so for `after` seconds,
the timer writes the stacks of all threads to stderr and ends the process. Its supervisor sees that
at once, takes its jobs back and starts another.

Only the interpreter's own standstill counts: a slow store or a long job does not. A process that
was suspended for longer than `after` (SIGSTOP, a frozen container) ends likewise when it wakes.
"""

from __future__ import annotations

import faulthandler
import sys
import threading

_EVERY = 1.0  # seconds from one putting off to the next, at most


class FrozenTimer:
    """The timer of this process. There is one in a process: faulthandler's."""

    def __init__(self, after: float) -> None:
        self._after = after
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._put_off, name="turnout-frozen", daemon=True)

    def start(self) -> None:
        """Set the timer, and go on putting it off."""
        self._thread.start()

    def _put_off(self) -> None:
        while True:
            faulthandler.dump_traceback_later(self._after, exit=True, file=sys.__stderr__ or 2)
            if self._over.wait(min(self._after / 4, _EVERY)):
                faulthandler.cancel_dump_traceback_later()
                return

    def stop(self) -> None:
        """Stop the timer."""
        self._over.set()
        self._thread.join(_EVERY)
