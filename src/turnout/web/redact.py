"""Hides what people should not read: arguments marked `Secret[...]`, and keys by name.

A job's arguments are hidden where the task's annotation says so (`Secret[str]`, also inside a
list or a field of a dataclass, Struct or pydantic model), and wherever a key is called like a
secret. What was hidden there is blotted out of the job's other texts too: messages, tracebacks,
results, progress, context, unique key.

The invariant: of a job whose task this application does not know, the names still hide; arguments
that do not read as JSON are hidden whole where anything of the task is secret.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec

from turnout.job import AttemptRecord, JobRecord
from turnout.secret import SecretMark

if TYPE_CHECKING:
    from turnout.app import Turnout

HIDDEN = "[hidden]"
NAMES = frozenset(
    (
        *("password", "passwd", "passphrase", "pwd", "pin", "otp", "secret", "token", "apikey"),
        *("accesskey", "privatekey", "authorization", "cookie", "credential", "credentials"),
        *("cardnumber", "cvv", "cvc", "iban", "ssn"),
    )
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SHORTEST = 4  # characters of a value that is blotted out elsewhere; shorter ones are everywhere
_DEPTH = 40


class Redactor:
    """Hides the secrets of one application's jobs."""

    def __init__(self, jobs: Turnout, names: Iterable[str] = ()) -> None:
        self._jobs = jobs
        self._names = NAMES | {_joined(name) for name in names}
        self._of_task: dict[str, tuple[frozenset[str], frozenset[str]]] = {}

    def hides(self, record: JobRecord) -> bool:
        """Tell whether anything of this job is hidden."""
        return self.hide(record) != record

    def hide(self, record: JobRecord) -> JobRecord:
        """Return the record as it may be shown."""
        whole, keys = self._secrets(record.task)
        found: list[str] = []
        args = self._mask_args(record, whole, keys, found)
        texts = {
            name: self._mask_text(getattr(record, name), keys, found)
            for name in ("result", "progress", "context")
        }
        blot = _blotter(found)
        return msgspec.structs.replace(
            record,
            args=args,
            **{name: blot(text) for name, text in texts.items()},
            reason=blot(record.reason),
            unique_key=self._mask_key(record, blot),
            attempts=tuple(_blotted(one, blot) for one in record.attempts),
        )

    def _mask_key(self, record: JobRecord, blot: typing.Callable[[str | None], str | None]) -> Any:
        # A key made of the arguments holds them in JSON's spelling, which blotting may miss.
        key = record.unique_key
        head, colon, rest = (key or "").partition(":{")
        if not colon:
            return blot(key)
        whole, keys = self._secrets(record.task)
        masked = self._mask_text("{" + rest, keys | whole, [])
        return blot(f"{head}:{masked}")

    def _mask_args(
        self, record: JobRecord, whole: frozenset[str], keys: frozenset[str], found: list[str]
    ) -> str | None:
        if record.args is None:
            return None
        try:
            value: Any = msgspec.json.decode(record.args)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            return HIDDEN if whole or keys else record.args
        if isinstance(value, list):
            value = [
                _all_of(part, found) if name in whole else self._mask(part, keys, found)
                for name, part in zip(self._positions(record.task, len(value)), value, strict=True)
            ]
        else:
            value = self._mask(value, keys, found, whole)
        return _as_text(value) if found else record.args

    def _positions(self, task: str, count: int) -> list[str]:
        known = self._jobs.tasks.get(task)
        names = list(inspect.signature(known.fn).parameters) if known else []
        return [*names, *["*"] * count][:count]

    def _mask_text(self, text: str | None, keys: frozenset[str], found: list[str]) -> str | None:
        if text is None:
            return None
        try:
            value: Any = msgspec.json.decode(text)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            return text
        before = len(found)
        masked = self._mask(value, keys, found)
        return _as_text(masked) if len(found) > before else text

    def _mask(
        self,
        value: Any,
        keys: frozenset[str],
        found: list[str],
        whole: frozenset[str] = frozenset(),
        depth: int = 0,
    ) -> Any:
        if depth > _DEPTH:
            return _all_of(value, found)
        if isinstance(value, list):
            return [self._mask(part, keys, found, depth=depth + 1) for part in value]
        if not isinstance(value, dict):
            return value
        return {
            key: _all_of(part, found)
            if key in keys or key in whole or self._is_secret_name(key)
            else self._mask(part, keys, found, depth=depth + 1)
            for key, part in value.items()
        }

    def _is_secret_name(self, name: str) -> bool:
        words = [word.lower() for word in _WORDS.findall(name)]
        pairs = {one + other for one, other in pairwise(words)}
        return not self._names.isdisjoint({*words, *pairs, _joined(name)})

    def _secrets(self, task: str) -> tuple[frozenset[str], frozenset[str]]:
        """Return a task's secret parameters, and keys that are secret within its arguments."""
        if task not in self._jobs.tasks:
            return frozenset(), frozenset()
        if task not in self._of_task:
            self._of_task[task] = _secrets_of(self._jobs.tasks[task].fn)
        return self._of_task[task]


