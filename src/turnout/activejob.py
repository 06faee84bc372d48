"""Active Job's form of arguments, as Rails writes it: read into Python's values, and written.

    {"_aj_globalid": uri}                        GlobalID
    {"_aj_serialized": "...SymbolSerializer"}    Symbol, a str; likewise date, datetime, timedelta,
                                                 Decimal and Range; a module arrives as its name
    a hash with "_aj_ruby2_keywords", last       keyword arguments
    any other hash                               dict, its keys as text, without Rails' marks

What a serializer of the application's own wrote arrives as the dict it is on the wire. Nothing is
ever constructed but the values named here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any, Self
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Raw

from turnout.errors import ArgumentError

__all__ = ["WRAPPERS", "GlobalID", "Range", "Symbol", "read_arguments", "write_arguments"]

WRAPPERS = ("ActiveJob::QueueAdapters::SidekiqAdapter::JobWrapper", "Sidekiq::ActiveJob::Wrapper")
MARK = "_aj_arguments"  # ours, for arguments on their way from a store to a task's signature

_GLOBAL_ID, _SERIALIZED, _KEYWORDS = "_aj_globalid", "_aj_serialized", "_aj_ruby2_keywords"
_SYMBOL_KEYS, _INDIFFERENT = "_aj_symbol_keys", "_aj_hash_with_indifferent_access"
_RESERVED = frozenset({_GLOBAL_ID, _SERIALIZED, _KEYWORDS, _SYMBOL_KEYS, _INDIFFERENT})
_GID = re.compile(r"gid://[^/\s]+/[^/\s]+/\S+")
_PREFIX = "ActiveJob::Serializers::"


class Symbol(str):
    """A Ruby symbol: text to Python, and written as a symbol."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Symbol({str.__repr__(self)})"


class Range(msgspec.Struct, frozen=True):
    """A Ruby range; None at an open end."""

    begin: Any
    end: Any
    exclude_end: bool = False


class GlobalID(str):
    """Rails' name of a record, `gid://app/Model/id`; what it means is the task's to know.

    It is text, so a parameter that takes a `str` takes it too. Raises ArgumentError for other text.
    """

    __slots__ = ()

    def __new__(cls, uri: str) -> Self:  # noqa: D102
        if not _GID.fullmatch(uri):
            msg = f"a GlobalID is written gid://app/Model/id, got {uri!r:.200}"
            raise ArgumentError(msg)
        return super().__new__(cls, uri)

    @classmethod
    def of(cls, app: str, model: str, key: object) -> GlobalID:
        """Make one from its parts."""
        return cls(f"gid://{app}/{model}/{quote(str(key), safe='/')}")

    def __repr__(self) -> str:
        return f"GlobalID({str.__repr__(self)})"

    @property
    def uri(self) -> str:
        """The whole of it, as plain text."""
        return str.__str__(self)

    @property
    def app(self) -> str:
        """The application that the record belongs to."""
        return self.split("/", 4)[2]

    @property
    def model(self) -> str:
        """The record's class, in Ruby's words."""
        return self.split("/", 4)[3]

    @property
    def id(self) -> str:
        """The record's key, as text; a composite one has slashes."""
        return unquote(self.split("/", 4)[4].partition("?")[0])

    # What jsonable.py asks of a type that is none of JSON's own.

    @classmethod
    def model_validate(cls, value: object) -> GlobalID:
        """Read one from JSON's text, or take one."""
        return cls(str(value))

    def model_dump(self, **_options: object) -> str:
        """Return its text."""
        return self.uri


# ---- reading


class _Wrapped(msgspec.Struct):
    """What Active Job puts into `args[0]`, as far as we read it."""

    arguments: Raw
    job_class: str = ""


_decode_wrapped = msgspec.json.Decoder(tuple[_Wrapped]).decode


def wrapped_arguments(args: bytes) -> tuple[str, bytes]:
    """Return the class in a wrapper and its arguments, under `MARK`; raises msgspec.DecodeError."""
    (job,) = _decode_wrapped(args)
    return job.job_class, b'{"%b":%b}' % (MARK.encode(), bytes(job.arguments))


