"""Limits on this server: a mark lasts from when it is granted."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from zlib import crc32

import psycopg

from process.rig import wait_until
from support import postgres
from turnout.limits import Mark
from turnout.store.server.marking import STRIPES


def test_a_mark_that_waited_for_its_key_is_held_from_then_on(store):
    stripe = crc32(b"k") % STRIPES
    with psycopg.connect(postgres.base_url()) as holder, ThreadPoolExecutor(1) as pool:
        holder.execute("SELECT pg_advisory_xact_lock(1953722225, %s)", [stripe])
        before = time.monotonic()
        asked = pool.submit(store.mark, [Mark(key="k", owner="a", ttl=1.5)])
        wait_until(lambda: time.monotonic() > before + 2.0, "longer than the mark is to last")
        assert not asked.done()
        holder.rollback()
        assert asked.result(10)[0].granted
        assert not store.mark([Mark(key="k", owner="b", ttl=1.5)])[0].granted
