"""Limits on these servers: no more marks than allowed, whoever emptied our tables before."""

from __future__ import annotations

import threading

from conformance.builders import run_sql
from turnout.limits import Mark
from turnout.store.mysql import MySQLStore

CALLERS, KEYS = 4, 40


def test_callers_that_hurry_never_exceed_a_limit_though_its_locks_were_deleted(family, url, store):
    with family.connect(autocommit=True) as admin:
        run_sql(admin, f"DELETE FROM {store.prefix}gate")
    start = threading.Barrier(CALLERS)
    granted: list[str] = []

    def call(owner: str) -> None:
        own = MySQLStore.from_url(url)
        for n in range(KEYS):
            start.wait(30)
            [answer] = own.mark([Mark(key=f"limit {n}", owner=owner, ttl=60, most=1)])
            granted.extend([f"limit {n}"] * answer.granted)
        own.close()

    callers = [threading.Thread(target=call, args=(f"caller {n}",)) for n in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert sorted(granted) == sorted(f"limit {n}" for n in range(KEYS))
