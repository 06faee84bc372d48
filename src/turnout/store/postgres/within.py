"""The caller's own transaction: our statement on the connection the application writes with.

Taken are a psycopg Connection or Cursor, SQLAlchemy's Session and Connection (an AsyncSession
inside its own greenlet) and Django's connection. SQLAlchemy and Django are not imported: whoever
hands one in has done that.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import tuple_row

from turnout.errors import WithinError
from turnout.store.commits import plain_session
from turnout.store.postgres.connection import translate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Borrowed:
    """A caller's connection, and one way to run a statement in its transaction."""

    def __init__(self, given: Any, database: tuple[object, ...]) -> None:
        self.rows: Callable[[str, Sequence[object]], list[tuple[Any, ...]]] = _runner(given)
        self._check_transaction(given)
        self._check_database(database)

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Undo what a statement that failed has done, and nothing of the caller's."""
        self.rows("SAVEPOINT turnout_enqueue", ())
        try:
            yield
        except BaseException:
            self.rows("ROLLBACK TO SAVEPOINT turnout_enqueue", ())
            raise
        finally:
            self.rows("RELEASE SAVEPOINT turnout_enqueue", ())

    @staticmethod
    def _check_transaction(given: Any) -> None:
        connection = _driver_connection(given)
        if connection is None or not connection.autocommit:
            return
        if connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            msg = (
                "this connection commits each statement by itself (autocommit) and has no "
                "transaction open: use `with connection.transaction():` around both"
            )
            raise WithinError(msg)

    def _check_database(self, database: tuple[object, ...]) -> None:
        found = tuple(self.rows(IDENTITY, ())[0])
        if found != database:
            msg = (
                f"this connection's database is {found[0]}, the jobs are in {database[0]}: one "
                "transaction cannot span two. Keep the jobs in the application's database, or "
                "enqueue after the commit"
            )
            raise WithinError(msg)


IDENTITY = (
    "SELECT current_database(), oid::bigint, pg_postmaster_start_time()::text "
    "FROM pg_database WHERE datname = current_database()"
)


def _driver_connection(given: Any) -> Any:
    if isinstance(given, psycopg.Connection):
        return given
    if isinstance(given, psycopg.Cursor):
        return given.connection
    inner = getattr(given, "connection", None)
    return inner if isinstance(inner, psycopg.Connection) else None  # Django's wrapper


def _runner(given: Any) -> Any:
    """Return a function that runs one statement with `%s` placeholders and returns its rows."""
    connection = _driver_connection(given)
    if connection is not None:

        def run(sql: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
            with psycopg.Cursor(connection) as cursor:  # plain rows, whatever the caller's factory
                cursor.row_factory = tuple_row
                cursor.execute(sql.encode(), values or None)
                return cursor.fetchall() if cursor.description else []

        return run
    session = plain_session(given)
    bound = session.connection() if hasattr(session, "get_bind") else session
    if not hasattr(bound, "exec_driver_sql"):
        msg = (
            "within= takes psycopg's Connection or Cursor, SQLAlchemy's Session or Connection, or "
            f"Django's connection, got {type(given).__name__}"
        )
        raise WithinError(msg)

    def run_sqlalchemy(sql: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        result = bound.exec_driver_sql(sql, tuple(values))
        return [tuple(row) for row in result.fetchall()] if result.returns_rows else []

    return run_sqlalchemy


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what the driver raises in the caller's transaction into WithinError."""
    try:
        yield
    except Exception as error:
        cause = getattr(error, "orig", error)  # what SQLAlchemy wraps
        if not isinstance(cause, psycopg.Error):
            raise
        msg = f"the job could not be recorded in the caller's transaction: {translate(cause)}"
        raise WithinError(msg) from error
