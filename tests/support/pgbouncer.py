"""A real PgBouncer before a server, pooling transactions; it can be stopped and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.ports import free_port
from support.postgres import _unprivileged

_PROGRAM = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")


class PgBouncer:
    """Stands before the server of `url`; its own `url` leads there by way of the pool."""

    def __init__(self, url: str, mode: str = "transaction") -> None:
        if _PROGRAM is None:
            refuse = pytest.fail if os.environ.get("CI") else pytest.skip
            refuse("no pgbouncer: apt-get install pgbouncer")
        parts = urlsplit(url)
        self.port = free_port()
        self.url = parts._replace(netloc=f"{parts.username}@127.0.0.1:{self.port}").geturl()
        self._folder = Path(tempfile.mkdtemp(prefix="turnout-bouncer-"))
        self._folder.chmod(0o755)
        (self._folder / "users").write_text(f'"{parts.username}" ""\n')
        (self._folder / "ini").write_text(
            f"[databases]\n* = host={parts.hostname} port={parts.port}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {self._folder / 'users'}\npool_mode = {mode}\n"
            "default_pool_size = 4\nserver_login_retry = 1\n"
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        who = _unprivileged()
        ids = {"user": who[0], "group": who[1], "extra_groups": []} if who else {}
        self._process = subprocess.Popen(
            [str(_PROGRAM), str(self._folder / "ini")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            **ids,
        )
        pause = threading.Event()
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            pause.wait(0.01)
        raise AssertionError("pgbouncer did not start")

    def stop(self) -> None:
        """End it at once, and with it every connection."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
