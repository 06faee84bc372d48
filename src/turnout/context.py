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
