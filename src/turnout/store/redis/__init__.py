"""The adapter for Redis and Valkey, on Sidekiq's layout: `RedisStore`; the rest is inside."""

from turnout.store.redis.store import RedisStore

__all__ = ["RedisStore"]
