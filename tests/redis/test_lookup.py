"""Finding a job by its id, where it lies far from where that id would be looked for."""

from __future__ import annotations

from conformance.builders import known, new_job, running, settle, state_of, succeeded
from turnout.job import State

MANY = 2_100  # batches of successes: more than one script looks through


def test_a_job_that_waited_for_long_is_found_beside_the_newest(store):
    [old] = running(store, new_job(1))
    for n in range(2, MANY):
        [job] = running(store, new_job(n))
        settle(store, succeeded(job))
    [newest] = running(store, new_job(MANY))
    settle(store, succeeded(old), succeeded(newest))
    assert known(store, 1).state is State.SUCCEEDED
    assert known(store, MANY).state is State.SUCCEEDED
    assert state_of(store, MANY + 1) is None
