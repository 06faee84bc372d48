"""The worker processes of a supervisor: fills places, replaces who is due, buries the dead.

A child that dies is replaced, at once the first time and with growing pauses while that goes on
(`places.py`). Its jobs go back the moment its death is seen: the kernel's word needs no heartbeat
to expire. A child that is past its limits (`recycling.py`), or runs old code, makes room for a
successor once that is at work, one after the other:

    working -> (a successor is at work) leaving: takes nothing, finishes what runs -> ended
                   past `drain_timeout` -> told to stop, within its grace -> past that, killed
"""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from turnout.crash import Evidence
from turnout.errors import StoreError
from turnout.identity import host
from turnout.worker.measures import Measures
from turnout.worker.places import Child, Place, how
from turnout.worker.recycling import Recycling

if TYPE_CHECKING:
    from collections.abc import Iterator

    from turnout.app import Turnout
    from turnout.worker.board import Board
    from turnout.worker.forking import Forking
    from turnout.worker.options import WorkerOptions
    from turnout.worker.succession import Heir

log = logging.getLogger("turnout.supervisor")

AFTER_GRACE = 5.0  # then KILL
_SHORT = 1.0
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
_UNKNOWN = 1 << 8  # exit code 1


class Staff:
    """All children of one supervisor that run jobs."""

    def __init__(self, app: Turnout, options: WorkerOptions, forking: Forking) -> None:
        self.places = [Place(index) for index in range(options.processes)]
        self.leaving: list[Child] = []
        self.is_quiet = False
        self.is_stopping = False
        self._app = app
        self._options = options
        self._forking = forking
        self._recycling = Recycling(options)
        self._rng = random.Random()
        self._host = host()
        self._measures = Measures()

    def __iter__(self) -> Iterator[Child]:
        for place in self.places:
            yield from filter(None, (place.child, place.successor))
        yield from self.leaving

    @property
    def is_done(self) -> bool:
        """True when every place was left in good order."""
        return all(place.is_closed for place in self.places)

    @property
    def at_work(self) -> int:
        """Return how many places have a process that leases jobs, with the code of today."""
        children = [place.child for place in self.places if not place.is_closed]
        return sum(bool(one and one.is_at_work and not one.is_old) for one in children)

    @property
    def is_complete(self) -> bool:
        """True when all places that are open have such a process."""
        return self.at_work == sum(not place.is_closed for place in self.places)

    def tell(self, number: int) -> None:
        """Send a signal to every process."""
        for child in list(self):
            _tell(child, number)

    # ---- filling places

    def fill(self) -> None:
        """Start processes in the places that are empty, where their pause is over."""
        for place in self.places:
            if place.child is None and not place.is_closed and _may(place):
                place.child = self._start(place)

    def _start(self, place: Place) -> Child | None:
        child = self._forking.worker()
        if child is None:
            place.died(time.monotonic(), self._rng)
        elif self.is_quiet:
            _tell(child, signal.SIGTSTP)
        return child

    def renew(self) -> None:
        """Replace what has lived long enough: one at a time, the new before the old."""
        self._hurry()
        replacing = next((place for place in self.places if place.successor), None)
        if replacing is not None:
            if replacing.successor and replacing.successor.is_at_work:
                self.send_off(replacing.replaced())
            return
        if self.is_quiet or not self._forking.has_room:
            return  # too many still finish their jobs; the first that ends makes room
        for place in filter(_may, self.places):
            reason = place.child and self._recycling.reason(place.child, time.monotonic())
            if place.child and reason:
                log.info("worker %d makes room for another: %s", place.child.pid, reason)
                place.successor = self._start(place)
                return

    def send_off(self, child: Child | None) -> None:
        """Let a process finish what runs, and end."""
        if child is not None:
            child.told = time.monotonic()
            self.leaving.append(child)
            _tell(child, signal.SIGUSR2)

    def _hurry(self) -> None:
        """Stop those that should have left long ago."""
        for child in self.leaving:
            over = time.monotonic() - child.told - self._options.drain_timeout
            if over > 0 and not child.hurried:
                log.warning("worker %d still runs jobs; it has the grace to stop", child.pid)
                child.hurried = 1
                _tell(child, signal.SIGTERM)
            elif over > self._options.grace + AFTER_GRACE and child.hurried == 1:
                child.hurried = 2
                _tell(child, signal.SIGKILL)

    # ---- the dead

    def bury(self) -> None:
        """Note which children have ended, and give back what they held."""
        for child in list(self):
            peak = None
            try:
                pid, status, used = os.wait4(child.pid, os.WNOHANG)
                peak = used.ru_maxrss * _RSS_UNIT
            except ChildProcessError:  # inherited by name, and gone
                pid, status = child.pid, _UNKNOWN
            if pid:
                # A job may end the process with code 0: only who has ended its epoch is done.
                code = os.waitstatus_to_exitcode(status)
                crashed = self._take_back(pid, Evidence(how(code), peak)) or code != 0
                self._recycling.forget(pid)
                self._note_end(child, code, crashed=crashed)
                child.row.free()

    def _note_end(self, child: Child, code: int, *, crashed: bool) -> None:
        if child in self.leaving:
            self.leaving.remove(child)
            if crashed:
                log.error("worker %d died (%s) as it was leaving", child.pid, how(code))
            return
        place = next(one for one in self.places if one.holds(child))
        if crashed:
            self._after_crash(place, child, code)
        if child is place.successor:
            place.successor = None
            place.not_before = max(place.not_before, time.monotonic() + _SHORT)
        elif place.successor is not None:
            place.replaced()
        else:
            place.child = None
            place.is_closed = not crashed

    def _after_crash(self, place: Place, child: Child, code: int) -> None:
        now = time.monotonic()
        pause = place.died(now, self._rng, was_useful=child.was_useful(now))
        what = "" if self.is_stopping else f"; restarting in {pause:.1f} s"
        if place.is_looping(now):
            since = now - place.deaths[0]
            what += f"; crash loop: {len(place.deaths)} deaths in this place in {since:.0f} s"
        log.error(
            "worker %d died (%s) after %.1f s%s", child.pid, how(code), now - child.born, what
        )

    def _take_back(self, pid: int, evidence: Evidence) -> bool:
        """Return the jobs of a dead child; True when it had not ended its epoch itself."""
        store = self._app.store
        try:
            held = [w for w in store.workers() if w.pid == pid and w.host == self._host]
            for worker in held:
                reaped = store.reap(epoch=worker.epoch, evidence=evidence)
                for job in reaped:
                    log.warning("job %s (%s) is %s: its worker died", job.id, job.task, job.state)
                self._measures.crashed(reaped, self._app.clock())
            if self._options.metrics:
                self._measures.flush(store)
        except StoreError as error:
            log.error("its jobs go back when its heartbeat expires: %s", error)  # noqa: TRY400
            return True
        finally:
            store.close()
        return bool(held)

    # ---- over a restart

    def adopt(self, heirs: list[Heir], board: Board) -> None:
        """Take over the children of the image before this one: old ones, to be replaced."""
        free = iter(self.places)
        for heir in heirs:
            child = Child(heir.pid, heir.born, board.rows[heir.row], is_old=True, told=heir.told)
            place = None if heir.told else next(free, None)
            if place is not None:
                place.child = child
            elif heir.told:
                self.leaving.append(child)
            else:
                self.send_off(child)

    def settle_succession(self) -> None:
        """Send off who was about to take a place: the next image starts its own."""
        for place in self.places:
            successor, place.successor = place.successor, None
            self.send_off(successor)


def _may(place: Place) -> bool:
    return time.monotonic() >= place.not_before


def _tell(child: Child, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child.pid, number)
