"""Log records that know their job."""

from __future__ import annotations

import asyncio
import io
import json
import logging

import pytest

from turnout import Turnout
from turnout.cli.logs import JsonFormatter, TextFormatter
from turnout.logs import JobContext
from unit.harness import Bench


@pytest.fixture
def told():
    """A logger of an application, and what it wrote in a format."""
    logger = logging.getLogger("shop")
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(JobContext())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)

    def lines(formatter: logging.Formatter | None = None) -> list[str]:
        if formatter is not None:
            handler.setFormatter(formatter)
        return out.getvalue().splitlines()

    yield lines
    logger.removeHandler(handler)


def run(kind: str) -> str:
    """Run a job that logs from below; return its id."""
    app = Turnout("memory:")

    def charge(order_id: int) -> None:
        logging.getLogger("shop.stripe").info("charging %d", order_id)

    async def acharge(order_id: int) -> None:
        await asyncio.sleep(0)
        charge(order_id)

    task = app.task(name="shop.charge", queue="critical")(charge if kind == "def" else acharge)
    job = task.enqueue(7)
    Bench(app).drain()
    app.close()
    return job.id


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_records_of_a_job_carry_it(told, kind):
    told(logging.Formatter("%(message)s %(job_id)s %(task)s %(queue)s %(attempt)s"))
    job = run(kind)
    assert told() == [f"charging 7 {job} shop.charge critical 1"]


def test_outside_a_job_nothing_is_carried(told):
    told(logging.Formatter("%(message)s|%(job)s|%(job_id)s"))
    logging.getLogger("shop").info("hello")
    assert told() == ["hello||None"]


def test_a_workers_own_formats_tell_the_job(told):
    told(JsonFormatter())
    job = run("def")
    line = json.loads(told()[0])
    assert (line["job_id"], line["task"], line["queue"]) == (job, "shop.charge", "critical")
    assert line["attempt"] == 1
    told(TextFormatter())
    job = run("def")
    assert told()[-1].endswith(f"charging 7  task=shop.charge job={job} attempt=1")
    logging.getLogger("shop").info("plain")
    assert told()[-1].endswith("INFO  plain")


def test_a_format_without_the_filter_works_as_before():
    record = logging.LogRecord("shop", logging.INFO, "x.py", 1, "hello", (), None)
    assert "job_id" not in json.loads(JsonFormatter().format(record))
    assert TextFormatter().format(record).endswith("INFO  hello")
