"""The shop's own tables: orders, and the mails that were sent for them.

They live in the same SQLite file as the jobs. That is what lets an order and its jobs be
committed together: see `place` in shop.py.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

PATH = os.environ.get("SHOP_DB", "shop.db")

# SQLite takes one writer at a time. Its own way of waiting is to sleep and look again, and the
# unlucky wait for long. Threads of one process queue up here instead: with eight at it, p95 of
# the page fell to about a third.
_one_writer = threading.Lock()

TABLES = """
CREATE TABLE IF NOT EXISTS orders (
    id     INTEGER PRIMARY KEY,
    email  TEXT NOT NULL,
    card   TEXT NOT NULL,
    cents  INTEGER NOT NULL,
    state  TEXT NOT NULL DEFAULT 'placed' CHECK (state IN ('placed', 'paid', 'declined')),
    charge TEXT
);
CREATE TABLE IF NOT EXISTS mails_sent (key TEXT PRIMARY KEY, order_id INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Order:
    id: int
    email: str
    card: str
    cents: int
    state: str
    charge: str | None


def create_tables() -> None:
    with closing(sqlite3.connect(PATH, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(TABLES)


@contextmanager
def transaction() -> Iterator[sqlite3.Connection]:
    """Commit what the block did, or nothing of it.

    A new connection has SQLite's own default, synchronous FULL: what is committed survives a
    power cut.
    """
    with _one_writer, closing(sqlite3.connect(PATH, isolation_level=None, timeout=5)) as db:
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")


def add_order(db: sqlite3.Connection, email: str, card: str, cents: int) -> int:
    insert = "INSERT INTO orders (email, card, cents) VALUES (?, ?, ?) RETURNING id"
    (order_id,) = db.execute(insert, (email, card, cents)).fetchone()
    return int(order_id)


def get_order(order_id: int) -> Order:
    with closing(sqlite3.connect(PATH, timeout=5)) as db:
        row = db.execute("SELECT * FROM orders WHERE id = ?", (order_id,)).fetchone()
    if row is None:
        msg = f"expected the id of an order, got {order_id}: look it up in {PATH}"
        raise LookupError(msg)
    return Order(*row)


def all_orders(path: str = PATH) -> list[Order]:
    with closing(sqlite3.connect(path, timeout=5)) as db:
        return [Order(*row) for row in db.execute("SELECT * FROM orders ORDER BY id")]


def set_paid(order_id: int, charge: str) -> None:
    with transaction() as db:
        db.execute("UPDATE orders SET state = 'paid', charge = ? WHERE id = ?", (charge, order_id))


def set_declined(order_id: int) -> None:
    with transaction() as db:
        db.execute("UPDATE orders SET state = 'declined' WHERE id = ?", (order_id,))


def was_mailed(key: str) -> bool:
    with closing(sqlite3.connect(PATH, timeout=5)) as db:
        return db.execute("SELECT 1 FROM mails_sent WHERE key = ?", (key,)).fetchone() is not None


def note_mailed(key: str, order_id: int) -> None:
    with transaction() as db:
        db.execute("INSERT OR IGNORE INTO mails_sent VALUES (?, ?)", (key, order_id))
