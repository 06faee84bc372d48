"""What the processes of one supervisor show each other: shared memory, a row for each of them.

A worker writes its row as its main loop turns; its parent and whoever answers health probes read
it. Nobody ever waits: each cell is eight bytes, written at once, and a stale number does no harm.
So a worker whose main loop is stuck is seen from outside, though it cannot say so.

    free (pid 0) -> starting -> running -> quiet -> stopping -> free

The memory is made before the first fork, and its descriptor outlives the supervisor's restarts; row
0 is the supervisor's own. Times are of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from enum import IntEnum

_CELLS = 8
_SLOW = 10.0  # seconds that the supervisor's own loop may take for one turn


class Stage(IntEnum):
    """How far a process has come."""

    STARTING = 0
    RUNNING = 1
    QUIET = 2
    STOPPING = 3

    @property
    def word(self) -> str:
        """Its name, as people read it."""
        return self.name.lower()


class _Cell:
    """One number of a row."""

    def __init__(self, at: int) -> None:
        self._at = at

    def __get__(self, row: Row, _kind: object = None) -> float:
        return row.cells[self._at]

    def __set__(self, row: Row, value: float) -> None:
        row.cells[self._at] = value


class Row:
    """One process: `pid`, `stage`, when its loop last turned, and what it is busy with."""

    pid = _Cell(0)
    stage = _Cell(1)
    beat = _Cell(2)  # its main loop turned
    seen = _Cell(3)  # the store answered its heartbeat
    running = _Cell(4)  # jobs
    done = _Cell(5)  # attempts that ended here
    rss = _Cell(6)  # bytes; 0: not known
    born = _Cell(7)

    def __init__(self, cells: memoryview[float]) -> None:
        self.cells = cells

    def begin(self, now: float) -> None:
        """Take the row for a process that starts; its pid is set once it has one."""
        for at in range(_CELLS):
            self.cells[at] = 0.0
        self.beat = self.born = now
        self.pid = -1

    def free(self) -> None:
        """Give the row back."""
        self.pid = 0

    @property
    def is_at_work(self) -> bool:
        """True once the process leases, also when it was told to stop doing so."""
        return self.stage != Stage.STARTING


class Board:
    """The rows; those of worker processes are handed out and given back."""

    def __init__(self, size: int, handle: int | None = None) -> None:
        """Make a board for `size` processes, or open the one that has this descriptor."""
        if handle is None:
            handle = _memory(8 * _CELLS * (size + 1))
        self.handle = handle
        length = os.fstat(handle).st_size
        cells = memoryview(mmap.mmap(handle, length)).cast("d")
        rows = [Row(cells[at : at + _CELLS]) for at in range(0, len(cells), _CELLS)]
        self.own, self.rows = rows[0], rows[1:]

    def take(self) -> Row | None:
        """Return a row that is free, or None when all are taken."""
        for row in self.rows:
            if not row.pid:
                row.begin(time.monotonic())
                return row
        return None

    def free(self) -> int:
        """Return how many rows nobody has."""
        return sum(not row.pid for row in self.rows)

    def taken(self) -> list[Row]:
        """Return the rows of the processes that live."""
        return [row for row in self.rows if row.pid]

    def faults(self, now: float, stuck_after: float) -> list[str]:
        """Say whose main loop has not turned for too long; an empty list when all is well."""
        faults = [
            f"the main loop of worker {int(row.pid)} has not turned for {now - row.beat:.0f} s"
            for row in self.taken()
            if now - row.beat > stuck_after
        ]
        if now - self.own.beat > max(_SLOW, stuck_after):
            faults.append(f"the supervisor's loop has not turned for {now - self.own.beat:.0f} s")
        return faults


def _memory(length: int) -> int:
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("turnout-board")
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    os.ftruncate(handle, length)
    return handle
