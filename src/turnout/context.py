"""The context variables that travel with a job, as JSON and back.

Invariant: what `encode_context` lets through comes back as the same values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from turnout.errors import ArgumentError
from turnout.jsonable import difference, encode_json, same, why_not

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.encode


def encode_context(values: Mapping[str, Any]) -> str:
    """Return context variables as JSON. Raises ArgumentError, naming the variable, for a value that
    JSON cannot carry, or would bring back as another.
    """
    try:
        data = encode_json(values)
    except Exception as error:
        why = why_not(values, "context variable", error)
        raise ArgumentError(why) from error
    back = _decode(data)
    if same(values, back):
        return data.decode()
    for name, value in values.items():
        found = difference(value, back.get(name), f"context variable.{name}")
        if found is not None:
            raise ArgumentError(found)
    return data.decode()


def decode_context(text: str) -> dict[str, Any]:
    """Return the variables that travelled, by name."""
    return _decode(text)


def with_context_value(text: str | None, name: str, value: Any) -> str:
    """Return a context with one more member, or with another value for it."""
    member = f"{_encode(name).decode()}:{_encode(value).decode()}"
    if text is None or text == "{}":
        return "{" + member + "}"
    if name in text:  # it is there already, perhaps: then the whole is written anew
        return _encode({**_decode(text), name: value}).decode()
    return f"{text[:-1]},{member}}}"


def context_value(text: str | None, name: str) -> Any:
    """Return one member of a context; None where there is none, or no reading it."""
    if text is None or name not in text:
        return None
    try:
        return _decode(text).get(name)
    except msgspec.DecodeError:
        return None
