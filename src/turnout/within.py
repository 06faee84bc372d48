"""`jobs.within(connection)`: the block in which enqueues belong to the caller's transaction.

One context variable holds it, so that it is of this thread, this task and what they call, and of
nobody else. The block neither begins nor ends the transaction: that stays with its owner.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING

from turnout.errors import WithinError

if TYPE_CHECKING:
    from types import TracebackType

    from turnout.app import Turnout

_Pairs = tuple[tuple["Turnout", object], ...]
_held: ContextVar[_Pairs] = ContextVar("turnout_within", default=())  # the innermost first


class Within:
    """What `Turnout.within` returns: good for `with` and for `async with`, which do the same."""

    __slots__ = ("_marks", "_pair")

    def __init__(self, app: Turnout, connection: object) -> None:
        if connection is None:
            msg = "within() takes your connection or session, got None: jobs would not wait for it"
            raise WithinError(msg)
        self._pair = (app, connection)
        self._marks: list[Token[_Pairs]] = []

    def __enter__(self) -> None:
        self._marks.append(_held.set((self._pair, *_held.get())))

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
    """Return the connection that the nearest block gave this application, or None."""
    return next((connection for owner, connection in _held.get() if owner is app), None)
