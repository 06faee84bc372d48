"""How fast enqueuers go, and when they wait: the rig holds them while too much is open."""

from __future__ import annotations

from pathlib import Path

MOST = 8_000  # jobs to be done: some seconds of work, or a run would only fill its store
UNSEEN = 40_000  # jobs that have ended, which the rig has to see before the store forgets them
_ENOUGH = 0.7


class Hold:
    """A file beside the ledger that enqueuers look for: while it is there they wait."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "hold"

    @property
    def is_set(self) -> bool:
        return self._path.exists()

    def keep(self, waiting: int, unseen: int = 0) -> None:
        """Set it when too many jobs wait, and take it away when enough of them are done."""
        full = max(waiting / MOST, unseen / UNSEEN)
        if full > 1:
            self._path.touch()
        elif full < _ENOUGH:
            self._path.unlink(missing_ok=True)
