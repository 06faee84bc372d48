"""`mark` and `unmark`: who may hold a limit key, for how long, and what a refused one is told."""

from __future__ import annotations

import threading

import pytest

from conformance.builders import T
from turnout.errors import ConfigError
from turnout.job import Retention
from turnout.limits import Mark, concurrency, rate
from turnout.limits.marks import MAX_MARKS, Marked


def ask(key="k", owner="a", ttl=30.0, **more) -> Mark:
    return Mark(key=key, owner=owner, ttl=ttl, **more)


def granted(live: int, until: float, value: str | None = None) -> Marked:
    return Marked(granted=True, live=live, until=until, value=value)


def refused(live: int, until: float | None = None, value: str | None = None) -> Marked:
    return Marked(granted=False, live=live, until=until, value=value)


def test_no_more_than_most_hold_a_key(store):
    marks = [ask(owner=owner, most=2) for owner in "abc"]
    assert store.mark(marks, now=T) == [
        granted(1, T + 30),
        granted(2, T + 30),
        refused(2, T + 30),
    ]
    assert store.mark([ask("other", most=1)], now=T) == [granted(1, T + 30)]


def test_a_dropped_mark_makes_room(store):
    store.mark([ask(owner="a"), ask(owner="a", key="k2")], now=T)
    assert store.unmark([("k", "a"), ("k2", "a"), ("k2", "b"), ("none", "a")]) == 2
    assert store.unmark([("k", "a")]) == 0
    assert store.unmark([]) == 0
    assert store.mark([ask(owner="b")], now=T) == [granted(1, T + 30)]


def test_an_expired_mark_makes_room(store):
    store.mark([ask(owner="a", ttl=10)], now=T)
    assert store.mark([ask(owner="b")], now=T + 9.5) == [refused(1, T + 10)]
    assert store.mark([ask(owner="b")], now=T + 10) == [granted(1, T + 40)]


def test_an_owner_renews_its_mark_also_when_the_key_is_full(store):
    store.mark([ask(owner="a"), ask(owner="b", most=2)], now=T)
    assert store.mark([ask(owner="a", most=1)], now=T + 20) == [granted(2, T + 50)]
    assert store.mark([ask(owner="c", most=2)], now=T + 30) == [granted(2, T + 60)]


def test_the_refused_hear_when_there_will_be_room_under_a_lower_limit_too(store):
    for n, owner in enumerate("abcd"):
        store.mark([ask(owner=owner, most=4, ttl=10.0 + n)], now=T)
    asks = [ask(owner="x", most=2), ask(owner="y", most=4), ask(owner="z", most=1)]
    assert store.mark(asks, now=T) == [
        refused(4, T + 12),
        refused(4, T + 10),
        refused(4, T + 13),
    ]
    later = [ask(owner="a", most=4, ttl=50), ask(owner="x", most=4)]
    assert store.mark(later, now=T) == [granted(4, T + 50), refused(4, T + 11)]


def test_marks_of_one_owner_are_granted_all_or_none(store):
    store.mark([ask("full", "other")], now=T)
    both = [ask("free", "a", most=5), ask("full", "a", most=1)]
    answers = store.mark([*both, ask("free", "b", most=1)], now=T)
    assert [answer.granted for answer in answers] == [False, False, True]
    assert (answers[0].until, answers[0].value) == (None, None)
    assert answers[1] == refused(1, T + 30)
    assert store.mark([ask("free", "c", most=1)], now=T) == [refused(1, T + 30)]


def test_what_an_owner_held_before_stays_as_it_was(store):
    store.mark([ask("free", "a", value="old", ttl=10)], now=T)
    store.mark([ask("full", "other")], now=T)
    asks = [ask("free", "a", value="new"), ask("full", "a")]
    assert store.mark(asks, now=T) == [refused(1, None, "old"), refused(1, T + 30)]
    assert store.mark([ask("free", "b")], now=T) == [refused(1, T + 10)]


def test_chained_marks_begin_where_the_last_one_ends(store):
    bucket = [ask(owner=owner, ttl=2.0, most=3, chained=True) for owner in "abcd"]
    assert store.mark(bucket, now=T) == [
        granted(1, T + 2),
        granted(2, T + 4),
        granted(3, T + 6),
        refused(3, T + 2),
    ]
    # The same again takes no second token.
    assert store.mark(bucket[:1], now=T + 1) == [granted(3, T + 2)]
    assert store.mark(bucket[3:], now=T + 2) == [granted(3, T + 8)]
    assert store.mark([ask(owner="e", ttl=2.0, most=3, chained=True)], now=T + 100) == [
        granted(1, T + 102)
    ]


