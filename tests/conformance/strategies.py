"""What the state machine draws from: jobs, outcomes, wants and filters, few enough to collide.

Every time to live ends half a second off the whole seconds in which time passes there.
"""

from __future__ import annotations

from hypothesis import strategies as st

from conformance.builders import ALL, ERROR, T, ended, retried, snoozed, succeeded
from turnout.job import JobFilter, Outcome, State, Unique, Want

QUEUES = st.sampled_from(["a", "b", "c"])
WORKERS = st.integers(0, 2)
PICK = st.integers(0, 1_000)  # an index into whatever is there, modulo its length
UNIQUE = st.one_of(
    *[st.none()] * 4,
    st.builds(
        Unique,
        st.sampled_from(["k1", "k2"]),
        st.sampled_from(["start", "finish", "finish"]),
        st.sampled_from([None, 20.5]),
    ),
    st.builds(Unique, st.sampled_from(["k1", "k2"]), st.just("time"), st.just(40.5)),
)
SPEC = st.fixed_dictionaries(
    {
        "queue": QUEUES,
        "priority": st.sampled_from([0, 0, -3, 9]),
        "delay": st.sampled_from([None, None, None, -10, 0, 5, 60]),
        "unique": UNIQUE,
        "again": st.sampled_from([False] * 5 + [True]),
        "pick": PICK,
    }
)
SPECS = st.lists(SPEC, min_size=1, max_size=4)
ENDINGS = {
    "plain": lambda job, now, _after: succeeded(job, at=now, keep=30.5),
    "kept long": lambda job, now, _after: succeeded(job, at=now, keep=3_600.5),
    "not kept": lambda job, now, _after: succeeded(job, at=now, keep=0),
    "result": lambda job, now, _after: succeeded(job, at=now, keep=60.5, result='{"ok":1}'),
    "retried": lambda job, now, after: retried(job, at=now, run_at=now + after),
    "snoozed": lambda job, now, after: snoozed(job, at=now, run_at=now + after),
    "released": lambda job, now, _after: Outcome.released(job, now),
    "put off": lambda job, now, after: Outcome.released(job, now, run_at=now + after),
    "dead": lambda job, now, _after: ended(job, State.DEAD, at=now),
    "discarded": lambda job, now, _after: ended(job, State.DISCARDED, at=now, error=None),
    "cancelled": lambda job, now, _after: ended(job, State.CANCELLED, at=now),
}
ENDING = st.tuples(st.sampled_from(list(ENDINGS)), st.sampled_from([0, 5, 60]))
EVERYTHING = Want((("*", 100),), 100)
WANTS = st.one_of(
    st.none(),
    st.builds(
        Want,
        st.lists(
            st.tuples(st.sampled_from(["a", "b", "c", "*"]), st.integers(0, 3)),
            max_size=3,
            unique_by=lambda each: each[0],
        ).map(tuple),
        st.integers(0, 5),
    ),
    st.just(EVERYTHING),
    st.just(EVERYTHING),
)
FILTERS = st.one_of(
    st.just(ALL),
    st.builds(JobFilter, queue=QUEUES),
    st.builds(JobFilter, states=st.lists(st.sampled_from(list(State)), max_size=3).map(tuple)),
    st.builds(JobFilter, view=st.sampled_from(["ready", "scheduled", "retrying"])),
    st.builds(JobFilter, error=st.sampled_from([ERROR, "CardDeclined", "errors.CardDeclined"])),
    st.builds(JobFilter, since=st.integers(0, 100).map(lambda s: T + s)),
)
