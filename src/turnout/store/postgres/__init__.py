"""The PostgreSQL adapter, versions 13 to 18; needs psycopg 3."""

from turnout.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