def _secrets_of(fn: Any) -> tuple[frozenset[str], frozenset[str]]:
    whole: set[str] = set()
    keys: set[str] = set()
    hints = _hints(fn)
    for parameter in inspect.signature(fn).parameters.values():
        wire: dict[Any, str] = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
        hint = hints.get(parameter.name)
        if _is_marked(hint):
            whole.add(wire.get(parameter.kind, parameter.name))
        keys.update(_secret_fields(hint, set()))
    return frozenset(whole), frozenset(keys)


def _hints(holder: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(inspect.unwrap(holder), include_extras=True)
    except Exception:  # noqa: BLE001 - annotations are any expression; the names still hide
        return {}


def _is_marked(hint: Any) -> bool:
    """Tell whether an annotation is secret, or holds something secret: a list, a union."""
    if any(isinstance(one, SecretMark) for one in getattr(hint, "__metadata__", ())):
        return True
    return any(_is_marked(part) for part in typing.get_args(hint))


def _secret_fields(hint: Any, seen: set[Any]) -> Iterator[str]:
    for part in typing.get_args(hint):
        yield from _secret_fields(part, seen)
    kind = typing.get_origin(hint) or hint
    if not isinstance(kind, type) or kind in seen or kind.__module__ == "builtins":
        return
    seen.add(kind)
    names = _wire_names(kind)
    for name, inner in (_hints(kind) if names is not None else {}).items():
        if _is_marked(inner):
            yield from {name, (names or {}).get(name, name)}
        yield from _secret_fields(inner, seen)


def _wire_names(kind: type) -> dict[str, str] | None:
    """Return field -> name in JSON for a model; None for what is no model."""
    if issubclass(kind, msgspec.Struct):
        return {one.name: one.encode_name for one in msgspec.structs.fields(kind)}
    fields: Any = getattr(kind, "model_fields", None)
    if isinstance(fields, dict):
        return {
            name: getattr(one, "serialization_alias", None) or getattr(one, "alias", None) or name
            for name, one in fields.items()
        }
    return {} if dataclasses.is_dataclass(kind) or typing.is_typeddict(kind) else None


def _all_of(value: Any, found: list[str]) -> str:
    """Hide a value, noting every text and long number in it."""
    waiting = [value]
    found.append("")
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
        elif one is not None and not isinstance(one, bool):
            found.append(str(one))
    return HIDDEN


def _blotter(found: list[str]) -> typing.Callable[[str | None], str | None]:
    """Return what replaces these values in a text, the longest first."""
    values = sorted({one for one in found if len(one) >= _SHORTEST}, key=len, reverse=True)

    def blot(text: str | None) -> str | None:
        for value in values if text else ():
            text = (text or "").replace(value, HIDDEN)
        return text

    return blot


def _blotted(
    entry: AttemptRecord, blot: typing.Callable[[str | None], str | None]
) -> AttemptRecord:
    message, traceback = blot(entry.message), blot(entry.traceback)
    if (message, traceback) == (entry.message, entry.traceback):
        return entry
    return msgspec.structs.replace(entry, message=message, traceback=traceback)


def _as_text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _joined(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())
