"""OpenTelemetry: one trace from the request to every attempt, read back from a real SDK."""

from __future__ import annotations

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from turnout import Snooze, Turnout, concurrency, exactly
from turnout.contrib.opentelemetry import instrument
from turnout.job import JobFilter, State
from unit.harness import Bench


class Traced:
    """An application, and what its spans and metrics were."""

    def __init__(self) -> None:
        self.app = Turnout("memory:")
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        instrument(self.app, tracer_provider=self.tracers, meter_provider=self.meters)

    def spans(self, name: str):
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def points(self, name: str):
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def traced():
    made = Traced()
    yield made
    made.app.close()
    made.tracers.shutdown()
    made.meters.shutdown()


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_request_its_job_and_its_attempt_are_one_trace(traced, kind):
    seen = []

    def charge(order_id: int) -> None:
        seen.append((order_id, trace.get_current_span().get_span_context().span_id))

    async def acharge(order_id: int) -> None:
        charge(order_id)

    task = traced.app.task(name="shop.charge")(charge if kind == "def" else acharge)
    with traced.tracers.get_tracer("web").start_as_current_span("POST /orders") as request:
        job = task.enqueue(7)
    Bench(traced.app).drain()
    [create], [process] = traced.spans("create shop.charge"), traced.spans("process shop.charge")
    assert create.parent.span_id == request.get_span_context().span_id
    assert process.parent.span_id == create.context.span_id
    assert {create.context.trace_id, process.context.trace_id} == {
        request.get_span_context().trace_id
    }
    assert (create.kind, process.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert seen == [(7, process.context.span_id)], "what the task does hangs below its attempt"
    assert dict(process.attributes) == {
        "messaging.system": "turnout",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "default",
        "messaging.message.id": job.id,
        "messaging.turnout.task": "shop.charge",
        "messaging.turnout.attempt": 1,
    }
    assert process.status.status_code is StatusCode.UNSET


def test_each_attempt_has_a_span_and_says_how_it_failed(traced):
    @traced.app.task(name="flaky", attempts=2, wait=exactly(0))
    def flaky() -> None:
        raise ConnectionError("the card service is away")

    flaky.enqueue()
    bench = Bench(traced.app)
    bench.drain(at=traced.app.clock() + 10)
    bench.drain(at=traced.app.clock() + 20)
    spans = traced.spans("process flaky")
    assert [span.attributes["messaging.turnout.attempt"] for span in spans] == [1, 2]
    for span in spans:
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes["error.type"] == "ConnectionError"
        assert span.events[0].attributes["exception.message"] == "the card service is away"


def test_what_a_task_asks_for_is_no_error(traced):
    @traced.app.task(name="later")
    def later() -> None:
        raise Snooze(after=60)

    later.enqueue()
    Bench(traced.app).drain()
    [span] = traced.spans("process later")
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes["messaging.turnout.outcome"] == "snooze"
    assert span.events == ()


def test_baggage_travels_too(traced):
    seen = []
    task = traced.app.task(name="carry")(lambda: seen.append(baggage.get_baggage("tenant")))
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    try:
        with traced.tracers.get_tracer("web").start_as_current_span("request"):
            task.enqueue()
    finally:
        context.detach(token)
    Bench(traced.app).drain()
    assert seen == ["acme"]


def test_limits_and_the_trace_travel_beside_each_other(traced):
    task = traced.app.task(name="both", limit=concurrency("k", 1))(lambda: None)
    job = task.enqueue()
    [record] = traced.app.store.find(JobFilter(ids=(job.id,)))
    assert "turnout:limits" in record.context
    assert "traceparent" in record.context


def test_metrics_count_what_was_sent_and_how_long_it_ran(traced):
    task = traced.app.task(name="shop.mail", queue="mail")(lambda: None)
    traced.app.enqueue_many(task.prepare() for _ in range(3))
    Bench(traced.app).drain()
    [sent] = traced.points("messaging.client.sent.messages")
    assert sent.value == 3
    [took] = traced.points("messaging.process.duration")
    assert took.count == 3
    assert took.attributes["messaging.destination.name"] == "mail"
    assert "messaging.message.id" not in took.attributes


def test_a_job_that_was_enqueued_untraced_runs_in_a_trace_of_its_own(traced):
    plain = Turnout("memory:")
    plain.task(name="old")(lambda: None)
    job = plain.tasks["old"].enqueue()
    [record] = plain.store.find(JobFilter(ids=(job.id,)))
    assert record.context is None
    traced.app._store = plain.store
    traced.app.task(name="old")(lambda: None)
    Bench(traced.app).drain()
    [span] = traced.spans("process old")
    assert span.parent is None
    assert plain.store.find(JobFilter(ids=(job.id,)))[0].state is State.SUCCEEDED
