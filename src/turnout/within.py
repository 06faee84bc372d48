"""`jobs.within(connection)`: the block in which enqueues belong to the caller's transaction.

One context variable holds it, so that it is of this thread, this task and what they call, and of
nobody else. The block neither begins nor ends the transaction: that stays with its owner.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING
from weakref import WeakSet

from turnout.errors import WithinError

if TYPE_CHECKING:
    from types import TracebackType

    from turnout.app import Turnout

_held: ContextVar[tuple[Turnout, object] | None] = ContextVar("turnout_within", default=None)
_set_up: WeakSet[Turnout] = WeakSet()


class Within:
    """What `Turnout.within` returns: good for `with` and for `async with`, which do the same."""

    __slots__ = ("_marks", "_pair")

    def __init__(self, app: Turnout, connection: object) -> None:
        if connection is None:
            msg = "within() takes your connection or session, got None: jobs would not wait for it"
            raise WithinError(msg)
        self._pair = (app, connection)
        self._marks: list[Token[tuple[Turnout, object] | None]] = []

    def __enter__(self) -> None:
        app = self._pair[0]
        if app not in _set_up:  # now, before the caller's first write locks the file against us
            app.store.setup()
            _set_up.add(app)
        self._marks.append(_held.set(self._pair))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _held.reset(self._marks.pop())

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)


def connection_of(app: Turnout) -> object:
    """Return the connection that a surrounding block gave this application, or None."""
    held = _held.get()
    return held[1] if held is not None and held[0] is app else None