def test_a_value_is_set_only_where_it_is_as_expected(store):
    first = ask(value="1", expect=None)
    assert store.mark([first], now=T) == [granted(1, T + 30, "1")]
    assert store.mark([first], now=T) == [refused(1, T + 30, "1")]
    assert store.mark([ask(value="2", expect="1")], now=T) == [granted(1, T + 30, "2")]
    assert store.mark([ask(value="3", expect="1")], now=T) == [refused(1, T + 30, "2")]
    assert store.mark([ask(expect="2")], now=T) == [granted(1, T + 30, None)]
    assert store.mark([ask(value="5", expect="2")], now=T + 31) == [refused(0)]


def test_asking_for_nothing_tells_how_things_stand(store):
    look = ask(most=0)
    assert store.mark([look], now=T) == [refused(0)]
    store.mark([ask(value="v"), ask(owner="b", most=2)], now=T)
    assert store.mark([look], now=T) == [refused(2, None, "v")]
    assert store.mark([look], now=T + 30) == [refused(0)]


def test_any_text_is_kept_as_it_is(store):
    keys = ["a", "A", "a ", "ä", "key with 'quotes' and \\ %s {}", "x" * 250]
    asks = [ask(key, owner=f"o{n}", value='{"π": "\\n"}\n') for n, key in enumerate(keys)]
    assert [answer.live for answer in store.mark(asks, now=T)] == [1] * len(keys)
    looks = [ask(key, owner=f"o{n}", most=0) for n, key in enumerate(keys)]
    assert {answer.value for answer in store.mark(looks, now=T)} == {'{"π": "\\n"}\n'}
    assert store.unmark([(key, f"o{n}") for n, key in enumerate(keys)]) == len(keys)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"key": ""}, "key must be text"),
        ({"key": "x" * 251}, "key must be text"),
        ({"owner": "a\n"}, "owner must be text"),
        ({"ttl": 0}, "ttl must be more than 0"),
        ({"ttl": float("nan")}, "ttl must be"),
        ({"most": -1}, "most must be"),
        ({"value": "x" * 10_001}, "value has 10,001"),
        ({"value": "\0"}, "NUL"),
    ],
)
def test_an_impossible_mark_is_refused_and_nothing_is_kept(store, bad, said):
    with pytest.raises(ConfigError, match=said):
        store.mark([ask("good"), ask(**{"owner": "b", **bad})], now=T)
    assert store.mark([ask("good", owner="c")], now=T) == [granted(1, T + 30)]


def test_one_call_has_a_bound_and_names_each_pair_once(store):
    with pytest.raises(ConfigError, match="1,000 marks at most"):
        store.mark([ask(owner=str(n)) for n in range(MAX_MARKS + 1)], now=T)
    with pytest.raises(ConfigError, match="asks twice"):
        store.mark([ask(), ask()], now=T)
    assert store.mark([], now=T) == []


def test_a_full_call_is_answered_whole(store):
    asks = [ask(f"k{n % 7}", owner=str(n), most=100) for n in range(MAX_MARKS)]
    assert sum(answer.granted for answer in store.mark(asks, now=T)) == 700


def test_expired_marks_are_pruned_and_the_others_stay(store):
    store.mark([ask(owner="a", ttl=10), ask(owner="b", most=2, ttl=50)], now=T)
    assert store.prune(Retention(), now=T + 20) == 0
    assert store.mark([ask(owner="c", most=2)], now=T + 20) == [granted(2, T + 50)]


def test_the_store_s_own_clock_counts_without_another(store):
    [answer] = store.mark([ask(ttl=60)])
    assert answer.granted
    [refusal] = store.mark([ask(owner="b")])
    assert refusal == refused(1, answer.until)


def test_declared_limits_ask_for_what_they_say(store):
    slots = concurrency("stripe", 2)
    starts = rate("stripe", 2, per=60, shape="window")
    for n, expected in enumerate([True, True, False]):
        answers = store.mark([slots.mark(f"job {n}"), starts.mark(f"job {n}")], now=T)
        assert [answer.granted for answer in answers] == [expected] * 2


def test_threads_that_ask_at_once_never_get_more_than_there_is(store):
    barrier = threading.Barrier(4)
    answers: list[Marked] = []

    def work(n: int) -> None:
        barrier.wait()
        for turn in range(10):
            answers.extend(store.mark([ask(f"key {k}", f"{n} {turn} {k}", most=3) for k in (0, 1)]))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 80
    assert sum(answer.granted for answer in answers) == 6
