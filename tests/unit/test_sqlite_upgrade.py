"""A file of an older schema is brought up to date where it stands, with the jobs that it holds."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from turnout.job import JobFilter, JobId, NewJob
from turnout.limits import Mark
from turnout.store import open_store
from turnout.store.sqlite.checks import MIGRATIONS, VERSION


def test_every_older_schema_is_upgraded_with_its_jobs(tmp_path):
    for number in range(1, VERSION):
        path = tmp_path / f"{number}.db"
        with closing(sqlite3.connect(path)) as file, file:
            for script in MIGRATIONS[:number]:
                file.executescript(script)
            held = "018f0000-0000-7000-8000-000000000001"
            file.execute(
                "INSERT INTO turnout_job (id, task, queue, args, priority, enqueued_at, run_at) "
                "VALUES (?, 't', 'q', '{}', 0, 1.0, 1.0)",
                (held,),
            )
            file.execute("INSERT INTO turnout_ready VALUES ('q', 0, 1.0, ?)", (held,))
        store = open_store(f"sqlite:///{path}")
        store.setup()
        assert [job.id for job in store.find(JobFilter())] == [held]
        assert store.mark([Mark(key="k", owner="a", ttl=9)])[0].granted
        assert store.metrics(60) == []
        new = NewJob(
            id=JobId("018f0000-0000-7000-8000-000000000002"), task="t", queue="q", args="{}"
        )
        assert store.enqueue([new]) == [new.id]
        store.close()
        with closing(sqlite3.connect(path)) as file, file:
            query = "SELECT value FROM turnout_meta WHERE key = 'schema'"
            assert file.execute(query).fetchone() == (str(VERSION),)
