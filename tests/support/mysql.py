"""Real servers of the MySQL family for the tests: MariaDB and MySQL.

One server of each a test process, tables of its own a test. MariaDB is `mariadbd` from the system;
MySQL is `mysqld` from the system, or the program that TURNOUT_TEST_MYSQLD names. Servers that run
already are named by TURNOUT_TEST_MARIADB_URL and TURNOUT_TEST_MYSQL_URL. Root starts a server as
`nobody`. Durability is the server's default: a commit waits for the disk.
"""

from __future__ import annotations

import atexit
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pymysql
import pytest

from support.ports import free_port

_TURNS = 8  # so many tests later, a test's tables are used again
_SETTINGS = ("--innodb-buffer-pool-size=64M", "--max-connections=60")
_USERS = (
    "CREATE DATABASE test; CREATE DATABASE other;"
    "CREATE USER turnout@127.0.0.1; GRANT ALL ON test.* TO turnout@127.0.0.1;"
    "GRANT ALL ON other.* TO turnout@127.0.0.1; GRANT PROCESS ON *.* TO turnout@127.0.0.1;"
    "CREATE USER boss@127.0.0.1; GRANT ALL ON *.* TO boss@127.0.0.1;"
)


class Server:
    """One server of our own; it can be killed and started again."""

    scheme = "mariadb"
    settings = (*_SETTINGS, "--innodb-log-file-size=32M")

    def __init__(self, program: str) -> None:
        self._program = program
        self._folder = Path(tempfile.mkdtemp(prefix="turnout-my-"))
        self._user = _unprivileged()
        self._data = self._folder / "data"
        self.port = free_port()
        self._folders = ("--no-defaults", f"--datadir={self._data}", f"--tmpdir={self._folder}")
        self._process: subprocess.Popen[bytes] | None = None
        self._data.mkdir()
        if self._user:
            for path in (self._folder, self._data):
                os.chown(path, *self._user)
        self._install()
        self.start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://turnout@127.0.0.1:{self.port}/test"

    @property
    def admin_url(self) -> str:
        """The same as a user who may do everything, which ours may not."""
        return f"{self.scheme}://boss@127.0.0.1:{self.port}/test"

    def _install(self) -> None:
        install = _find("mariadb-install-db") or "mariadb-install-db"
        options = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        self._run(install, *self._folders, *options)
        # A bootstrap reads one statement a line.
        text = "FLUSH PRIVILEGES;\n" + _USERS.replace(";", ";\n")
        self._run(self._program, *self._folders, "--bootstrap", *self.settings, given=text.encode())

    def start(self, *settings: str) -> None:
        command = [
            *(self._program, *self._folders, f"--port={self.port}"),
            *("--bind-address=127.0.0.1", f"--socket={self._folder}/socket", "--skip-name-resolve"),
            *(f"--pid-file={self._folder}/pid", *self.settings, *settings),
        ]
        with (self._folder / "log").open("ab") as out:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=out, cwd="/", **self._who()
            )
        deadline, pause = time.monotonic() + 60, threading.Event()
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise AssertionError(f"{self._program} did not start:\n{self._last_words()}")
            pause.wait(0.05)

    def revive(self) -> None:
        """Start the server again if it ended by itself, and print what it said."""
        assert self._process is not None
        if self._process.poll() is not None:
            code = self._process.returncode
            told = f"{self._program} ended by itself with {code}:\n{self._last_words()}\n"
            sys.stderr.write(told)
            self.start()

    def _last_words(self) -> str:
        return (self._folder / "log").read_text(errors="replace")[-3000:]

    def _answers(self) -> bool:
        with suppress(pymysql.Error):
            connect(self.admin_url).close()
            return True
        return False

    def stop(self, how: int = signal.SIGKILL) -> None:
        """SIGKILL is what a crash of the server is; SIGTERM is an orderly stop."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(60)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _who(self) -> dict[str, Any]:
        if not self._user:
            return {}
        return {"user": self._user[0], "group": self._user[1], "extra_groups": []}

    def _run(self, *command: str, given: bytes = b"") -> None:
        options = {"capture_output": True, "timeout": 120, "cwd": "/", **self._who()}
        done = subprocess.run(command, check=False, input=given, **options)
        assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])


class MySQLServer(Server):
    """The same of MySQL, whose data folder is made by the server itself."""

    scheme = "mysql"
    settings = (*_SETTINGS, "--mysqlx=OFF", "--secure-file-priv=")

    def _install(self) -> None:
        first = self._folder / "first.sql"
        first.write_text(_USERS.replace(";", ";\n"))
        first.chmod(0o644)
        options = ["--initialize-insecure", f"--init-file={first}"]
        self._run(self._program, *self._folders, *options)


class Family:
    """MariaDB, or MySQL: where a server of it is, and tables on it."""

    def __init__(self, name: str, package: str) -> None:
        self.name = name
        self._package = package
        self._given = f"TURNOUT_TEST_{name.upper()}_URL"
        self._serial = itertools.count()

    @cached_property
    def _program(self) -> str | None:
        if self.name == "mariadb":
            return _find("mariadbd")
        found = os.environ.get("TURNOUT_TEST_MYSQLD") or _find("mysqld")
        if found is None:
            return None
        told = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
        return None if "MariaDB" in told.stdout else found  # which installs a link of this name

    def start(self) -> Server:
        """Start one more server, which may be crashed and misconfigured; the caller closes it."""
        assert self._program is not None, "absence() was asked first"
        return (Server if self.name == "mariadb" else MySQLServer)(self._program)

    @cached_property
    def server(self) -> Server:
        """The server of this test process, started at first use and ended with the process."""
        started = self.start()
        pid = os.getpid()
        atexit.register(lambda: started.close() if os.getpid() == pid else None)
        return started

    def need_own(self) -> None:
        """Skip the test where no server of our own can be started."""
        self.need()
        if self._program is None:
            pytest.skip(f"crashing a server needs one of our own: {self._package}")

    def absence(self) -> str | None:
        """Say why there is no server; None when there is one."""
        if os.environ.get(self._given) or self._program is not None:
            return None
        return f"no {self.name}: {self._package}, or set {self._given}"

    def need(self) -> None:
        """Skip the test where there is no server; fail it where there must be one."""
        reason = self.absence()
        if reason is not None and os.environ.get("CI") and self.name != os.environ.get(_WITHOUT):
            pytest.fail(reason)
        if reason is not None:
            pytest.skip(reason)

    def base_url(self) -> str:
        """The URL of a database that tests may write to."""
        self.need()
        return os.environ.get(self._given) or self.server.url

    def connect(self, url: str | None = None, **options: Any) -> pymysql.Connection[Any]:
        """A connection of an application, beside those of the store."""
        return connect(url or self.base_url(), **options)

    def fresh_url(self, **options: str) -> str:
        """The URL of tables that are empty, and that no other test uses at this time."""
        url = self.base_url()
        n = next(self._serial)
        prefix = f"t{os.getpid()}_{n % _TURNS}_"
        if n >= _TURNS:
            self._empty(prefix)
        elif n == 0:
            atexit.register(self._drop_all, os.getpid())
        query = "&".join(f"{name}={value}" for name, value in options.items())
        mark = "&" if "?" in url else "?"
        return f"{url}{mark}prefix={prefix}" + (f"&{query}" if query else "")

    def _empty(self, prefix: str) -> None:
        """Empty the tables of a test that is over: making new ones takes far longer."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET innodb_lock_wait_timeout = 5")
            for name in tables(connection, prefix):
                if not name.endswith(("_meta", "_gate")):
                    cursor.execute(f"DELETE FROM {name}")
            connection.commit()

    def _drop_all(self, pid: int) -> None:
        """Leave nothing on a server that is not ours."""
        if os.getpid() != pid or not os.environ.get(self._given):
            return
        with self.connect() as connection, connection.cursor() as cursor:
            for name in tables(connection, f"t{pid}_"):
                cursor.execute(f"DROP TABLE {name}")
            query = (
                "SELECT routine_name FROM information_schema.routines "
                "WHERE routine_schema = DATABASE()"
            )
            cursor.execute(query)
            for (name,) in cursor.fetchall():
                if name.startswith(f"t{pid}_"):
                    cursor.execute(f"DROP PROCEDURE {name}")


_WITHOUT = "TURNOUT_TEST_WITHOUT"  # names the server that this machine could not get
MARIADB = Family("mariadb", "install mariadb-server")
MYSQL = Family("mysql", "install mysql-server, or name a mysqld by TURNOUT_TEST_MYSQLD")


def connect(url: str, **options: Any) -> pymysql.Connection[Any]:
    """A connection to any of them."""
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname or "localhost",
        port=parts.port or 3306,
        user=parts.username or "",
        password=parts.password or "",
        database=parts.path[1:],
        charset="utf8mb4",
        **options,
    )


def tables(connection: pymysql.Connection[Any], prefix: str) -> list[str]:
    """The names of the tables under a prefix."""
    query = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
    with connection.cursor() as cursor:
        cursor.execute(query)
        return [name for (name,) in cursor.fetchall() if name.startswith(prefix)]


def _unprivileged() -> tuple[int, int] | None:
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/libexec")
