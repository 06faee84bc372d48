"""The embedded store: one SQLite file, nothing to install, many processes of one machine."""

from turnout.store.sqlite.checks import SCHEMA
from turnout.store.sqlite.store import SQLiteStore

__all__ = ["SCHEMA", "SQLiteStore"]
