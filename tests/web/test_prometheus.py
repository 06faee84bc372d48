"""/metrics: what Prometheus scrapes, read back by its own parser."""

from __future__ import annotations

import builtins

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from turnout import StoreUnavailable
from turnout.contrib.prometheus import Collector
from turnout.metrics import Measured, Spread, bucketed
from turnout.web import dashboard
from turnout.web.exposition import buckets_of
from web.conftest import Browser


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by its name and labels."""
    found = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            found[one.name, frozenset(one.labels.items())] = one.value
    return found


@pytest.fixture
def viewer(open_as):
    return open_as("viewer").client


@pytest.fixture
def scrape(viewer):
    def ask(**headers):
        answer = viewer.get("/metrics", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer

    return ask


@pytest.fixture
def value(scrape):
    def ask(name, **labels):
        return samples(scrape().text)[name, frozenset(labels.items())]

    return ask


def test_queues_and_workers_are_gauges(shop, value):
    shop.running(1)
    shop.charge.enqueue(2)
    shop.store.pause("mail", paused=True)
    assert value("turnout_up") == 1
    assert value("turnout_jobs", queue="critical", state="ready") == 1
    assert value("turnout_jobs", queue="critical", state="running") == 1
    assert value("turnout_queue_paused", queue="mail") == 1
    assert value("turnout_queue_paused", queue="critical") == 0
    assert value("turnout_queue_oldest_seconds", queue="critical") >= 0
    assert value("turnout_workers") == 1
    assert value("turnout_worker_slots") == 10


def test_attempts_and_durations_are_counters_and_histograms(shop, value):
    runs, waits = [0.00005, 0.003, 2.0], [0.0, 0.01, 5_000.0]
    row = Measured(
        at=int(shop.app.clock()) // 60 * 60,
        task="shop.charge",
        queue="critical",
        outcomes={"succeeded": 2, "dead": 1},
        run=Spread(sum(runs), bucketed(runs)),
        wait=Spread(sum(waits), bucketed(waits)),
    )
    shop.store.record_metrics("here", 1, [row])
    names = {"task": "shop.charge", "queue": "critical"}
    assert value("turnout_attempts_total", **names, outcome="succeeded") == 2
    assert value("turnout_attempts_total", **names, outcome="dead") == 1
    assert value("turnout_run_seconds_count", **names) == 3
    assert value("turnout_run_seconds_sum", **names) == pytest.approx(sum(runs))
    for le, count in (("0.0001", 1), ("0.0016", 1), ("0.0064", 2), ("6.5536", 3), ("+Inf", 3)):
        assert value("turnout_run_seconds_bucket", **names, le=le) == count
    assert value("turnout_wait_seconds_bucket", **names, le="1677.72") == 2
    assert value("turnout_wait_seconds_bucket", **names, le="+Inf") == 3


def test_buckets_never_fall_and_end_with_all():
    spread = Spread(1.0, dict.fromkeys(range(65), 1))
    counts = [n for _, n in buckets_of(spread)]
    assert counts == sorted(counts)
    assert counts[-1] == 65


def test_strange_names_are_escaped(shop, value):
    shop.put(queue='a"b\\c\nd')
    assert value("turnout_jobs", queue='a"b\\c\nd', state="ready") == 1


def test_openmetrics_where_it_is_asked_for(shop, scrape):
    shop.charge.enqueue(1)
    answer = scrape(accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    assert scrape().headers["content-type"].startswith("text/plain")


def test_a_store_that_is_away_is_told_and_not_an_error(shop, scrape, monkeypatch):
    def away(**_):
        raise StoreUnavailable("gone")

    monkeypatch.setattr(shop.store, "count", away)
    assert samples(scrape().text) == {("turnout_up", frozenset()): 0}


def test_nobody_scrapes_unasked(shop):
    stranger = Browser(dashboard(shop.app, authorize=lambda _request: None))
    stranger.get("/metrics", 403)


def test_a_registry_of_ones_own(shop):
    registry = CollectorRegistry()
    registry.register(Collector(shop.app))
    shop.charge.enqueue(1)
    assert registry.get_sample_value("turnout_up") == 1
    labels = {"queue": "critical", "state": "ready"}
    assert registry.get_sample_value("turnout_jobs", labels) == 1


def test_without_the_library_it_says_what_to_install(shop, viewer, monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name.partition(".")[0] == "prometheus_client":
            raise ModuleNotFoundError(name=name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    answer = viewer.get("/metrics")
    assert answer.status_code == 501
    assert "pip install 'turnout[prometheus]'" in answer.text
