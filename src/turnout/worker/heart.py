"""The heartbeat of a worker process: from a thread of its own, so that no slow trip delays it.

The main loop prunes, reaps, measures and settles, and the store may answer it slowly, or let it
wait for somebody's lock; a heartbeat that stood in that line would come too late, and a worker in
good health would be taken for dead. But a heartbeat that goes on whatever happens would keep the
jobs of a process that does nothing any more. So it is sent only while the main loop turns:

    beating <-> holding back, once the loop has not turned for `patience` seconds
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from turnout.worker.upkeep import Chore

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("turnout.worker")


class Heart:
    """Calls `beat` every so many seconds, a little jittered, or as soon as somebody hastens it."""

    def __init__(self, beat: Callable[[], None], every: float, patience: float) -> None:
        self.turned = time.monotonic()  # the main loop sets it, each time it comes round
        self._chore = Chore("heartbeat", every, beat)
        self._patience = patience
        self._holds_back = False
        self._stirred = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="turnout-heart", daemon=True)

    def start(self) -> None:
        """Beat from now on."""
        self.turned = time.monotonic()
        self._chore.put_off()
        self._thread.start()

    def hasten(self) -> None:
        """Beat now."""
        self._stirred.set()

    def stop(self) -> None:
        """Beat no more; returns when the last beat is over, so that none follows the goodbye."""
        self._over = True
        self._stirred.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._stirred.wait(max(self._chore.due - time.monotonic(), 0.0))
            self._stirred.clear()
            if self._over:
                return
            if self._does_loop_turn():
                self._chore.run()
            else:
                self._chore.put_off()

    def _does_loop_turn(self) -> bool:
        stood = time.monotonic() - self.turned
        held_back, self._holds_back = self._holds_back, stood > self._patience
        if self._holds_back and not held_back:
            log.error("no heartbeats: the main loop has not turned for %.0f s", stood)
        return not self._holds_back
