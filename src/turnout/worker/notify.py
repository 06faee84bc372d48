"""Tells systemd how the service is: one datagram a message, no library.

    READY=1 (all workers are at work) -> RELOADING=1 (a rolling restart) -> READY=1 -> STOPPING=1

WATCHDOG=1 goes out twice in each `WatchdogSec`, as long as all main loops turn; systemd restarts a
service that stops sending it. Nothing is sent where NOTIFY_SOCKET is not set. A message that cannot
be delivered is dropped: a notice must never stop the work.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_STATUS_EVERY = 2.0


class Notifier:
    """The way to the service manager, if there is one."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._every = _watchdog(environ)
        self._ping_at = 0.0
        self._status = ""
        self._status_at = 0.0
        self._stopping = False

    def ready(self) -> None:
        """Say that the service does its work: at the start, and at the end of a restart."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Say that a rolling restart begins."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that the service ends."""
        if not self._stopping:
            self._stopping = True
            self._send("STOPPING=1")

    def tick(self, status: str, *, is_well: bool) -> None:
        """Send what is due: the status when it has changed, a sign of life when all is well."""
        now = time.monotonic()
        if status != self._status and now - self._status_at >= _STATUS_EVERY:
            self._status, self._status_at = status, now
            self._send(f"STATUS={status}")
        if self._every is not None and is_well and now >= self._ping_at:
            self._ping_at = now + self._every
            self._send("WATCHDOG=1")

    def say(self, status: str) -> None:
        """Send a status at once."""
        self._status, self._status_at = status, time.monotonic()
        self._send(f"STATUS={status}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.settimeout(1.0)
                line.sendto(message.encode(), self._address)
        except OSError:
            return


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Return the seconds between two signs of life, None where nobody waits for them."""
    try:
        meant = int(environ.get("WATCHDOG_PID") or os.getpid())
        seconds = int(environ["WATCHDOG_USEC"]) / 1e6
    except (KeyError, ValueError):
        return None
    return seconds / 2 if meant == os.getpid() and seconds > 0 else None
