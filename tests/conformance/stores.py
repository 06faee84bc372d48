"""Which stores keep the promises of this suite, and where an empty one of each is made.

A further store is one more line in `URLS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support import mariadb, postgres, valkey

URLS: dict[str, Callable[[Path], str]] = {
    "memory": lambda _folder: "memory:",
    "sqlite": lambda folder: f"sqlite:///{folder}/jobs.db",
    "postgresql": lambda _folder: postgres.fresh_url(),
    "mariadb": lambda _folder: mariadb.fresh_url(),
    "redis": lambda _folder: valkey.fresh_url(),
}
"""Store name -> the URL of an empty store, given an empty folder."""

WITHOUT_TRANSACTIONS = ("memory", "redis")
"""Stores that refuse `transaction` and `within`."""
