"""Arguments that a program in another language wrote: an array, or Active Job's form of one.

An array binds by position, as a call does; Active Job's also by keyword. Values of an array are
read by the task's annotations, from JSON. Active Job's say themselves what they are, so they are
made first and must then fit the annotation; an unannotated parameter receives them as they are.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import msgspec

from turnout.activejob import MARK, read_arguments
from turnout.jsonable import dec_hook, encode_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["is_foreign", "read_foreign_arguments"]

_HEAD = f'{{"{MARK}":'
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def is_foreign(text: str) -> bool:
    """Tell whether arguments are in another program's form."""
    return text.lstrip()[:1] == "[" or text.startswith(_HEAD)


def read_foreign_arguments(
    text: str,
    signature: inspect.Signature,
    wire: Mapping[str, str],
    struct: type[msgspec.Struct],
    decode: Callable[[bytes], msgspec.Struct],
) -> msgspec.Struct:
    """Return the values of a task's parameters; `wire` names those of * and **.

    `decode` reads the `struct` of the parameters from JSON.

    Raises TypeError for a wrong number or name, ArgumentError or msgspec.ValidationError for a
    value that is not what the parameter takes.
    """
    if text.startswith(_HEAD):
        args, kwargs = read_arguments(msgspec.json.decode(text)[MARK])
        named = _bound(signature, wire, args, kwargs)
        return msgspec.convert(named, struct, dec_hook=dec_hook)
    named = _bound(signature, wire, _decode_list(text), {})
    return decode(encode_json(named))


def _bound(
    signature: inspect.Signature, wire: Mapping[str, str], args: list[Any], kwargs: dict[str, Any]
) -> dict[str, Any]:
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        said = f"{error}, of {len(args)} given by position"
        more = f" and {len(kwargs)} by keyword ({', '.join(kwargs)})" if kwargs else ""
        raise TypeError(said + more) from error
    return {wire.get(name, name): value for name, value in bound.arguments.items()}
