"""The verbs `mark` and `unmark` over shards: a key's marks live on the shard of the key.

What one owner asks of several shards in one call is not one transaction: when one of them refuses,
what the others granted is dropped again, also what the owner held there before. A key whose shard
is away is refused, since nobody can tell how many hold it; only when every shard that is asked is
away does `mark` raise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from msgspec.structs import replace

from turnout.errors import StoreError, StoreUnavailable
from turnout.limits.marks import Mark, Marked
from turnout.store.sharded.placement import owner
from turnout.store.sharded.shards import View

_AWAY = Marked(granted=False, live=0, away=True)


def mark(view: View, marks: Sequence[Mark], now: float | None) -> list[Marked]:
    """Ask each key's shard; then undo what was granted to an owner whom another shard refused."""
    answers = [_AWAY] * len(marks)
    groups = _by_shard(view, [each.key for each in marks])
    errors: list[StoreError] = []
    for name, group in groups.items():
        try:
            asked = [marks[n] for n in group]
            found = view.by_name[name].call(lambda store, asked=asked: store.mark(asked, now=now))  # type: ignore[misc]
        except StoreError as error:
            errors.append(error)
            continue
        for n, answer in zip(group, found, strict=True):
            answers[n] = answer
    if groups and len(errors) == len(groups):
        raise StoreUnavailable("; ".join(map(str, errors)))
    return _all_or_none(view, marks, answers) if len(groups) > 1 else answers


def unmark(view: View, marks: Sequence[tuple[str, str]]) -> int:
    """Drop marks on the shards that answer; those of the others expire."""
    gone = 0
    for name, group in _by_shard(view, [key for key, _ in marks]).items():
        pairs = [marks[n] for n in group]
        try:
            gone += view.by_name[name].call(lambda store, pairs=pairs: store.unmark(pairs))  # type: ignore[misc]
        except StoreError:
            continue
    return gone


def _by_shard(view: View, keys: Sequence[str]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for n, key in enumerate(keys):
        groups[owner(view.open, key)].append(n)
    return groups


def _all_or_none(view: View, marks: Sequence[Mark], answers: list[Marked]) -> list[Marked]:
    start, undo = 0, []
    while start < len(marks):
        end = start + 1
        while end < len(marks) and marks[end].owner == marks[start].owner:
            end += 1
        if not all(answer.granted for answer in answers[start:end]):
            undo += [n for n in range(start, end) if answers[n].granted]
        start = end
    if undo:
        unmark(view, [(marks[n].key, marks[n].owner) for n in undo])
    for n in undo:
        answers[n] = replace(
            answers[n], granted=False, live=answers[n].live - 1, until=None, value=None
        )
    return answers
