from __future__ import annotations

import json
import logging
import sys

import pytest

from turnout.cli.logs import JsonFormatter, TextFormatter, say_banner, set_up_logging
from turnout.worker.options import WorkerOptions, parse_queues


@pytest.fixture
def loggers(monkeypatch):
    """A root logger without handlers, put back afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("turnout")
    monkeypatch.setattr(root, "handlers", [])
    level = ours.level
    yield root, ours
    ours.setLevel(level)


def record(message="hello", error=None):
    return logging.LogRecord("turnout.x", logging.INFO, "f", 1, message, (), error)


def failure():
    try:
        raise KeyError("gone")
    except KeyError:
        return sys.exc_info()


def test_text_lines():
    assert TextFormatter().format(record()).endswith(" INFO  hello")
    said = TextFormatter().format(record(error=failure())).splitlines()
    assert said[1].startswith("Traceback")
    assert said[-1] == "KeyError: 'gone'"


def test_json_lines():
    line = json.loads(JsonFormatter().format(record("a\nb \ud800", failure())))

    assert line["message"] == "a\nb \\ud800"
    assert line["level"] == "info"
    assert line["logger"] == "turnout.x"
    assert "KeyError: 'gone'" in line["traceback"]
    assert "traceback" not in json.loads(JsonFormatter().format(record()))


@pytest.mark.parametrize(("form", "kind"), [("text", TextFormatter), ("json", JsonFormatter)])
def test_sets_logging_up(loggers, form, kind):
    root, ours = loggers
    root.handlers = []  # pytest's own came after the fixture
    set_up_logging(WorkerOptions(log_format=form, log_level="debug"))

    assert type(root.handlers[0].formatter) is kind
    assert ours.level == logging.DEBUG


def test_an_applications_own_logging_stays(loggers):
    root, ours = loggers
    root.handlers = [logging.NullHandler()]
    set_up_logging(WorkerOptions(log_level="error"))

    assert len(root.handlers) == 1
    assert ours.level == logging.ERROR


def test_the_banner_says_store_durability_queues_and_tasks(shop, caplog):
    caplog.set_level("INFO", "turnout")
    say_banner(shop.app, WorkerOptions(queues=parse_queues("a=2@3,b=1")))

    said = caplog.text
    assert "jobs.db; enqueues survive a power cut, settles a killed process" in said
    assert "queues: a=2@3, b=1" in said
    assert "tasks: 2: shop.jobs.charge, shop.jobs.mail" in said
    assert "10 threads" in said


def test_the_banner_warns_of_an_application_without_tasks(shop, caplog):
    caplog.set_level("INFO", "turnout")
    shop.app.tasks = {f"t{n:02}": None for n in range(25)}
    say_banner(shop.app, WorkerOptions())
    assert "queues: all" in caplog.text
    assert "t19 and 5 more" in caplog.text
    shop.app.tasks = {}
    say_banner(shop.app, WorkerOptions())
    assert "no task is registered" in caplog.text
