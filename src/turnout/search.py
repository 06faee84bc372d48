"""The query over jobs: `state:dead task:charge_* error:CardError arg.order_id:7 age>1h queue:mail`

Everything given must hold; several states are joined by "or". `task:` and `queue:` may end in `*`:
that stands for the names that this application, or the store, knows, at most so many. There are no
regular expressions and no search within texts: those would walk a million rows. Arguments are in no
index either: `finding` compares them job by job, within its bounds.

The invariant: what is not understood is never ignored in silence; it stands in `faults`, and a part
that no store can filter by stands in `remarks`, with what is shown instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import cast, get_args

import msgspec

from turnout.argument import Argument, all_fit
from turnout.errors import ConfigError
from turnout.ids import check_id
from turnout.job import JobFilter, JobId, JobRecord, State, View
from turnout.lanes import base_of
from turnout.store.rows import is_error

LONGEST = 500  # characters of a query
MOST_PARTS = 20
MOST_NAMES = 20  # that one prefix may stand for
VIEWS: tuple[str, ...] = get_args(View)
STATES = (*(state.value for state in State), *VIEWS)
_PART = re.compile(r'([a-z]{1,20}(?:\.[^\s:=<>]{1,100})?)([:=<>])("[^"]*"|\S*)|(\S+)', re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_LENGTH = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)


Shown = Callable[[JobRecord], JobRecord]


def as_it_is(record: JobRecord) -> JobRecord:
    """Hide nothing."""
    return record


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A query as understood: jobs of any of `tasks` and `queues`, when given, and the rest."""

    text: str = ""
    states: tuple[State, ...] = ()
    views: tuple[View, ...] = ()
    ids: tuple[JobId, ...] = ()
    tasks: tuple[str, ...] | None = None
    queues: tuple[str, ...] | None = None
    error: str | None = None
    before: float | None = None
    since: float | None = None
    args: tuple[Argument, ...] = ()
    faults: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def is_simple(self) -> bool:
        """Tell whether stores answer it from an index, without walking past other jobs."""
        rest = (self.tasks, self.queues, self.error, self.before, self.since)
        plain = not self.views and not self.args and all(one is None for one in rest)
        return bool(self.ids) or plain

    def narrowed(self) -> JobFilter:
        """Return the part of it that every store answers from an index."""
        if self.ids:
            return JobFilter(ids=self.ids)
        if self.views and not self.states:
            return JobFilter(states=(State.QUEUED,))
        views = (State.QUEUED,) if self.views else ()
        return JobFilter(states=tuple(dict.fromkeys((*self.states, *views))))

    def exact(self) -> JobFilter | None:
        """Return a filter that means just this; None where it takes more than one."""
        lists = (self.tasks or (), self.queues or ())
        if any(len(one) > 1 for one in lists) or (self.views and self.states) or self.args:
            return None
        if len(self.views) > 1 or (self.views and self.ids) or () in (self.tasks, self.queues):
            return None
        return JobFilter(
            ids=self.ids,
            states=self.states,
            view=self.views[0] if self.views else None,
            task=self.tasks[0] if self.tasks else None,
            queue=self.queues[0] if self.queues else None,
            error=self.error,
            before=self.before,
            since=self.since,
        )

    def holds(self, record: JobRecord, now: float, shown: Shown = as_it_is) -> bool:
        """Tell whether a job is meant; its arguments are looked at as `shown` returns them."""
        at = record.enqueued_at or 0.0
        return (
            (not self.ids or record.id in self.ids)
            and self._in_state(record, now)
            and (self.tasks is None or record.task in self.tasks)
            and self._in_queue(record.queue)
            and (self.error is None or is_error(record.error, self.error))
            and (self.before is None or at < self.before)
            and (self.since is None or at >= self.since)
            and (not self.args or all_fit(self.args, shown(record)))
        )

    def _in_queue(self, queue: str) -> bool:
        return self.queues is None or queue in self.queues or base_of(queue) in self.queues

    def _in_state(self, record: JobRecord, now: float) -> bool:
        if not self.states and not self.views:
            return True
        return record.state in self.states or any(in_view(record, one, now) for one in self.views)


def in_view(record: JobRecord, view: View, now: float) -> bool:
    """Tell whether a queued job is ready, scheduled or retrying."""
    if record.state is not State.QUEUED:
        return False
    ahead = record.run_at is not None and record.run_at > now
    if view == "retrying":
        return record.attempt > 0
    return ahead if view == "scheduled" else not ahead


def parse(text: str, now: float, tasks: Iterable[str], queues: Iterable[str]) -> Query:
    """Read a query; `tasks` and `queues` are the known names that a prefix may stand for."""
    draft = _Draft(now, tuple(tasks), tuple(queues))
    if len(text) > LONGEST:
        draft.faults.append(f"A query has at most {LONGEST} characters; this one has {len(text)}.")
        text = text[:LONGEST]
    parts = list(_PART.finditer(text))
    if len(parts) > MOST_PARTS:
        draft.faults.append(f"A query has at most {MOST_PARTS} parts.")
    for part in parts[:MOST_PARTS]:
        draft.take(part)
    return draft.query(" ".join(text.split()))


