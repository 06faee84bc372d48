"""enqueue: record jobs, all or none."""

from __future__ import annotations

import time

import pytest

from conformance.builders import (
    T,
    bury,
    finish,
    job_id,
    known,
    lease,
    new_job,
    numbers,
    open_epoch,
    put,
    running,
    state_of,
    stats,
)
from turnout.errors import EnqueueError, WithinError
from turnout.job import JobRecord, State, Unique
from turnout.store.protocol import MAX_BATCH, EnqueuesNew

AWKWARD = (
    '{"s":"\\u0000 \\ud83d\\ude00 \\\\ \\" \\n \\/"}',
    '{"s":"ä 😀 \u2028 \x7f {} [] , : % ? $1"}',
    '["it\'s", null, 1e400, 12345678901234567890, {"a":{"b":[]}}]',
    '{"s":"' + "x" * 20_000 + '"}',
)


def test_ids_come_back_in_the_order_of_the_jobs(store):
    assert numbers(put(store, new_job(2), new_job(1), new_job(3))) == [2, 1, 3]


def test_nothing_to_enqueue_is_no_error(store):
    assert store.enqueue([]) == []


def test_every_field_is_kept(store):
    put(
        store,
        new_job(
            1, "mail", task="m.send", args='{"to":"ä\\u0000"}', priority=-7,
            run_at=T + 5, expires_at=T + 50, context='{"request":"r1"}',
        ),
    )  # fmt: skip
    assert known(store, 1) == JobRecord(
        id=job_id(1),
        task="m.send",
        queue="mail",
        state=State.QUEUED,
        args='{"to":"ä\\u0000"}',
        priority=-7,
        enqueued_at=T,
        run_at=T + 5,
        expires_at=T + 50,
        context='{"request":"r1"}',
    )


@pytest.mark.parametrize("run_at", [None, T + 60])
def test_jobs_that_differ_in_their_arguments_alone_keep_them_to_the_letter(store, run_at):
    texts = [*AWKWARD, "{}"]
    put(store, *(new_job(n, args=text, run_at=run_at) for n, text in enumerate(texts, 1)))
    assert [known(store, n).args for n in range(1, len(texts) + 1)] == texts
    counts = stats(store)
    assert (counts.ready, counts.scheduled) == ((0, 5) if run_at else (5, 0))


def test_without_run_at_a_job_is_ready_at_once(store):
    put(store, new_job(1))
    assert known(store, 1).run_at == T
    assert stats(store).ready == 1


def test_with_run_at_ahead_a_job_is_scheduled(store):
    put(store, new_job(1, run_at=T + 1))
    assert (stats(store).ready, stats(store).scheduled) == (0, 1)


def test_a_past_run_at_is_kept_and_decides_the_order(store):
    open_epoch(store)
    put(store, new_job(1), new_job(2, run_at=T - 60))
    assert numbers(lease(store)) == [2, 1]


def test_a_known_id_is_not_recorded_again_and_answers_as_if_it_had_been(store):
    put(store, new_job(1, args='{"first":true}'))
    assert numbers(put(store, new_job(1, args='{"second":true}'), new_job(2))) == [1, 2]
    assert known(store, 1).args == '{"first":true}'
    assert stats(store).ready == 2


def test_the_same_id_twice_in_one_call_is_one_job(store):
    assert numbers(put(store, new_job(1), new_job(1))) == [1, 1]
    assert stats(store).ready == 1


@pytest.mark.parametrize("state", [State.RUNNING, State.SUCCEEDED, State.DEAD])
def test_a_repeated_enqueue_makes_no_double_whatever_became_of_the_job(store, state):
    if state is State.RUNNING:
        running(store, new_job(1))
    elif state is State.DEAD:
        bury(store, new_job(1))
    else:
        finish(store, new_job(1))
    assert numbers(put(store, new_job(1))) == [1]
    assert state_of(store, 1) is state
    assert stats(store).ready == 0


def test_a_store_that_cannot_join_a_transaction_says_so_and_records_nothing(store):
    with pytest.raises(WithinError):
        store.enqueue([new_job(1)], within=object(), now=T)
    assert state_of(store, 1) is None


def test_a_thousand_jobs_go_in_one_call(store):
    assert len(put(store, *(new_job(n) for n in range(1_000)))) == 1_000
    assert stats(store).ready == 1_000


def test_more_than_a_batch_is_refused_whole(store):
    with pytest.raises(EnqueueError, match="at most 1000"):
        store.enqueue([new_job(n) for n in range(MAX_BATCH + 1)], now=T)
    assert store.count(now=T) == []


def test_a_key_for_a_time_needs_the_time(store):
    with pytest.raises(EnqueueError, match="ttl"):
        store.enqueue([new_job(1, unique=Unique("k", "time"))], now=T)
    assert store.count(now=T) == []


# ---- one new job by itself: the same, on stores that have a shorter way for it


def put_new(store, job):
    if isinstance(store, EnqueuesNew):
        return store.enqueue_new(job)
    return store.enqueue([job])[0]


@pytest.mark.parametrize("args", AWKWARD)
def test_a_new_job_keeps_every_field(store, args):
    job = new_job(1, "mail", task="m.sänd", args=args, priority=-7, context='{"request":"ä"}')
    assert put_new(store, job) == job_id(1)
    kept = known(store, 1)
    assert (kept.task, kept.queue, kept.state) == ("m.sänd", "mail", State.QUEUED)
    assert (kept.args, kept.priority, kept.context) == (args, -7, '{"request":"ä"}')
    assert kept.run_at == kept.enqueued_at > T
    assert stats(store, "mail").ready == 1


def test_a_new_job_is_leased_beside_others_by_its_priority(store):
    open_epoch(store, now=None)
    put_new(store, new_job(1))
    put_new(store, new_job(2, priority=5))
    assert numbers(lease(store, limit=10, now=None)) == [2, 1]


def test_a_new_job_that_waits_or_ends_or_is_unique_is_told_so(store):
    later = time.time() + 60
    assert put_new(store, new_job(1, run_at=later, unique=Unique("k"))) == job_id(1)
    assert put_new(store, new_job(2, unique=Unique("k"))) is None
    assert put_new(store, new_job(3, expires_at=later)) == job_id(3)
    assert known(store, 1).run_at == pytest.approx(later)
    assert known(store, 3).expires_at == pytest.approx(later)
    assert (stats(store).scheduled, stats(store).ready) == (1, 1)


def test_a_new_job_whose_reply_was_lost_is_repeated_as_any_other(store):
    assert put_new(store, new_job(1)) == job_id(1)
    assert store.enqueue([new_job(1)]) == [job_id(1)]
    assert put_new(store, new_job(1)) == job_id(1)
    assert stats(store).ready == 1
