"""Enqueues jobs until it is ended: `enqueuer.py JSON`. Notes each that the store has accepted.

It enqueues them one by one, and twenty at a time; at a high rate there are more in each call.

An enqueue that failed is repeated with the same id, until the store takes it: a lost reply must
not make a second job.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos.pace import Hold
from chaos.shop import BOOTHS, KEYS, OFTEN, make_app, weights
from turnout import Turnout
from turnout.errors import StoreError
from turnout.task import PreparedJob
from turnout.testing.chaos.ledger import Ledger

_CALLS = 10.0  # a second, where many jobs are to come at each


class Enqueuer:
    """One process that enqueues `rate` jobs a second, if the store lets it."""

    def __init__(self, app: Turnout, ledger: Ledger, seed: int, rate: float) -> None:
        self.app = app
        self.ledger = ledger
        self.rng = random.Random(seed)
        self.rate = rate
        self.size = max(1, round((rate - OFTEN) / _CALLS))
        self.weights = weights(rate, transactions="charge" in app.tasks)
        self.hold = Hold(ledger.path.parent)
        self.over = threading.Event()

    def run(self) -> None:
        self.app.store.setup()
        due = time.monotonic()
        while not self.over.is_set():
            while self.hold.is_set:
                self.over.wait(0.05)
                if self.over.is_set():
                    return
            due += self._enqueue() / self.rate
            due = max(due, time.monotonic() - 1.0)  # what was missed is missed
            self.over.wait(max(due - time.monotonic(), 0))

    def _enqueue(self) -> int:
        """Enqueue some; return how many."""
        size = 20 if self.rng.random() < 0.05 else self.size
        kinds = self.rng.choices(list(self.weights), list(self.weights.values()), k=size)
        prepared = [self._prepare(kind) for kind in kinds]
        handles = self._until_accepted([one for one, _ in prepared])
        for handle, (_, key) in zip(handles, prepared, strict=True):
            if handle.enqueued:
                self.ledger.write("accepted", handle.id, handle.task, key)
        return size

    def _prepare(self, kind: str) -> tuple[PreparedJob[Any], str]:
        task: Any = self.app.tasks[kind]
        n = self.rng.randrange(10**9)
        if kind == "once":
            key = n % KEYS
            return task.prepare(key), f"once-{key}"
        if kind == "later":
            return task.using(delay=self.rng.uniform(0.2, 2.0)).prepare(n), ""
        if kind in {"booth", "abooth"}:
            return task.prepare(n % BOOTHS, n), ""
        priority = self.rng.choice((0, 0, 0, 5, -5))
        return task.using(priority=priority).prepare(n), ""

    def _until_accepted(self, prepared: list[PreparedJob[Any]]) -> list[Any]:
        while True:
            try:
                return self.app.enqueue_many(prepared)
            except StoreError:
                if self.over.wait(0.05):
                    return []


def main(text: str) -> None:
    options = json.loads(text)
    ledger = Ledger(Path(options["ledger"]))
    app = make_app(options["url"], ledger, keep=options["keep"])
    enqueuer = Enqueuer(app, ledger, options["seed"], options["rate"])
    signal.signal(signal.SIGTERM, lambda *_: enqueuer.over.set())
    enqueuer.run()
    app.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
