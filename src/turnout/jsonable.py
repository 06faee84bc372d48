"""What JSON can carry and bring back, and why not: the hooks around msgspec, and their advice.

Invariant: nothing is ever guessed from the wire. Types come from annotations alone; models with
`model_validate` and `model_dump` (pydantic's protocol) are the only foreign ones let through.
"""

from __future__ import annotations

import dataclasses
import inspect
import io
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

from turnout.failure import qualified_name

__all__ = [
    "SCALARS",
    "dec_hook",
    "difference",
    "enc_hook",
    "encode_json",
    "fault",
    "same",
    "type_fault",
    "why_not",
]

SCALARS = frozenset({type(None), bool, int, float, str})
_NATIVE = (datetime, date, time, timedelta, UUID, Decimal, bytes, bytearray, memoryview, Enum)
_MAX_DEPTH = 100


def enc_hook(value: Any) -> Any:
    """Return what stands for `value` in JSON; raises TypeError for what JSON cannot carry."""
    if _is_record(value):
        raise TypeError(_advice(value))
    if _is_model(type(value)):
        return _dumped(value)
    for base in (str, int, float):  # subclasses such as safe strings and numpy's numbers
        if isinstance(value, base):
            return base(value)
    raise TypeError(_advice(value))


def dec_hook(kind: Any, value: Any) -> Any:
    """Return `value`, read from JSON, as a model of `kind`."""
    if kind is object:
        return value
    if not _is_model(kind):
        msg = f"{kind!r} has no model_validate"
        raise TypeError(msg)
    # By JSON where the model can: strict models take a UUID's text there and nowhere else.
    from_json = getattr(kind, "model_validate_json", None)
    return kind.model_validate(value) if from_json is None else from_json(encode_json(value))


def _dumped(value: Any) -> Any:
    try:
        return value.model_dump(mode="json", by_alias=True, round_trip=True)
    except TypeError:  # another library's model_dump, without pydantic's options
        return value.model_dump()


def type_fault(kind: Any) -> str | None:
    """Return why values of this annotation cannot travel as JSON, or None when they can.

    Raises NameError for a forward reference that cannot be resolved yet.
    """
    from msgspec import inspect as types

    try:
        waiting: list[Any] = [types.type_info(kind)]
        msgspec.json.Decoder(kind, dec_hook=dec_hook)
    except TypeError as error:
        return str(error)
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, list | tuple):
            waiting.extend(one)
        elif isinstance(one, types.Type | types.Field) and id(one) not in seen:
            seen.add(id(one))
            found = _class_fault(getattr(one, "cls", None), isinstance(one, types.CustomType))
            if found is not None:
                return found
            waiting.extend(getattr(one, field) for field in one.__struct_fields__)
    return None


def _class_fault(kind: Any, custom: bool) -> str | None:  # noqa: FBT001 - private, two callers
    if isinstance(kind, type) and _is_record_class(kind):
        return f"{qualified_name(kind)} is a database record: take its id and load it in the task"
    if custom and kind is not object and not _is_model(kind):
        shown = qualified_name(kind) if isinstance(kind, type) else str(kind)
        return (
            f"JSON cannot carry {shown}: take an id or plain values, or make it a dataclass, "
            "a TypedDict, a msgspec Struct or a pydantic model"
        )
    return None


def fault(value: Any, path: str, depth: int = 0) -> str | None:
    """Return the first thing within `value` that JSON cannot carry, with its path and advice."""
    if depth > _MAX_DEPTH:
        return None
    if _is_record(value):
        return f"{path} is {_advice(value)}"
    if isinstance(value, str) and not isinstance(value, Enum):
        return _text_fault(value, path)
    if isinstance(value, float | Decimal):
        return _number_fault(value, path)
    if value is None or isinstance(value, (int, *_NATIVE)) or _is_model(type(value)):
        return None
    if isinstance(value, dict):
        found = _first(_key_fault(key, path) for key in value)
        if found is not None:
            return found
    parts = _parts(value, path)
    if parts is None:
        return f"{path} is {_advice(value)}"
    return _first(fault(part, at, depth + 1) for at, part in parts)


def difference(sent: Any, got: Any, path: str) -> str | None:
    """Return how `got`, back from JSON, differs from what was sent, with path and advice."""
    if _is_record(sent):
        return f"{path} is {_advice(sent)}"
    if isinstance(sent, float | Decimal) and _number_fault(sent, path):
        return _number_fault(sent, path)
    if isinstance(sent, dict) and isinstance(got, dict):
        return _dict_difference(sent, got, path)
    if type(sent) is not type(got):
        alike = same(sent, got) and not isinstance(sent, Enum)
        return None if alike else _changed(sent, got, path)
    if isinstance(sent, set | frozenset):
        return None if same(sent, got) else _changed(sent, got, path)
    ours, theirs = _parts(sent, path), _parts(got, path)
    if ours is None or theirs is None or len(ours) != len(theirs):
        comparable = any("__eq__" in vars(kind) for kind in type(sent).__mro__[:-1])
        return _changed(sent, got, path) if comparable and not same(sent, got) else None
    pairs = zip(ours, theirs, strict=True)
    return _first(difference(mine, back, at) for (at, mine), (_, back) in pairs)


