"""Calling back after a caller's own commit, where that can be known: SQLAlchemy's and Django's.

Drivers tell nobody about a commit: there, sleeping workers see it at their next poll. Neither
package is imported: whoever hands one of its objects in has done that.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable


def after_commit(given: Any, call: Callable[[], None]) -> None:
    """Call back once the transaction of a session (or of Django's connection) has committed."""
    if getattr(given, "in_atomic_block", False):
        given.on_commit(call)
    elif hasattr(given, "get_bind"):
        if given not in _due:
            event = sys.modules["sqlalchemy"].event
            event.listen(given, "after_commit", _on_commit)
            event.listen(given, "after_rollback", _on_rollback)
        _due[given] = call


def unscoped(given: Any) -> Any:
    """Return the session behind SQLAlchemy's scoped one, and anything else as it is."""
    registry = getattr(given, "registry", None)
    return registry() if callable(registry) else given


# Sessions that have ever carried a job: what to call after their commit, if anything.
_due: WeakKeyDictionary[Any, Callable[[], None] | None] = WeakKeyDictionary()


def _on_commit(session: Any) -> None:
    call = _due.get(session)
    _due[session] = None
    if call is not None:
        call()


def _on_rollback(session: Any) -> None:
    _due[session] = None
