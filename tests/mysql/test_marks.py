"""Limits on these servers: no more marks than allowed, whoever emptied our tables before."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from zlib import crc32

from conformance.builders import run_sql
from process.rig import wait_until
from turnout.limits import Mark
from turnout.store.mysql import MySQLStore
from turnout.store.server.marking import STRIPES

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


def test_a_mark_that_waited_for_its_key_is_held_from_then_on(family, store):
    stripe = crc32(b"k") % STRIPES
    with family.connect() as holder, ThreadPoolExecutor(1) as pool:
        cursor = holder.cursor()
        cursor.execute(f"SELECT n FROM {store.prefix}gate WHERE n = {stripe} FOR UPDATE")
        before = time.monotonic()
        asked = pool.submit(store.mark, [Mark(key="k", owner="a", ttl=1.5)])
        wait_until(lambda: time.monotonic() > before + 2.0, "longer than the mark is to last")
        assert not asked.done()
        holder.rollback()
        assert asked.result(10)[0].granted
        assert not store.mark([Mark(key="k", owner="b", ttl=1.5)])[0].granted
