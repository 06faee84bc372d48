"""What a server may have forgotten is brought back whole from the texts in which it travelled."""

from __future__ import annotations

import msgspec

from turnout.job import JobId, LeasedJob, Outcome
from turnout.store.postgres.exchange import settle_values
from turnout.store.postgres.sent import Sent
from turnout.store.server.outcomes import Batch

EARLIER, LATER = "01890000-0000-7000-8000-00000000000", "01890000-0000-7000-8000-00000000001"


def job(job_id: str, *, fence: int, queue: str = "default", crashes: int = 0) -> LeasedJob:
    counts = (3, 1, crashes)  # priority, attempts so far, crashes
    nothing = (None, None, None, None)
    return LeasedJob(JobId(job_id), "mail", queue, "[[7],{}]", *counts, 5.0, 6.5, *nothing, fence)


def successes() -> list[Outcome]:
    return [
        Outcome.succeeded(job(f"{LATER}2", fence=9), 10.0, 11.0, keep=60.0),
        Outcome.succeeded(job(f"{EARLIER}1", fence=7, crashes=1), 10.0, 12.0, keep=60.0),
        Outcome.succeeded(job(f"{LATER}1", fence=7, queue="mail~acme"), 10.5, 12.0, keep=60.0),
        Outcome.succeeded(job(f"{EARLIER}2", fence=9), 10.5, 12.5, keep=0.0),
    ]


def sent_again(outcomes: list[Outcome]) -> list[Outcome]:
    batch = Batch(outcomes)
    values = settle_values(batch)
    return list(Sent(batch, values))


def test_what_is_sent_again_binds_the_same_values():
    again = sent_again(successes())
    assert settle_values(Batch(again)) == settle_values(Batch(successes()))
    assert sorted(one.job.id for one in again) == sorted(one.job.id for one in successes())


def test_an_outcome_that_left_no_trace_is_kept_as_it_was():
    failed = msgspec.structs.replace(successes()[0], error="ValueError", reason="no")
    assert failed in sent_again([failed, *successes()[1:]])


def test_nothing_but_failures():
    failed = [msgspec.structs.replace(one, error="ValueError", reason="no") for one in successes()]
    assert sent_again(failed) == failed
