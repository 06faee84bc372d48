"""`assert_enqueued` and its relatives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from turnout import UnknownTask
from turnout.testing import FakeClock, assert_enqueued, drain, enqueued, memory, refute_enqueued

NOON = datetime(2031, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def in_memory(shop):
    with memory(shop.jobs), FakeClock(NOON).installed(shop.jobs):
        yield


def test_a_call_is_found_however_its_arguments_were_given(shop):
    shop.charge.enqueue(7, 100)
    for args, kwargs in (((7,), {}), ((7, 100), {}), ((), {"order": 7, "cents": 100})):
        [record] = assert_enqueued(shop.jobs, shop.charge, *args, **kwargs)
        assert record.task == "charge"
    assert assert_enqueued(shop.jobs, "charge")


def test_other_calls_are_not_found(shop):
    shop.charge.enqueue(7)
    refute_enqueued(shop.jobs, shop.charge, 8)
    refute_enqueued(shop.jobs, shop.charge, 7, 101)
    refute_enqueued(shop.jobs, shop.mail)
    refute_enqueued(shop.jobs, shop.charge, 7, queue="mails")


def test_a_count_is_exact(shop):
    for order in (7, 7, 8):
        shop.charge.enqueue(order)
    assert len(assert_enqueued(shop.jobs, shop.charge, count=3)) == 3
    assert_enqueued(shop.jobs, shop.charge, 7, count=2)
    assert assert_enqueued(shop.jobs, shop.charge, 9, count=0) == []
    with pytest.raises(AssertionError, match=r"expected exactly 1 job charge .*found 2"):
        assert_enqueued(shop.jobs, shop.charge, 7, count=1)


def test_queue_and_time_narrow(shop):
    shop.charge.using(delay=60, queue="low").enqueue(7)
    at = NOON + timedelta(seconds=60)
    assert_enqueued(shop.jobs, shop.charge, 7, queue="low", run_at=at)
    assert_enqueued(shop.jobs, shop.charge, run_at=at + timedelta(seconds=5), delta=5)
    with pytest.raises(AssertionError, match="at 2031-05-01T12:01:05"):
        assert_enqueued(shop.jobs, shop.charge, run_at=at + timedelta(seconds=5))
    with pytest.raises(AssertionError, match="in queue 'high'"):
        assert_enqueued(shop.jobs, shop.charge, queue="high")


def test_the_message_shows_what_waits(shop):
    shop.charge.enqueue(1)
    drain(shop.jobs)
    shop.charge.using(delay=60).enqueue(8)
    shop.mail.enqueue("ada@example.org")
    with pytest.raises(AssertionError) as caught:
        assert_enqueued(shop.jobs, shop.charge, 7)
    assert str(caught.value) == (
        'expected at least 1 job charge {"order":7}, found 0\n'
        "waiting are:\n"
        "  charge {\"order\":8} in queue 'default' at 2031-05-01T12:01:00.000+00:00\n"
        '  mail {"to":"ada@example.org"} in queue \'mails\' at 2031-05-01T12:00:00.000+00:00\n'
        "  (1 have ended already)"
    )


def test_the_message_is_bounded(shop):
    for order in range(30):
        shop.charge.enqueue(order)
    with pytest.raises(AssertionError, match="and 10 more"):
        refute_enqueued(shop.jobs, shop.charge)


def test_the_message_says_when_nothing_waits(shop):
    with pytest.raises(AssertionError, match="with any arguments, found 0; nothing is waiting"):
        assert_enqueued(shop.jobs, shop.charge)


def test_enqueued_lists_oldest_first(shop):
    for order in range(3):
        shop.charge.enqueue(order)
    shop.mail.enqueue("ada@example.org")
    waiting = [job.args for job in enqueued(shop.jobs, shop.charge)]
    assert waiting == ['{"order":0}', '{"order":1}', '{"order":2}']
    assert [job.task for job in enqueued(shop.jobs, queue="mails")] == ["mail"]
    assert len(enqueued(shop.jobs)) == 4


def test_a_name_nobody_knows_is_refused(shop):
    with pytest.raises(UnknownTask, match="chagre"):
        assert_enqueued(shop.jobs, "chagre")