def why_not(value: object, path: str, error: Exception) -> str:
    """Return why encoding `value` raised `error`, in words, with the path of what is wrong."""
    if isinstance(error, RecursionError):
        if path == "$" and isinstance(value, dict):
            path = next((f"$.{name}" for name, one in value.items() if _too_deep(one)), path)
        return f"{path} is nested too deeply for JSON, or holds itself: pass a flatter value"
    try:
        found = fault(value, path)
    except Exception:  # noqa: BLE001 - walking foreign objects; the first error still tells
        found = None
    return found or f"{path}: {error}"


def _too_deep(value: object) -> bool:
    try:
        encode_json(value)
    except Exception as error:  # noqa: BLE001 - only this fault is looked for
        return isinstance(error, RecursionError)
    return False


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal; those that raise when compared are not."""
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - __eq__ is user code, and arrays refuse to be a bool
        return False


def _first(found: Iterator[str | None]) -> str | None:
    return next((one for one in found if one is not None), None)


def _parts(value: Any, path: str) -> list[tuple[str, Any]] | None:
    """Return a container's parts with their paths; None for what is no container."""
    if isinstance(value, dict):
        return [(_below(path, key), part) for key, part in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [(f"{path}[{at}]", part) for at, part in enumerate(value)]
    if isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = tuple(field.name for field in dataclasses.fields(value))
    else:
        return None
    return [(f"{path}.{name}", getattr(value, name, None)) for name in names]


def _below(path: str, key: object) -> str:
    plain = isinstance(key, str) and (key.isidentifier() or path == "$")
    return f"{path}.{key}" if plain else f"{path}[{ascii(key)[:60]}]"


def _dict_difference(sent: Mapping[Any, Any], got: Mapping[Any, Any], path: str) -> str | None:
    for key, value in sent.items():
        if key not in got:
            return (
                f"{path}: the key {ascii(key)[:60]} is of type {_type_name(key)} and came back as "
                f"str; annotate the parameter as dict[{_type_name(key)}, ...], or use str keys"
            )
        found = difference(value, got[key], _below(path, key))
        if found is not None:
            return found
    return None


def _changed(sent: Any, got: Any, path: str) -> str:
    kind, back = _type_name(sent), _type_name(got)
    if kind == back:
        return f"{path}: this {kind} came back from JSON changed; pass its plain values instead"
    form = f"{kind}[...]" if isinstance(sent, list | tuple | set | frozenset) else kind
    return f"{path}: {kind} came back as {back}; annotate the parameter with {form}, or pass {back}"


def _text_fault(value: str, path: str) -> str | None:
    lone = any("\ud800" <= one <= "\udfff" for one in value)
    advice = 'decode the text with errors="replace" first'
    return f"{path} holds a lone surrogate, which UTF-8 cannot carry: {advice}" if lone else None


def _number_fault(value: float | Decimal, path: str) -> str | None:
    finite = value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)
    return None if finite else f"{path} is {value}, which JSON does not have: pass None or text"


def _key_fault(key: object, path: str) -> str | None:
    if isinstance(key, str) and not isinstance(key, Enum):
        return _text_fault(key, f"a key of {path}")
    if isinstance(key, bool) or not isinstance(key, (int, float, *_NATIVE)):
        return f"{path} has a key of type {_type_name(key)}: JSON's keys are text, so use str keys"
    return None


def _type_name(value: object) -> str:
    return qualified_name(type(value)).removeprefix("datetime.")


def _advice(value: object) -> str:
    name = _type_name(value)
    if _is_record(value):
        return f"a database record ({name}): pass its id and load it in the task"
    for kinds, advice in _KINDS:
        if isinstance(value, kinds):
            return advice
    if inspect.isawaitable(value):
        return "something to await: await it first and pass what it returns"
    if isinstance(value, Iterator):
        return f"an iterator ({name}): pass list(...) of it"
    if callable(value):
        return f"code ({name}): pass a name, or make it a task of its own"
    return (
        f"of type {name}, which JSON cannot carry: pass its id or plain values, or annotate the "
        "parameter with a dataclass, a msgspec Struct or a pydantic model"
    )


_KINDS: tuple[tuple[type, str], ...] = (
    (io.IOBase, "an open file: pass its path and open it in the task"),
    (type, "a class: pass its name"),
    (BaseException, "an exception: pass str() of it"),
)


def _is_model(kind: Any) -> bool:
    return all(hasattr(kind, name) for name in ("model_validate", "model_dump"))


def _is_record(value: object) -> bool:
    kind = type(value)
    if kind in SCALARS or isinstance(value, type):
        return False
    try:
        return _is_record_class(kind) or hasattr(value, "_sa_instance_state")
    except Exception:  # noqa: BLE001 - a foreign __getattr__
        return False


def _is_record_class(kind: type) -> bool:
    """Tell whether SQLAlchemy, Django or peewee (`_meta` with its key) keeps this class's rows."""
    if hasattr(kind, "_sa_class_manager") or hasattr(kind, "__mapper__"):
        return True
    meta = getattr(kind, "_meta", None)
    return any(hasattr(meta, name) for name in ("pk", "primary_key"))


encode_json: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=enc_hook).encode
