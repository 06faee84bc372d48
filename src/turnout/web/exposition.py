"""/metrics: the store's counters and the workers' measures in Prometheus' text format.

Everything is read from the store, where it is kept for all processes together, so one address is
scraped however many workers there are. Names and units follow Prometheus' conventions; a task or
queue called `*` stands for those beyond the two hundred pairs that are told apart.

The invariant: a scrape answers while the store is away too, with `turnout_up 0`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyio import to_thread
from starlette.responses import Response

from turnout.errors import ConfigError, StoreError
from turnout.metrics import EVER, LAST, Measured, Spread, upper
from turnout.queues import with_lanes
from turnout.store.patience import patient
from turnout.store.protocol import KeepsMetrics

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.requests import Request

    from turnout.app import Turnout
    from turnout.job import QueueStats, WorkerInfo
    from turnout.web.visit import Desk

_EACH = 4  # buckets of ours in one of theirs: bounds grow fourfold, from 0.1 ms to half an hour
_BOUNDS = tuple(range(0, 49, _EACH))
_STATES = ("ready", "scheduled", "running", "succeeded", "dead", "discarded", "cancelled")


class Collector:
    """What prometheus_client's registries ask at each scrape. Raises ConfigError without it."""

    def __init__(self, jobs: Turnout) -> None:
        self._jobs = jobs
        self._core = _client()

    def describe(self) -> Sequence[Any]:
        """Name nothing beforehand, so that registering asks no store."""
        return ()

    def collect(self) -> Iterator[Any]:
        """Yield every family of metrics, read now."""
        store = self._jobs.store
        try:
            with patient():
                queues, workers = store.count(), store.workers()
                rows = store.metrics(EVER) if isinstance(store, KeepsMetrics) else []
        except StoreError:
            yield self._gauge("turnout_up", "Whether the store answers.", 0)
            return
        yield self._gauge("turnout_up", "Whether the store answers.", 1)
        yield from self._queues(with_lanes(queues))
        yield from self._workers(workers)
        yield from self._measures(rows)

    def _gauge(self, name: str, text: str, value: float) -> Any:
        return self._core.GaugeMetricFamily(name, text, value=value)

    def _queues(self, queues: Sequence[QueueStats]) -> Iterator[Any]:
        gauge, now = self._core.GaugeMetricFamily, self._jobs.clock()
        jobs = gauge("turnout_jobs", "Jobs by queue and state.", labels=["queue", "state"])
        paused = gauge("turnout_queue_paused", "Whether a queue is paused.", labels=["queue"])
        text = "How long the oldest job that could run has waited."
        oldest = gauge("turnout_queue_oldest_seconds", text, labels=["queue"])
        for one in queues:
            for state in _STATES:
                jobs.add_metric([one.queue, state], getattr(one, state))
            paused.add_metric([one.queue], int(one.paused))
            waited = 0.0 if one.oldest_at is None else max(now - one.oldest_at, 0.0)
            oldest.add_metric([one.queue], waited)
        yield from (jobs, paused, oldest)

    def _workers(self, workers: Sequence[WorkerInfo]) -> Iterator[Any]:
        slots = sum(one.concurrency for one in workers)
        busy = sum(one.running for one in workers)
        yield self._gauge("turnout_workers", "Worker processes that are alive.", len(workers))
        yield self._gauge("turnout_worker_slots", "Jobs that they can run at once.", slots)
        yield self._gauge("turnout_worker_slots_busy", "Jobs that they run.", busy)

    def _measures(self, rows: Sequence[Measured]) -> Iterator[Any]:
        names = ["task", "queue"]
        text = "Attempts by how they ended."
        attempts = self._core.CounterMetricFamily(
            "turnout_attempts", text, labels=[*names, "outcome"]
        )
        histogram = self._core.HistogramMetricFamily
        ran = histogram("turnout_run_seconds", "How long attempts ran.", labels=names)
        waited = histogram(
            "turnout_wait_seconds", "How long jobs had been due before.", labels=names
        )
        for row in rows:
            for outcome, n in sorted(row.outcomes.items()):
                attempts.add_metric([row.task, row.queue, outcome], n)
            for family, spread in ((ran, row.run), (waited, row.wait)):
                family.add_metric([row.task, row.queue], buckets_of(spread), spread.total)
        yield from (attempts, ran, waited)


def buckets_of(spread: Spread) -> list[tuple[str, int]]:
    """Return a spread as Prometheus' buckets: each bound with all that stayed below it."""
    found, seen, last = [], 0, -1
    for bound in _BOUNDS:
        seen += sum(spread.counts.get(bucket, 0) for bucket in range(last + 1, bound + 1))
        last = bound
        found.append((f"{upper(bound):.6g}", seen))
    seen += sum(spread.counts.get(bucket, 0) for bucket in range(last + 1, LAST + 1))
    return [*found, ("+Inf", seen)]


async def serve(request: Request, desk: Desk) -> Response:
    """Answer a scrape, in the format that it prefers."""
    accept = request.headers.get("accept", "")
    try:
        text, kind = await to_thread.run_sync(_written, desk.jobs, accept)
    except ConfigError as error:
        return Response(f"{error}\n", 501, media_type="text/plain")
    return Response(text, headers={"content-type": kind})


def _written(jobs: Turnout, accept: str) -> tuple[bytes, str]:
    collector = Collector(jobs)
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    encode, kind = choose_encoder(accept)
    return encode(registry), kind


def _client() -> Any:
    try:
        from prometheus_client import core
    except ModuleNotFoundError as error:
        msg = "metrics for Prometheus need prometheus-client: pip install 'turnout[prometheus]'"
        raise ConfigError(msg) from error
    return core
