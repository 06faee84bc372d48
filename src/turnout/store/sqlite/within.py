"""The caller's own transaction: enqueue on the connection that the application writes with.

Both must live in one file, because a commit over two WAL files is not atomic. Taken are a `sqlite3`
connection, and SQLAlchemy's Session and Connection over that driver. SQLAlchemy is not imported:
whoever hands one in has done that.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from turnout.errors import WithinError
from turnout.store.commits import after_commit, unscoped
from turnout.store.sqlite.busy import retried

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def borrow(within: object, path: Path) -> Iterator[Borrowed]:
    """Lend the caller's transaction: what the block does in it is done whole or undone whole.

    Raises WithinError for what cannot be shared, and for what SQLite refused.
    """
    try:
        borrowed = Borrowed(within, path)
        with borrowed.all_or_nothing():
            yield borrowed
    except Exception as error:
        cause = getattr(error, "orig", error)  # what SQLAlchemy wraps
        if not isinstance(cause, sqlite3.Error):
            raise
        msg = f"the job could not be recorded in the caller's transaction: {cause}"
        raise WithinError(msg) from error


@contextmanager
def whole(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block writes, or nothing of it.

    The lock is taken at once: a transaction that reads first and then finds that others wrote in
    between cannot be repeated here, with a task's code inside.
    """
    retried(lambda: connection.execute("BEGIN IMMEDIATE"))
    try:
        yield
        _commit(connection)
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _commit(connection: sqlite3.Connection) -> None:
    if not connection.in_transaction:
        msg = "a transactional task leaves commit and rollback to the worker, this one did not"
        raise WithinError(msg)
    connection.execute("COMMIT")


class Borrowed:
    """A caller's connection: statements in its transaction, and a hook for after its commit."""

    def __init__(self, connection: Any, path: Path) -> None:
        self._session: Any = None
        self._raw: sqlite3.Connection | None = None
        if isinstance(connection, sqlite3.Connection):
            self._raw = connection
            self.execute: Callable[..., Any] = connection.execute
            self.executemany: Callable[..., Any] = connection.executemany
        else:
            self._take_sqlalchemy(connection)
        self._check_same_file(path)
        self._begin()

    def _take_sqlalchemy(self, given: Any) -> None:
        session = unscoped(given)
        if hasattr(session, "run_sync"):
            raise WithinError(_not_awaited(given))
        connection = session.connection() if hasattr(session, "get_bind") else session
        if not hasattr(connection, "exec_driver_sql"):
            msg = (
                "within= takes a sqlite3.Connection or SQLAlchemy's Session or Connection, "
                f"got {type(given).__module__}.{type(given).__name__}"
            )
            raise WithinError(msg)
        self._session = session
        self.execute = lambda sql, values=(): connection.exec_driver_sql(sql, tuple(values))
        raw = getattr(getattr(connection, "connection", None), "driver_connection", None)
        if not isinstance(raw, sqlite3.Connection):
            # A SAVEPOINT without a BEGIN is a transaction of its own, and only sqlite3 says which.
            raise WithinError(_not_awaited(raw))
        self._raw = raw
        self.executemany = lambda sql, rows: (
            connection.exec_driver_sql(sql, list(rows)) if rows else None
        )

    def _check_same_file(self, path: Path) -> None:
        ours = os.path.realpath(path)
        for row in self.execute("PRAGMA database_list").fetchall():
            if row[1] == "main" and row[2] and os.path.realpath(row[2]) == ours:
                return
        msg = (
            f"this connection's database is not {path}: one transaction cannot span two files. "
            "Keep the jobs in the application's file, or enqueue after the commit"
        )
        raise WithinError(msg)

    def _begin(self) -> None:
        if self._raw is None or self._raw.in_transaction:
            return
        if self._raw.isolation_level is None:
            msg = (
                "this connection commits each statement by itself (isolation_level=None) and has "
                "no transaction open: execute BEGIN IMMEDIATE first"
            )
            raise WithinError(msg)
        # What sqlite3 would do before the caller's own INSERT, made early: the keys that are looked
        # at now must not be taken by others before they are claimed.
        self._raw.execute("BEGIN IMMEDIATE")

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Undo what an enqueue that failed half-way has done, and nothing of the caller's."""
        self.execute("SAVEPOINT turnout_enqueue")
        try:
            yield
        except BaseException:
            self.execute("ROLLBACK TO turnout_enqueue")
            raise
        finally:
            self.execute("RELEASE turnout_enqueue")

    def after_commit(self, call: Callable[[], None]) -> None:
        """Call back once the caller's transaction has committed, where that can be known."""
        after_commit(self._session, call)


def _not_awaited(given: object) -> str:
    return (
        f"jobs in SQLite join transactions of sqlite3 itself, this is of {type(given).__module__}: "
        "write both through a plain sqlite3 connection or Session, or enqueue after the commit"
    )
