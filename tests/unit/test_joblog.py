"""The line for each finished job: its level, and what the error said."""

from __future__ import annotations

import json
import logging

import pytest

from turnout import retry_on
from turnout.worker.joblog import JobLog

LOG = logging.getLogger("turnout.jobs")


@pytest.fixture
def said(jobs, bench, capsys):
    """Run one job that fails and return what a log of some level and form says of it."""

    def said(level: int, form: str, **options) -> str:
        @jobs.task(name=f"t{level}{form}", **options)
        def task() -> None:
            raise ValueError("no\nmoney")

        task.enqueue()
        LOG.setLevel(level)
        bench.settler = type(bench.settler)(jobs.events, JobLog(form), "w")
        bench.drain()
        return capsys.readouterr().err

    yield said
    LOG.setLevel(logging.NOTSET)


def test_a_dead_job_is_an_error_and_says_why(said):
    line = said(logging.INFO, "text", attempts=1)
    assert " ERROR dead t20text " in line
    assert (
        r"error=builtins.ValueError 'no\nmoney'" in line or r"error=ValueError 'no\nmoney'" in line
    )


def test_a_retried_job_is_a_warning(said):
    line = json.loads(said(logging.WARNING, "json", attempts=2, on_error=[retry_on(KeyError)]))
    assert (line["level"], line["event"], line["message"]) == (
        "warning",
        "job.retried",
        "no\nmoney",
    )


def test_a_quiet_log_says_nothing_of_retries(said):
    assert said(logging.ERROR, "text", attempts=2) == ""
