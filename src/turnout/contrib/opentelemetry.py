"""OpenTelemetry: a span where a job is made, a span where it runs, in one trace; and two metrics.

    instrument(jobs)

    create shop.charge   PRODUCER   where the job is enqueued
    process shop.charge  CONSUMER   each attempt: its child, wherever and whenever it runs

The trace's context travels in the job, in the propagator's own words (`traceparent` by default), so
baggage does too. Names and attributes follow the semantic conventions for messaging. Only the API
package is needed: without an SDK all of this does nothing.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from opentelemetry import context, metrics, propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from turnout import __version__
from turnout.context import context_value, with_context_value
from turnout.errors import ControlFlow
from turnout.failure import qualified_name

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from turnout.app import Turnout
    from turnout.current import CurrentJob
    from turnout.job import NewJob

__all__ = ["instrument"]

NAME = "turnout:trace"  # under which the carrier travels
_SCOPE = "turnout"


def instrument(
    jobs: Turnout,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> None:
    """Trace and measure the jobs of an application; say it once, before the first enqueue.

    The providers are OpenTelemetry's global ones unless given.
    """
    spans = _Spans(
        trace.get_tracer(_SCOPE, __version__, tracer_provider),
        metrics.get_meter(_SCOPE, __version__, meter_provider),
    )
    jobs.around_enqueue(spans.enqueue)
    jobs.around_run(spans.run)
    jobs.around_run(spans.arun)


class _Spans:
    """The three layers of middleware."""

    def __init__(self, tracer: trace.Tracer, meter: metrics.Meter) -> None:
        self._tracer = tracer
        self._sent = meter.create_counter(
            "messaging.client.sent.messages", "{message}", "Jobs that were enqueued."
        )
        self._took = meter.create_histogram(
            "messaging.process.duration", "s", "How long attempts ran."
        )

    def enqueue(self, job: NewJob, proceed: Callable[[NewJob], Any]) -> Any:
        """Make a span for a job that is enqueued, and send its context along."""
        given = _attributes(job.id, job.task, job.queue, "create")
        with self._tracer.start_as_current_span(
            f"create {job.task}", kind=SpanKind.PRODUCER, attributes=given
        ):
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
            if carrier:
                text = with_context_value(job.context, NAME, carrier)
                job = msgspec.structs.replace(job, context=text)
            kept = proceed(job)
        if kept is not None:
            self._sent.add(1, _few(given))
        return kept

    def run(self, job: CurrentJob, proceed: Callable[[CurrentJob], Any]) -> Any:
        """Make a span around one attempt of a `def` task."""
        with self._around(job):
            return proceed(job)

    async def arun(self, job: CurrentJob, proceed: Callable[[CurrentJob], Awaitable[Any]]) -> Any:
        """Make a span around one attempt of an `async def` task."""
        with self._around(job):
            return await proceed(job)

    @contextmanager
    def _around(self, job: CurrentJob) -> Iterator[None]:
        carrier = context_value(job.leased.context, NAME)
        given = _attributes(job.id, job.task, job.queue, "process")
        given["messaging.turnout.attempt"] = job.attempt
        began = time.perf_counter()
        with (
            _attached(propagate.extract(carrier if isinstance(carrier, dict) else {})),
            self._tracer.start_as_current_span(
                f"process {job.task}",
                kind=SpanKind.CONSUMER,
                attributes=given,
                record_exception=False,
                set_status_on_exception=False,
            ) as span,
        ):
            try:
                yield
            except BaseException as error:
                _note(span, given, error)
                raise
            finally:
                self._took.record(time.perf_counter() - began, _few(given))


@contextmanager
def _attached(sender: context.Context) -> Iterator[None]:
    """Make what came with a job current: its trace, and the baggage that its task may read."""
    token = context.attach(sender)
    try:
        yield
    finally:
        context.detach(token)


def _note(span: Span, given: dict[str, Any], error: BaseException) -> None:
    """Say how an attempt ended that did not return; what a task raised on purpose is no error."""
    name = qualified_name(type(error))
    if isinstance(error, ControlFlow):
        span.set_attribute("messaging.turnout.outcome", type(error).__name__.lower())
        return
    given["error.type"] = name
    span.set_attribute("error.type", name)
    span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, name))


def _attributes(job_id: str, task: str, queue: str, operation: str) -> dict[str, Any]:
    return {
        "messaging.system": "turnout",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
        "messaging.message.id": job_id,
        "messaging.turnout.task": task,
    }


def _few(given: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a span that metrics may have: without those of one job alone."""
    alone = ("messaging.message.id", "messaging.turnout.attempt", "messaging.operation.type")
    return {name: value for name, value in given.items() if name not in alone}
