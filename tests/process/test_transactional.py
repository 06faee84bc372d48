"""Transactional tasks under kill -9: what they wrote is there once, however often they ran."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from contextlib import suppress

import pytest

from conformance.builders import run_ddl, run_sql
from conformance.stores import URLS, WITHOUT_TRANSACTIONS
from process.rig import wait_until
from turnout.job import JobFilter, State

pytestmark = [
    pytest.mark.process,
    pytest.mark.parametrize(
        "rig", [name for name in URLS if name not in WITHOUT_TRANSACTIONS], indirect=True
    ),
]


@pytest.fixture
def charged(rig):
    """The application's table; the call returns how often each order is in it."""
    run_ddl(rig.store, "CREATE TABLE charge (order_id INTEGER)")

    def orders() -> Counter[int]:
        with rig.store.transaction() as connection:
            return Counter(row[0] for row in run_sql(connection, "SELECT order_id FROM charge"))

    yield orders
    run_ddl(rig.store, "DROP TABLE charge")


def test_a_kill_after_the_write_and_before_the_commit_leaves_nothing(rig, charged):
    worker = rig.start()
    job = rig.enqueue("charge_held", 7)
    rig.until_said("start", "7")
    worker.signal_child(signal.SIGKILL)
    rig.until_said("start", "7", 2)
    rig.ledger.release("7")
    record = rig.until(job, State.SUCCEEDED)
    assert (record.crashes, charged()) == (1, {7: 1})


def test_a_failed_attempt_takes_its_write_back(rig, charged):
    rig.start()
    record = rig.until(rig.enqueue("charge_late", 7), State.SUCCEEDED)
    assert (record.attempt, charged()) == (3, {7: 1})


def test_a_storm_of_kills_charges_each_order_once_and_sends_each_receipt_once(rig, charged):
    orders = range(150)
    ids = [rig.enqueue("charge", order) for order in orders]
    worker = rig.start(processes=2)
    rng = random.Random(1)
    for kill in range(6):
        target = 15 * (kill + 1)
        wait_until(lambda most=target: len(rig.ledger.said("charged")) >= most, "more charges")
        wait_until(worker.children, "a child to kill")
        with suppress(ProcessLookupError):
            os.kill(rng.choice(worker.children()), signal.SIGKILL)
    wait_until(lambda: all_charged_but_the_quarantined(rig, ids), "all are charged", timeout=40)
    wait_until(lambda: len(rig.ledger.said("note")) >= len(ids), "all receipts", timeout=20)
    assert charged() == dict.fromkeys(orders, 1)
    receipts = {line[1] for line in rig.ledger.said("note")}
    assert receipts == {f"receipt-{order}" for order in orders}


def all_charged_but_the_quarantined(rig, ids):
    """A job that was hit three times waits for a person: be that person."""
    rig.store.change(JobFilter(ids=tuple(ids), states=(State.DEAD,)), "retry")
    return rig.states(ids) == {State.SUCCEEDED: len(ids)}
