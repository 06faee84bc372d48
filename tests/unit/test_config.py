from __future__ import annotations

import math
from datetime import timedelta

import pytest

from turnout.config import Config, check_queue_name, load, redact
from turnout.errors import ConfigError

DAY = 86_400


def test_the_defaults_have_no_fault():
    assert Config().validate() == []
    config = load()
    assert config == Config()
    assert (config.url, config.default_queue, config.queues) == (
        "sqlite:///jobs.db",
        "default",
        None,
    )


def test_the_url_comes_from_argument_then_environment_then_default():
    environ = {"TURNOUT_URL": "memory:env"}
    assert load("memory:arg", environ=environ).url == "memory:arg"
    assert load(environ=environ).url == "memory:env"
    assert load(environ={"TURNOUT_URL": ""}).url == "sqlite:///jobs.db"


def test_settings_are_made_plain():
    config = load(queues=["default", "low"], keep=timedelta(hours=1), dead_age=timedelta(days=2))
    assert config.queues == ("default", "low")
    assert config.keep == 3600.0
    assert config.dead_age == 2 * DAY


def test_keep_for_a_queue():
    assert load().keep_for("any") == DAY
    assert load(keep=5).keep_for("any") == 5
    config = load(keep={"low": timedelta(minutes=1), "*": 9})
    assert (config.keep_for("low"), config.keep_for("any")) == (60, 9)
    assert load(keep={"low": 1}).keep_for("any") == DAY


def test_retention_is_what_a_store_prunes_by():
    retention = load(keep_count=5, dead_age=6, dead_count=7).retention()
    assert (retention.succeeded_count, retention.dead_age, retention.dead_count) == (5, 6, 7)


def test_every_fault_is_told_at_once():
    with pytest.raises(ConfigError) as caught:
        load(
            "nonsense",
            queues=["a", "a", "b c"],
            max_payload=0,
            max_result=-1,
            keep={"x": -1, "*": math.nan},
            keep_count=2.5,
            dead_age="long",
            dead_count=True,
            max_paylod=5,
            zzz=1,
        )
    message = str(caught.value)
    for word in (
        "url must",
        "a more than once",
        "'b c'",
        "default_queue 'default'",
        "max_payload must",
        "max_result must",
        "keep['x']",
        "keep['*']",
        "the queue 'x'",
        "keep_count must",
        "dead_age must",
        "dead_count must",
        "did you mean max_payload",
        "no setting 'zzz'",
    ):
        assert word in message, word
    assert message.count("\n  - ") == 14


@pytest.mark.parametrize(
    "settings",
    [
        {"queues": []},
        {"queues": "default"},
        {"queues": 5},
        {"queues": ["default", None]},
        {"default_queue": ""},
        {"default_queue": None},
        {"keep": None},
        {"keep": math.inf},
        {"keep": timedelta(-1)},
        {"keep": {5: 5}},
        {"dead_age": 10**400},
        {"max_payload": 2**40},
        {"max_payload": "1MB"},
    ],
)
def test_senseless_settings_are_refused(settings):
    with pytest.raises(ConfigError, match="have faults"):
        load(**settings)


@pytest.mark.parametrize("url", ["", "jobs.db", 5, b"memory:", "sqlite:///a\0b", "memory:\ud800"])
def test_senseless_urls_are_refused_and_can_be_shown(url):
    with pytest.raises(ConfigError, match="url must") as caught:
        load(url)
    str(caught.value).encode()


@pytest.mark.parametrize("name", ["default", "a", "low-prio_2.x:y/z", "9" * 100])
def test_queue_names(name):
    assert check_queue_name(name) == name


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a\n", "a" * 101, "a\0", "\ud800", "größe", "a=1", "a,b", "*", None, 5]
)
def test_bad_queue_names(name):
    with pytest.raises(ConfigError, match="1 to 100 characters") as caught:
        check_queue_name(name)
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///jobs.db", "sqlite:///jobs.db"),
        ("sqlite:////home/me@work/jobs.db", "sqlite:////home/me@work/jobs.db"),
        ("memory:a@b", "memory:a@b"),
        ("postgresql://me:hush@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me:hu/s?h#@x@host/db", "postgresql://me:***@host/db"),
        ("redis://:hush@host/0", "redis://:***@host/0"),
        ("redis://hush@host/0", "redis://***@host/0"),
        ("me:hush@host", "me:***@host"),
        (
            "mysql://host/db?user=me&password=hush&ssl=1",
            "mysql://host/db?user=me&password=***&ssl=1",
        ),
        ("x://host?API_KEY=hush#f", "x://host?API_KEY=***#f"),
    ],
)
def test_urls_are_shown_without_secrets(url, shown):
    assert redact(url) == shown
    assert "hush" not in shown


def test_no_message_and_no_location_shows_a_password():
    with pytest.raises(ConfigError) as caught:
        load("postgresql://me:hush\0@host/db", keep=-1)
    assert "hush" not in str(caught.value)
    assert load("postgresql://me:hush@host/db").location == "postgresql://me:***@host/db"
