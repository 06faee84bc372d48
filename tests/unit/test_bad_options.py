"""What is refused where a job enters: options, names, settings. Nothing of it is ever recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from turnout import ConfigError, Turnout
from turnout.job import JobFilter

URLS = ("memory:", "sqlite:///jobs.db")


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture(params=URLS)
def jobs(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = Turnout(request.param, queues=["default", "low"], max_payload=1000)
    yield app
    assert app.store.count() == [], "nothing was recorded"
    assert app.store.find(JobFilter()) == []
    app.close()


@pytest.fixture
def charge(jobs):
    @jobs.task(name="charge")
    def charge(order_id: int, note: str = "") -> None: ...

    return charge


@pytest.fixture
def loose(jobs):
    @jobs.task(name="loose")
    def loose(value) -> None: ...

    return loose


def says(error, *words: str) -> None:
    message = str(error.value)
    for word in words:
        assert word in message, message


# ---- options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"delay": -1}, ("delay", "zero or more", "-1")),
        ({"delay": timedelta(seconds=-1)}, ("delay", "zero or more")),
        ({"delay": "60"}, ("delay", "seconds or a timedelta", "'60'")),
        ({"delay": float("nan")}, ("delay", "finite")),
        ({"delay": float("inf")}, ("delay", "finite")),
        ({"delay": True}, ("delay", "seconds")),
        ({"run_at": datetime(2030, 1, 1)}, ("run_at", "naive", "zone")),  # noqa: DTZ001
        ({"run_at": 1.5}, ("run_at", "aware datetime", "1.5")),
        ({"delay": 1, "run_at": datetime(2030, 1, 1, tzinfo=UTC)}, ("delay", "run_at", "one")),
        ({"priority": 101}, ("priority", "-100 to 100", "101")),
        ({"priority": -101}, ("priority", "-100 to 100")),
        ({"priority": 1.5}, ("priority", "whole number", "1.5")),
        ({"priority": True}, ("priority", "whole number")),
        ({"queue": "hihg"}, ("hihg", "default, low")),
        ({"queue": "a b"}, ("queue name", "a b")),
        ({"queue": ""}, ("queue name",)),
        ({"queue": "a\0b"}, ("queue name",)),
        ({"queue": "\ud800"}, ("queue name",)),
        ({"queue": 7}, ("queue name", "7")),
        ({"expires": -1}, ("expires", "zero or more")),
        ({"expires": datetime(2030, 1, 1)}, ("expires", "naive", "zone")),  # noqa: DTZ001
        ({"expires": "soon"}, ("expires", "'soon'")),
        ({"unique": ""}, ("unique", "1 to 500")),
        ({"unique": "x" * 501}, ("unique", "1 to 500")),
        ({"unique": "a\0b"}, ("unique", "NUL")),
        ({"unique": "a\ud800b"}, ("unique", "UTF-8")),
        ({"unique": 7}, ("unique", "text", "7")),
    ],
)
def test_overrides_out_of_range(charge, options, words):
    with pytest.raises(ConfigError) as error:
        charge.using(**options)
    says(error, *words)


def test_an_unknown_override_is_named(charge):
    with pytest.raises(TypeError, match="dely"):
        charge.using(dely=5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"queue": "hihg"}, ("hihg", "default, low")),
        ({"queue": "a\0b"}, ("queue name",)),
        ({"priority": 1000}, ("priority", "-100 to 100", "1000")),
        ({"attempts": 0}, ("attempts", "1 or more", "0")),
        ({"attempts": 2.5}, ("attempts", "2.5")),
        ({"timeout": -1}, ("timeout", "zero or more")),
        ({"timeout": "1s"}, ("timeout", "'1s'")),
        ({"expires": -1}, ("expires", "zero or more")),
        ({"keep": -1}, ("keep", "zero or more")),
        ({"keep": float("inf")}, ("keep", "finite")),
        ({"wait": -1}, ("-1",)),
        ({"on_error": [ValueError]}, ("on_error", "retry_on")),
        ({"unique": "order"}, ("unique", "'order'")),
        ({"unique_until": "stop"}, ("unique_until", "start, finish or time", "'stop'")),
        ({"unique": True, "unique_until": "time"}, ("unique_for",)),
        ({"unique": True, "unique_for": -1}, ("unique_for", "zero or more")),
        ({"name": "a\0b"}, ("name",)),
        ({"name": "a\ud800b"}, ("name",)),
        ({"name": 7}, ("name", "7")),
    ],
)
def test_task_options_out_of_range(jobs, options, words):
    with pytest.raises(ConfigError) as error:
        jobs.task(**options)(lambda: None)
    says(error, *words)


def test_an_unknown_task_option_is_named(jobs):
    with pytest.raises(ConfigError, match=r"no option quue=; did you mean queue=\?"):
        jobs.task(quue="low")(lambda: None)


@pytest.mark.parametrize("name", ["timeout", "expires", "unique_for"])
@pytest.mark.parametrize("seconds", [0, 101 * 365 * 86_400.0])
def test_a_bound_of_nothing_or_of_centuries_is_refused(jobs, name, seconds):
    with pytest.raises(ConfigError, match=f"{name}= (must be more than zero|is at most)"):
        jobs.task(**{name: seconds})(lambda: None)


def test_a_delay_of_centuries_is_refused(jobs):
    task = jobs.task(name="t")(lambda: None)
    for options in ({"delay": 1e12}, {"expires": 1e12}):
        with pytest.raises(ConfigError, match="100 years"):
            task.using(**options)


@pytest.mark.parametrize(
    "what", ["name", 7, print, len, type("Callable", (), {"__call__": print})()]
)
def test_a_task_is_a_function(jobs, what):
    with pytest.raises(ConfigError) as error:
        jobs.task(what)
    says(error, "function", "got")


def test_two_functions_may_not_claim_one_name(jobs, charge):
    with pytest.raises(ConfigError) as error:
        jobs.task(name="charge")(lambda other: None)
    says(error, "'charge'", "name=")


@pytest.mark.parametrize("key", ["", "x" * 501, "a\0b", "a\ud800", 7, None])
def test_a_unique_callable_that_answers_nonsense(jobs, key):
    task = jobs.task(name="t", unique=lambda n: key)(lambda n: None)
    with pytest.raises(ConfigError) as error:
        task.enqueue(1)
    says(error, "unique key", "got" if key != "" else "1 to 500")


@pytest.mark.parametrize("name", ["", "nope", "a\0b", "\ud800"])
def test_a_job_id_that_is_none(jobs, name):
    with pytest.raises(ConfigError, match="UUID"):
        jobs.job(name)


# ---- settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"queue": ["a"]}, ("'queue'", "did you mean queues")),
        ({"queues": []}, ("queues", "at least one")),
        ({"queues": "default"}, ("queues", "list")),
        ({"queues": ["a"], "default_queue": "b"}, ("default_queue 'b'",)),
        ({"default_queue": "a b"}, ("default_queue", "a b")),
        ({"max_payload": -1}, ("max_payload", "-1")),
        ({"max_result": "1k"}, ("max_result", "'1k'")),
        ({"keep": -5}, ("keep", "-5")),
        ({"keep": {"mail": -1}}, ("keep['mail']",)),
        ({"keep_count": 1.5}, ("keep_count", "1.5")),
        ({"dead_age": float("nan")}, ("dead_age",)),
    ],
)
def test_settings_out_of_range(settings, words):
    with pytest.raises(ConfigError) as error:
        Turnout("memory:", **settings)
    says(error, *words)


def test_all_faults_of_the_settings_are_told_at_once():
    with pytest.raises(ConfigError) as error:
        Turnout("memory:", quues=["a"], max_payload=-1, keep="x")
    says(error, "quues", "max_payload", "keep")
