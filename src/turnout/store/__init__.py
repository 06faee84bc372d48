"""Opens stores by URL; the only place that knows which adapter serves which scheme.

Adapters are imported when first asked for, so that a web process pays for its own store alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from turnout.errors import ConfigError

if TYPE_CHECKING:
    from turnout.store.protocol import Store

__all__ = ["open_store", "part_urls", "schema_sql"]

# scheme -> module, class, the extra that brings its driver
_ADAPTERS = {
    "memory": ("memory", "MemoryStore", ""),
    "sqlite": ("sqlite", "SQLiteStore", ""),
    "postgresql": ("postgres", "PostgresStore", "postgres"),
    "postgres": ("postgres", "PostgresStore", "postgres"),
    "mysql": ("mysql", "MySQLStore", "mysql"),
    "mariadb": ("mysql", "MySQLStore", "mysql"),
    "redis": ("redis", "RedisStore", "redis"),
    "rediss": ("redis", "RedisStore", "redis"),
    "unix": ("redis", "RedisStore", "redis"),
    "sharded": ("sharded", "ShardedStore", ""),
}


def open_store(url: str) -> Store:
    """Return the store behind `url`; nothing is opened or created before its first use.

    Raises ConfigError for an unknown scheme, a malformed URL or a driver that is not installed.
    """
    store: Store = _adapter(url).from_url(url)
    return store


def schema_sql(url: str) -> str:
    """Return the SQL that `setup` would run on an empty store, for a person to read or run."""
    adapter = _adapter(url)
    text: str = adapter.schema_sql(url) if hasattr(adapter, "schema_sql") else ""
    return text or "-- this store has no schema\n"


def part_urls(url: str) -> list[str]:
    """Return the URLs of the stores behind `url`: itself, or those of its shards."""
    adapter = _adapter(url)
    parts: list[str] = adapter.part_urls(url) if hasattr(adapter, "part_urls") else [url]
    return parts


def _adapter(url: str) -> Any:
    scheme, colon, _ = url.partition(":")
    if not colon or scheme not in _ADAPTERS:
        msg = (
            f"no store answers to the scheme {scheme!r}: a store URL begins with sqlite:, "
            "postgresql:, mysql:, mariadb:, redis:, memory: or sharded:, such as sqlite:///jobs.db"
        )
        raise ConfigError(msg)
    module, name, extra = _ADAPTERS[scheme]
    try:
        return getattr(import_module(f"turnout.store.{module}"), name)
    except ModuleNotFoundError as error:
        if not extra or (error.name or "").startswith("turnout"):
            raise
        msg = (
            f"{scheme}: needs {error.name}, which is not installed: pip install 'turnout[{extra}]'"
        )
        raise ConfigError(msg) from error
