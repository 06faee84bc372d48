"""A process that is suspended in the middle of one of our transactions must not stop all others."""

from __future__ import annotations

import threading

import pytest

from conformance.builders import T, new_job, open_epoch, put, worker
from turnout.store.postgres.base import Turn


def test_the_locks_of_a_session_that_says_nothing_are_given_up(store):
    put(store, new_job(1))
    open_epoch(store)
    held = threading.Event()
    let_go = threading.Event()

    def suspended() -> None:
        with pytest.raises(Exception, match=r"idle-in-transaction|closed|terminat"):
            store._write(hold, T)

    def hold(turn: Turn) -> None:
        turn.rows("worker_row", "e1")
        held.set()
        assert let_go.wait(30)
        turn.rows("worker_row", "e1")

    thread = threading.Thread(target=suspended)
    thread.start()
    try:
        assert held.wait(10)
        assert not store.heartbeat(worker(), ttl=30, now=T).lost  # waits for that very row
    finally:
        let_go.set()
        thread.join()


def test_a_task_may_think_for_as_long_as_it_likes(store):
    with store.transaction() as connection:
        assert connection.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("0",)
    with store._lend() as connection:
        assert connection.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("3s",)
