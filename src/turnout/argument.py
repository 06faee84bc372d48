"""What a query says of arguments: `arg.order_id:7`, `arg.address.city:Berlin`, `arg.0:7`.

The invariant: it is compared with what the asker may read. A search over hidden values would give
them away, one guess after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from turnout.job import JobRecord

_JSON_WORDS: dict[Any, str] = {None: "null", True: "true", False: "false"}


class Argument(msgspec.Struct, frozen=True):
    """A value at a path into a job's arguments; both as text."""

    path: tuple[str, ...]
    value: str

    def fits(self, arguments: Any) -> bool:
        """Tell whether it stands so in these arguments: text as it is, the rest as JSON."""
        found = arguments
        for name in self.path:
            found = _within(found, name)
        if isinstance(found, dict | list | _Absent):
            return False
        if isinstance(found, str):
            return found == self.value
        if found is None or isinstance(found, bool):
            return _JSON_WORDS[found] == self.value
        return _is_number(self.value, found)


def all_fit(asked: tuple[Argument, ...], record: JobRecord) -> bool:
    """Tell whether a job's arguments are those asked for; a record without arguments never fits."""
    if not asked or record.args is None:
        return not asked
    try:
        arguments = msgspec.json.decode(record.args)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return False
    return all(one.fits(arguments) for one in asked)


class _Absent:
    """No such key or place."""


_ABSENT = _Absent()


def _within(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return value.get(name, _ABSENT)
    if isinstance(value, list):
        return next((one for place, one in enumerate(value) if str(place) == name), _ABSENT)
    return _ABSENT


def _is_number(text: str, found: float) -> bool:
    try:
        return msgspec.json.decode(text, type=int | float) == found
    except (msgspec.MsgspecError, UnicodeError):
        return False
