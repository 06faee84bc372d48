"""Who this process is, and whether another process of this machine still lives.

A pid means something only on one machine, in one boot, in one pid namespace; `host` names all
three, so that nobody takes a process of another container for dead.
"""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path


def host() -> str:
    """Return where pids of this process mean something."""
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()[:8])
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        pass  # not Linux: the host name must do
    return "|".join(parts)


def worker_name() -> str:
    """Return a name for people: host:pid:nonce."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


def is_alive(pid: int) -> bool:
    """Tell whether a process of this machine lives; a zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2]
    except OSError:
        return True
    return state.split()[:1] != ["Z"]
