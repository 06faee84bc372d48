"""The schema: making it, telling ours from others', and what the server's settings promise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import errors

from turnout.errors import SchemaError, StoreUnavailable
from turnout.store.postgres.base import VERSION, in_schema, schema_text
from turnout.store.versions import NUMBERS, schema_number

if TYPE_CHECKING:
    from turnout.store.postgres.connection import Connection

_OLDEST = 130_000
_LOCK_TIMEOUT = "10s"


def migrate(connection: Connection, schema: str) -> None:
    """Bring the schema to VERSION; safe to repeat, to race, and beside running workers.

    Raises SchemaError for a newer one that does not serve us and for a schema that holds somebody
    else's tables, StoreUnavailable when another holds what it must lock.
    """
    if connection.info.server_version < _OLDEST:
        msg = f"PostgreSQL {connection.info.server_version // 10_000} is too old: Turnout needs 13"
        raise StoreUnavailable(msg)
    if schema_version(connection, schema) == VERSION:
        return
    try:
        with connection.transaction():
            connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
            connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"turnout {schema}",))
            version = schema_version(connection, schema)
            if version < VERSION:
                connection.execute(schema_text(schema, version).encode())
    except errors.LockNotAvailable as error:
        msg = (
            f"the schema {schema!r} could not be locked within {_LOCK_TIMEOUT}: another migration "
            "or a long transaction holds it (pg_stat_activity tells which); nothing was changed, "
            "run `turnout migrate` again when it has ended"
        )
        raise StoreUnavailable(msg) from error


def schema_version(connection: Connection, schema: str) -> int:
    """Return the schema's number, at most VERSION; 0 where there is none of ours."""
    rows = connection.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v')",
        (schema,),
    ).fetchall()
    tables = {row[0] for row in rows}
    if not tables:
        return 0
    found: dict[str, object] = {}
    if {"meta", "lease", "ready"} <= tables:
        query = in_schema("SELECT key, value FROM turnout.meta WHERE key = ANY (%s)", schema)
        found = dict(connection.execute(query.encode(), (list(NUMBERS),)).fetchall())
    number = schema_number(found, VERSION, f"the schema {schema!r}")
    if number is None:
        msg = (
            f"the schema {schema!r} holds tables that Turnout did not make; name another: "
            "postgresql://.../db?schema=jobs"
        )
        raise SchemaError(msg)
    return number


def survives(connection: Connection) -> str:
    """Return what a commit survives by the server's settings."""
    settings: dict[str, str] = dict(
        connection.execute(
            "SELECT name, setting FROM pg_settings "
            "WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')"
        ).fetchall()
    )
    if settings["fsync"] == "off" or settings["full_page_writes"] == "off":
        return "a killed process"
    return "a killed process" if settings["synchronous_commit"] == "off" else "a power cut"
