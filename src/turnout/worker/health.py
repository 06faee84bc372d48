"""Answers health probes over HTTP, from a process of its own that only reads the board.

    GET /live    200 while every main loop turns, the supervisor's included; else 503
    GET /ready   200 while a worker takes jobs and the store answers it; else 503
    GET /status  200, what is known of each process, as JSON

A thread of the supervisor could not tell that the supervisor is stuck, and a process that forks
should have no threads. The socket is bound by the supervisor, before anything else starts, and
survives its restarts, so that no probe is refused in between. It is never bound unless asked for,
and what it says holds no arguments, names of jobs or settings.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import msgspec

from turnout.errors import ConfigError
from turnout.worker.board import Board, Stage

_ADDRESS = re.compile(r"(?P<host>\[[^\]]+\]|[^:/\[\]]*):(?P<port>\d{1,5})")
_LAST_PORT, _BACKLOG = 65_535, 64
_SLOW_CLIENT = 5.0
_MOST_CLIENTS = 32
_LOOK = 0.5
LEAVE = signal.SIGUSR1


class Limits(msgspec.Struct, frozen=True):
    """What counts as stuck, and as out of touch with the store, in seconds."""

    stuck_after: float
    dead_after: float


def bind(address: str) -> socket.socket:
    """Listen at `host:port`, `:port` or a path; raise ConfigError where that cannot be."""
    try:
        if "/" in address:
            return _bind_path(address.removeprefix("unix:"))
        found = _ADDRESS.fullmatch(address)
        if found is None or int(found["port"]) > _LAST_PORT:
            msg = f"--health is host:port, :port or a path, such as 127.0.0.1:8080, got {address!r}"
            raise ConfigError(msg)
        host = found["host"].strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, int(found["port"])), family=family, backlog=_BACKLOG)
    except OSError as error:
        msg = f"health probes cannot be answered at {address}: {error}; name another place"
        raise ConfigError(msg) from error


def _bind_path(path: str) -> socket.socket:
    """Listen at a path; one that nobody listens at any more is taken over."""
    if Path(path).is_socket():
        if _is_answered(path):
            msg = f"--health: somebody listens at {path} already; name another path"
            raise ConfigError(msg)
        Path(path).unlink()
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.bind(path)
        line.listen(_BACKLOG)
    except OSError:
        line.close()
        raise
    return line


def _is_answered(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(1.0)
        return line.connect_ex(path) == 0


def serve(line: socket.socket, board: Board, limits: Limits, parent: int) -> int:
    """Answer probes until the parent is gone, or until `LEAVE`: then answer what was accepted.

    The signals that stop the parent are not for us.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    line.setblocking(False)  # a successor listens too, and may take what we were woken for
    server = _Server(line, board, limits, parent)
    # shutdown() waits for the loop, which is what the signal interrupts: so in a thread of its own.
    signal.signal(LEAVE, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=_LOOK)
    server.server_close()
    return 0


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # closing waits for those that answer; each has `_SLOW_CLIENT` seconds

    def __init__(self, line: socket.socket, board: Board, limits: Limits, parent: int) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = line
        self.board, self.limits, self._parent = board, limits, parent

    def service_actions(self) -> None:
        if os.getppid() != self._parent:
            os._exit(0)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        return threading.active_count() <= _MOST_CLIENTS

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Let a client go that hung up or was too slow."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _SLOW_CLIENT
    server_version = "turnout"
    sys_version = ""

    def do_GET(self) -> None:
        server = cast("_Server", self.server)
        look = _PAGES.get(self.path.partition("?")[0].rstrip("/"))
        told = look(server.board, server.limits) if look else None
        code = 404 if told is None else 200 if told.pop("ok") else 503
        body = msgspec.json.encode(told or {"error": f"known are {', '.join(_PAGES)}"}) + b"\n"
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the base looks for this name

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Say nothing: a probe every second is no news."""


# ---- what is told


def live(board: Board, limits: Limits) -> dict[str, Any]:
    """Tell whether every main loop turns."""
    faults = board.faults(time.monotonic(), limits.stuck_after)
    return {"ok": not faults, "live": not faults, "faults": faults}


def ready(board: Board, limits: Limits) -> dict[str, Any]:
    """Tell whether jobs are taken here."""
    now = time.monotonic()
    takers = [
        row
        for row in board.taken()
        if row.stage == Stage.RUNNING
        and now - row.seen <= limits.dead_after
        and now - row.beat <= limits.stuck_after
    ]
    state = Stage(int(board.own.stage))
    is_ready = bool(takers) and state is not Stage.STOPPING
    return {"ok": is_ready, "ready": is_ready, "state": _word(state), "workers": len(takers)}


def status(board: Board, limits: Limits) -> dict[str, Any]:
    """Tell what is known of each process."""
    now = time.monotonic()
    workers = [
        {
            "pid": int(row.pid),
            "state": Stage(int(row.stage)).word,
            "running": int(row.running),
            "done": int(row.done),
            "rss": int(row.rss) or None,
            "age": round(now - row.born, 1),
            "loop_turned": round(now - row.beat, 1),
            "store_answered": round(now - row.seen, 1) if row.seen else None,
        }
        for row in board.taken()
    ]
    state = _word(Stage(int(board.own.stage)))
    faults = board.faults(now, limits.stuck_after)
    return {"ok": True, "state": state, "faults": faults, "workers": workers}


def _word(stage: Stage) -> str:
    return "draining" if stage is Stage.STOPPING else stage.word


_PAGES = {"/live": live, "/ready": ready, "/status": status}
