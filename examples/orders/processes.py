"""The demo's processes: started, watched, and stopped again whatever happens."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from turnout import Turnout

ROOT = Path(__file__).resolve().parents[2]


def until(what: str, look: Callable[[], Any], timeout: float = 30.0) -> Any:
    """Look again and again until there is something to see, and return it."""
    deadline = time.monotonic() + timeout
    while not (seen := look()):
        if time.monotonic() > deadline:
            msg = f"waited {timeout:g} s for {what}"
            raise TimeoutError(msg)
        time.sleep(0.05)
    return seen


class Stage:
    """Services, web server and worker, all on loopback and in one temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "shop.db"
        self.jobs = Turnout(f"sqlite:///{self.database}")
        self.children: list[subprocess.Popen[bytes]] = []
        self.env = dict(os.environ, SHOP_DB=str(self.database), PYTHONUNBUFFERED="1")
        self.env["TURNOUT_SECRET"] = secrets.token_urlsafe(32)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.jobs.close()
        for child in reversed(self.children):
            stop(child)

    def start_services(self) -> None:
        self._start("services", "examples.orders.services")
        where = json.loads(until("the services", self._first_line))
        self.env.update(where)
        self.remote = httpx.Client(base_url=where["CONTROL_URL"], timeout=10)

    def start_web(self) -> None:
        port = free_port()
        self.web = f"127.0.0.1:{port}"
        uvicorn = ["uvicorn", "examples.orders.shop:app", "--port", str(port)]
        self._start("web", *uvicorn, "--no-access-log", "--log-level", "warning")
        until("the web server", lambda: answers(port))

    def start_worker(self, threads: int) -> None:
        options = ["--threads", str(threads), "--grace", "5"]
        self.worker = self._start("worker", "turnout", "worker", "examples.orders.jobs", *options)
        until("the worker", self.jobs.store.workers)

    def control(self, service: str, **wish: Any) -> None:
        """Tell a service to fail, to refuse, to hang, or to be well again."""
        self.remote.post(f"/control/{service}", json=wish).raise_for_status()

    def seen_by(self, service: str) -> dict[str, Any]:
        """Return what a service was asked and what it did."""
        return dict(self.remote.get(f"/ledger/{service}").raise_for_status().json())

    def kill_worker(self, name: str) -> float:
        """Kill the worker process of this name with -9; return when that was."""
        (pid,) = (worker.pid for worker in self.jobs.store.workers() if worker.name == name)
        if os.getsid(pid) != self.worker.pid:
            msg = f"expected process {pid} to be a child of the worker started here; not killed"
            raise RuntimeError(msg)
        os.kill(pid, signal.SIGKILL)
        return time.time()

    def logs(self) -> str:
        tails = (f"--- {log.name}\n{log.read_text()[-2000:]}" for log in self.folder.glob("*.log"))
        return "\n".join(tails)

    def _start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C reaches the demo alone, which then stops its children.
        with (self.folder / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.children.append(child)
        return child

    def _first_line(self) -> str:
        text = (self.folder / "services.log").read_text()
        return text if text.endswith("\n") else ""


def stop(child: subprocess.Popen[bytes], patience: float = 12.0) -> None:
    """Ask a child to end; when it does not, end it and everything that it started."""
    child.terminate()
    try:
        child.wait(patience)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
