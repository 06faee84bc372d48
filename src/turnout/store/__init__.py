"""Opens stores by URL; the only place that knows which adapter serves which scheme.

Adapters are imported when first asked for, so that a web process pays for its own store alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout.errors import ConfigError

if TYPE_CHECKING:
    from turnout.store.protocol import Store

__all__ = ["open_store", "schema_sql"]


def open_store(url: str) -> Store:
    """Return the store behind `url`; nothing is opened or created before its first use.

    Raises ConfigError for an unknown scheme or a malformed URL.
    """
    scheme, colon, rest = url.partition(":")
    if colon and scheme == "memory":
        from turnout.store.memory import MemoryStore

        return MemoryStore.named(rest.lstrip("/"))
    if colon and scheme == "sqlite":
        from turnout.store.sqlite import SQLiteStore

        return SQLiteStore.from_url(url)
    msg = (
        f"no store answers to the scheme {scheme!r}: a store URL begins with sqlite: or memory:, "
        "such as sqlite:///jobs.db"
    )
    raise ConfigError(msg)


def schema_sql(url: str) -> str:
    """Return the SQL that `setup` would run on an empty store, for a person to read or run."""
    if url.partition(":")[0] == "sqlite":
        from turnout.store.sqlite import SCHEMA

        return SCHEMA
    open_store(url)
    return "-- this store has no schema\n"
