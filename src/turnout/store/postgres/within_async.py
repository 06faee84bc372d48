"""The caller's own transaction, where its statements are awaited: psycopg, asyncpg, SQLAlchemy.

The same statements in the same order as in `within.py`, in the caller's own coroutine: who cancels
it cancels the statement, and the transaction goes on as it was before. Enqueues that were gathered
on one connection take turns, because their savepoints must not cross.
"""

from __future__ import annotations

from asyncio import Lock, to_thread
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import tuple_row

from turnout.store.commits import unscoped
from turnout.store.postgres import within
from turnout.store.postgres.within import IDENTITY, RELEASE, SAVEPOINT, UNDO, refusals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from turnout.store.postgres.within import Home, Rows, Statement

    Run = Callable[[str, Sequence[object]], Awaitable[Rows]]


async def record(given: Any, home: Home, statement: Statement) -> Rows:
    """Execute one statement in the caller's transaction and return its rows.

    Raises WithinError as `within.borrow` does.
    """
    if not home.is_known:
        await to_thread(home.check)  # it connects: not on the event loop
    given = unscoped(given)
    if isinstance(given, psycopg.AsyncCursor):
        given = given.connection
    with refusals():
        async with _turn(given):
            if hasattr(given, "run_sync"):  # SQLAlchemy's own bridge from await to plain calls
                rows: Rows = await given.run_sync(within.record, home, statement)
                return rows
            return await _record(_runner(given), home, statement)


async def _record(run: Run, home: Home, statement: Statement) -> Rows:
    found = tuple((await run(IDENTITY, ()))[0])
    if not home.is_at(found):
        await to_thread(home.check, found)
    await run(SAVEPOINT, ())
    try:
        rows = await run(*statement)
        # Cancelled here, the release may have happened: then UNDO fails, and with it the caller's
        # transaction. Better that than a job of which its caller was told nothing.
        await run(RELEASE, ())
    except BaseException:
        with suppress(Exception):
            await run(UNDO, ())
            await run(RELEASE, ())
        raise
    return rows


def _runner(given: Any) -> Run:
    return _psycopg_runner(given) if isinstance(given, psycopg.AsyncConnection) else _asyncpg(given)


def _psycopg_runner(connection: psycopg.AsyncConnection[Any]) -> Run:
    async def run(sql: str, values: Sequence[object]) -> Rows:
        async with psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor:
            await cursor.execute(sql.encode(), values or None)
            return await cursor.fetchall() if cursor.description else []

    return run


def _asyncpg(connection: Any) -> Run:
    async def run(sql: str, values: Sequence[object]) -> Rows:
        return [tuple(row) for row in await connection.fetch(within.numbered(sql), *values)]

    return run


class _Queue:
    """Who is at work on one connection, or waits for that; gone with the last of them."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.users = 0


_queues: dict[int, _Queue] = {}  # by identity: what asyncpg's pool lends has no weak references


@asynccontextmanager
async def _turn(given: object) -> AsyncIterator[None]:
    queue = _queues.setdefault(id(given), _Queue())
    queue.users += 1
    try:
        async with queue.lock:
            yield
    finally:
        queue.users -= 1
        if not queue.users:
            del _queues[id(given)]
