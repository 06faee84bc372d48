"""A real MariaDB for the tests: one server a test process, tables of its own a test.

The server is `mariadbd` from the system, or the one at TURNOUT_TEST_MYSQL_URL. Root starts it as
`nobody`. Durability is the server's default: a commit waits for the disk.
"""

from __future__ import annotations

import atexit
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pymysql
import pytest

_serial = itertools.count()
_TURNS = 8  # so many tests later, a test's tables are used again
_SETTINGS = ("--innodb-log-file-size=32M", "--innodb-buffer-pool-size=64M", "--max-connections=60")


class Server:
    """One server of our own; it can be killed and started again."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="turnout-my-"))
        self._user = _unprivileged()
        self._data = self._folder / "data"
        self.port = _free_port()
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
        return f"mariadb://turnout@127.0.0.1:{self.port}/test"

    @property
    def admin_url(self) -> str:
        """The same as a user who may do everything, which ours may not."""
        return f"mariadb://boss@127.0.0.1:{self.port}/test"

    def _install(self) -> None:
        install = _find("mariadb-install-db") or "mariadb-install-db"
        options = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        self._run(install, *self._folders, *options)
        statements = (
            "CREATE DATABASE test; CREATE DATABASE other;"
            "CREATE USER turnout@127.0.0.1; GRANT ALL ON test.* TO turnout@127.0.0.1;"
            "GRANT ALL ON other.* TO turnout@127.0.0.1; GRANT PROCESS ON *.* TO turnout@127.0.0.1;"
            "CREATE USER boss@127.0.0.1; GRANT ALL ON *.* TO boss@127.0.0.1;"
        )
        # A bootstrap reads one statement a line.
        text = "FLUSH PRIVILEGES;\n" + statements.replace(";", ";\n")
        self._run(_server(), *self._folders, "--bootstrap", *_SETTINGS, given=text.encode())

    def start(self, *settings: str) -> None:
        command = [
            *(_server(), *self._folders, f"--port={self.port}"),
            *("--bind-address=127.0.0.1", f"--socket={self._folder}/socket", "--skip-name-resolve"),
            *(f"--pid-file={self._folder}/pid", *_SETTINGS, *settings),
        ]
        with (self._folder / "log").open("ab") as out:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=out, cwd="/", **self._who()
            )
        deadline, pause = time.monotonic() + 60, threading.Event()
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                log = (self._folder / "log").read_text(errors="replace")
                raise AssertionError(f"mariadbd did not start:\n{log[-3000:]}")
            pause.wait(0.05)

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


def _unprivileged() -> tuple[int, int] | None:
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/libexec")


def _server() -> str:
    found = _find("mariadbd")
    assert found is not None, "absence() was asked first"
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@cache
def server() -> Server:
    """The server of this test process, started at first use and ended with the process."""
    started = Server()
    pid = os.getpid()
    atexit.register(lambda: started.close() if os.getpid() == pid else None)
    return started


def has_own() -> bool:
    """Tell whether a server of our own can be started."""
    return _find("mariadbd") is not None


def absence() -> str | None:
    """Say why there is no server; None when there is one."""
    if os.environ.get("TURNOUT_TEST_MYSQL_URL") or has_own():
        return None
    return "no MariaDB: install mariadb-server, or set TURNOUT_TEST_MYSQL_URL"


def need() -> None:
    """Skip the test where there is no server; fail it where there must be one."""
    reason = absence()
    if reason is not None and os.environ.get("CI"):
        pytest.fail(reason)
    if reason is not None:
        pytest.skip(reason)


def base_url() -> str:
    """The URL of a database that tests may write to."""
    need()
    return os.environ.get("TURNOUT_TEST_MYSQL_URL") or server().url


def connect(url: str | None = None, **options: Any) -> pymysql.Connection[Any]:
    """A connection of an application, beside those of the store."""
    parts = urlsplit(url or base_url())
    return pymysql.connect(
        host=parts.hostname or "localhost",
        port=parts.port or 3306,
        user=parts.username or "",
        password=parts.password or "",
        database=parts.path[1:],
        charset="utf8mb4",
        **options,
    )


def fresh_url(**options: str) -> str:
    """The URL of tables that are empty, and that no other test uses at this time."""
    url = base_url()
    n = next(_serial)
    prefix = f"t{os.getpid()}_{n % _TURNS}_"
    if n >= _TURNS:
        _empty(prefix)
    elif n == 0:
        atexit.register(_drop_all, os.getpid())
    query = "&".join(f"{name}={value}" for name, value in options.items())
    mark = "&" if "?" in url else "?"
    return f"{url}{mark}prefix={prefix}" + (f"&{query}" if query else "")


def _tables(connection: pymysql.Connection[Any], prefix: str) -> list[str]:
    query = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
    with connection.cursor() as cursor:
        cursor.execute(query)
        return [name for (name,) in cursor.fetchall() if name.startswith(prefix)]


def _empty(prefix: str) -> None:
    """Empty the tables of a test that is over: making new ones takes a hundred times as long."""
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET innodb_lock_wait_timeout = 5")
        for name in _tables(connection, prefix):
            if not name.endswith("_meta"):
                cursor.execute(f"DELETE FROM {name}")
        connection.commit()


def _drop_all(pid: int) -> None:
    """Leave nothing on a server that is not ours."""
    if os.getpid() != pid or not os.environ.get("TURNOUT_TEST_MYSQL_URL"):
        return
    with connect() as connection, connection.cursor() as cursor:
        for name in _tables(connection, f"t{pid}_"):
            cursor.execute(f"DROP TABLE {name}")
        query = (
            "SELECT routine_name FROM information_schema.routines WHERE routine_schema = DATABASE()"
        )
        cursor.execute(query)
        for (name,) in cursor.fetchall():
            if name.startswith(f"t{pid}_"):
                cursor.execute(f"DROP PROCEDURE {name}")
