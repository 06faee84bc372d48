"""The stores under faults: a server of its own each, and what is done to it.

A fault is a method `do_KIND(planned)` that lasts as long as it takes; `weights` says which kinds a
stage has. `url` is what workers and enqueuers use, `direct` what the rig itself looks by.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pymysql

import redis
from chaos.shop import EFFECTS
from support import mysql, postgres, valkey
from support.proxy import Proxy
from turnout.testing.chaos.schedule import Planned
from turnout.testing.chaos.worker import Clock

_EFFECTS = f"CREATE TABLE {EFFECTS} (job VARCHAR(36) NOT NULL, receipt VARCHAR(36) NOT NULL)"
_NETWORK = {"cut": 2, "away": 1, "silent": 1, "lose_reply": 2, "slow": 1}
_HOUR = 3600.0


class Stage:
    """One store and its faults."""

    name: str
    url: str
    direct: str
    weights: dict[str, float]
    places: tuple[str, ...] = ()  # what must be empty once every job has ended
    forgets: tuple[str, ...] = ()  # faults that may undo what was settled in the last second
    skewed: Clock  # the clock of the processes that jump

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hurry = threading.Event()  # ends every fault that lasts
        self.skewed = Clock(folder / "clock")

    def clock_of(self, n: int) -> str:
        """Return the clock file of the n-th supervisor, or nothing."""
        return str(self.folder / "clock") if n % 2 else ""

    def last(self, seconds: float) -> None:
        self.hurry.wait(seconds)

    def do_clock(self, planned: Planned) -> None:
        self.skewed.jump(_HOUR if planned.victim < 0.5 else -_HOUR)
        self.last(planned.seconds)
        self.skewed.jump(0.0)

    def prepare(self) -> None:
        """Make what the jobs themselves write to."""
        self.run(_EFFECTS)

    def run(self, statement: str) -> list[Any]:
        """Run one statement, on no connection that a fault touches; return its rows."""

    def effects(self) -> list[tuple[str, str]]:
        return [tuple(row) for row in self.run(f"SELECT job, receipt FROM {EFFECTS}")]

    def leftovers(self) -> dict[str, int]:
        """Return how much is left where nothing should be."""
        return {place: self.run(f"SELECT count(*) FROM {place}")[0][0] for place in self.places}

    def size(self) -> int:
        """Return the bytes that the store takes."""
        return 0

    def close(self) -> None:
        self.hurry.set()


class SQLite(Stage):
    """A file: its faults are locks, long readers and checkpoints.

    Not the clock. A file's processes share their machine's, so it can only jump for all of them;
    and what was put off while it was an hour ahead rightly waits for an hour when it is back.
    """

    name = "sqlite"
    weights = {"lock": 2, "reader": 1, "checkpoint": 1}
    places = (
        "turnout_lease", "turnout_job", "turnout_ready", "turnout_scheduled", "turnout_cancel",
        "turnout_unique",
    )  # fmt: skip

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / "jobs.db"
        self.url = self.direct = f"sqlite:///{self.path}"

    def clock_of(self, n: int) -> str:
        del n
        return ""

    @contextmanager
    def _open(self):
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=30)) as connection:
            yield connection

    def run(self, statement: str) -> list[Any]:
        with self._open() as connection:
            return connection.execute(statement).fetchall()

    def do_lock(self, planned: Planned) -> None:
        with self._open() as connection:
            connection.execute("BEGIN EXCLUSIVE")
            self.last(planned.seconds)
            connection.execute("ROLLBACK")

    def do_reader(self, planned: Planned) -> None:
        with self._open() as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM turnout_job").fetchall()
            self.last(planned.seconds)
            connection.execute("ROLLBACK")

    def do_checkpoint(self, planned: Planned) -> None:
        del planned
        with self._open() as connection, suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def size(self) -> int:
        paths = (self.path, Path(f"{self.path}-wal"))
        return sum(path.stat().st_size for path in paths if path.exists())


class ServerStage(Stage):
    """A server behind a proxy: it crashes, and the network to it fails."""

    def __init__(self, folder: Path, server: Any) -> None:
        super().__init__(folder)
        self.server = server
        self.direct = self._with_name(server.url)
        self.proxy = Proxy(self.direct)
        self.url = self.proxy.url

    @staticmethod
    def _with_name(url: str) -> str:
        return url

    def do_server(self, planned: Planned) -> None:
        self._crash()
        self.last(planned.seconds / 2)
        self.server.start()

    def _crash(self) -> None:
        self.server.stop()

    def do_cut(self, planned: Planned) -> None:
        del planned
        self.proxy.cut()

    def do_lose_reply(self, planned: Planned) -> None:
        del planned
        self.proxy.lose_reply()

    def do_away(self, planned: Planned) -> None:
        self.proxy.go_away()
        self.last(planned.seconds)
        self.proxy.come_back()

    def do_silent(self, planned: Planned) -> None:
        self.proxy.go_silent()
        self.last(planned.seconds)
        self.proxy.come_back()

    def do_slow(self, planned: Planned) -> None:
        self.proxy.delay = 0.02 + planned.victim * 0.08
        self.last(planned.seconds)
        self.proxy.delay = 0.0

    def close(self) -> None:
        super().close()
        self.proxy.close()
        self.server.close()


class PostgreSQL(ServerStage):
    name = "postgresql"
    forgets = ("server",)  # a settle does not wait for the disk: docs/durability.md
    weights = {**_NETWORK, "server": 1, "backends": 1, "readonly": 1, "clock": 1}
    places = (
        "turnout.lease", "turnout.ready", "turnout.scheduled", "turnout.cancel", "turnout.uniq",
    )  # fmt: skip

    def __init__(self, folder: Path) -> None:
        postgres.need()
        super().__init__(folder, postgres.Server())

    def run(self, statement: str) -> list[Any]:
        with psycopg.connect(self.direct, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def do_backends(self, planned: Planned) -> None:
        del planned
        self.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    def do_readonly(self, planned: Planned) -> None:
        for value, seconds in (("on", planned.seconds), ("off", 0)):
            self.run(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
            self.run("SELECT pg_reload_conf()")
            self.last(seconds)

    def size(self) -> int:
        return self.run("SELECT pg_database_size(current_database())")[0][0]


class MariaDB(ServerStage):
    name = "mariadb"
    family = mysql.MARIADB
    weights = {**_NETWORK, "server": 1, "backends": 1, "readonly": 1, "clock": 1}
    places = (
        "turnout_lease", "turnout_job", "turnout_ready", "turnout_scheduled", "turnout_cancel",
        "turnout_uniq",
    )  # fmt: skip

    def __init__(self, folder: Path) -> None:
        self.family.need()
        super().__init__(folder, self.family.start())

    def run(self, statement: str) -> list[Any]:
        connection = mysql.connect(self.server.admin_url, autocommit=True)
        with closing(connection), connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def do_backends(self, planned: Planned) -> None:
        del planned
        for (number,) in self.run(
            "SELECT id FROM information_schema.processlist WHERE user = 'turnout'"
        ):
            with suppress(pymysql.Error):
                self.run(f"KILL {number}")

    def do_readonly(self, planned: Planned) -> None:
        self.run("SET GLOBAL read_only = 1")
        self.last(planned.seconds)
        self.run("SET GLOBAL read_only = 0")

    def size(self) -> int:
        query = "SELECT sum(data_length + index_length) FROM information_schema.tables"
        return int(self.run(f"{query} WHERE table_schema = 'test'")[0][0])


class MySQL(MariaDB):
    name = "mysql"
    family = mysql.MYSQL


class Valkey(ServerStage):
    """With its log synced at every write: what was accepted must survive a crash."""

    name = "redis"
    weights = {**_NETWORK, "server": 1, "backends": 1, "scripts": 1, "full": 1, "clock": 1}

    def __init__(self, folder: Path) -> None:
        valkey.need()
        settings = ("--appendonly", "yes", "--appendfsync", "always")
        super().__init__(folder, valkey.Server(*settings))

    def _crash(self) -> None:
        self.server.kill()

    def prepare(self) -> None:
        """Jobs write nothing of their own here."""

    def effects(self) -> list[tuple[str, str]]:
        return []

    def _client(self) -> Any:
        return closing(redis.Redis.from_url(self.direct, decode_responses=True))

    def do_backends(self, planned: Planned) -> None:
        del planned
        with self._client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def do_scripts(self, planned: Planned) -> None:
        del planned
        with self._client() as client:
            client.script_flush()

    def do_full(self, planned: Planned) -> None:
        with self._client() as client:
            client.config_set("maxmemory", 1)
            self.last(planned.seconds)
            client.config_set("maxmemory", 0)

    def leftovers(self) -> dict[str, int]:
        with self._client() as client:
            counts = {
                "leases": len(list(client.scan_iter("turnout:lease:*"))),
                "lists": sum(client.llen(key) for key in client.scan_iter("queue:*")),
                "unique": client.hlen("turnout:unique"),
            }
            for place in ("schedule", "retry"):
                counts[place] = client.zcard(place)
            return counts

    def size(self) -> int:
        with self._client() as client:
            return int(client.info("memory")["used_memory"])


STAGES: dict[str, Callable[[Path], Stage]] = {
    stage.name: stage for stage in (SQLite, PostgreSQL, MariaDB, MySQL, Valkey)
}
