from __future__ import annotations

import logging

import pytest
from msgspec.structs import fields

from turnout import events as module
from turnout.errors import ConfigError
from turnout.events import (
    Event,
    Events,
    JobEnqueued,
    JobEvent,
    JobStarted,
    WorkerStarted,
)

ENQUEUED = JobEnqueued("id", "task", "default")


def test_listeners_hear_in_order_what_they_asked_for():
    events, heard = Events(), []
    events.on(JobEnqueued, lambda event: heard.append(("first", event)))

    @events.on(JobEnqueued)
    def second(event):
        heard.append(("second", event))

    events.emit(ENQUEUED)
    events.emit(JobStarted("id", "task", "default", 1, "worker"))
    assert heard == [("first", ENQUEUED), ("second", ENQUEUED)]
    assert callable(second)


def test_wants_follows_on_and_off():
    events = Events()
    assert not events.wants(JobEnqueued)
    listener = events.on(JobEnqueued, print)
    assert events.wants(JobEnqueued)
    assert not events.wants(JobStarted)
    events.off(JobEnqueued, listener)
    assert not events.wants(JobEnqueued)
    events.off(JobEnqueued, listener)


def test_a_base_class_means_all_below_it():
    events, heard = Events(), []
    events.on(JobEvent, heard.append)
    events.emit(ENQUEUED)
    events.emit(WorkerStarted("worker"))
    assert heard == [ENQUEUED]
    assert all(events.wants(one) == issubclass(one, JobEvent) for one in module.KINDS)
    events.off(Event, heard.append)
    assert not any(events.wants(one) for one in module.KINDS)


@pytest.mark.parametrize("raised", [RuntimeError("boom"), SystemExit(1)])
def test_a_listener_that_raises_is_logged_and_stops_nobody(caplog, raised):
    events, heard = Events(), []

    @events.on(JobEnqueued)
    def broken(event):
        raise raised

    events.on(JobEnqueued, heard.append)
    with caplog.at_level(logging.ERROR, logger="turnout.events"):
        events.emit(ENQUEUED)
    assert heard == [ENQUEUED]
    assert "broken failed on JobEnqueued" in caplog.text


def test_listeners_may_come_and_go_while_being_told():
    events, heard = Events(), []

    @events.on(JobEnqueued)
    def once(event):
        heard.append(event)
        events.off(JobEnqueued, once)
        events.on(JobEnqueued, heard.append)

    events.emit(ENQUEUED)
    assert heard == [ENQUEUED]
    events.emit(ENQUEUED)
    assert heard == [ENQUEUED, ENQUEUED]


@pytest.mark.parametrize("kind", [object, int, "JobEnqueued", None, ENQUEUED])
def test_what_is_no_event_is_refused(kind):
    with pytest.raises(ConfigError, match="event class"):
        Events().on(kind, print)


def test_what_cannot_listen_is_refused():
    async def later(event):
        pass

    with pytest.raises(ConfigError, match="synchronously"):
        Events().on(JobEnqueued, later)
    with pytest.raises(ConfigError, match="function of the event"):
        Events().on(JobEnqueued, "print")


@pytest.mark.parametrize("kind", module.KINDS)
def test_events_are_frozen_values(kind):
    event = kind(*("x" for _ in fields(kind)))
    assert event == kind(*("x" for _ in fields(kind)))
    assert not hasattr(event, "__dict__")
    with pytest.raises(AttributeError):
        setattr(event, fields(kind)[0].name, "y")
    assert kind.__name__ in module.__all__
