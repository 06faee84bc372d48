"""What the verb `change` does alike on every store with tables: it goes through the jobs in pages.

The invariant: no more jobs change than were asked for, and a page is looked for once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from turnout.job import Action, JobFilter, JobId, JobRecord, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Act = Callable[[list[JobRecord]], int]
    Find = Callable[..., list[JobRecord]]  # where, limit=, after=: a page, newest first

_REVIVABLE = {State.DEAD, State.DISCARDED, State.CANCELLED}
POSSIBLE: dict[Action, set[State]] = {
    "retry": {State.QUEUED, *_REVIVABLE},
    "cancel": {State.QUEUED, State.RUNNING},
    "delete": set(State) - {State.RUNNING},
}
_PAGE = 500


def change_in_pages(
    find: Find, acts: Mapping[Action, Act], where: JobFilter, action: Action, limit: int
) -> int:
    """Act on matching jobs until `limit` of them changed; return how many did."""
    changed = 0
    for page in _pages(find, where, action):
        done = 0
        while done < len(page) and changed < limit:
            part = page[done : done + limit - changed]
            changed += acts[action](part)
            done += len(part)
        if changed >= limit:
            break
    return changed


def each(act: Callable[[JobRecord], bool]) -> Act:
    """Return what acts on jobs one by one."""
    return lambda records: sum(act(record) for record in records)


def _pages(find: Find, where: JobFilter, action: Action) -> Iterator[list[JobRecord]]:
    possible = POSSIBLE[action]
    states = possible & set(where.states) if where.states else possible
    if not states:
        return
    narrowed = msgspec.structs.replace(where, states=tuple(sorted(states)))
    after: JobId | None = None
    while page := find(narrowed, limit=_PAGE, after=after):
        yield page
        after = page[-1].id
