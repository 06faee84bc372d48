"""SQLite alone, with the same pragmas and nothing of Turnout: what the file itself would allow.

    python benchmarks/bare.py drain 100000
    python benchmarks/bare.py enqueue 2000

drain: one thread takes 100 jobs a transaction. Each transaction drops the last lease, deletes its
jobs, writes one trace row, takes the next hundred and records them as a lease; then the payloads
are read, decoded by msgspec with types, and a function is called for each. WAL, synchronous NORMAL.

enqueue: one row of 200 bytes a transaction. WAL, synchronous FULL.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import msgspec

BATCH = 100
PAYLOAD = json.dumps({"text": "x" * 188})


def connect(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in (
        "journal_mode = WAL",
        f"synchronous = {synchronous}",
        "wal_autocheckpoint = 0",
        "cache_size = -32768",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def job_id(number: int) -> str:
    return f"01890000-0000-7000-8000-{number:012d}"


def drain(path: Path, jobs: int) -> float:
    """Return jobs a second."""
    connection = connect(path, "NORMAL")
    connection.executescript("""
        CREATE TABLE job (id TEXT PRIMARY KEY, args TEXT) WITHOUT ROWID;
        CREATE TABLE ready (queue TEXT, id TEXT, PRIMARY KEY (queue, id)) WITHOUT ROWID;
        CREATE TABLE lease (fence INTEGER PRIMARY KEY, ids TEXT);
        CREATE TABLE trace (id INTEGER PRIMARY KEY, until REAL, body TEXT);
    """)
    connection.execute("BEGIN")
    rows = [job_id(number) for number in range(jobs)]
    connection.executemany("INSERT INTO job VALUES (?, ?)", ((row, PAYLOAD) for row in rows))
    connection.executemany("INSERT INTO ready VALUES ('q', ?)", ((row,) for row in rows))
    connection.execute("COMMIT")
    began = time.perf_counter()
    done = _loop(connection)
    seconds = time.perf_counter() - began
    assert done == jobs
    return jobs / seconds


def _loop(connection: sqlite3.Connection) -> int:
    arguments = msgspec.defstruct("Arguments", [("text", str)])
    decode = msgspec.json.Decoder(arguments).decode
    encode = msgspec.json.encode

    def function(text: str) -> None:
        del text

    execute = connection.execute
    done, fence, finished = 0, 0, []
    while True:
        execute("BEGIN IMMEDIATE")
        if finished:
            execute("DELETE FROM lease WHERE fence = ?", (fence,))
            ids = encode([entry[0] for entry in finished]).decode()
            execute("DELETE FROM job WHERE id IN (SELECT value FROM json_each(?))", (ids,))
            trace = encode(finished).decode()
            execute("INSERT INTO trace (until, body) VALUES (?, ?)", (time.time(), trace))
            done += len(finished)
        head = execute("SELECT id FROM ready WHERE queue = 'q' ORDER BY id LIMIT ?", (BATCH,))
        ids = [row[0] for row in head]
        if not ids:
            execute("COMMIT")
            return done
        execute("DELETE FROM ready WHERE queue = 'q' AND id <= ?", (ids[-1],))
        text = encode(ids).decode()
        fence = execute("INSERT INTO lease (ids) VALUES (?)", (text,)).lastrowid
        execute("COMMIT")
        finished = []
        query = "SELECT id, args FROM job WHERE id IN (SELECT value FROM json_each(?))"
        for row, args in execute(query, (text,)).fetchall():
            started = time.time()
            function(decode(args).text)
            finished.append((row, started, time.time()))


def enqueue(path: Path, jobs: int) -> float:
    """Return jobs a second."""
    connection = connect(path, "FULL")
    connection.execute("CREATE TABLE job (id TEXT PRIMARY KEY, args TEXT) WITHOUT ROWID")
    rows = [job_id(number) for number in range(jobs)]
    began = time.perf_counter()
    for row in rows:
        connection.execute("INSERT INTO job VALUES (?, ?)", (row, PAYLOAD))
    return jobs / (time.perf_counter() - began)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="bare-") as folder:
        loop = {"drain": drain, "enqueue": enqueue}[sys.argv[1]]
        print(round(loop(Path(folder) / "bare.db", int(sys.argv[2]))))
