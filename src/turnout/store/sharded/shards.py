"""The shards of this moment: a view that is replaced as a whole when the file has changed."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from turnout.errors import ConfigError, StoreBusy, StoreError, StoreUnavailable
from turnout.job import JobId, NewJob
from turnout.store import open_store
from turnout.store.patience import is_bounded
from turnout.store.protocol import Store
from turnout.store.sharded.health import SLOW, TIRING, Health
from turnout.store.sharded.url import By, Layout, file_of, read, refuse

log = logging.getLogger("turnout.store")

T = TypeVar("T")
LOOK_EVERY = 1.0  # seconds between two looks at the file
FAILURES = (StoreError, ConfigError)  # a refused password is a ConfigError


class Shard:
    """One store of several, by its name. `alarm` is rung when it has failed."""

    def __init__(self, name: str, url: str, store: Store, alarm: Callable[[], None]) -> None:
        self.name = name
        self.url = url
        self.store = store
        self.health = Health()
        self.ready: Counter[str] = Counter()  # by queue, as last counted, and what we put there
        self._alarm = alarm

    def call(self, verb: Callable[[Store], T]) -> T:
        """Call the store; whatever fails is StoreUnavailable (or StoreBusy), and is noted."""
        if self.health.is_away:
            raise self.absence()
        began = time.monotonic()
        try:
            answer = verb(self.store)
        except StoreBusy:
            raise
        except FAILURES as error:
            self.failed(error)
            raise self.absence(error) from error
        took = time.monotonic() - began
        if is_bounded():
            return answer  # who looks at a page may ask for much: that says nothing of the shard
        if took > TIRING:
            self.health.tired(took)
        if took > SLOW:
            self.failed(f"it took {took:.1f} s to answer")
        return answer

    def failed(self, error: object) -> None:
        """Note a failure and have the shard asked again from time to time."""
        if not self.health.is_away:
            log.error("shard %s is away: %s", self.name, error)
        self.health.failed(error)
        self._alarm()

    def absence(self, error: object = None) -> StoreUnavailable:
        """Return the error that names this shard and says why it is away."""
        return StoreUnavailable(f"shard {self.name} is away: {error or self.health.trouble}")

    def move(self, url: str, store: Store) -> None:
        """Go on at another place, under the same name: what was leased is settled there."""
        before, self.url, self.store = self.store, url, store
        before.close()

    def enqueue(self, jobs: Sequence[NewJob], now: float | None) -> list[JobId | None]:
        """Record jobs; a connection that had gone stale is worth a second try, when that is quick.

        Repeating it is harmless: what is known by its id is not recorded again.
        """
        if self.health.is_away:
            raise self.absence()
        began = time.monotonic()
        try:
            try:
                answer = self.store.enqueue(jobs, now=now)
            except StoreUnavailable:
                if time.monotonic() - began > SLOW / 2:
                    raise
                answer = self.store.enqueue(jobs, now=now)
        except FAILURES as error:
            self._refused(error, time.monotonic() - began)
            raise self.absence(error) from error
        self.health.took()
        for job in jobs:
            self.ready[job.queue] += 1
        return answer

    def _refused(self, error: object, took: float) -> None:
        if self.health.full is None:
            log.error("shard %s takes no jobs: %s", self.name, error)
        self.health.refused(error)
        if took > SLOW / 2:
            self.failed(error)  # others need not find out for themselves
        self._alarm()

    def ask(self) -> None:
        """Look whether a shard answers that was away, or refused a job."""
        began = time.monotonic()
        try:
            self.store.setup()
            self.store.workers()
        except FAILURES as error:
            self.failed(error)
            return
        took = time.monotonic() - began
        if took > SLOW:
            self.failed(f"it took {took:.1f} s to answer")
            return
        if self.health.is_away:
            away = time.time() - self.health.since
            log.warning("shard %s is back after %.1f s", self.name, away)
        self.health.answered()

    def count_ready(self) -> None:
        """Learn how much waits in each queue."""
        counted = self.call(lambda store: store.count())
        self.ready = Counter({each.queue: each.ready for each in counted})


class View(NamedTuple):
    """The shards by name and what is said of them; never changed."""

    by_name: dict[str, Shard]
    layout: Layout

    @property
    def shards(self) -> list[Shard]:
        """All of them, in the order in which they were given."""
        return list(self.by_name.values())

    @property
    def open(self) -> list[str]:
        """The names of those that get new jobs."""
        return [name for name in self.by_name if name not in self.layout.drain]

    @property
    def former(self) -> list[str]:
        """The names of those that had the unique keys before anything was added or drained."""
        return [name for name in self.by_name if name not in self.layout.new]

    @property
    def by(self) -> By:
        """How jobs without a unique key are placed."""
        return self.layout.by


class Shards:
    """Keeps the view up to date. A shard whose name stays is the same object throughout."""

    def __init__(self, url: str, alarm: Callable[[], None]) -> None:
        self._url = url
        self._alarm = alarm
        self._path = file_of(url)
        self._seen = self._stamp()
        self._look_at = time.monotonic() + LOOK_EVERY
        self._lock = threading.Lock()
        self._view = self._made({})

    def view(self) -> View:
        """Return the shards of this moment."""
        if self._path is not None and time.monotonic() >= self._look_at:
            self._look()
        return self._view

    def renew(self) -> None:
        """Forget the parent's lock, after a fork."""
        self._lock = threading.Lock()

    def _look(self) -> None:
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._look_at = time.monotonic() + LOOK_EVERY
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp
                self._reload()
        finally:
            self._lock.release()

    def _reload(self) -> None:
        try:
            self._view = self._made(self._view.by_name)
        except ConfigError as error:
            log.error("the shards stay as they were: %s", error)  # noqa: TRY400
            return
        drained = ", ".join(sorted(self._view.layout.drain)) or "none"
        log.warning("shards are now %s; draining: %s", ", ".join(self._view.by_name), drained)

    def _made(self, old: dict[str, Shard]) -> View:
        layout, faults = read(self._url)
        made: dict[str, Shard] = {}
        for name, url in layout.urls.items():
            known = old.get(name)
            if known is not None and known.url == url:
                made[name] = known
                continue
            try:
                if url and not url.startswith("sharded:"):
                    made[name] = Shard(name, url, open_store(url), self._alarm)
            except ConfigError as error:
                faults.append(f"shard {name}: {error}")
        refuse(list(dict.fromkeys(faults)))
        for name in made.keys() & old.keys():
            if made[name] is not old[name]:
                old[name].move(made[name].url, made[name].store)
                made[name] = old[name]
        return View(made, layout)

    def _stamp(self) -> tuple[int, int, int] | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
