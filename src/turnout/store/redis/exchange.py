"""The verb `exchange`: what travels to the script and what comes back.

The script does all of it or nothing, and answers with remarks when an outcome is not what it was
taken for. Then the batch is sorted anew and sent again. What goes back to a queue or is kept with
its story is written anew from the payload as it lies in the lease, read beforehand: while the lease
is alive nobody changes it.
"""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from turnout.job import Exchanged, JobId
from turnout.store.redis import scripts
from turnout.store.redis.enqueue import pack
from turnout.store.redis.moves import Move, is_plain, settling, stopped
from turnout.store.redis.own import encode
from turnout.store.redis.payload import leased, read
from turnout.store.redis.sent import Sent
from turnout.store.trace import trace_entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from turnout.job import LeasedJob, Outcome, Want
    from turnout.store.redis.connection import Link

_JID = re.compile(rb'"jid":\s*"([^"]+)"')
MOST = 500  # jobs that one script leases: more would hold the server for over a few milliseconds


class Batch:
    """Outcomes on their way, sorted into plain successes and the others."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        first: dict[JobId, Outcome] = {}
        for outcome in outcomes:  # a job settled twice is settled by the first of its newest lease
            known = first.setdefault(outcome.job.id, outcome)
            if outcome.job.fence > known.job.fence:
                first[outcome.job.id] = outcome
        self.outcomes = list(first.values())
        self._apart: set[JobId] = set()
        self._rest: list[Outcome] = []
        self._message = b""

    @property
    def ids(self) -> list[JobId]:
        """The jobs that are settled by this batch, in the order given."""
        return [outcome.job.id for outcome in self.outcomes]

    def heed(self, remarks: Iterable[tuple[str, str]]) -> None:
        """Learn from the script's remarks."""
        why = dict(remarks)
        self.outcomes = [
            stopped(outcome) if why.get(outcome.job.id) == "cancelled" else outcome
            for outcome in self.outcomes
            if why.get(outcome.job.id) != "missing"
        ]
        self._apart.update(one for one in map(_id, self.outcomes) if one in why)

    def message(self, link: Link, epoch: str, now: float | None) -> bytes:
        """Return what settling tells the script; reads the payloads that it has to rewrite."""
        self._message, self._rest = b"", []
        if not self.outcomes:
            return b""
        plain = [one for one in self.outcomes if is_plain(one) and one.job.id not in self._apart]
        moves: list[Move] = []
        if len(plain) < len(self.outcomes):
            chosen = set(map(_id, plain))
            self._rest = [one for one in self.outcomes if one.job.id not in chosen]
            moves = self._moves(link, epoch, self._rest)
        day = time.strftime("%Y-%m-%d", time.gmtime(now))
        ran = [one for one in self._rest if one.attempt > one.job.attempt]
        failed = sum(one.error is not None for one in ran)
        self._message = pack((*_plain(plain), moves, len(plain) + len(ran), failed, day))
        return self._message

    def sent(self) -> Sent:
        """Return what the last message carried, to be kept for a while."""
        rest = set(map(_id, self._rest))
        others = [one for one in self.outcomes if one.keep <= 0 or one.job.id in rest]
        return Sent(self._message, others)

    def _moves(self, link: Link, epoch: str, rest: list[Outcome]) -> list[Move]:
        keys = [f"turnout:lease:{epoch}:{one.job.fence}" for one in rest]
        answers = link.several(
            ("HGET", f"turnout:epoch:{epoch}", "name"),
            *(("HGET", key, one.job.id) for key, one in zip(keys, rest, strict=True)),
        )
        worker = (answers[0] or b"").decode()
        moves: list[Move] = []
        for one, text in zip(rest, answers[1:], strict=True):
            if text is not None:
                moves.append(settling(one, text, read(text).own, epoch, worker))
        moves.reverse()  # what goes to the front of a list goes there last first
        there = {move[0] for move in moves}
        gone = {one.job.id for one in rest} - there
        self.outcomes = [one for one in self.outcomes if one.job.id not in gone]
        return moves


def _id(outcome: Outcome) -> JobId:
    return outcome.job.id


def _plain(plain: list[Outcome]) -> tuple[Any, ...]:
    leases: dict[int, list[JobId]] = defaultdict(list)
    groups: dict[tuple[str, float], list[Outcome]] = defaultdict(list)
    for one in plain:
        job = one.job
        leases[job.fence].append(job.id)
        groups[job.queue, one.keep].append(one)
    counts: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    forgotten: list[JobId] = []
    traces = []
    for (queue, keep), group in groups.items():
        counts[queue] += len(group)
        if keep > 0:
            kept[queue] += len(group)
            traces.append(_trace(queue, keep, group))
        else:
            forgotten += map(_id, group)
    return (
        [(str(fence), ids) for fence, ids in leases.items()],
        traces,
        forgotten,
        [(queue, n, kept[queue]) for queue, n in counts.items()],
    )


def _trace(queue: str, keep: float, batch: list[Outcome]) -> tuple[Any, ...]:
    entries = [trace_entry(one) for one in batch]
    ids = [entry[0] for entry in entries]
    until = min([entry[8] for entry in entries]) + keep
    return queue, until, len(batch), min(ids), max(ids), encode(entries).decode(), keep


def converse(
    link: Link, epoch: str, batch: Batch, want: Want | None, asked: tuple[int, float | None]
) -> Exchanged:
    """Settle and lease under the fence given, as often as the script has remarks."""
    fence, now = asked
    wanted: list[str | int] = ["", 0]
    if want is not None:
        wanted = [str(fence), min(want.limit, MOST)]
        for queue, room in want.queues:
            wanted += [f"?{queue}" if queue in want.implied else queue, max(room, 0)]
    at = "" if now is None else repr(now)
    while True:
        message = batch.message(link, epoch, now)
        answer = link.script(scripts.EXCHANGE, epoch, at, message, *wanted)
        if answer[0] == b"done":
            return Exchanged(batch.ids, _read(link, epoch, answer[1], fence))
        if answer[0] == b"lost":
            return Exchanged([], [], lost=True)
        words = [part.decode() for part in answer[1:]]
        batch.heed(zip(words[::2], words[1::2], strict=True))


def _read(link: Link, epoch: str, texts: list[bytes], fence: int) -> list[LeasedJob]:
    try:
        return leased(texts, fence)
    except msgspec.DecodeError:
        return [job for text in texts for job in _read_one(link, epoch, text, fence)]


def _read_one(link: Link, epoch: str, text: bytes, fence: int) -> list[LeasedJob]:
    """Read one payload; what is no job of anybody's goes to the dead, where a person sees it."""
    try:
        return leased([text], fence)
    except msgspec.DecodeError:
        found = _JID.search(text)
        job_id = JobId(found.group(1).decode("utf-8", "replace") if found else "")
        source = ("lease", epoch, str(fence), "default")
        end = ("end", "dead", "default", time.time(), text.decode("utf-8", "replace"), 0.0, False)
        link.script(scripts.MOVE, repr(time.time()), pack([(job_id, source, end, False)]))
        return []