class _Draft:
    """A query while it is read."""

    def __init__(self, now: float, tasks: tuple[str, ...], queues: tuple[str, ...]) -> None:
        self._now = now
        self._names = {"task": tasks, "queue": queues}
        self._chosen: dict[str, dict[str, None]] = {}
        self._states: list[State] = []
        self._views: list[View] = []
        self._ids: list[JobId] = []
        self._error: str | None = None
        self._before: float | None = None
        self._since: float | None = None
        self._args: list[Argument] = []
        self.faults: list[str] = []
        self.remarks: list[str] = []

    def query(self, text: str) -> Query:
        chosen = {key: tuple(names) for key, names in self._chosen.items()}
        return Query(
            text=text,
            states=tuple(dict.fromkeys(self._states)),
            views=tuple(dict.fromkeys(self._views)),
            ids=tuple(dict.fromkeys(self._ids)),
            tasks=chosen.get("task"),
            queues=chosen.get("queue"),
            error=self._error,
            before=self._before,
            since=self._since,
            args=tuple(self._args),
            faults=tuple(self.faults),
            remarks=tuple(self.remarks),
        )

    def take(self, part: re.Match[str]) -> None:
        key, sign, value, word = part.groups()
        if word is not None or key is None:
            self._word(word or "")
            return
        value = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
        if key == "age" and sign in "<>":
            self._age(sign, value)
        elif sign in "<>" or not value:
            self.faults.append(f"{part[0]!r}: write {key}:VALUE, or age>1h.")
        else:
            self._field(key, value, part[0])

    def _field(self, key: str, value: str, whole: str) -> None:
        match key:
            case "state":
                self._state(value)
            case "task" | "queue":
                self._name(key, value)
            case "error":
                self._exception(value)
            case "id":
                self._id(value)
            case _ if key.startswith("arg."):
                self._args.append(Argument(tuple(key.split(".")[1:]), value))
            case _:
                self.faults.append(
                    f"{whole!r}: known are state: task: queue: error: id: arg.NAME: age> and age<."
                )

    def _word(self, word: str) -> None:
        try:
            self._ids.append(check_id(word))
        except ConfigError:
            self.faults.append(
                f"{word[:60]!r} alone says nothing here: write task:{word[:30]}, or a whole job id."
            )

    def _id(self, value: str) -> None:
        try:
            self._ids.append(check_id(value))
        except ConfigError as error:
            self.faults.append(f"id: {error}.")

    def _state(self, value: str) -> None:
        for name in value.split(","):
            if name in VIEWS:
                self._views.append(cast("View", name))
            elif name in STATES:
                self._states.append(State(name))
            else:
                self.faults.append(f"state:{name[:40]}: a state is one of {', '.join(STATES)}.")

    def _exception(self, value: str) -> None:
        if self._error is not None:
            self.faults.append("error: can be given once.")
        elif "*" in value:
            self.faults.append("error: takes a whole name, such as CardError or shop.CardError.")
        else:
            self._error = value

    def _name(self, key: str, value: str) -> None:
        chosen = self._chosen.setdefault(key, {})
        if "*" not in value:
            chosen[value] = None
            return
        prefix = value[:-1]
        if "*" in prefix or not prefix:
            self.faults.append(
                f"{key}:{value}: a star may stand at the end only, after a beginning."
            )
            return
        found = sorted(
            name for name in self._names[key]
            if name.startswith(prefix) or name.rpartition(".")[2].startswith(prefix)
        )  # fmt: skip
        if len(found) > MOST_NAMES:
            self.remarks.append(
                f"{key}:{value} fits {len(found)} names; taken are the first {MOST_NAMES}."
            )
        where = "this application" if key == "task" else "the store"
        if not found:
            self.remarks.append(f"{key}:{value} fits no {key} that {where} knows.")
        chosen.update(dict.fromkeys(found[:MOST_NAMES]))

    def _age(self, sign: str, value: str) -> None:
        seconds = parse_length(value)
        if seconds is None:
            self.faults.append(f"age{sign}{value[:30]}: write a length such as 90s, 15m, 1h, 2d.")
        elif sign == ">":
            self._before = min(self._now - seconds, self._before or self._now)
        else:
            self._since = max(self._now - seconds, self._since or 0.0)


def parse_length(text: str) -> float | None:
    """Return seconds for "90s", "15m", "1h30m", "2d"; None for anything else."""
    parts = list(_LENGTH.finditer(text))
    if not parts or len(parts) > len(_UNITS) or "".join(part[0] for part in parts) != text:
        return None
    return float(sum(int(part[1]) * _UNITS[part[2]] for part in parts))
