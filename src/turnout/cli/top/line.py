"""The one thread that talks to the store, so that the screen never waits for it.

What is asked is done in order, each with the store; the answer or the error goes to `deliver`, in
that thread. The invariant: the store is opened, used and closed here alone, and a store that hangs
keeps nobody from quitting: the thread is a daemon.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from turnout.store.protocol import Store

PARTING = 2.0  # seconds for a store to be closed


class Answer(msgspec.Struct, frozen=True):
    """What came of a question: a value, or the error that was raised."""

    kind: str
    value: Any = None
    error: Exception | None = None


class Line:
    """Questions go in, answers come out, one at a time."""

    def __init__(self, open_store: Callable[[], Store], deliver: Callable[[Answer], None]) -> None:
        self._open = open_store
        self._deliver = deliver
        self._store: Store | None = None
        self._asked: SimpleQueue[tuple[str, Callable[[Store], Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="turnout-top", daemon=True)
        self._thread.start()

    def ask(self, kind: str, question: Callable[[Store], Any]) -> None:
        """Ask something; its answer carries `kind`."""
        self._asked.put((kind, question))

    def close(self) -> None:
        """Let go of the store, unless it hangs."""
        self._asked.put(None)
        self._thread.join(PARTING)

    def _run(self) -> None:
        while (asked := self._asked.get()) is not None:
            self._deliver(self._answer(*asked))
        if self._store is not None:
            self._store.close()

    def _answer(self, kind: str, question: Callable[[Store], Any]) -> Answer:
        try:
            if self._store is None:
                self._store = self._open()
            return Answer(kind, question(self._store))
        except Exception as error:  # noqa: BLE001 - whatever it is, the screen says it
            return Answer(kind, error=error)
