"""`Secret[str]`: an argument that people who look at jobs should not read.

To type checkers and to the wire `Secret[T]` is T: the task gets the plain value, and the store
keeps it as it keeps every other argument. What changes is what is shown: the dashboard hides the
argument, wherever it stands in the job's story, from everybody but an admin who asks for it.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

__all__ = ["Secret", "SecretMark"]

T = TypeVar("T")


class SecretMark:
    """What marks an annotation as secret; `Secret[T]` is `Annotated[T, SecretMark()]`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "secret"


Secret = Annotated[T, SecretMark()]
