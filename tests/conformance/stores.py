"""Which stores keep the promises of this suite, and where an empty one of each is made.

A further store is one more line in `URLS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from support import nextversion, postgres, valkey
from support.mysql import MARIADB, MYSQL
from turnout.store import open_store
from turnout.store.protocol import Store

TOMORROW = "TURNOUT_TEST_TOMORROW"
"""Set where the code of today is tried on the schemas of a newer version, which only added."""

URLS: dict[str, Callable[[Path], str]] = {
    "memory": lambda _folder: "memory:",
    "sqlite": lambda folder: f"sqlite:///{folder}/jobs.db",
    "postgresql": lambda _folder: postgres.fresh_url(),
    "mariadb": lambda _folder: MARIADB.fresh_url(),
    "mysql": lambda _folder: MYSQL.fresh_url(),
    "redis": lambda _folder: valkey.fresh_url(),
    "one shard": lambda _folder: "sharded:a=memory:",
    "sharded": lambda _folder: "sharded:a=memory:|b=memory:",
    "sharded redis": lambda _folder: f"sharded:a={valkey.fresh_url()}|b={valkey.fresh_url()}",
}
"""Store name -> the URL of an empty store, given an empty folder."""


def set_up(url: str) -> Store:
    """Open an empty store and set it up."""
    store = open_store(url)
    store.setup()
    if TOMORROW in os.environ:
        nextversion.migrate(url)
    return store


WITHOUT_TRANSACTIONS = ("memory", "redis", "one shard", "sharded", "sharded redis")
"""Stores that refuse `transaction` and `within`."""

SEVERAL = ("sharded", "sharded redis")
"""Stores of several shards, each of which keeps every promise; across them some are weaker."""

_ORDER = "the order of a queue holds on each shard, not across them"
_KEPT = "the counts of a retention are kept by each shard"
_MARKS = "marks of one owner on several shards are undone one shard at a time"
NOT_ACROSS_SHARDS = {
    "test_each_queue_gives_no_more_than_its_room": _ORDER,
    "test_no_more_than_the_limit_is_leased": _ORDER,
    "test_successes_over_the_count_of_their_queue_go_oldest_first": _KEPT,
    "test_one_batch_of_successes_can_go_in_part": _KEPT,
    "test_marks_of_one_owner_are_granted_all_or_none": _MARKS,
    "test_what_an_owner_held_before_stays_as_it_was": _MARKS,
    "test_the_adapter_answers_as_the_reference_does": f"{_ORDER}; {_KEPT}",
}
"""Test -> why it cannot hold over `SEVERAL`. All of them hold over a sharded store of one shard."""
