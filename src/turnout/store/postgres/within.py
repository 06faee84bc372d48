"""The caller's own transaction: our statements on the connection the application writes with.

Taken are psycopg's Connection and Cursor, psycopg2's connection, SQLAlchemy's Session and
Connection, and Django's connection; those that are awaited are in `within_async.py`. Only psycopg
is imported here: whoever hands in another has imported it.

Whether a transaction is open is for the server to say, whatever the driver believes: it refuses a
SAVEPOINT outside of one. Whether the jobs live in the same database is told by `IDENTITY`, which
changes when the server is restarted: what differs is asked for again before it is refused.
"""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from psycopg.rows import tuple_row

from turnout.errors import StoreUnavailable, WithinError
from turnout.store.commits import unscoped
from turnout.store.postgres.connection import translate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from turnout.store.postgres.base import Turn

    Rows = list[tuple[Any, ...]]
    Run = Callable[[str, Sequence[object]], Rows]

IDENTITY = (
    "SELECT current_database(), oid::bigint, pg_postmaster_start_time()::text "
    "FROM pg_database WHERE datname = current_database()"
)
SAVEPOINT = "SAVEPOINT turnout_enqueue"
UNDO = "ROLLBACK TO SAVEPOINT turnout_enqueue"
RELEASE = "RELEASE SAVEPOINT turnout_enqueue"
TAKEN = (
    "psycopg's Connection or Cursor (also asynchronous), asyncpg's Connection, psycopg2's "
    "connection, SQLAlchemy's Session, AsyncSession, Connection or AsyncConnection, or Django's "
    "connection"
)


class Statement(NamedTuple):
    """What an enqueue executes, on whatever connection: SQL with `%s`, and what it binds."""

    sql: str
    values: tuple[object, ...]


def identity(turn: Turn) -> tuple[object, ...]:
    """Return what tells our own database from all others."""
    return tuple(turn.select(IDENTITY, ())[0])


class Home:
    """The database in which the jobs are; learned when it is first asked for."""

    def __init__(self, ask: Callable[[], tuple[object, ...]]) -> None:
        self._ask = ask
        self._identity: tuple[object, ...] | None = None

    @property
    def is_known(self) -> bool:
        """Tell whether a check may be answered without asking the server."""
        return self._identity is not None

    def is_at(self, found: tuple[object, ...]) -> bool:
        """Tell whether the jobs are there, by what was known last."""
        return found == self._identity

    def check(self, found: tuple[object, ...] | None = None) -> None:
        """Raise WithinError when the jobs are in another database than `found`; may ask ours."""
        if not self.is_at(found or ()):
            try:
                self._identity = self._ask()
            except StoreUnavailable:  # on a connection from before a restart: the next is new
                self._identity = self._ask()
        if found is None or self.is_at(found):
            return
        ours = (self._identity or ("?",))[0]
        if found[0] == ours:
            msg = f"this connection's server is not the one of the jobs (both have a {ours})"
        else:
            msg = f"this connection's database is {found[0]}, the jobs are in {ours}"
        msg += (
            ": one transaction cannot span two. Keep the jobs in the application's database, or "
            "enqueue after the commit"
        )
        raise WithinError(msg)


@contextmanager
def borrow(given: object, home: Home) -> Iterator[Run]:
    """Lend the caller's transaction: what the block runs in it is done whole or undone whole.

    Raises WithinError for what cannot be shared, and for what the server refused; the caller's
    transaction can go on either way.
    """
    with refusals():
        if is_async(given):
            raise WithinError(_must_be_awaited(given))
        run = _runner(given)
        home.check(tuple(run(IDENTITY, ())[0]))
        run(SAVEPOINT, ())
        try:
            yield run
        except BaseException:
            with suppress(Exception):  # the connection may be gone: what failed first is told
                run(UNDO, ())
                run(RELEASE, ())
            raise
        run(RELEASE, ())


def record(given: object, home: Home, statement: Statement) -> Rows:
    """Execute one statement in the caller's transaction and return its rows."""
    with borrow(given, home) as run:
        return run(*statement)


# ---- what may be given


def is_async(given: object) -> bool:
    """Tell whether a connection's statements are awaited."""
    if isinstance(given, psycopg.AsyncConnection | psycopg.AsyncCursor):
        return True
    return is_asyncpg(given) or hasattr(unscoped(given), "run_sync")


