"""Lanes: their names, what puts a job into one, and whose turn it is."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout import Turnout
from turnout.errors import ArgumentError, ConfigError, QueueFull
from turnout.job import Exchanged, JobFilter, QueueStats, Want
from turnout.lanes import base_of, is_lane, lane_of, lane_queue
from turnout.queues import with_lanes
from turnout.worker.lanes import MOST, WINDOW, Lanes, Line


@pytest.fixture(autouse=True)
def _slow_looks(monkeypatch):
    """A busy machine must not make it time to look again."""
    monkeypatch.setattr("turnout.worker.lanes.EVERY", 3_600.0)


@pytest.fixture
def jobs():
    app = Turnout("memory:")
    yield app
    app.close()


def queue_of(app, job):
    [record] = app.store.find(JobFilter(ids=(job.id,)), limit=1)
    return record.queue


# ---- names


def test_a_lanes_queue_tells_both_names():
    queue = lane_queue("mail", "acme")
    assert (base_of(queue), lane_of(queue), is_lane(queue)) == ("mail", "acme", True)
    assert (base_of("mail"), lane_of("mail"), is_lane("mail")) == ("mail", None, False)


# ---- which lane


def test_a_call_names_its_lane(jobs):
    @jobs.task(queue="mail")
    def send(to: str) -> None: ...

    assert queue_of(jobs, send.using(lane="acme").enqueue("a")) == "mail~acme"
    assert queue_of(jobs, send.enqueue("a")) == "mail"
    assert queue_of(jobs, send.using(queue="bulk", lane="acme").enqueue("a")) == "bulk~acme"


def test_a_task_goes_by_an_argument(jobs):
    @jobs.task(queue="mail", lane="tenant")
    def send(to: str, tenant: int | None = 7) -> None: ...

    assert queue_of(jobs, send.enqueue("a", tenant=3)) == "mail~3"
    assert queue_of(jobs, send.enqueue("a", 4)) == "mail~4"
    assert queue_of(jobs, send.enqueue("a")) == "mail~7"
    assert queue_of(jobs, send.enqueue("a", None)) == "mail"
    assert queue_of(jobs, send.using(lane="x").enqueue("a", 4)) == "mail~x"


def test_a_task_goes_by_a_function(jobs):
    @jobs.task(queue="mail", lane=lambda to: to.rpartition("@")[2])
    def send(to: str) -> None: ...

    assert queue_of(jobs, send.enqueue("ann@example.com")) == "mail~example.com"


def test_prepared_jobs_go_to_their_lanes(jobs):
    @jobs.task(queue="mail", lane="tenant")
    def send(tenant: str) -> None: ...

    handles = jobs.enqueue_many(send.prepare(name) for name in ("a", "b", "a"))
    assert [queue_of(jobs, one) for one in handles] == ["mail~a", "mail~b", "mail~a"]


@pytest.mark.parametrize("lane", ["", "a~b", "a b", "x" * 81, "ä", 7])
def test_a_name_that_is_none_is_refused(jobs, lane):
    @jobs.task
    def send() -> None: ...

    with pytest.raises(ConfigError, match="a lane's name is 1 to 80 characters"):
        send.using(lane=lane)


def test_an_argument_that_makes_no_name_is_refused_with_nothing_recorded(jobs):
    @jobs.task(lane="tenant")
    def send(tenant: str) -> None: ...

    with pytest.raises(ArgumentError, match=r"lane by 'tenant': a lane's name"):
        send.enqueue("a tenant")
    assert jobs.store.count() == []


def test_what_is_no_rule_is_refused_at_the_decorator(jobs):
    with pytest.raises(ConfigError, match=r"names the argument 'tenant', which .*send does not"):

        @jobs.task(lane="tenant")
        def send(to: str) -> None: ...

    with pytest.raises(ConfigError, match="lane= is an argument's name or a function"):
        jobs.task(lane=7)(lambda: None)


# ---- a ceiling counts them


def test_a_queues_ceiling_counts_its_lanes(jobs):
    jobs.queue("mail", max_depth=3)

    @jobs.task(queue="mail", lane="tenant")
    def send(tenant: str) -> None: ...

    for tenant in ("a", "b", "c"):
        send.enqueue(tenant)
    with pytest.raises(QueueFull):
        send.enqueue("d")


def test_a_queues_numbers_hold_those_of_its_lanes():
    stats = [
        QueueStats(queue="mail", ready=1, oldest_at=5.0),
        QueueStats(queue="mail~a", ready=2, oldest_at=3.0, paused=True),
        QueueStats(queue="other~b", running=1),
    ]
    mail, other = with_lanes(stats)
    assert (mail.queue, mail.ready, mail.oldest_at, mail.paused) == ("mail", 3, 3.0, False)
    assert (other.queue, other.running) == ("other", 1)


# ---- whose turn it is


def test_without_lanes_a_queue_is_asked_for_as_ever():
    lanes = Lanes(("mail", "*"))
    lanes.look(lambda: {"mail": 1_000, "other": 3})
    assert lanes.share("mail", 50, 50) == [("mail", 50)]
    assert lanes.share("*", 50, 50) == [("*", 50)]


def test_two_lanes_share_a_room_and_one_alone_has_it_all():
    line = Line("mail")
    line.learn({"mail~a": 1_000_000})
    assert line.share(500) == [("mail~a", 500)]
    line.learn({"mail~a": 1_000_000, "mail~b": 1_000})
    assert dict(line.share(500)) == {"mail~a": 250, "mail~b": 250}


def test_what_a_lane_cannot_use_is_for_the_others():
    line = Line("mail")
    line.learn({"mail~a": 1_000_000, "mail~b": 1, "mail~c": 2})
    assert dict(line.share(500)) == {"mail~a": 497, "mail~b": 1, "mail~c": 2}


def test_a_lease_asks_for_more_lanes_only_while_they_do_not_fill_it():
    line = Line("mail")
    line.learn({f"mail~{n}": 100 for n in range(200)})
    assert len(line.share(500)) == WINDOW
    line.learn({f"mail~{n}": 2 for n in range(200)})
    asked = line.share(500)
    assert len(asked) == MOST + 1
    assert asked[-1] == ("mail", 500 - 2 * MOST)


def test_what_no_lane_can_use_is_the_queues_own():
    line = Line("mail")
    line.learn({"mail~a": 3})
    assert line.share(10) == [("mail~a", 3), ("mail", 7)]


def test_with_one_slot_they_take_turns():
    line = Line("mail")
    line.learn({"mail~a": 9, "mail~b": 9, "mail": 9})
    asked = [line.share(1) for _ in range(6)]
    assert [queue for [(queue, _)] in asked] == ["mail~a", "mail~b", "mail"] * 2


def test_a_lane_that_gave_less_than_asked_for_is_empty():
    lanes = Lanes(("mail",))
    lanes.look(lambda: {"mail~a": 100, "mail~b": 100})
    assert dict(lanes.share("mail", 20, 20)) == {"mail~a": 10, "mail~b": 10}
    answer = Exchanged([], [leased("mail~a")] * 10)
    lanes.follow(answer, Want((), 20), lambda: pytest.fail("it is not time to look"))
    assert dict(lanes.share("mail", 20, 20)) == {"mail~a": 20}


def test_a_lane_is_not_taken_for_empty_when_the_lease_was_full():
    lanes = Lanes(("mail",))
    lanes.look(lambda: {"mail~a": 1_000})
    assert lanes.share("mail", 100, 60) == [("mail~a", 60)]
    answer = Exchanged([], [leased("other")] * 10 + [leased("mail~a")] * 50)
    lanes.follow(answer, Want((), 60), lambda: pytest.fail("it is not time to look"))
    assert lanes.share("mail", 100, 60) == [("mail~a", 60)]


def test_lanes_share_a_lease_not_the_room_beyond_it():
    lanes = Lanes(("mail",))
    lanes.look(lambda: {"mail~a": 1_000_000, "mail~b": 7})
    assert dict(lanes.share("mail", 1_010, 500)) == {"mail~a": 493, "mail~b": 7}


def test_a_lane_for_which_no_room_was_left_is_next():
    lanes = Lanes(("mail",))
    lanes.look(lambda: {"mail~a": 1_000, "mail~b": 1_000})
    assert lanes.share("mail", 10, 10) == [("mail~a", 5), ("mail~b", 5)]
    answer = Exchanged([], [leased("other")] * 5 + [leased("mail~a")] * 5)
    lanes.follow(answer, Want((), 10), lambda: pytest.fail("it is not time to look"))
    assert lanes.share("mail", 10, 10) == [("mail~b", 5), ("mail~a", 5)]


def test_a_lane_that_gave_all_it_had_leaves_the_line():
    lanes = Lanes(("mail",))
    lanes.look(lambda: {"mail~a": 10, "mail~b": 100})
    assert dict(lanes.share("mail", 20, 20)) == {"mail~a": 10, "mail~b": 10}
    answer = Exchanged([], [leased("mail~a")] * 10)
    lanes.follow(answer, Want((), 10), lambda: pytest.fail("it is not time to look"))
    assert dict(lanes.share("mail", 20, 20)) == {"mail~b": 20}


def test_it_is_looked_again_when_two_leases_brought_nothing():
    lanes = Lanes(("mail",))
    lanes.look(dict)
    for _ in range(2):
        assert lanes.share("mail", 4, 4) == [("mail", 4)]
        lanes.follow(Exchanged([], []), Want((), 4), lambda: {"mail~a": 5})
    assert lanes.share("mail", 4, 4) == [("mail~a", 4)]


def test_a_lease_that_brought_a_job_to_an_idle_worker_is_followed_by_no_look():
    lanes = Lanes(("mail",))
    answer = Exchanged([], [leased("mail")])
    lanes.follow(answer, Want((), 10), lambda: pytest.fail("the job waits for this"))


def test_lanes_of_queues_that_nobody_named_are_served_under_the_star():
    lanes = Lanes(("mail", "*"))
    lanes.look(lambda: {"mail~a": 5, "other~b": 5, "third": 5})
    assert dict(lanes.share("*", 4, 4)) == {"other~b": 2, "*": 2}
    lanes = Lanes(("mail",))
    lanes.look(lambda: {"other~b": 5})
    assert lanes.share("mail", 4, 4) == [("mail", 4)]


@given(
    st.dictionaries(st.integers(0, 60), st.integers(1, 40), min_size=1, max_size=40),
    st.integers(1, 100),
    st.integers(1, 100),
)
def test_all_are_served_and_nobody_waits_longer_than_a_round(sizes, room, fits):
    line = Line("mail")
    left = {f"mail~{name}": n for name, n in sizes.items()}
    line.learn(left)
    waited: Counter[str] = Counter()
    for _ in range(2_000):
        if not left:
            break
        rooms = dict(line.share(room))
        assert sum(rooms.values()) == room
        assert len(rooms) <= MOST + 1
        got: Counter[str] = Counter()
        for lane, most in rooms.items():  # as a store does: in this order, all up to its limit
            got[lane] = min(most, left.get(lane, 0), fits - got.total())
        for lane in reversed([one for one in rooms if one in left]):
            is_empty = got[lane] < rooms[lane] and got.total() < fits
            line.took(lane, got[lane], is_empty=is_empty)
        for lane in list(left):
            waited[lane] = 0 if got[lane] else waited[lane] + 1
            assert waited[lane] <= len(sizes), "it was passed over"
            left[lane] -= got[lane]
            if not left[lane]:
                del left[lane]
    assert not left, "they were all served"


def leased(queue):
    return SimpleNamespace(queue=queue)