def read_arguments(arguments: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and keyword arguments from Active Job's list. Raises ArgumentError."""
    if not isinstance(arguments, list):
        msg = f"Active Job's arguments are a list, got {arguments!r:.80}"
        raise ArgumentError(msg)
    given = [*arguments]
    keywords: dict[str, Any] = {}
    if given and isinstance(given[-1], dict) and _KEYWORDS in given[-1]:
        keywords = _read_hash(given.pop(), "keywords")
    return [_read(value, f"$[{at}]") for at, value in enumerate(given)], keywords


def _read(value: Any, path: str) -> Any:
    if isinstance(value, list):
        return [_read(one, f"{path}[{at}]") for at, one in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_GLOBAL_ID}:
        return GlobalID(str(value[_GLOBAL_ID]))
    name = value.get(_SERIALIZED)
    reader = _READERS.get(name.removeprefix(_PREFIX)) if isinstance(name, str) else None
    if reader is None:
        return _read_hash(value, path)
    try:
        return reader(value, path)
    except (KeyError, TypeError, ValueError, OverflowError, InvalidOperation) as error:
        msg = f"{path} cannot be read as what {name} writes: {value!r:.200} ({error})"
        raise ArgumentError(msg) from error


def _read_hash(value: dict[str, Any], path: str) -> dict[str, Any]:
    marks = _RESERVED - {_SERIALIZED}  # a serializer that we do not know: the task may
    return {key: _read(one, f"{path}.{key}") for key, one in value.items() if key not in marks}


def _read_zoned(value: dict[str, Any], _path: str) -> datetime:
    moment = datetime.fromisoformat(value["value"])
    try:
        return moment.astimezone(ZoneInfo(value["time_zone"]))
    except (KeyError, ValueError, OSError):  # none named, or one that this machine does not know
        return moment


_READERS: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "SymbolSerializer": lambda value, _: Symbol(value["value"]),
    "ModuleSerializer": lambda value, _: str(value["value"]),
    "DateSerializer": lambda value, _: date.fromisoformat(value["value"]),
    "TimeSerializer": lambda value, _: datetime.fromisoformat(value["value"]),
    "DateTimeSerializer": lambda value, _: datetime.fromisoformat(value["value"]),
    "TimeWithZoneSerializer": _read_zoned,
    "DurationSerializer": lambda value, _: timedelta(seconds=value["value"]),
    "BigDecimalSerializer": lambda value, _: Decimal(value["value"]),
    "RangeSerializer": lambda value, path: Range(
        _read(value["begin"], f"{path}.begin"),
        _read(value["end"], f"{path}.end"),
        bool(value["exclude_end"]),
    ),
}


# ---- writing


def write_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Return arguments in Active Job's form; raises ArgumentError, with the path, for others."""
    written = [_write(value, f"$[{at}]") for at, value in enumerate(args)]
    if kwargs:
        hashed = {key: _write(value, f"$.{key}") for key, value in kwargs.items()}
        written.append({**hashed, _KEYWORDS: [*kwargs]})
    return written


def _write(value: Any, path: str) -> Any:
    if value is None or isinstance(value, bool | int) or type(value) is str:
        return value
    if isinstance(value, float) and isfinite(value):
        return value
    if isinstance(value, list | tuple):
        return [_write(one, f"{path}[{at}]") for at, one in enumerate(value)]
    if isinstance(value, dict):
        return _write_hash(value, path)
    if isinstance(value, GlobalID):
        return {_GLOBAL_ID: value.uri}
    name, members = _serialized(value, path)
    return {_SERIALIZED: f"{_PREFIX}{name}", **members}


def _write_hash(value: dict[Any, Any], path: str) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str) or key in _RESERVED:
            msg = f"{path}: a key of a hash for Rails is text, and none of its own, got {key!r:.80}"
            raise ArgumentError(msg)
    written = {str(key): _write(one, f"{path}.{key}") for key, one in value.items()}
    return {**written, _SYMBOL_KEYS: [str(key) for key in value if isinstance(key, Symbol)]}


def _serialized(value: Any, path: str) -> tuple[str, dict[str, Any]]:
    """Return which of Rails' serializers reads this value, and what it expects."""
    match value:
        case Symbol():
            return "SymbolSerializer", {"value": str(value)}
        case datetime() if value.utcoffset() is not None:
            return "TimeSerializer", {"value": moment(value)}
        case date() if not isinstance(value, datetime):
            return "DateSerializer", {"value": value.isoformat()}
        case timedelta():
            return "DurationSerializer", _duration(value)
        case Decimal() if value.is_finite():
            return "BigDecimalSerializer", {"value": str(value)}
        case Range():
            ends = {"begin": _write(value.begin, path), "end": _write(value.end, path)}
            return "RangeSerializer", {**ends, "exclude_end": value.exclude_end}
        case _:
            raise ArgumentError(_advice(value, path))


def _duration(value: timedelta) -> dict[str, Any]:
    seconds: float = value.total_seconds()
    number = int(seconds) if seconds.is_integer() else seconds
    unit = {_SERIALIZED: f"{_PREFIX}SymbolSerializer", "value": "seconds"}
    return {"value": number, "parts": [[unit, number]]}


def moment(when: datetime) -> str:
    """Return an aware datetime as Rails writes one, in UTC."""
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"


def _advice(value: Any, path: str) -> str:
    kind = type(value).__name__
    if isinstance(value, datetime | time):
        return f"{path} is a {kind} without a zone, {value}: give an aware datetime"
    if isinstance(value, float | Decimal):
        return f"{path} is {value}, which JSON cannot carry"
    return (
        f"{path} is a {kind}, {value!r:.80}, which Rails has no serializer for: give text, "
        "numbers, lists, dicts, Symbol, date, datetime, timedelta, Decimal, Range or GlobalID"
    )
