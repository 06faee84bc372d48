"""Reads a scenario file (TOML) into a `Scenario`: every fault at once, unknown keys with the
nearest known one.

Invariant: a file that is read has no key that was not understood.
"""

from __future__ import annotations

import difflib
import inspect
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from turnout.backoff import Wait, exactly, exponential, fixed, polynomial
from turnout.errors import ConfigError
from turnout.limits import (
    Adaptive,
    Breaker,
    Cooldown,
    Dependency,
    Limit,
    RetryBudget,
    concurrency,
    rate,
)
from turnout.retry import DEFAULT_ATTEMPTS, Policy
from turnout.sim.scenario import Arrivals, Contender, Fault, Healthy, Scenario, Service

__all__ = ["load_data", "load_scenario", "read_scenario"]

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")
_SHAPES: dict[str, Callable[..., Wait]] = {
    one.__name__: one for one in (polynomial, exponential, fixed, exactly)
}
_KEY = "service"


class RateEntry(msgspec.Struct, frozen=True, kw_only=True):
    """`rate = { most = 10, per = 1 }`."""

    most: int
    per: float
    burst: int | None = None
    shape: Literal["bucket", "window", "leaky"] = "bucket"


class PolicyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[policy]]`; a part given as `true` has its defaults."""

    name: str
    attempts: int = DEFAULT_ATTEMPTS
    wait: dict[str, Any] | None = None
    concurrency: int | None = None
    rate: RateEntry | None = None
    adaptive: bool | Adaptive = False
    breaker: bool | Breaker = False
    budget: bool | RetryBudget = False
    cooldown: bool | Cooldown = False


class File(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file."""

    arrivals: Arrivals
    duration: float
    workers: int
    policy: tuple[PolicyEntry, ...] = ()
    name: str = ""
    seeds: int = 20
    service: Service = Service()
    fault: tuple[Fault, ...] = ()
    healthy: Healthy = Healthy()


def load_scenario(path: Path, more: Iterable[Contender] = ()) -> Scenario:
    """Read a scenario file; `more` contenders compete besides its own.

    Raises ConfigError with every fault of the file.
    """
    return read_scenario(load_data(path), str(path), more)


def load_data(path: Path) -> dict[str, Any]:
    """Return what stands in a scenario file, unchecked; raises ConfigError when it is not TOML."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read the scenario {path}: {error}"
        raise ConfigError(msg) from None
    except tomllib.TOMLDecodeError as error:
        msg = f"{path} is not TOML: {error}"
        raise ConfigError(msg) from None
    data.setdefault("name", path.stem)
    return data


def read_scenario(
    data: dict[str, Any], where: str = "scenario", more: Iterable[Contender] = ()
) -> Scenario:
    """Make a scenario of what stands in a file. Raises ConfigError with every fault."""
    reader = _Reader()
    file = reader.struct(File, data, "")
    contenders = [*more]
    if file is not None:
        contenders += filter(None, (reader.contender(entry) for entry in file.policy))
        if not contenders and not reader.faults:
            reader.faults.append("no [[policy]] to compare; write one, or give --from-app")
    if file is not None and not reader.faults:
        scenario = reader.attempt("", lambda: _assembled(file, contenders))
        if scenario is not None:
            return scenario
    count = len(reader.faults)
    lines = "\n".join(f"  - {one}" for one in reader.faults)
    msg = f"{where} has {count} fault{'s' * (count > 1)}:\n{lines}"
    raise ConfigError(msg)


def _assembled(file: File, contenders: list[Contender]) -> Scenario:
    return Scenario(
        name=file.name,
        arrivals=file.arrivals,
        duration=file.duration,
        workers=file.workers,
        contenders=tuple(contenders),
        seeds=file.seeds,
        service=file.service,
        faults=file.fault,
        healthy=file.healthy,
    )


class _Reader:
    """Turns plain values into structs and gathers what is wrong with them."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def struct(self, kind: type[S], data: Any, where: str) -> S | None:
        """Return a struct, or None after noting why there is none."""
        if not isinstance(data, dict):
            self.faults.append(f"{where or 'the file'} is a table, got {data!r:.80}")
            return None
        before = len(self.faults)
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        values: dict[str, Any] = {}
        for name, value in data.items():
            if name in fields:
                at = f"{where}.{name}" if where else name
                values[fields[name].name] = self._value(fields[name].type, value, at)
            else:
                self.faults.append(_unknown(where or "the file", name, fields))
        for name, field in fields.items():
            if field.required and name not in data:
                self.faults.append(f"{where or 'the file'} needs {name}")
        if len(self.faults) > before:
            return None
        return self.attempt(where, lambda: kind(**values))

    def attempt(self, where: str, make: Callable[[], T]) -> T | None:
        """Return what `make` makes, or None after noting its ConfigError."""
        try:
            return make()
        except ConfigError as error:
            self.faults += _flat(where, str(error))
            return None

    def _value(self, kind: Any, value: Any, where: str) -> Any:
        inner = _struct_in(kind)
        if inner is not None and get_origin(kind) is tuple:
            if not isinstance(value, list):
                self.faults.append(f"{where} is a list of tables, [[{where}]], got {value!r:.80}")
                return ()
            return tuple(
                self.struct(inner, one, _label(where, number, one))
                for number, one in enumerate(value, 1)
            )
        if inner is not None and (inner is kind or isinstance(value, dict)):
            return self.struct(inner, value, where)
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            self.faults.append(f"{where}: {error}, got {value!r:.80}")
            return None

    # ---- policies

    def contender(self, entry: PolicyEntry) -> Contender | None:
        """Return the production objects that an entry stands for."""
        before, where = len(self.faults), f"policy {entry.name!r}"
        wait = None if entry.wait is None else self._wait(entry.wait, where)
        policy = self.attempt(where, lambda: Policy(attempts=entry.attempts, wait=wait))
        limits = self.attempt(where, lambda: _limits(entry))
        if len(self.faults) > before or policy is None or limits is None:
            return None
        return Contender(
            name=entry.name, policy=policy, limits=limits, dependency=_dependency(entry)
        )

    def _wait(self, given: dict[str, Any], where: str) -> Wait | None:
        options = {**given}
        shape = options.pop("shape", None)
        where = f"{where}: wait"
        if shape not in _SHAPES:
            self.faults.append(f"{where}: shape is one of {', '.join(_SHAPES)}, got {shape!r:.80}")
            return None
        maker = _SHAPES[shape]
        known = inspect.signature(maker).parameters
        unknown = [name for name in options if name not in known]
        self.faults += [_unknown(where, name, known) for name in unknown]
        missing = [n for n, p in known.items() if p.default is p.empty and n not in options]
        self.faults += [f"{where} needs {name}" for name in missing]
        if unknown or missing:
            return None
        return self.attempt(where, lambda: maker(**options))


def _limits(entry: PolicyEntry) -> tuple[Limit, ...]:
    limits = []
    if entry.concurrency is not None:
        limits.append(concurrency(_KEY, entry.concurrency))
    if entry.rate is not None:
        one = entry.rate
        limits.append(rate(_KEY, one.most, per=one.per, burst=one.burst, shape=one.shape))
    return tuple(limits)


def _dependency(entry: PolicyEntry) -> Dependency | None:
    adaptive = _part(entry.adaptive, Adaptive)
    breaker = _part(entry.breaker, Breaker)
    budget = _part(entry.budget, RetryBudget)
    cooldown = _part(entry.cooldown, Cooldown)
    if adaptive or breaker or budget or cooldown:
        return Dependency(
            key=_KEY, adaptive=adaptive, breaker=breaker, budget=budget, cooldown=cooldown
        )
    return None


def _part(given: bool | S, kind: type[S]) -> S | None:  # noqa: FBT001
    if isinstance(given, bool):
        return kind() if given else None
    return given


def _struct_in(kind: Any) -> Any:
    """Return the struct type in `Struct`, `tuple[Struct, ...]` or `bool | Struct`, if any."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and get_origin(kind) is None:
        return kind
    if get_origin(kind) in (tuple, UnionType):
        return next(filter(None, map(_struct_in, get_args(kind))), None)
    return None


def _label(where: str, number: int, value: Any) -> str:
    name = value.get("name") if isinstance(value, dict) else None
    return f"{where} {name!r:.80}" if name else f"{where} {number}"


def _flat(where: str, text: str) -> list[str]:
    """Return the faults of a ConfigError that may list several, each with its place."""
    first, *lines = text.split("\n")
    faults = [line.removeprefix("  - ") for line in lines] or [first.removeprefix(f"{where}: ")]
    return [f"{where}: {fault}" if where else fault for fault in faults]


def _unknown(where: str, name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, 1, 0.5)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
    return f"{where} has no {name!r}; {hint}"