def is_asyncpg(given: object) -> bool:
    """Tell whether it is asyncpg's, its own or as its pool lends it."""
    asyncpg = sys.modules.get("asyncpg")
    if asyncpg is None:
        return False
    return isinstance(given, asyncpg.Connection | asyncpg.pool.PoolConnectionProxy)


def _must_be_awaited(given: object) -> str:
    return (
        f"this connection is asynchronous ({type(given).__module__}.{type(given).__name__}): "
        "`async with jobs.within(connection): await task.aenqueue(...)`, and aenqueue_many for many"
    )


def unknown(given: object) -> WithinError:
    """Return the error for what is no connection."""
    return WithinError(
        f"within= takes {TAKEN}; got {type(given).__module__}.{type(given).__name__}"
    )


def _runner(given: Any) -> Run:
    """Return what runs one statement and returns its rows."""
    if hasattr(given, "ensure_connection"):  # Django's, which connects when it must
        given.ensure_connection()
        given = given.connection
    if isinstance(given, psycopg.Cursor):
        given = given.connection
    if isinstance(given, psycopg.Connection):
        return _psycopg_runner(given)
    if type(given).__module__.partition(".")[0] == "psycopg2" and hasattr(given, "cursor"):
        return _psycopg2_runner(given)
    return _sqlalchemy_runner(given)


def _psycopg_runner(connection: psycopg.Connection[Any]) -> Run:
    def run(sql: str, values: Sequence[object]) -> Rows:
        # Plain rows and bound values, whatever the caller's own factories make.
        with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
            cursor.execute(sql.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    return run


def _psycopg2_runner(connection: Any) -> Run:
    plain = sys.modules["psycopg2"].extensions.cursor

    def run(sql: str, values: Sequence[object]) -> Rows:
        with connection.cursor(cursor_factory=plain) as cursor:
            cursor.execute(sql, tuple(values) or None)
            return list(cursor.fetchall()) if cursor.description else []

    return run


def _sqlalchemy_runner(given: Any) -> Run:
    session = unscoped(given)
    bound = session.connection() if hasattr(session, "get_bind") else session
    if not hasattr(bound, "exec_driver_sql"):
        raise unknown(given)
    if bound.dialect.name != "postgresql":
        msg = f"this connection is to {bound.dialect.name}, the jobs are in PostgreSQL: one "
        raise WithinError(msg + "transaction cannot span two. Enqueue after the commit")
    write = numbered if bound.dialect.paramstyle.startswith("numeric") else str

    def run(sql: str, values: Sequence[object]) -> Rows:
        result = bound.exec_driver_sql(write(sql), tuple(values))
        return [tuple(row) for row in result.fetchall()] if result.returns_rows else []

    return run


@cache
def numbered(sql: str) -> str:
    """Write `$1` for the first `%s`, and so on, as asyncpg has it."""
    count = iter(range(1, sql.count("%s") + 1))
    return re.sub("%s", lambda _: f"${next(count)}", sql)


# ---- what may be raised

_FAMILIES = {"psycopg", "psycopg2", "asyncpg", "sqlalchemy", "django"}
_NO_TRANSACTION, _FAILED_TRANSACTION = "25P01", "25P02"


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what a driver raises in the caller's transaction into WithinError."""
    try:
        yield
    except Exception as error:
        of_driver = type(error).__module__.partition(".")[0] in _FAMILIES
        if not of_driver and not isinstance(error, OSError):
            raise
        raise WithinError(_explain(error)) from error


def _explain(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error  # what SQLAlchemy wraps
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if state == _NO_TRANSACTION:
        return (
            "this connection commits each statement by itself (autocommit) and has no transaction "
            "open, so that nothing would bind the job to your writes: put both into one, with "
            "`with connection.transaction():` (psycopg, asyncpg), `with transaction.atomic():` "
            "(Django) or `with session.begin():` (SQLAlchemy, not AUTOCOMMIT)"
        )
    if state == _FAILED_TRANSACTION:
        return (
            "this transaction has failed before the enqueue and can only be rolled back: let that "
            "error end it, or put what may fail into a savepoint of its own"
        )
    text = " ".join(str(cause).split()) or type(cause).__name__
    if state is not None and not isinstance(cause, psycopg.Error):
        with suppress(KeyError):
            cause = psycopg.errors.lookup(state)(text)
    if isinstance(cause, psycopg.Error):
        text = str(translate(cause))
    return f"the job could not be recorded in the caller's transaction: {text}"
