"""What a worker is told: queues, their order and weights, sizes and times."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from turnout import ConfigError
from turnout.worker.options import QueueSpec, WorkerOptions, parse_queues, serving_order


@pytest.mark.parametrize(
    ("text", "specs"),
    [
        ("", ()),
        ("a", (QueueSpec("a"),)),
        ("a, b,", (QueueSpec("a"), QueueSpec("b"))),
        ("a=10,b=5", (QueueSpec("a", 10), QueueSpec("b", 5))),
        ("a=10@2,b=5", (QueueSpec("a", 10, 2), QueueSpec("b", 5))),
        ("a@2,*", (QueueSpec("a", None, 2), QueueSpec("*"))),
    ],
)
def test_queues_are_read(text, specs):
    assert parse_queues(text) == specs


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a,a", "twice"),
        ("a=1,b", "weight"),
        ("a=0", "at least 1"),
        ("a@0", "at least 1"),
        ("a=x", "name=weight"),
        ("a=-1", "name=weight"),
        ("a b", "queue name"),
        ("a\0", "queue name"),
        ("=5", "name=weight"),
    ],
)
def test_queues_that_cannot_be_read(text, word):
    with pytest.raises(ConfigError, match=word):
        parse_queues(text)


def test_without_weights_the_order_is_as_given():
    specs = parse_queues("c,a,b")
    assert serving_order(specs, random.Random(1)) == list(specs)


def test_with_weights_each_queue_comes_first_as_often_as_it_weighs():
    specs, rng = parse_queues("a=6,b=3,c=1"), random.Random(7)
    first: Counter[str] = Counter()
    last: Counter[str] = Counter()
    for _ in range(10_000):
        order = serving_order(specs, rng)
        assert sorted(spec.name for spec in order) == ["a", "b", "c"]
        first[order[0].name] += 1
        last[order[-1].name] += 1
    for name, weight in (("a", 6), ("b", 3), ("c", 1)):
        assert abs(first[name] - weight * 1000) < 200
    assert all(last.values()), "none is fixed to be last"


@pytest.mark.parametrize(
    "options",
    [{"threads": 0}, {"concurrency": 0}, {"processes": 0}, {"grace": -1}, {"heartbeat": 0},
     {"heartbeat": 5, "dead_after": 6}, {"log_format": "xml"}],
)  # fmt: skip
def test_sizes_and_times_out_of_range(options):
    with pytest.raises(ConfigError, match=next(iter(reversed(options)))):
        WorkerOptions(**options)
