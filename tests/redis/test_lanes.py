"""Which names of queues the server reads: lanes that hold nothing cost nobody anything."""

from __future__ import annotations

from conformance.builders import T, lease, new_job, numbers, open_epoch, put, retried, settle

LANES = [f"mail~{n:03}" for n in range(200)]


def test_lanes_that_hold_nothing_are_read_once_more_and_not_again(store, raw):
    open_epoch(store)
    put(store, *(new_job(n, lane) for n, lane in enumerate(LANES)))
    assert store.ready() == dict.fromkeys(LANES, 1)
    assert len(lease(store, *LANES[1:], limit=500)) == len(LANES) - 1
    assert raw.scard("turnout:lanes:ready") == len(LANES)
    assert store.ready() == {LANES[0]: 1}
    assert raw.smembers("turnout:lanes:ready") == {LANES[0]}


def test_a_lane_that_was_forgotten_is_known_again_with_its_next_job(store):
    open_epoch(store)
    put(store, new_job(1, "mail~acme"))
    [job] = lease(store, "mail~acme")
    assert store.ready() == {}
    settle(store, retried(job, run_at=T + 5))
    put(store, new_job(2, "mail~acme"), new_job(3, "mail~acme", run_at=T + 5))
    assert store.ready() == {"mail~acme": 1}
    assert numbers(lease(store, "mail~acme", now=T + 5)) == [2, 1, 3]
    assert store.ready() == {}


def test_a_worker_of_all_queues_reads_the_names_of_no_lane(store, raw):
    put(store, *(new_job(n, lane) for n, lane in enumerate(LANES)), new_job(900))
    assert raw.smembers("turnout:queues") == {"default"}
    assert raw.smembers("turnout:lanes") == set(LANES)
    assert not any(one.foreign for one in store.count())


def test_a_queue_of_ruby_whose_name_looks_like_a_lane_stays_rubys(store, raw):
    raw.sadd("queues", "mail~ruby")
    due = '{"class":"HardJob","args":[],"jid":"b4a577edbccf1d805744efa9","queue":"mail~ruby"}'
    raw.zadd("retry", {due: 1.0})
    open_epoch(store)
    lease(store, "default")  # which moves what is due
    assert raw.llen("queue:mail~ruby") == 1
    assert store.ready() == {}
    [stats] = store.count()
    assert stats.foreign
