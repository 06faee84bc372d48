"""What a worker is told: queues, sizes, times. Pure values, checked where they enter."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from turnout.config import check_queue_name
from turnout.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from turnout.task import Task

_SPEC = re.compile(r"(?P<name>[^=@]+)(=(?P<weight>\d+))?(@(?P<limit>\d+))?")


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """One queue to serve: by `weight` if given, at most `limit` of its jobs at a time.

    `implied`: nobody named it, it is a default.
    """

    name: str
    weight: int | None = None
    limit: int | None = None
    implied: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker process works. Times in seconds.

    `queues` empty means all. `threads` run `def` tasks, `concurrency` bounds the `async def` tasks
    that run at once, `children` are the processes for isolated tasks. A worker that misses its
    heartbeats for `dead_after` has lost its jobs; one whose interpreter stood still for
    `frozen_after` ends itself. On a stop, running jobs have `grace` to finish.

    A process is replaced when it holds `max_memory` bytes, lives for `max_age` or has run
    `max_jobs`; one that was replaced has `drain_timeout` to finish its jobs before it is stopped.
    A main loop that has not turned for `stuck_after` is reported. `health` is where probes are
    answered, `redeliver` the share of successes that are run again. Without `metrics` nothing is
    kept of how often and how long tasks run.
    """

    queues: tuple[QueueSpec, ...] = ()
    threads: int = 10
    concurrency: int = 100
    children: int = 4
    processes: int = 1
    grace: float = 25.0
    until_empty: bool = False
    max_memory: int | None = None
    max_age: float | None = None
    max_jobs: int | None = None
    drain_timeout: float = 3_600.0
    stuck_after: float = 60.0
    health: str | None = None
    redeliver: float = 0.0
    redeliver_in_production: bool = False
    metrics: bool = True
    heartbeat: float = 5.0
    dead_after: float = 30.0
    frozen_after: float = 60.0
    log_format: Literal["text", "json"] = "text"
    log_level: str = "info"

    def __post_init__(self) -> None:
        faults = [
            f"{name} must be at least {least}, got {value!r}"
            for name, value, least in (
                ("threads", self.threads, 1),
                ("concurrency", self.concurrency, 1),
                ("children", self.children, 1),
                ("processes", self.processes, 1),
                ("grace", self.grace, 0),
                ("heartbeat", self.heartbeat, 0.05),
                ("max_memory", self.max_memory, 1_000_000),
                ("max_age", self.max_age, 0.1),
                ("max_jobs", self.max_jobs, 1),
                ("drain_timeout", self.drain_timeout, 0),
                ("stuck_after", self.stuck_after, 2),
                ("redeliver", self.redeliver, 0),
                ("frozen_after", self.frozen_after, 2),
            )
            if value is not None and value < least
        ]
        if self.dead_after < 2 * self.heartbeat:
            faults.append("dead_after must be at least twice the heartbeat")
        if self.redeliver > 1:
            faults.append(f"redeliver is a share from 0 to 1, got {self.redeliver!r}")
        if self.log_format not in ("text", "json"):
            faults.append(f"log_format is text or json, got {self.log_format!r}")
        if faults:
            raise ConfigError("; ".join(faults))


def parse_queues(text: str) -> tuple[QueueSpec, ...]:
    """Read the queues to serve, as the command line writes them.

    `critical,default` is a strict order, `critical=10,default=5` goes by weight, and `slow@2` holds
    at most two of its jobs at a time in a process. Raises ConfigError.
    """
    specs = tuple(_parse(part.strip()) for part in text.split(",") if part.strip())
    if len({spec.name for spec in specs}) < len(specs):
        msg = f"a queue is named twice in {text!r}"
        raise ConfigError(msg)
    weighted = [spec for spec in specs if spec.weight is not None]
    if weighted and len(weighted) < len(specs):
        msg = f"give each queue of {text!r} a weight (name=weight), or none of them"
        raise ConfigError(msg)
    return specs


def _parse(part: str) -> QueueSpec:
    match = _SPEC.fullmatch(part)
    if match is None:
        msg = f"a queue is written name, name=weight, name@limit or name=weight@limit, got {part!r}"
        raise ConfigError(msg)
    name = match["name"]
    if name != "*":
        check_queue_name(name)
    weight, limit = (int(match[key]) if match[key] else None for key in ("weight", "limit"))
    if weight == 0 or limit == 0:
        msg = f"a weight and a limit are at least 1, got {part!r}"
        raise ConfigError(msg)
    return QueueSpec(name, weight, limit)


def every_queue(tasks: Iterable[Task[Any, Any, Any]]) -> tuple[QueueSpec, ...]:
    """Return what a worker serves that was told no queues: all of them, by equal weight.

    The queues that tasks name stand apart, so that each is leased from by its own kind of slot.
    """
    given: dict[str, bool] = {}
    for task in tasks:
        queue = task.options.queue
        given[queue] = given.get(queue, False) or task.options.queue_given
    specs = [QueueSpec(name, weight=1, implied=not given[name]) for name in sorted(given)]
    return (*specs, QueueSpec("*", weight=1))


def serving_order(specs: tuple[QueueSpec, ...], rng: random.Random) -> list[QueueSpec]:
    """Return the queues in the order to serve them this time.

    Without weights, as given. With them, a random order in which each place goes to a queue with
    the probability of its weight among those left: no queue starves, and none is fixed to be last.
    (Efraimidis and Spirakis, Weighted random sampling with a reservoir, 2006.)
    """
    if not specs or specs[0].weight is None:
        return list(specs)
    return sorted(specs, key=lambda spec: rng.random() ** (1.0 / (spec.weight or 1)), reverse=True)
