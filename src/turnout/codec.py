"""A call's arguments as JSON and back, by the task's annotations.

On the wire: an object by parameter name, `{"order_id": 7}`; what `*args` took stands under "*",
what `**kwargs` took under "**". Only given arguments are written, so that defaults stay the
task's own. What programs in other languages send is read too: see foreign.py.

Invariant: what `encode` lets through, `decode` of the same signature gives back as the same
values of the same types; `encode` has tried it. Everything else is refused in the caller's stack.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, NoReturn

import msgspec
from msgspec.structs import astuple

from turnout.errors import ArgumentError, ConfigError, PayloadTooLarge
from turnout.foreign import is_foreign, read_foreign_arguments
from turnout.jsonable import (
    SCALARS,
    dec_hook,
    difference,
    enc_hook,
    encode_json,
    fault,
    same,
    type_fault,
    why_not,
)

__all__ = ["Arguments", "Signature", "decode_value", "encode_value"]

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

_STAR, _DOUBLE = "*", "**"
_NO_KEYWORDS: dict[str, Any] = {}  # shared by every call without keywords; a call copies it
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_encode_sorted = msgspec.json.Encoder(enc_hook=enc_hook, order="deterministic").encode


def encode_value(value: object) -> str:
    """Return a result as JSON. Raises ArgumentError, with the path, for what JSON cannot carry."""
    try:
        data = encode_json(value)
    except Exception as error:
        why = why_not(value, "the result", error)
        raise ArgumentError(why) from error
    # msgspec writes NaN and the infinities as null: a null is the cheap sign to look for them.
    why_null = fault(value, "the result") if b"null" in data else None
    if why_null is not None:
        raise ArgumentError(why_null)
    return data.decode()


def decode_value(text: str, kind: Any = Any) -> Any:
    """Return a result from JSON as a value of type `kind`. Raises ArgumentError."""
    try:
        return msgspec.json.decode(text, type=kind, dec_hook=dec_hook)
    except Exception as error:
        msg = f"the result does not read as {kind!r}: {error}"
        raise ArgumentError(msg) from error


class Signature:
    """How one task's arguments travel. Built once, when the task is registered.

    Annotations that cannot be resolved yet (forward references) are tried again at first use.
    Raises ConfigError, naming the parameter, for an annotation that JSON cannot carry.
    """

    __slots__ = ("_fn", "_plan", "_signature", "name", "result_type")

    def __init__(self, fn: Callable[..., Any], name: str) -> None:
        self.name = name
        self.result_type: Any = Any
        self._fn = fn
        self._signature = _signature_of(fn, name)
        self._plan: _Plan | None = None
        self._plan_now(lazily=True)

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any], limit: int) -> str:
        """Return the arguments as JSON, at most `limit` bytes of UTF-8.

        Raises ArgumentError for what does not fit signature, annotations or JSON, and
        PayloadTooLarge; ConfigError when an annotation still cannot be resolved.
        """
        plan = self._plan or self._plan_now()
        # Such values cannot come back as anything else: no dict, no trying, half the time.
        exact = not kwargs and tuple(map(type, args)) == plan.exact
        sent: Any = plan.struct(*args) if exact else self._bind(plan, args, kwargs)
        try:
            data = encode_json(sent)
        except Exception as error:  # noqa: BLE001 - models run user code; told in our words
            self._refuse(why_not(self._bind(plan, args, kwargs), "$", error), error)
        if len(data) > limit:
            raise PayloadTooLarge(self._too_large(self._bind(plan, args, kwargs), len(data), limit))
        if not exact:
            self._verify(plan, sent, data)
        return data.decode()

    def decode(self, text: str) -> Arguments:
        """Return the positional and keyword arguments to call the task with.

        The keyword dictionary may be shared: call with it, don't change it. Raises ArgumentError.
        """
        plan = self._plan or self._plan_now()
        try:
            values = astuple(plan.decode(text))
        except Exception as error:  # noqa: BLE001 - models run user code; told in our words
            values = self._foreign(plan, text, error)
        return (values, _NO_KEYWORDS) if plan.simple else plan.spread(values)

    def encode_key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return text that is the same exactly when the arguments are, for unique keys.

        Arguments equal to their defaults are left out; sets and dicts are sorted.
        """
        plan = self._plan or self._plan_now()
        sent = self._bind(plan, args, kwargs)
        usual = plan.defaults
        given = {n: v for n, v in sent.items() if n not in usual or not same(v, usual[n])}
        try:
            return _encode_sorted(given).decode()
        except Exception as error:  # noqa: BLE001 - models run user code; told in our words
            self._refuse(why_not(given, "$", error), error)

    def _bind(self, plan: _Plan, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if plan.simple and not kwargs and plan.required <= len(args) <= len(plan.names):
            return dict(zip(plan.names, args, strict=False))
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            self._refuse(str(error), error)
        return {plan.wire.get(name, name): value for name, value in bound.arguments.items()}

    def _verify(self, plan: _Plan, sent: dict[str, Any], data: bytes) -> None:
        if tuple(map(type, sent.values())) == plan.exact:
            return  # such values cannot come back as anything else
        try:
            back = dict(zip(plan.names, astuple(plan.decode(data)), strict=True))
        except Exception as error:  # noqa: BLE001 - models run user code; told in our words
            self._refuse(fault(sent, "$") or str(error), error)
        for name, value in sent.items():
            loose = name in plan.loose and type(value) not in SCALARS
            if not loose and same(value, back[name]):
                continue
            try:
                found = difference(value, back[name], f"$.{name}")
            except Exception as error:  # noqa: BLE001 - fields and == are user code
                self._refuse(f"$.{name} cannot be compared with what came back: {error}", error)
            if found is not None:
                self._refuse(found, None)

    def _foreign(self, plan: _Plan, text: str, error: Exception) -> tuple[Any, ...]:
        if not is_foreign(text):
            self._unreadable(error)
        try:
            into = (self._signature, plan.wire, plan.struct, plan.decode)
            return astuple(read_foreign_arguments(text, *into))
        except Exception as trouble:  # noqa: BLE001 - told in our words
            self._unreadable(trouble)

    def _unreadable(self, error: Exception) -> NoReturn:
        msg = (
            f"the arguments of {self.name} do not fit its signature {self._shown()}: {error}; "
            "was the job enqueued by another version of this task?"
        )
        raise ArgumentError(msg) from error

    def _refuse(self, why: str, error: Exception | None) -> NoReturn:
        msg = f"cannot enqueue {self.name}: {why} (signature: {self._shown()})"
        raise ArgumentError(msg) from error

    def _too_large(self, sent: Mapping[str, Any], size: int, limit: int) -> str:
        name = max(sent, key=lambda one: len(encode_json(sent[one])))
        return (
            f"cannot enqueue {self.name}: its arguments take {size:,} bytes as JSON, over the "
            f"limit of {limit:,} (max_payload); the largest is {name!r} with "
            f"{len(encode_json(sent[name])):,}. Keep large data where the task can load it, and "
            "pass its id or path"
        )

    def _shown(self) -> str:
        try:
            hints = typing.get_type_hints(self._fn)
            given = self._signature.parameters.values()
            typed = [one.replace(annotation=hints.get(one.name, one.annotation)) for one in given]
            return f"{self.name}{inspect.Signature(typed)}"[:300]
        except Exception:  # noqa: BLE001 - defaults print themselves by user code
            return f"{self.name}(...)"

    def _plan_now(self, *, lazily: bool = False) -> _Plan:
        hints: dict[str, Any] = {}
        for parameter in self._signature.parameters.values():
            try:
                hints[parameter.name] = kind = _resolved(self._fn, parameter.annotation)
                why = type_fault(kind)
            except (NameError, AttributeError) as error:
                if lazily:
                    return None  # type: ignore[return-value]
                why = f"its annotation cannot be resolved: {error}"
            except Exception as error:  # noqa: BLE001 - an annotation is any expression
                why = str(error)
            if why is not None:
                msg = f"task {self.name}, parameter {parameter.name!r}: {why}"
                raise ConfigError(msg)
        self.result_type = self._result_type()
        self._plan = _Plan(self._signature, hints)
        return self._plan

    def _result_type(self) -> Any:
        try:
            kind = _resolved(self._fn, self._signature.return_annotation)
            return Any if type_fault(kind) is not None else kind
        except Exception:  # noqa: BLE001 - a result that cannot be typed is read as plain JSON
            return Any


class _Plan:
    """A resolved signature: one struct field per parameter, in the signature's order."""

    def __init__(self, signature: inspect.Signature, hints: Mapping[str, Any]) -> None:
        parameters = tuple(signature.parameters.values())
        self.wire = {
            one.name: _STAR if one.kind is one.VAR_POSITIONAL else _DOUBLE
            for one in parameters
            if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        }
        self.names = tuple(self.wire.get(one.name, one.name) for one in parameters)
        self.positional = tuple(one.name for one in parameters if one.kind in _POSITIONAL)
        self.keyword_only = tuple(one.name for one in parameters if one.kind is one.KEYWORD_ONLY)
        self.simple = len(self.positional) == len(parameters)
        self.defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        self.required = len(parameters) - len(self.defaults)
        self.loose = {self.wire.get(name, name) for name, kind in hints.items() if kind is Any}
        kinds = tuple(hints[name] for name in self.positional)
        safe = self.simple and all(kind in (int, str, bool) for kind in kinds)
        self.exact = kinds if safe else None
        self.struct = self._struct(parameters, hints)
        self.decode = msgspec.json.Decoder(self.struct, dec_hook=dec_hook).decode

    def _struct(
        self, parameters: tuple[inspect.Parameter, ...], hints: Mapping[str, Any]
    ) -> type[msgspec.Struct]:
        # Fields are a0, a1, ... renamed: a parameter may bear any name that a struct reserves.
        return msgspec.defstruct(
            "Arguments",
            [_field(f"a{at}", one, hints[one.name]) for at, one in enumerate(parameters)],
            rename={f"a{at}": name for at, name in enumerate(self.names)},
            forbid_unknown_fields=True,
            kw_only=not self.simple,
            gc=False,
        )

    def spread(self, values: tuple[Any, ...]) -> Arguments:
        """Return a struct's values as a call's arguments."""
        count = len(self.positional)
        args, rest = values[:count], values[count:]
        if _STAR in self.names:
            args, rest = args + tuple(rest[0]), rest[1:]
        kwargs = dict(zip(self.keyword_only, rest, strict=False))
        if _DOUBLE in self.names:
            kwargs.update(rest[-1])
        return args, kwargs


def _field(name: str, parameter: inspect.Parameter, kind: Any) -> tuple[str, Any, Any]:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return name, tuple[kind, ...], ()
    if parameter.kind is parameter.VAR_KEYWORD:
        return name, dict[str, kind], msgspec.field(default_factory=dict)
    default = parameter.default
    if default is parameter.empty:
        return name, kind, msgspec.NODEFAULT
    if type(default) in SCALARS:
        return name, kind, default
    # By a factory, so that the call receives the task's own default object, as Python does it.
    return name, kind, msgspec.field(default_factory=lambda: default)


def _signature_of(fn: Callable[..., Any], name: str) -> inspect.Signature:
    try:
        return inspect.signature(fn)
    except (TypeError, ValueError) as error:
        msg = f"task {name} has no signature to read: make it a plain def or async def ({error})"
        raise ConfigError(msg) from error


def _resolved(fn: Callable[..., Any], annotation: Any) -> Any:
    if annotation is inspect.Parameter.empty or annotation is object:
        return Any
    scope = getattr(inspect.unwrap(fn), "__globals__", {})
    holder: Any = SimpleNamespace(__annotations__={"it": annotation})
    return typing.get_type_hints(holder, globalns=scope, include_extras=True)["it"]
