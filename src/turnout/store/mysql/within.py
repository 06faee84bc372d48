"""The caller's own transaction: our procedures on the connection the application writes with.

Taken are a connection or cursor of PyMySQL and mysqlclient, SQLAlchemy's Session and Connection and
Django's connection. Nothing of theirs is imported: whoever hands one in has done that.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from turnout.errors import WithinError
from turnout.store.commits import after_commit, unscoped
from turnout.store.mysql.connection import run, translate
from turnout.store.mysql.driver import Error, number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IDENTITY = "SELECT DATABASE(), CONCAT_WS(':', @@hostname, @@port, @@datadir)"
_NO_SAVEPOINT = 1305
_DRIVERS = ("pymysql.", "MySQLdb.")


class Borrowed:
    """A caller's connection, and one way to run a statement in its transaction."""

    def __init__(self, given: Any, database: tuple[object, ...]) -> None:
        self._given = unscoped(given)
        if hasattr(self._given, "run_sync"):
            raise WithinError(_must_be_plain(given))
        self.rows: Callable[..., list[tuple[Any, ...]]] = _runner(self._given)
        found = self.rows(IDENTITY)[0]
        if tuple(found) != database:
            msg = (
                f"this connection's database is {found[0]} at {found[1]}, the jobs are in "
                f"{database[0]} at {database[1]}: one transaction cannot span two. Keep the jobs "
                "in the application's database, or enqueue after the commit"
            )
            raise WithinError(msg)

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Undo what a statement that failed has done, and nothing of the caller's."""
        self._begin()
        try:
            yield
        except BaseException:
            with suppress(Exception):  # a deadlock has undone the whole transaction already
                self.rows("ROLLBACK TO SAVEPOINT turnout_enqueue")
                self.rows("RELEASE SAVEPOINT turnout_enqueue")
            raise
        self.rows("RELEASE SAVEPOINT turnout_enqueue")

    def _begin(self) -> None:
        """Set a savepoint; a connection without a transaction forgets it at once."""
        self.rows("SAVEPOINT turnout_enqueue")
        try:
            self.rows("ROLLBACK TO SAVEPOINT turnout_enqueue")
        except Exception as error:
            if number_of(_cause(error)) != _NO_SAVEPOINT:
                raise
            msg = (
                "this connection commits each statement by itself (autocommit) and has no "
                "transaction open: begin one around both"
            )
            raise WithinError(msg) from error

    def after_commit(self, call: Callable[[], None]) -> None:
        """Call back once the caller's transaction has committed, where that can be known."""
        after_commit(self._given, call)


def _must_be_plain(given: object) -> str:
    return (
        f"{type(given).__name__} awaits its statements, which enqueue does not: inside of its "
        "run_sync(), give the plain Session that it hands over"
    )


def _driver_connection(given: Any) -> Any:
    """Return the driver's own connection behind a connection, a cursor or Django's wrapper."""
    if hasattr(given, "ensure_connection"):
        given.ensure_connection()
    for each in (given, getattr(given, "connection", None)):
        if type(each).__module__.startswith(_DRIVERS) and hasattr(each, "get_server_info"):
            return each
    return None


def _runner(given: Any) -> Any:
    """Return a function that runs one statement and returns its rows."""
    connection = _driver_connection(given)
    if connection is not None:
        return lambda sql, values=None: run(connection, sql, values)
    bound = given.connection() if hasattr(given, "get_bind") else given
    if not hasattr(bound, "exec_driver_sql"):
        msg = (
            "within= takes a connection or cursor of PyMySQL or mysqlclient, SQLAlchemy's Session "
            f"or Connection, or Django's connection, got {type(given).__name__}"
        )
        raise WithinError(msg)

    def run_sqlalchemy(sql: str, values: Any = None) -> list[tuple[Any, ...]]:
        result = bound.exec_driver_sql(sql, values)
        return [tuple(row) for row in result.fetchall()] if result.returns_rows else []

    return run_sqlalchemy


def _cause(error: BaseException) -> BaseException:
    return getattr(error, "orig", None) or error  # what SQLAlchemy wraps


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what the driver raises in the caller's transaction into WithinError."""
    try:
        yield
    except Exception as error:
        cause = _cause(error)
        if not isinstance(cause, Error):
            raise
        msg = f"the job could not be recorded in the caller's transaction: {translate(cause)}"
        raise WithinError(msg) from error
