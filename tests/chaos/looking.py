"""Learns from the ledger which jobs there are, and from the store how they ended.

A job is asked for some time after the ledger named its end: what was settled in the last second may
be forgotten by a crash. The others, whose settle nobody noted, are asked for in turns.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import Any

from turnout.errors import StoreError
from turnout.job import JobFilter, JobRecord
from turnout.store.protocol import Store
from turnout.testing.chaos.ledger import Ledger
from turnout.testing.chaos.stories import FINAL, End

_PAGE = 500  # jobs that one look asks for
_PAGES = 8  # looks one after the other, before the rig does something else
_READERS = 4
_SETTLED = 2.0  # seconds after a settle within which it is not believed yet
_TURN = 1.0  # seconds between two looks at jobs of which no end is known


class Lookout:
    """What is known of all jobs of a run, about 140 bytes for each that has ended."""

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self._ledger = ledger
        self._store = store
        self.accepted = 0
        self.ends: dict[str, End] = {}
        self._ends_seen: dict[End, End] = {}  # a million jobs end in a few ways
        self.open: dict[str, None] = {}  # no end is known
        self.settled: dict[str, float] = {}  # since when, by the ledger: the store is to confirm it
        self._read_to = 0
        self._looked = 0.0
        self._readers = ThreadPoolExecutor(_READERS)  # a look waits more than it works

    @property
    def waiting(self) -> int:
        """How many jobs have no end that was seen here."""
        return len(self.open) + len(self.settled)

    @property
    def is_done(self) -> bool:
        """True when all that is known is final."""
        return not self.open and not self.settled

    def learn(self) -> None:
        """Take in what the ledger tells since the last time."""
        if not self._ledger.path.exists():
            return
        with self._ledger.path.open("rb") as file:
            file.seek(self._read_to)
            text = file.read()
        text = text[: text.rfind(b"\n") + 1]
        self._read_to += len(text)
        for line in text.decode().splitlines():
            at, word, _, job, *rest = line.split(" ", 5)
            if word in {"accepted", "start"}:
                self.accepted += word == "accepted"
                if job not in self.settled and job not in self.ends:
                    self.open[job] = None
            elif word == "settled" and rest[1] in FINAL and job not in self.ends:
                self.open.pop(job, None)
                self.settled.setdefault(job, float(at))

    def look(self, *, every: bool = False) -> None:
        """Ask the store for jobs that should have ended, now and then for the others; or all."""
        self.learn()
        with suppress(StoreError):
            now = time.monotonic()
            until = now if every else now - _SETTLED
            due = (job for job, since in self.settled.items() if since <= until)
            self._ask(list(due if every else islice(due, _PAGES * _PAGE)))
            if every or now - self._looked > _TURN:
                self._looked = now
                self._ask(list(islice(self.open, None if every else _PAGE)))

    def _ask(self, jobs: list[str]) -> None:
        """Look at some; those that are not final go to the end of their line."""
        pages = [tuple(jobs[at : at + _PAGE]) for at in range(0, len(jobs), _PAGE)]
        for page, records in zip(pages, self._readers.map(self._find, pages), strict=True):
            for record in records:
                if record.state.is_final:
                    end = End.of(record)
                    self.ends[record.id] = self._ends_seen.setdefault(end, end)
            for job in page:
                self.open.pop(job, None)
                self.settled.pop(job, None)
                if job not in self.ends:
                    self.open[job] = None

    def _find(self, ids: tuple[Any, ...]) -> list[JobRecord]:
        return self._store.find(JobFilter(ids=ids), limit=len(ids))

    def close(self) -> None:
        """Ask no more."""
        self._readers.shutdown()
