"""An application's own connections, one of every kind that `within` takes, each in a transaction.

A `Caller` has what is handed to `within`, the way to run the application's own statements beside
it, and the two ways to end its transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import psycopg
import psycopg2
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool


@dataclass
class Caller:
    """One open transaction of an application that awaits its database."""

    given: Any
    rows: Callable[[str], Awaitable[list[tuple[Any, ...]]]]
    commit: Callable[[], Awaitable[Any]]
    rollback: Callable[[], Awaitable[Any]]


@asynccontextmanager
async def _psycopg(url: str, of: str = "connection") -> AsyncIterator[Caller]:
    async with await psycopg.AsyncConnection.connect(url) as connection:

        async def rows(sql: str) -> list[tuple[Any, ...]]:
            cursor = await connection.execute(sql)
            return await cursor.fetchall() if cursor.description else []

        given = connection if of == "connection" else connection.cursor()
        yield Caller(given, rows, connection.commit, connection.rollback)
        await connection.rollback()


@asynccontextmanager
async def _asyncpg(url: str, of: str = "connection") -> AsyncIterator[Caller]:
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool:
        connection = await (pool.acquire() if of == "pool" else asyncpg.connect(url))
        transaction = connection.transaction()
        await transaction.start()

        async def rows(sql: str) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in await connection.fetch(sql)]

        try:
            yield Caller(connection, rows, transaction.commit, transaction.rollback)
        finally:
            await (pool.release(connection) if of == "pool" else connection.close())


@asynccontextmanager
async def _sqlalchemy(url: str, driver: str, of: str) -> AsyncIterator[Caller]:
    engine = create_async_engine(
        url.replace("postgresql:", f"postgresql+{driver}:"), poolclass=NullPool
    )
    registry = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
    made = {"session": lambda: AsyncSession(engine), "connection": engine.connect}
    async with registry() if of == "scoped" else made[of]() as given:

        async def rows(sql: str) -> list[tuple[Any, ...]]:
            result = await given.execute(text(sql))
            return [tuple(row) for row in result] if result.returns_rows else []

        assert isinstance(given, AsyncSession | AsyncConnection)
        handed = registry if of == "scoped" else given
        yield Caller(handed, rows, given.commit, given.rollback)
    await engine.dispose()


ASYNC: dict[str, Callable[[str], Any]] = {
    "psycopg": _psycopg,
    "psycopg cursor": lambda url: _psycopg(url, "cursor"),
    "asyncpg": _asyncpg,
    "asyncpg of a pool": lambda url: _asyncpg(url, "pool"),
    **{
        f"{of} on {driver}": lambda url, driver=driver, of=of: _sqlalchemy(url, driver, of)
        for driver in ("psycopg", "asyncpg")
        for of in ("session", "connection", "scoped")
    },
}


@dataclass
class PlainCaller:
    """One open transaction of an application that does not await."""

    given: Any
    rows: Callable[[str], list[tuple[Any, ...]]]
    commit: Callable[[], Any]
    rollback: Callable[[], Any]


@contextmanager
def _driver(url: str, driver: Any, of: str = "connection") -> Iterator[PlainCaller]:
    connection = driver.connect(url)
    cursor = connection.cursor()

    def rows(sql: str) -> list[tuple[Any, ...]]:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []

    given = connection if of == "connection" else cursor
    yield PlainCaller(given, rows, connection.commit, connection.rollback)
    connection.close()


@contextmanager
def _alchemy(url: str, driver: str, of: str) -> Iterator[PlainCaller]:
    engine = create_engine(url.replace("postgresql:", f"postgresql+{driver}:"), poolclass=NullPool)
    registry = scoped_session(sessionmaker(engine))
    made = {"session": lambda: Session(engine), "connection": engine.connect}
    with registry() if of == "scoped" else made[of]() as given:

        def rows(sql: str) -> list[tuple[Any, ...]]:
            result = given.execute(text(sql))
            return [tuple(row) for row in result] if result.returns_rows else []

        handed = registry if of == "scoped" else given
        yield PlainCaller(handed, rows, given.commit, given.rollback)
    engine.dispose()


PLAIN: dict[str, Callable[[str], Any]] = {
    "psycopg": lambda url: _driver(url, psycopg),
    "psycopg cursor": lambda url: _driver(url, psycopg, "cursor"),
    "psycopg2": lambda url: _driver(url, psycopg2),
    **{
        f"{of} on {driver}": lambda url, driver=driver, of=of: _alchemy(url, driver, of)
        for driver in ("psycopg", "psycopg2")
        for of in ("session", "connection", "scoped")
    },
}
