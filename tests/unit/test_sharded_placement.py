"""Which shard a key belongs to, and what a sharded URL says."""

from __future__ import annotations

from collections import Counter

import pytest

from turnout.config import load, redact
from turnout.errors import ConfigError
from turnout.ids import new_id
from turnout.store import open_store, part_urls, schema_sql
from turnout.store.sharded.placement import owner, ranked, score
from turnout.store.sharded.url import parse

KEYS = [f"order-{n}" for n in range(6_000)]


def test_a_score_is_the_same_on_every_machine():
    assert score("a", "018f0000-0000-7000-8000-000000000001").hex() == "cf748ccd8b09840f"
    assert score("b", "k").hex() == "9bad1dd3ba3303b6"


@pytest.mark.parametrize("names", ["ab", "abc", "abcdefgh"])
@pytest.mark.parametrize("keys", [KEYS, [new_id() for _ in range(6_000)]], ids=["keys", "ids"])
def test_keys_spread_evenly(names, keys):
    counts = Counter(owner(names, key) for key in keys)
    fair = len(keys) / len(names)
    assert set(counts) == set(names)
    assert all(0.85 * fair < count < 1.15 * fair for count in counts.values())


def test_adding_a_shard_moves_only_what_it_wins():
    before = {key: owner("abc", key) for key in KEYS}
    after = {key: owner("abcd", key) for key in KEYS}
    moved = [key for key in KEYS if before[key] != after[key]]
    assert {after[key] for key in moved} == {"d"}
    assert 0.22 < len(moved) / len(KEYS) < 0.28


def test_taking_a_shard_away_moves_only_its_own_and_to_the_next_in_rank():
    for key in KEYS[:500]:
        first, second, third = ranked("abc", key)
        assert owner("abc", key) == first
        assert owner(set("abc") - {first}, key) == second
        assert owner(set("abc") - {third}, key) == first


def test_a_url_names_shards_and_settings():
    layout, faults = parse(
        "a=postgresql://h/db?sslmode=require&x=1 | b = redis://u:p%7Cw@h/0|by=depth|drain=b|new=b"
    )
    assert faults == []
    assert layout.urls == {
        "a": "postgresql://h/db?sslmode=require&x=1",
        "b": "redis://u:p%7Cw@h/0",
    }
    assert (layout.by, layout.drain, layout.new) == ("depth", {"b"}, {"b"})


def test_every_fault_is_told_at_once():
    url = (
        "sharded:A=memory:|b=|c=redis://h/x|c=memory:y|d=nosuch:x|e=sqlite:///1.db|f=sqlite:///1.db"
        "|redis://me:hush@h/0|g=sharded:a=memory:|by=luck|drain=x"
    )
    with pytest.raises(ConfigError) as caught:
        open_store(url)
    said = str(caught.value)
    for part in (
        "got 'A=memory:'",
        "shard b has no URL",
        "shard c: the store URL cannot be read",
        "c is given twice",
        "shard d: no store answers to the scheme 'nosuch'",
        "shards e and f are one and the same",
        "got an item that looks like a URL",
        "shard g is sharded itself",
        "by is id or depth, got 'luck'",
        "drain names no shard: x",
    ):
        assert part in said, said
    assert "hush" not in said


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("sharded:", "there is no shard"),
        ("sharded:by=id", "there is no shard"),
        ("sharded:a=memory:|drain=a", "at least one must be left"),
        ("sharded:///nowhere/shards.conf", "cannot be read"),
    ],
)
def test_shards_that_cannot_work_are_refused(url, fault):
    with pytest.raises(ConfigError, match=fault):
        open_store(url)


def test_a_file_that_names_itself_is_refused(tmp_path):
    file = tmp_path / "shards.conf"
    file.write_text(f"a = sharded:///{file}")
    with pytest.raises(ConfigError, match="shard a is sharded itself"):
        open_store(f"sharded:///{file}")


def test_a_file_holds_an_item_a_line_and_comments(tmp_path):
    file = tmp_path / "shards.conf"
    file.write_text("# ours\na = memory:one\n\n  b = sqlite:///b.db?x=1 \n# b is full\ndrain = b\n")
    assert part_urls(f"sharded:///{file}") == ["memory:one", "sqlite:///b.db?x=1"]
    assert part_urls("memory:") == ["memory:"]


def test_the_schema_is_shown_shard_by_shard():
    said = schema_sql("sharded:a=sqlite:///a.db|b=memory:")
    assert said.startswith("-- shard a\n")
    assert "CREATE TABLE" in said
    assert "-- shard b\n-- this store has no schema" in said


def test_no_password_is_shown():
    url = "sharded:a=redis://:one@h1/0|b=postgresql://me:two@h2/db?password=three|by=id"
    assert load(url).location == (
        "sharded:a=redis://:***@h1/0|b=postgresql://me:***@h2/db?password=***|by=id"
    )
    assert redact("sharded:a=redis://me:pass|word@h/0") == "sharded:***"
    assert redact("sharded:///etc/shards.conf") == "sharded:///etc/shards.conf"
